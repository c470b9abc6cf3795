use aigis_registry::archive::{Attributes, Sink as _, Writer};
use serde_json::json;

use super::*;
use crate::package::Store;

/// One entry of a layer, as a test makes it.
enum Made {
    File(&'static str, u32, (u32, u32), Vec<u8>),
    Able(&'static str, &'static [u8]),
    Directory(&'static str),
    Link(&'static str, &'static str),
}

fn file(path: &'static str, content: &[u8]) -> Made {
    Made::File(path, 0o644, (0, 0), content.to_vec())
}

fn layer(store: &Store, entries: &[Made]) -> Layer {
    let mut writer = Writer::new(Vec::new());
    let plain = Attributes { mode: 0o755, owner: (0, 0), time: 0 };
    for entry in entries {
        match entry {
            Made::File(path, mode, owner, content) => {
                let size = content.len() as u64;
                writer.file_with(path, Attributes { mode: *mode, owner: *owner, time: 0 }, size).unwrap();
                writer.content(content).unwrap();
                writer.end_file(size).unwrap();
            }
            Made::Able(path, capability) => {
                writer.capability(capability).unwrap();
                writer.file_with(path, plain, 0).unwrap();
                writer.end_file(0).unwrap();
            }
            Made::Directory(path) => writer.directory_with(path, plain).unwrap(),
            Made::Link(path, target) => writer.link_with(path, target, plain).unwrap(),
        }
    }
    let tar = writer.end().unwrap();
    let digest = store.blobs().put(&tar).unwrap();
    Layer { digest, size_bytes: tar.len() as u64, kind: Kind::Files, application: Some("api".to_owned()) }
}

fn image(store: &Store, config: &Value, layers: Vec<Layer>) -> ImageRecord {
    let digest = store.blobs().put(config.to_string().as_bytes()).unwrap();
    ImageRecord {
        container: "api".to_owned(),
        platform: Platform::Amd64,
        tier: 1,
        spec: digest,
        inputs: digest,
        output: digest,
        config: digest,
        layers,
        bases: BTreeMap::new(),
        builder: String::new(),
        epoch: 0,
        system_packages: BTreeMap::new(),
        dockerfile: None,
        applications: Vec::new(),
    }
}

/// What is told of two builds with these entries.
fn between(a: &[Made], b: &[Made]) -> Vec<Difference> {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let of = |entries: &[Made]| image(&store, &json!({}), vec![layer(&store, entries)]);
    images(store.blobs(), &of(a), &of(b)).unwrap()
}

fn kinds(found: &[Difference]) -> Vec<(&str, How)> {
    found.iter().map(|one| (one.path.as_str(), one.kind)).collect()
}

#[test]
fn pkg_36_each_kind_of_difference_is_told_where_it_is_and_nothing_else() {
    let a = [
        Made::Directory("app"),
        file("app/a.txt", b"one"),
        Made::File("app/mode", 0o644, (0, 0), vec![]),
        Made::File("app/owner", 0o644, (0, 0), vec![]),
        Made::Link("app/link", "x"),
        file("app/gone", b""),
        Made::Able("app/able", b"a"),
        file("app/same", b"same"),
        file("app/thing", b""),
    ];
    let b = [
        Made::Directory("app"),
        file("app/a.txt", b"onto"),
        Made::File("app/mode", 0o4755, (0, 0), vec![]),
        Made::File("app/owner", 0o644, (5, 6), vec![]),
        Made::Link("app/link", "y"),
        Made::Able("app/able", b"b"),
        file("app/new", b""),
        file("app/same", b"same"),
        Made::Directory("app/thing"),
    ];
    let found = between(&a, &b);
    let expected = [
        ("app/a.txt", How::Content),
        ("app/able", How::Content),
        ("app/gone", How::Removed),
        ("app/link", How::Link),
        ("app/mode", How::Mode),
        ("app/new", How::Added),
        ("app/owner", How::Owner),
        ("app/thing", How::Added),
        ("app/thing", How::Removed),
    ];
    assert_eq!(kinds(&found), expected);
    assert_eq!(found[0].offset, Some(2));
    assert_eq!((&found[0].a, &found[0].b), (&json!(Digest::of(b"one")), &json!(Digest::of(b"onto"))));
    assert_eq!((&found[3].a, &found[3].b), (&json!("x"), &json!("y")));
    assert_eq!((&found[4].a, &found[4].b), (&json!("0644"), &json!("4755")));
    assert_eq!((&found[6].a, &found[6].b), (&json!("0:0"), &json!("5:6")));
    assert_eq!((&found[2].b, &found[5].a), (&Value::Null, &Value::Null));
    assert!(found.iter().all(|one| one.layer.as_deref() == Some("files api") && one.container == "api"));
}

#[test]
fn pkg_36_a_configuration_differs_by_pointer_and_its_list_of_layers_is_not_told_twice() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let (one, other) = (layer(&store, &[file("a", b"1")]), layer(&store, &[file("a", b"2")]));
    let config = |env: &str, layer: &Layer| json!({"config": {"Env": ["A=1", env], "a/b": 1}, "rootfs": {"diff_ids": [layer.digest], "type": "layers"}});
    let a = image(&store, &config("B=1", &one), vec![one.clone()]);
    let b = image(&store, &config("B=2", &other), vec![other]);
    let found = images(store.blobs(), &a, &b).unwrap();
    assert_eq!(kinds(&found), [("/config/Env/1", How::Config), ("a", How::Content)]);
    assert_eq!((&found[0].layer, &found[0].a, &found[0].b), (&None, &json!("B=1"), &json!("B=2")));
    assert_eq!(images(store.blobs(), &a, &a).unwrap(), []);
    // A layer that one lacks is told by its entries.
    let found = images(store.blobs(), &a, &image(&store, &config("B=1", &one), vec![])).unwrap();
    assert_eq!(kinds(&found), [("a", How::Removed)]);
}

#[test]
fn pkg_36_hints_say_what_the_bytes_tell() {
    let bytecode = |time: u8| [b"\xf3\r\r\n\0\0\0\0", &[time; 4][..], b"\x01\0\0\0code"].concat();
    let gzip = |time: u8| [b"\x1f\x8b\x08\0", &[time; 4][..], b"\0\x03rest"].concat();
    let tar = |time: u8| [&[0; 257][..], b"ustar  \0", &[time; 8]].concat();
    let elf = |id: u8| {
        let note = [&b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0"[..], &[id; 20]].concat();
        [b"\x7fELF", &[0; 60][..], &note].concat()
    };
    let text = |text: &str| text.as_bytes().to_vec();
    /// A path, what it holds on either side, and the hint.
    type Case = (&'static str, Vec<u8>, Vec<u8>, Option<&'static str>);
    let cases: [Case; 12] = [
        ("a.pyc", bytecode(1), bytecode(2), Some("bytecode")),
        ("a.pyc", text("0123456789012345678x"), text("0123456789012345678y"), None),
        ("a.gz", gzip(1), gzip(2), Some("gzip")),
        ("a.tar", tar(1), tar(2), Some("archive")),
        ("a.jar", text("PK\x03\x04....a"), text("PK\x03\x04....b"), Some("archive")),
        ("lib.a", text("!<arch>\na"), text("!<arch>\nb"), Some("archive")),
        ("run", elf(1), elf(2), Some("build id")),
        ("a.txt", text("built 2026-01-01 x"), text("built 2026-01-02 x"), Some("time")),
        ("a.txt", text("at 1765432100;"), text("at 1765432199;"), Some("time")),
        ("a.txt", text("at Mon Nov  3"), text("at Mon Nov  5"), Some("time")),
        ("a.txt", text("in /tmp/tmpabc/x\n"), text("in /tmp/tmpdef/x\n"), Some("path")),
        ("a.txt", text("one"), text("two"), None),
    ];
    for (path, a, b, expected) in cases {
        let offset = first(&a, &b).unwrap();
        let hint = hint::of(path, &a, &b, offset);
        assert_eq!(hint.is_some(), expected.is_some(), "{path} {a:?} {hint:?}");
        assert!(expected.is_none_or(|word| hint.unwrap().contains(word)), "{path} {hint:?}");
    }
    assert_eq!(first(b"a", b"a"), None);
    assert_eq!(first(b"a", b"ab"), Some(1));
}
