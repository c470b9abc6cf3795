//! Lists the files of the Python package `aigis`, which the node carries with it.

#[path = "../scripts/lib/files.rs"]
mod files;

fn main() -> std::io::Result<()> {
    let is_source =
        |path: &std::path::Path| path.extension().is_some_and(|kind| kind == "py") || path.ends_with("py.typed");
    files::list("../sdk/python", "aigis", is_source, "sdk.rs")
}
