use std::fs;

use super::*;
use crate::golden;

fn packed(project: &Path, root: &str, exclude: &[String]) -> (Packed, Vec<u8>) {
    Source { project, root, exclude }.pack(|| Ok(Vec::new())).unwrap()
}

fn paths(tar: &[u8]) -> Vec<String> {
    let mut at = 0;
    let mut paths = Vec::new();
    while tar[at] != 0 {
        let text =
            |range: std::ops::Range<usize>| String::from_utf8_lossy(&tar[range]).trim_end_matches('\0').to_owned();
        let size = usize::from_str_radix(&text(at + 124..at + 135), 8).unwrap();
        paths.push(text(at..at + 100));
        at += 512 + size.next_multiple_of(512);
    }
    paths
}

#[test]
fn pkg_32_the_source_tree_of_the_golden_project() {
    for odd in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        golden::make(directory.path(), odd);
        fs::create_dir_all(directory.path().join("empty/within")).unwrap();
        let (packed, tar) = packed(directory.path(), ".", &[]);
        assert_eq!(packed.digest.hex(), golden::TREE);
        assert_eq!((packed.size_bytes, packed.digest), (tar.len() as u64, Digest::of(&tar)));
        assert_eq!(packed.entries, 6);
    }
}

#[test]
fn pkg_34_what_is_left_out_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let write = |path: &str, content: &str| {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    for path in ["app.py", "Dockerfile", "aigis.lock", ".dockerignore", "Containerfile", "sub/Dockerfile", "own/x"] {
        write(path, path);
    }
    write(".gitignore", "*.log\n/dist\n");
    let (before, tar) = packed(directory.path(), ".", &[]);
    assert_eq!(paths(&tar), [".gitignore", "app.py", "own/", "own/x", "sub/", "sub/Dockerfile"]);
    for path in ["a.log", "dist/x", ".env", "node_modules/y", "Dockerfile", "aigis.json"] {
        write(path, "another");
    }
    assert_eq!(packed(directory.path(), ".", &[]).0, before);
    write("app.py", "another");
    assert_ne!(packed(directory.path(), ".", &[]).0, before);
}

#[test]
fn the_rules_of_the_project_count_below_it_and_an_application_leaves_out_more() {
    let directory = tempfile::tempdir().unwrap();
    for path in ["web/dist/x", "web/a.txt", "web/doc/b.txt", "web/Dockerfile", "web/doc/keep.txt"] {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    fs::write(directory.path().join(".gitignore"), "/web/dist\n").unwrap();
    assert_eq!(paths(&packed(directory.path(), "web", &[]).1), ["a.txt", "doc/", "doc/b.txt", "doc/keep.txt"]);
    assert_eq!(packed(directory.path(), "./web/", &[]).0, packed(directory.path(), "web", &[]).0);
    let exclude = ["doc/*".to_owned(), "!doc/keep.txt".to_owned()];
    assert_eq!(paths(&packed(directory.path(), "web", &exclude).1), ["a.txt", "doc/", "doc/keep.txt"]);
    let all = Source { project: directory.path(), root: "web", exclude: &["*".to_owned()] };
    let error = all.pack(|| Ok(Vec::new())).unwrap_err();
    assert_eq!(error.code, aigis_proxy::Code::InvalidArgument);
}

#[test]
fn locks_are_named_by_their_paths_in_the_project() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("web")).unwrap();
    for path in ["yarn.lock", "web/uv.lock", "web/other.lock", "go.sum"] {
        fs::write(directory.path().join(path), path).unwrap();
    }
    let source = Source { project: directory.path(), root: "web", exclude: &[] };
    let names = |workspace| source.locks(workspace).unwrap().into_keys().collect::<Vec<_>>();
    assert_eq!(names(None), ["web/uv.lock"]);
    assert_eq!(names(Some(".")), ["go.sum", "web/uv.lock", "yarn.lock"]);
    assert_eq!(source.locks(None).unwrap()["web/uv.lock"], Digest::of(b"web/uv.lock"));
}
