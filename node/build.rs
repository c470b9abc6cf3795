//! Lists the files of the Python package `aigis`, which the node carries with it.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other(name));
    let package = variable("CARGO_MANIFEST_DIR")?.join("../sdk/python").canonicalize()?;
    let mut files = Vec::new();
    list(&package.join("aigis"), &mut files)?;
    files.sort();
    let mut list = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&package).map_err(io::Error::other)?;
        writeln!(list, "({name:?}, include_bytes!({file:?})),").map_err(io::Error::other)?;
    }
    list.push(']');
    fs::write(variable("OUT_DIR")?.join("sdk.rs"), list)?;
    println!("cargo::rerun-if-changed={}", package.join("aigis").display());
    Ok(())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_source = path.extension().is_some_and(|kind| kind == "py") || path.ends_with("py.typed");
        if path.is_dir() {
            list(&path, files)?;
        } else if is_source {
            files.push(path);
        }
    }
    Ok(())
}
