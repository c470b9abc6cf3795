//! The packer: the same bytes for the same tree, and nothing that the unpacker would refuse.

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::Path,
};

use aigis_proxy::{Code, blob::Digest};
use aigis_registry::archive::{Error, Existing, Kind, Limits, Packed, pack, unpack};
use rustix::fs::{CWD, FileType, Mode, mknodat};

fn packed(directory: &Path) -> Result<(Vec<u8>, Packed), Error> {
    let mut tar = Vec::new();
    let done = pack(directory, &mut tar, &mut |_, _| true, &Limits::TREE)?;
    Ok((tar, done))
}

#[track_caller]
fn refused(directory: &Path, code: Code, words: &[&str]) {
    let error = aigis_proxy::Error::from(packed(directory).unwrap_err());
    assert_eq!(error.code, code, "{error}");
    for word in words {
        assert!(error.message.contains(word), "{error}");
    }
}

/// The tree of the golden vectors.
fn golden(directory: &Path) {
    fs::write(directory.join("run.sh"), "#!/bin/sh\necho golden\n").unwrap();
    fs::set_permissions(directory.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(directory.join("data")).unwrap();
    fs::write(directory.join("data/\u{e4}.txt"), "\u{e4}\n").unwrap();
    symlink("data/\u{e4}.txt", directory.join("link")).unwrap();
    let long = directory.join("data").join("n".repeat(100));
    fs::create_dir(&long).unwrap();
    fs::write(long.join("f"), "x").unwrap();
    fs::write(directory.join("aigis.json"), "{}").unwrap();
}

#[test]
fn a_tree_has_the_digest_that_the_golden_vectors_give_it() {
    let directory = tempfile::tempdir().unwrap();
    golden(directory.path());
    let mut tar = Vec::new();
    let mut keep = |path: &str, _: Kind| path != "aigis.json";
    let done = pack(directory.path(), &mut tar, &mut keep, &Limits::TREE).unwrap();
    assert_eq!((done.entries, done.bytes), (6, 22 + 3 + 1));
    let digest = "2b9afd0568eafcd5192a923886d1125011a0d9cd5effb4cae05d37a10b9d8f8d";
    assert_eq!(Digest::of(&tar).hex(), digest);
}

#[test]
fn entries_stand_in_the_order_of_their_bytes_whatever_made_them() {
    let names = ["a/x", "a.txt", "a0", "a-b", "b/c/d", "\u{e4}", "B2"];
    let mut tars = Vec::new();
    for (round, umask) in [(0, 0o755), (1, 0o700)] {
        let directory = tempfile::tempdir().unwrap();
        let order: Vec<_> = if round == 0 { names.to_vec() } else { names.iter().rev().copied().collect() };
        for name in order {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(umask)).unwrap();
            fs::write(&path, name).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(umask & 0o666 | 0o400)).unwrap();
            fs::File::open(&path)
                .unwrap()
                .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(round))
                .unwrap();
        }
        fs::create_dir(directory.path().join("empty")).unwrap();
        tars.push(packed(directory.path()).unwrap().0);
    }
    assert!(tars[0] == tars[1]);
    let place = super::Place::new();
    unpack(&tars[0][..], &place.tree(), Existing::Refuse, &Limits::TREE).unwrap();
    assert!(packed(&place.tree()).unwrap().0 == tars[0]);
    let mut at = 0;
    let mut listed = Vec::new();
    while tars[0][at] != 0 {
        let text =
            |range: std::ops::Range<usize>| String::from_utf8_lossy(&tars[0][range]).trim_end_matches('\0').to_owned();
        let size = usize::from_str_radix(&text(at + 124..at + 135), 8).unwrap();
        listed.push(text(at..at + 100));
        at += 512 + size.next_multiple_of(512);
    }
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(listed, sorted);
    assert_eq!(listed, ["B2", "a-b", "a.txt", "a/", "a/x", "a0", "b/", "b/c/", "b/c/d", "empty/", "\u{e4}"]);
}

