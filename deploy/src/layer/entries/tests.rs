use super::*;
use crate::package::Store;

/// An archive of files, by path, content and mode.
fn tar(blobs: &Blobs, files: &[(&str, &str, u32)]) -> Digest {
    let mut writer = Writer::new(Vec::new());
    for (path, content, mode) in files {
        let attributes = Attributes { mode: *mode, owner: (3, 4), time: 9 };
        if let Some(path) = path.strip_suffix('/') {
            writer.directory_with(path, attributes).unwrap();
            continue;
        }
        writer.file_with(path, attributes, content.len() as u64).unwrap();
        writer.content(content.as_bytes()).unwrap();
        writer.end_file(content.len() as u64).unwrap();
    }
    blobs.put(&writer.end().unwrap()).unwrap()
}

fn paths(blobs: &Blobs, entries: &Entries, form: Form<'_>) -> Vec<(String, u32, (u32, u32))> {
    let (digest, _) = entries.write(blobs, form, 7).unwrap();
    let mut members = Members::new(blobs.open_blob(&digest).unwrap().0);
    let mut found = Vec::new();
    while let Some(member) = members.next().unwrap() {
        found.push((member.path, member.mode, member.owner));
    }
    found
}

#[test]
fn pkg_34_what_was_given_and_is_unchanged_goes_and_what_is_gone_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let blobs = store.blobs();
    let given = [
        ("app/", "", 0o755),
        ("app/a", "1", 0o644),
        ("app/b", "1", 0o644),
        ("app/c", "1", 0o644),
        ("app/d", "", 0o644),
        ("app/of-the-image/", "", 0o755),
    ];
    let held = BTreeSet::from(["app/of-the-image".to_owned()]);
    let left = [
        ("app/", "", 0o700),
        ("app/a", "1", 0o600),
        ("app/b", "2", 0o644),
        ("app/c", "1", 0o755),
        ("app/x-y", "", 0o644),
        ("app/x/", "", 0o755),
        ("app/x/z", "", 0o644),
    ];
    let before = Entries::read(blobs, &tar(blobs, &given)).unwrap();
    let after = Entries::read(blobs, &tar(blobs, &left)).unwrap();
    let since = after.since(&before, Form::Application(&[]), &held, blobs).unwrap();
    let writable = ["/app/x".to_owned()];
    let found = paths(blobs, &since, Form::Application(&writable));
    let expected = [
        ("app", 0o755, (0, 0)),
        ("app/.wh.d", 0o644, (0, 0)),
        ("app/b", 0o644, (0, 0)),
        ("app/c", 0o755, (0, 0)),
        ("app/x-y", 0o644, (0, 0)),
        ("app/x", 0o755, WRITER),
        ("app/x/z", 0o644, WRITER),
    ];
    assert_eq!(found, expected.map(|(path, mode, owner)| (path.to_owned(), mode, owner)));
    assert!(!since.is_empty("app") && after.only(|path| path == "app").is_empty("app"));
    assert!(after.since(&after, Form::System, &held, blobs).unwrap().is_empty("app"));
    assert_eq!(since.gone().collect::<Vec<_>>(), ["app/d"]);
}

#[test]
fn pkg_46_the_system_form_keeps_modes_owners_and_whiteouts() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let blobs = store.blobs();
    let left = [("usr/", "", 0o2755), ("usr/su", "x", 0o4755), ("usr/.wh.old", "", 0o644)];
    let entries = Entries::read(blobs, &tar(blobs, &left)).unwrap();
    let own = (3, 4);
    let expected = [("usr", 0o2755, own), ("usr/.wh.old", 0o644, (0, 0)), ("usr/su", 0o4755, own)];
    let found = paths(blobs, &entries, Form::System);
    assert_eq!(found, expected.map(|(path, mode, owner)| (path.to_owned(), mode, owner)));
    let out = Entries::read(blobs, &tar(blobs, &[("a/../../b", "", 0o644)])).unwrap_err();
    assert_eq!(out.code, Code::DataLoss);
}
