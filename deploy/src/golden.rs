//! The project of the golden vectors, made anew for each test.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

/// Its manifest.
pub(crate) const MANIFEST: &str = r#"{"manifest_version":"1.0","project":{"name":"golden"},"applications":{"hello":{"type":"files","run_command":["/app/run.sh"]}},"containers":{"hello":{"base_image":"scratch","applications":["hello"],"ports":[8080]}},"packaging":{"platforms":["linux/amd64"]}}"#;
/// The digest of its source tree.
pub(crate) const TREE: &str = "2b9afd0568eafcd5192a923886d1125011a0d9cd5effb4cae05d37a10b9d8f8d";

/// How many bytes its layer has.
pub(crate) const LAYER_BYTES: u64 = 8_192;

/// Writes it into an empty directory. With `odd`, what must not count differs: the order, the modes, the times.
pub(crate) fn make(directory: &Path, odd: bool) {
    let long = format!("data/{}/f", "n".repeat(100));
    let mut files = vec![
        ("run.sh", "#!/bin/sh\necho golden\n", true),
        ("data/\u{e4}.txt", "\u{e4}\n", false),
        (long.as_str(), "x", false),
        ("aigis.json", MANIFEST, false),
    ];
    if odd {
        files.reverse();
    }
    for (path, content, runs) in files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let mode = match (runs, odd) {
            (true, true) => 0o700,
            (true, false) => 0o755,
            (false, true) => 0o600,
            (false, false) => 0o644,
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if odd {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
            fs::File::open(&path).unwrap().set_modified(time).unwrap();
            fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
        }
    }
    symlink("data/\u{e4}.txt", directory.join("link")).unwrap();
}
