//! What a fuzzer throws at the readers of this crate, and what must hold whatever it is.

use std::{fs, path::Path, time::Duration};

use crate::{
    archive::{Existing, Limits, unpack},
    record::{BusRecord, CiRecord, Key, Lease, NodeRecord, RemovalRecord, TokenRecord, UserRecord, digest, open},
};

/// What the archives may hold: little, since there are many of them.
const LIMITS: Limits =
    Limits { entries: 100, file_bytes: 1024 * 1024, total_bytes: 2 * 1024 * 1024, time: Duration::from_secs(10) };

/// Keys and records as a bus gives them: as they are, and under a digest that is right.
pub fn records(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(key) = Key::parse(&text) {
        assert_eq!(key.to_string(), text, "a key reads back");
    }
    let _ = serde_json::from_slice::<Lease>(bytes);
    let sealed = format!(r#"{{"digest":"{}","content":{text}}}"#, digest(text.as_bytes()));
    for stored in [bytes, sealed.as_bytes()] {
        let outcomes = [
            open::<CiRecord>(stored).err(),
            open::<NodeRecord>(stored).err(),
            open::<BusRecord>(stored).err(),
            open::<UserRecord>(stored).err(),
            open::<TokenRecord>(stored).err(),
            open::<RemovalRecord>(stored).err(),
        ];
        for damage in outcomes.into_iter().flatten() {
            let said = damage.to_string();
            assert!(!said.chars().any(char::is_control) && said.len() <= 1_000, "{said:?}");
        }
    }
}

/// An archive, unpacked below a directory that holds nothing else. Nothing is left there.
///
/// # Panics
///
/// Where something was written that should not be, or the directory cannot be used.
pub fn archive(bytes: &[u8], directory: &Path) {
    let tree = directory.join("tree");
    let done = unpack(bytes, &tree, Existing::Refuse, &LIMITS);
    let names: Vec<_> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    match &done {
        Ok(_) => assert_eq!(names, ["tree"], "beside the tree"),
        Err(error) => {
            let said = error.to_string();
            assert!(names.is_empty(), "{names:?} are left of what was refused: {said}");
            assert!(!said.chars().any(char::is_control), "{said:?}");
        }
    }
    if done.is_ok() {
        assert!(fs::remove_dir_all(&tree).is_ok(), "the tree is not its owner's");
    }
}

#[cfg(test)]
#[path = "../../fuzz/mutations.rs"]
mod mutations;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{record::seal, testing::container};

    fn sealed() -> Vec<Vec<u8>> {
        let record = container("web", "alpha");
        let plain = serde_json::to_vec(&record).unwrap();
        let lease = br#"{"boot":"b","counter":7,"since_at":"2026-11-21T07:25:40Z","goodbye":false}"#.to_vec();
        vec![seal(&record).unwrap(), plain, lease, b"ci.web.alpha".to_vec(), b"token.t1.alpha".to_vec()]
    }

    /// Archives of a few entries: plain, and each way in which one may come compressed.
    fn archives() -> Vec<Vec<u8>> {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("bin")).unwrap();
        fs::write(directory.path().join("bin/run"), "#!/bin/sh\n").unwrap();
        fs::write(directory.path().join(format!("{}.txt", "n".repeat(120))), [7; 700]).unwrap();
        std::os::unix::fs::symlink("bin/run", directory.path().join("link")).unwrap();
        let mut plain = Vec::new();
        crate::archive::pack(directory.path(), &mut plain, &mut |_, _| true, &LIMITS).unwrap();
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut zipped, &plain).unwrap();
        vec![zstd::encode_all(plain.as_slice(), 1).unwrap(), zipped.finish().unwrap(), plain]
    }

    proptest! {
        #![proptest_config(mutations::config())]

        #[test]
        fn bad_05_any_record(bytes in mutations::inputs(sealed())) {
            records(&bytes);
        }

        #[test]
        fn bad_25_bad_26_bad_27_bad_31_bad_32_bad_34_any_archive(bytes in mutations::inputs(archives())) {
            let directory = tempfile::tempdir().unwrap();
            archive(&bytes, directory.path());
        }
    }
}