#[test]
fn atk_32_what_no_tree_holds_is_named() {
    let make = |name: &str, kind| {
        let directory = tempfile::tempdir().unwrap();
        let _ = mknodat(CWD, directory.path().join(name), kind, Mode::from(0o600), 0);
        directory
    };
    refused(make("pipe", FileType::Fifo).path(), Code::InvalidArgument, &["\"pipe\"", "a FIFO"]);
    refused(make("socket", FileType::Socket).path(), Code::InvalidArgument, &["\"socket\"", "a socket"]);
    if rustix::process::geteuid().is_root() {
        refused(make("disk", FileType::BlockDevice).path(), Code::InvalidArgument, &["\"disk\"", "a block device"]);
        refused(make("tty", FileType::CharacterDevice).path(), Code::InvalidArgument, &["\"tty\"", "character"]);
    }
    for (target, words) in [("/etc/shadow", "out of the tree"), ("../x", "out of the tree"), ("own", "circle")] {
        let directory = tempfile::tempdir().unwrap();
        symlink(target, directory.path().join("own")).unwrap();
        refused(directory.path(), Code::InvalidArgument, &["\"own\"", target, words]);
    }
    for name in [&b"a\nb"[..], b"a\\b", b"a\xffb", b"C:x"] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
        refused(directory.path(), Code::InvalidArgument, &["cannot be packed", "the path"]);
    }
    let twins = tempfile::tempdir().unwrap();
    fs::write(twins.path().join("Makefile"), "").unwrap();
    fs::write(twins.path().join("makefile"), "").unwrap();
    refused(twins.path(), Code::InvalidArgument, &["\"makefile\"", "\"Makefile\""]);
    refused(tempfile::tempdir().unwrap().path(), Code::InvalidArgument, &["nothing in it"]);
    // Hard links and special bits are no part of a tree: files are.
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), "x").unwrap();
    fs::set_permissions(directory.path().join("a"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(directory.path().join("a"), directory.path().join("b")).unwrap();
    assert_eq!(packed(directory.path()).unwrap().1, Packed { entries: 2, bytes: 2 });
}

#[test]
fn a_filter_decides_before_anything_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("left")).unwrap();
    mknodat(CWD, directory.path().join("left/pipe"), FileType::Fifo, Mode::from(0o600), 0).unwrap();
    mknodat(CWD, directory.path().join("pipe"), FileType::Fifo, Mode::from(0o600), 0).unwrap();
    fs::write(directory.path().join("kept"), "").unwrap();
    let mut asked = Vec::new();
    let mut keep = |path: &str, kind: Kind| {
        asked.push((path.to_owned(), kind));
        path == "kept"
    };
    let done = pack(directory.path(), std::io::sink(), &mut keep, &Limits::TREE).unwrap();
    asked.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("kept", Kind::File), ("left", Kind::Directory), ("pipe", Kind::Other)];
    assert_eq!(asked, expected.map(|(path, kind)| (path.to_owned(), kind)));
    assert_eq!(done.entries, 1);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    /// Grows the file once its header was written.
    struct Meddling<'a>(&'a Path, bool);
    impl std::io::Write for Meddling<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if !std::mem::replace(&mut self.1, true) {
                fs::write(self.0, "other content")?;
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for content in ["x".repeat(1_000_000), "short".to_owned()] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, content).unwrap();
        let out = Meddling(&path, false);
        let error = pack(directory.path(), out, &mut |_, _| true, &Limits::TREE).unwrap_err();
        assert!(matches!(&error, Error::Changed { path } if path == "log"), "{error}");
    }
}

#[test]
fn a_tree_over_a_limit_is_not_packed() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), [0; 700]).unwrap();
    fs::write(directory.path().join("b"), [0; 300]).unwrap();
    let with = |limits: Limits| pack(directory.path(), std::io::sink(), &mut |_, _| true, &limits);
    let exact = Limits { entries: 2, file_bytes: 700, total_bytes: 1_000, ..Limits::TREE };
    assert_eq!(with(exact).unwrap().bytes, 1_000);
    for limits in [
        Limits { entries: 1, ..exact },
        Limits { file_bytes: 699, ..exact },
        Limits { total_bytes: 999, ..exact },
        Limits { time: std::time::Duration::ZERO, ..exact },
    ] {
        let error = aigis_proxy::Error::from(with(limits).unwrap_err());
        assert_eq!(error.code, Code::ResourceExhausted, "{error}");
    }
}
