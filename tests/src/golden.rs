//! The golden project: whoever packages it, wherever it lies, makes the same of it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use tempfile::TempDir;

/// Its manifest.
pub const GOLDEN_MANIFEST: &str = r#"{"manifest_version":"1.0","project":{"name":"golden"},"applications":{"hello":{"type":"files","run_command":["/app/run.sh"]}},"containers":{"hello":{"base_image":"scratch","applications":["hello"],"ports":[8080]}},"packaging":{"platforms":["linux/amd64"]}}"#;
/// The id of its package.
pub const GOLDEN: &str = "sha256:4ae8dd081b62c37ffaf9ad6bea31f5519f51e0eee2b7919e2183dc2198e76142";

/// The project in a directory of its own, its files of that mode, which must not count.
///
/// # Panics
///
/// Panics when it cannot be written.
#[must_use]
pub fn golden(mode: u32) -> TempDir {
    let made = || -> std::io::Result<TempDir> {
        let directory = tempfile::tempdir()?;
        let long = format!("data/{}/f", "n".repeat(100));
        let files = [
            ("run.sh", "#!/bin/sh\necho golden\n", 0o100 | mode),
            ("data/\u{e4}.txt", "\u{e4}\n", mode),
            (long.as_str(), "x", mode),
            ("aigis.json", GOLDEN_MANIFEST, mode),
        ];
        for (path, content, mode) in files {
            let path = directory.path().join(path);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(&path, content)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
        symlink("data/\u{e4}.txt", directory.path().join("link"))?;
        Ok(directory)
    };
    made().unwrap_or_else(|error| panic!("{error}"))
}
