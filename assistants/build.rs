//! Lists the files of the library of assistants, which the product carries with it.

#[path = "../scripts/lib/files.rs"]
mod files;

fn main() -> std::io::Result<()> {
    files::list("library", "", |_| true, "library.rs")
}
