use std::{fs, os::unix::fs::symlink};

use super::*;

fn written(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

#[test]
fn pkg_05_links_lead_only_to_files_of_the_tree() {
    let dir = written(&[("a/real.txt", b"inside"), (".env", b"A=SECRET")]);
    symlink("/etc/passwd", dir.path().join("passwd")).unwrap();
    symlink("a/real.txt", dir.path().join("inner")).unwrap();
    symlink("loop", dir.path().join("loop")).unwrap();
    symlink(".env", dir.path().join("settings")).unwrap();
    symlink("..", dir.path().join("a/up")).unwrap();
    let tree = Tree::read(dir.path()).unwrap();
    assert_eq!(tree.text("inner"), Some("inside"));
    let told = tree.warnings().first().map(ToString::to_string);
    assert_eq!(told.as_deref(), Some("a/up:1: is a link to no file of the tree: not followed"), "a path is said once");
    let warned: Vec<_> = tree.warnings().into_iter().map(|one| (one.code, one.at.file)).collect();
    let outside = |path: &str| ("link.outside".to_owned(), path.to_owned());
    assert_eq!(warned, [outside("a/up"), outside("loop"), outside("passwd"), outside("settings")]);
    assert_eq!(tree.paths().collect::<Vec<_>>(), ["a/real.txt", "inner"]);
}

#[test]
fn pkg_14_an_environment_is_read_only_from_its_example() {
    let dir = written(&[(".env", b"A=NONCE"), (".env.local", b"B=NONCE"), (".env.example", b"KEY="), ("x/.env", b"")]);
    let tree = Tree::read(dir.path()).unwrap();
    assert_eq!(tree.paths().collect::<Vec<_>>(), [".env.example"]);
}

#[test]
fn pkg_15_what_was_written_elsewhere_is_text_all_the_same() {
    let dir = written(&[
        ("bom", b"\xef\xbb\xbfx\r\n"),
        ("utf16", b"\xff\xfex\0\n\0"),
        ("latin", b"caf\xe9"),
        ("binary", b"a\0b"),
        ("target/x", b"x"),
        ("big.json", &vec![b' '; 1024 * 1024 + 1]),
    ]);
    let tree = Tree::read(dir.path()).unwrap();
    assert_eq!(tree.text("bom"), Some("x\r\n"));
    assert_eq!(tree.text("utf16"), Some("x\n"));
    assert_eq!(tree.text("latin"), Some("caf\u{fffd}"));
    assert_eq!((tree.has("binary"), tree.text("binary")), (true, None));
    assert!(!tree.has("target/x"));
    assert_eq!((tree.has("big.json"), tree.text("big.json"), tree.is_truncated()), (true, None, true));
    assert_eq!(tree.warnings()[0].code, "limit.file-bytes");
}

#[test]
fn directories_and_paths_are_named_from_the_root() {
    let tree = Tree::of([("a", ""), ("b/c/d", ""), ("b-e", "")]);
    assert_eq!(tree.directories().collect::<Vec<_>>(), [".", "b", "b/c"]);
    assert_eq!(tree.below("b").collect::<Vec<_>>(), ["b/c/d"]);
    assert_eq!(tree.within(".").collect::<Vec<_>>(), ["a", "b-e"]);
    assert_eq!(joined("b/c", "../x").as_deref(), Some("b/x"));
    assert_eq!(joined("b", "../../x"), None);
}

#[test]
fn pkg_03_the_digest_is_of_names_and_content_alone() {
    let one = Tree::of([("a", "x"), ("b", "y")]);
    assert_eq!(one.digest(), Tree::of([("b", "y"), ("a", "x")]).digest());
    assert_ne!(one.digest(), Tree::of([("a", "xy"), ("b", "")]).digest());
}

#[test]
fn pkg_15_documents_are_parsed_until_it_is_enough_and_the_rest_is_told() {
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(1024 * 1024 - 16));
    let names: Vec<String> = (10..20).map(|number| format!("{number}.json")).collect();
    let tree = Tree::of(names.iter().map(|name| (name.as_str(), large.as_str())).chain([("small.json", "{}")]));
    let parsed = names.iter().filter(|name| tree.json(name).is_some()).count();
    assert_eq!((parsed, tree.is_truncated()), (8, true));
    assert!(tree.json("small.json").is_some(), "what finds room is parsed");
    let refused: Vec<_> = tree.warnings().into_iter().map(|warning| (warning.code, warning.at.file)).collect();
    assert_eq!(refused, ["18.json", "19.json"].map(|name| ("file.refused".to_owned(), name.to_owned())));
    let few = Tree::of([("a.json", large.as_str())]);
    assert!(few.json("a.json").is_some() && !few.is_truncated());
}
