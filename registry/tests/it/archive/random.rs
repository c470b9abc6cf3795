//! Whatever comes: nothing is written outside, nothing is left of what was refused, nothing panics.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use aigis_registry::archive::{Existing, Limits, pack, unpack};
use proptest::prelude::*;

use super::{
    Place,
    builder::{Entry, directory, entry, file, hard_link, link, pax, tar},
};

fn survives(archive: &[u8]) {
    let place = Place::new();
    let done = place.unpack(archive);
    assert!(place.is_unharmed());
    assert_eq!(place.tree().exists(), done.is_ok());
}

/// Few names, so that entries get in each other's way.
fn path() -> impl Strategy<Value = String> {
    let part = prop_oneof![Just("a"), Just("b"), Just("A"), Just(".."), Just("outside"), Just("canary"), Just(".")];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let one = (0..5_u8, path(), path()).prop_map(|(kind, path, target)| match kind {
        0 => directory(format!("{path}/")),
        1 => link(&path, &target),
        2 => hard_link(&path, &target),
        _ => file(&path),
    });
    prop::collection::vec(one, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn bad_33_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..3_000)) {
        survives(&bytes);
        survives(&[b"\x1f\x8b\x08\0".as_slice(), &bytes].concat());
        survives(&[b"\x28\xb5\x2f\xfd".as_slice(), &bytes].concat());
    }

    #[test]
    fn bad_26_any_entries(entries in entries()) {
        survives(&tar(&entries));
    }

    #[test]
    fn bad_33_any_change_of_a_good_archive(
        changes in prop::collection::vec((0..7_000_usize, any::<u8>()), 1..4),
        mend in any::<bool>(),
    ) {
        let long = "n".repeat(120);
        let mut parts = vec![
            directory("d/"), file("d/x"), link("d/l", "../d/x"), hard_link("h", "d/x"),
            pax(&[("path", &long), ("size", "7")]), file("n"), entry(b'L', "././@LongLink", "m".repeat(130)), file("m"),
        ];
        for (at, byte) in &changes {
            let part = at / 512 % parts.len();
            let changed = parts[part].clone();
            if mend {
                // With a checksum that fits, the change gets further.
                parts[part] = changed.put(at % 512, &[*byte]);
            } else {
                parts[part].header[at % 512] = *byte;
            }
        }
        survives(&tar(&parts));
    }

    #[test]
    fn what_is_packed_is_unpacked_and_packed_to_the_same_bytes(
        files in prop::collection::btree_map("[a-c]{1,2}(/[d-f\u{e4}]{1,3}){0,3}", (0..3_u8, prop::collection::vec(any::<u8>(), 0..1_500)), 1..12),
    ) {
        let directory = tempfile::tempdir().unwrap();

        for (path, (kind, content)) in files {
            let at = directory.path().join(&path);
            // Some paths go through files of others.
            let above = fs::create_dir_all(at.parent().unwrap());
            let made = above.and_then(|()| match kind {
                0 => symlink("nowhere/\u{e4}", &at),
                _ => fs::write(&at, &content),
            });
            if made.is_ok() && kind == 1 {
                fs::set_permissions(&at, fs::Permissions::from_mode(0o700)).unwrap();
            }

        }
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let packed = pack(directory.path(), &mut first, &mut |_, _| true, &Limits::TREE).unwrap();
        let place = Place::new();
        let report = unpack(&first[..], &place.tree(), Existing::Refuse, &Limits::TREE).unwrap();
        prop_assert_eq!((report.entries, report.bytes), (packed.entries, packed.bytes));
        prop_assert_eq!(report.notes, vec![]);
        pack(&place.tree(), &mut second, &mut |_, _| true, &Limits::TREE).unwrap();
        prop_assert!(first == second);
    }
}
