//! What build scripts have in common: files of the tree that a crate carries with it.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

/// Writes the list of the files below `folder` that `keep` takes, with their names from `root` on and their bytes, as an
/// expression into a file of that name where the crate includes it from.
///
/// # Errors
///
/// What cannot be read or written.
pub(crate) fn list(root: &str, folder: &str, keep: impl Fn(&Path) -> bool, out: &str) -> io::Result<()> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other(name));
    let root = variable("CARGO_MANIFEST_DIR")?.join(root).canonicalize()?;
    let folder = root.join(folder);
    let (mut folders, mut files) = (vec![folder.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if keep(&path) {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut list = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&root).map_err(io::Error::other)?;
        writeln!(list, "({name:?}, include_bytes!({file:?})),").map_err(io::Error::other)?;
    }
    list.push(']');
    fs::write(variable("OUT_DIR")?.join(out), list)?;
    println!("cargo::rerun-if-changed={}", folder.display());
    println!("cargo::rerun-if-changed=../scripts/lib/files.rs");
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}
