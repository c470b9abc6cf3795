//! Row BAD-36: where a tree goes.

use std::{
    env, fs,
    io::Read,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use aigis_proxy::Code;
use aigis_registry::archive::{Existing, Limits, sweep, unpack};

use super::{
    Place,
    builder::{entry, file, tar},
};

/// Tells the child of [`bad_36_a_killed_unpacker_leaves_what_the_next_start_removes`] where to unpack.
const CHILD: &str = "AIGIS_TEST_UNPACK_INTO";

fn failed(archive: &[u8], into: &Path, existing: Existing) -> aigis_proxy::Error {
    unpack(archive, into, existing, &Limits::TREE).unwrap_err().into()
}

#[test]
fn bad_36_what_stands_at_the_destination_stays_whole() {
    let (good, bad) = (tar(&[file("new")]), tar(&[file("new"), file("../x")]));
    let place = Place::new();
    fs::create_dir(place.tree()).unwrap();
    fs::write(place.tree().join("old"), "old").unwrap();
    let error = failed(&good, &place.tree(), Existing::Refuse);
    assert_eq!(error.code, Code::AlreadyExists);
    assert!(error.message.contains(place.tree().to_str().unwrap()), "{error}");
    assert_eq!(failed(&bad, &place.tree(), Existing::Replace).code, Code::InvalidArgument);
    assert!(place.tree().join("old").exists() && !place.tree().join("new").exists() && place.is_unharmed());
    unpack(&good[..], &place.tree(), Existing::Replace, &Limits::TREE).unwrap();
    assert!(!place.tree().join("old").exists() && place.tree().join("new").exists() && place.is_unharmed());
    for existing in [Existing::Refuse, Existing::Replace] {
        let linked = Place::new();
        symlink("../outside", linked.tree()).unwrap();
        let error = failed(&good, &linked.tree(), existing);
        assert!(error.code == Code::FailedPrecondition && error.message.contains("is a link"), "{error}");
        assert!(linked.is_unharmed());
        let taken = Place::new();
        fs::write(taken.tree(), "a file").unwrap();
        assert_eq!(failed(&good, &taken.tree(), existing).code, Code::FailedPrecondition);
        assert_eq!(fs::read_to_string(taken.tree()).unwrap(), "a file");
    }
}

#[test]
fn bad_36_a_full_disk_leaves_the_old_tree() {
    let place = Place::new();
    let disk = place.inside();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&disk).status();
    if !mounted.is_ok_and(|status| status.success()) {
        // Only root can make a disk that is small enough.
        assert!(!rustix::process::geteuid().is_root());
        return;
    }
    fs::create_dir(place.tree()).unwrap();
    fs::write(place.tree().join("old"), "old").unwrap();
    let big = tar(&[file("a"), entry(b'0', "big", vec![7; 1 << 20])]);
    let error = failed(&big, &place.tree(), Existing::Replace);
    let (unharmed, old) = (place.is_unharmed(), fs::read_to_string(place.tree().join("old")));
    assert!(Command::new("umount").arg(&disk).status().unwrap().success());
    assert!(error.code == Code::ResourceExhausted && error.message.contains("tree/big"), "{error}");
    assert!(unharmed && old.unwrap() == "old");
}

/// What the child does: it takes an archive whose end never comes.
#[test]
fn bad_36_child_that_unpacks_until_it_is_killed() {
    let Some(into) = env::var_os(CHILD) else { return };
    struct Endless;
    impl Read for Endless {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            std::thread::park();
            Err(std::io::ErrorKind::Interrupted.into())
        }
    }
    let archive = tar(&[file("new"), file("never")]);
    let reader = archive[..1024].chain(Endless);
    unpack(reader, &PathBuf::from(into), Existing::Replace, &Limits::TREE).unwrap();
}

#[test]
fn bad_36_a_killed_unpacker_leaves_what_the_next_start_removes() {
    let place = Place::new();
    fs::create_dir(place.tree()).unwrap();
    fs::write(place.tree().join("old"), "old").unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "archive::destination::bad_36_child_that_unpacks_until_it_is_killed", "--nocapture"])
        .env(CHILD, place.tree())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let grown = || {
        let found = fs::read_dir(place.inside()).unwrap().find_map(|entry| {
            let path = entry.unwrap().path().join("tree/new");
            path.is_file().then_some(path)
        });
        found.is_some()
    };
    let end = Instant::now() + Duration::from_secs(20);
    while !grown() && Instant::now() < end {
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let (begun, swept_early) = (grown(), sweep(&place.inside()).unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(begun && swept_early == 0, "what is in use is not swept");
    assert!(!place.is_unharmed(), "a killed process cleans nothing up");
    assert_eq!(fs::read_to_string(place.tree().join("old")).unwrap(), "old");
    assert_eq!(sweep(&place.inside()).unwrap(), 1);
    assert!(place.is_unharmed());
    assert_eq!(sweep(&place.inside()).unwrap(), 0);
    assert_eq!(fs::read_to_string(place.tree().join("old")).unwrap(), "old");
}
