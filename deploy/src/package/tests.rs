use std::{fs, path::Path};

use aigis_proxy::{Code, Error};
use aigis_registry::archive::{Sink as _, Writer};

use super::*;
use crate::{Digest, golden, image::Platform};

struct Host {
    store: Store,
    project: tempfile::TempDir,
    data: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let (data, project) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        golden::make(project.path(), false);
        Self { store: Store::open(data.path()).unwrap(), project, data }
    }

    /// Registers what stands there, with a time of its own.
    fn build(&self, tag: &str) -> Registered {
        let mut record = golden::assemble(&self.store, self.project.path(), &[Platform::Amd64]).unwrap();
        let minute = self.store.list().unwrap().len();
        record.created_at = format!("2026-01-01T00:{minute:02}:00Z").parse().unwrap();
        golden::register(&self.store, record, tag).unwrap()
    }

    fn change(&self, content: &str) {
        fs::write(self.project.path().join("data/changed"), content).unwrap();
    }

    fn exported(&self, id: &str) -> Vec<u8> {
        export(&self.store, &self.store.find(id).unwrap(), true, Vec::new()).unwrap()
    }
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(at) = waiting.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { waiting.push(path) } else { found.push(path.display().to_string()) }
        }
    }
    found.sort();
    found
}

#[test]
fn pkg_33_the_same_content_is_one_package_of_several_builds() {
    let host = Host::new();
    let (first, again) = (host.build("one"), host.build("two"));
    assert_eq!((first.created, again.created), (true, false));
    assert_eq!(first.record, again.record);
    assert_eq!(host.store.builds(&first.record.inputs).unwrap().len(), 2);
    let state = host.store.state(&first.record.id).unwrap();
    assert_eq!(state.tags, ["one", "two"].map(str::to_owned).into());
    assert_eq!((state.labels["made"].as_str(), state.description.as_deref()), ("two", Some("Golden")));
}

#[test]
fn a_tag_belongs_to_one_package_of_its_project() {
    let host = Host::new();
    let first = host.build("v1").record;
    host.change("x");
    let second = host.build("v1").record;
    assert_eq!(host.store.find("golden:v1").unwrap().record, second);
    assert_eq!(host.store.find("golden").unwrap().record, second);
    assert!(host.store.state(&first.id).unwrap().tags.is_empty());
    let digits = |count: usize| format!("sha256:{}", &first.id.hex()[..count]);
    for text in [digits(12), digits(64)] {
        assert_eq!(host.store.find(&text).unwrap().record, first);
    }
    for (text, code) in [
        (digits(11), Code::InvalidArgument),
        (digits(12).to_uppercase(), Code::NotFound),
        ("sha256:000000000000".to_owned(), Code::NotFound),
        ("gold".to_owned(), Code::NotFound),
        ("golden:v2".to_owned(), Code::NotFound),
    ] {
        assert_eq!(host.store.find(&text).unwrap_err().code, code, "{text}");
    }
}

#[test]
fn pkg_56_a_chain_of_packages_is_removed_from_its_end() {
    let host = Host::new();
    let chain: Vec<Record> = ["a", "b", "c"]
        .map(|content| {
            host.change(content);
            host.build(content).record
        })
        .into();
    let line = host.store.lineage(&chain[2].id).unwrap();
    let ids = |line: &[Ancestor]| line.iter().map(|ancestor| ancestor.id).collect::<Vec<_>>();
    assert_eq!(ids(&line), [chain[2].id, chain[1].id, chain[0].id]);
    assert_eq!(chain[1].parents, [chain[0].id]);
    let error = host.store.remove(&chain[1]).unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    assert!(error.message.contains(&chain[2].id.to_string()), "{error}");
    host.store.remove(&chain[2]).unwrap();
    host.store.remove(&chain[1]).unwrap();
    assert_eq!(host.store.list().unwrap().len(), 1);
    assert!(host.store.blobs().has(&chain[2].id), "content stays for a day");
    // What was removed is nobody's parent.
    host.change("d");
    let record = golden::assemble(&host.store, host.project.path(), &[Platform::Amd64]).unwrap();
    let registration = |parents| Registration {
        record: record.clone(),
        build: None,
        tags: [].into(),
        labels: [].into(),
        description: None,
        parents,
    };
    for parent in [chain[1].id, Digest::of(b"unknown")] {
        let error = host.store.register(registration(Parents::Named(parent))).unwrap_err();
        assert_eq!(error.code, Code::FailedPrecondition);
    }
    host.store.register(registration(Parents::Named(chain[0].id))).unwrap();
    let error = host.store.register(registration(Parents::Named(Digest::of(b"another")))).unwrap_err();
    assert_eq!(error.code, Code::AlreadyExists);
    host.store.register(registration(Parents::Newest)).unwrap();
    // It may come back.
    host.change("b");
    assert!(host.build("b").created);
    assert!(!host.store.state(&chain[1].id).unwrap().removed);
}

#[test]
fn pkg_56_of_a_removal_and_a_child_only_one_succeeds() {
    for round in 0..8 {
        let host = Host::new();
        let parent = host.build("a").record;
        host.change("b");
        let child = golden::assemble(&host.store, host.project.path(), &[Platform::Amd64]).unwrap();
        let registration = Registration {
            record: child,
            build: None,
            tags: [].into(),
            labels: [].into(),
            description: None,
            parents: Parents::Named(parent.id),
        };
        let (registered, removed) = std::thread::scope(|scope| {
            let registering = scope.spawn(|| host.store.register(registration));
            let removing = scope.spawn(|| host.store.remove(&parent));
            (registering.join().unwrap(), removing.join().unwrap())
        });
        assert_ne!(registered.is_ok(), removed.is_ok(), "round {round}");
        for known in host.store.list().unwrap() {
            assert!(known.record.parents.iter().all(|parent| host.store.record(parent).unwrap().is_some()));
        }
    }
}

#[test]
fn the_same_inputs_give_the_same_output() {
    let host = Host::new();
    let record = host.build("one").record;
    let mut build = host.store.builds(&record.inputs).unwrap().remove(0);
    build.id = "bld_other".to_owned();
    build.package = Digest::of(b"another");
    let registration = Registration {
        record,
        build: Some(build),
        tags: [].into(),
        labels: [].into(),
        description: None,
        parents: Parents::Newest,
    };
    assert_eq!(host.store.register(registration).unwrap_err().code, Code::DataLoss);
}

#[test]
fn a_record_of_other_content_is_not_believed() {
    let host = Host::new();
    let record = host.build("one").record;
    let path = host.data.path().join(format!("records/{}.json", record.id.hex()));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(&record.spec.hex(), &Digest::of(b"").hex())).unwrap();
    assert_eq!(host.store.find("golden").unwrap_err().code, Code::DataLoss);
    fs::write(&path, "{").unwrap();
    assert_eq!(host.store.find("golden").unwrap_err().code, Code::DataLoss);
}

#[test]
fn pkg_52_what_was_exported_comes_in_elsewhere_as_it_was() {
    let (here, there) = (Host::new(), Host::new());
    here.build("one");
    here.change("x");
    let record = here.build("two").record;
    let tar = here.exported("golden:two");
    assert_eq!(tar, here.exported("golden:two"), "an export is the same each time");
    for created in [true, false] {
        let taken = import(&there.store, &tar[..]).unwrap();
        assert_eq!(taken, Registered { record: record.clone(), created });
    }
    let known = there.store.find("golden:two").unwrap();
    assert_eq!(known.state.labels["made"], "two");
    let line = there.store.lineage(&record.id).unwrap();
    assert_eq!(line.iter().map(|ancestor| ancestor.external).collect::<Vec<_>>(), [false, true]);
    assert_eq!(there.exported("golden"), tar);
    there.store.remove(&known.record).unwrap();
}

#[test]
fn pkg_50_one_byte_is_enough_to_refuse_an_archive() {
    let here = Host::new();
    let record = here.build("one").record;
    let tar = here.exported("golden");
    let size = |digest: &Digest| here.store.blobs().open_blob(digest).unwrap().1;
    let index: serde_json::Value = here.store.value(&record.id).unwrap();
    let document: Digest = index["manifests"][0]["digest"].as_str().unwrap().parse().unwrap();
    let changed =
        [record.images[0].layers[0].digest, document, record.id, record.spec, record.lock, record.images[0].config];
    for digest in changed.into_iter().chain([record.images[0].output, record.trees["hello"]]) {
        let there = Host::new();
        let before = files(there.data.path());
        let content = fs::read(here.store.blobs().path(&digest)).unwrap();
        let at = tar.windows(content.len()).position(|window| window == content).unwrap();
        let mut broken = tar.clone();
        broken[at + usize::try_from(size(&digest)).unwrap() / 2] ^= 1;
        let error = import(&there.store, &broken[..]).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{error}");
        assert_eq!(there.store.list().unwrap(), []);
        assert_eq!(files(there.data.path()), before, "nothing stays");
    }
}

/// Changes a document of an archive, or takes it away.
fn edited(tar: &[u8], path: &str, edit: impl Fn(Vec<u8>) -> Option<Vec<u8>>) -> Vec<u8> {
    struct Copying<'a> {
        writer: Writer<Vec<u8>>,
        path: &'a str,
        held: Option<Vec<u8>>,
        edit: &'a dyn Fn(Vec<u8>) -> Option<Vec<u8>>,
    }
    impl aigis_registry::archive::Sink for Copying<'_> {
        fn directory(&mut self, path: &str) -> std::io::Result<()> {
            self.writer.directory(path)
        }
        fn link(&mut self, path: &str, target: &str) -> std::io::Result<()> {
            self.writer.link(path, target)
        }
        fn file(&mut self, path: &str, executable: bool, size: u64) -> std::io::Result<()> {
            if path == self.path {
                self.held = Some(Vec::new());
                return Ok(());
            }
            self.writer.file(path, executable, size)
        }
        fn content(&mut self, bytes: &[u8]) -> std::io::Result<()> {
            match &mut self.held {
                Some(held) => {
                    held.extend(bytes);
                    Ok(())
                }
                None => self.writer.content(bytes),
            }
        }
        fn end_file(&mut self, size: u64) -> std::io::Result<()> {
            let Some(held) = self.held.take() else { return self.writer.end_file(size) };
            if let Some(held) = (self.edit)(held) {
                self.writer.file(self.path, false, held.len() as u64)?;
                self.writer.content(&held)?;
                self.writer.end_file(held.len() as u64)?;
            }
            Ok(())
        }
    }
    let mut copying = Copying { writer: Writer::new(Vec::new()), path, held: None, edit: &edit };
    aigis_registry::archive::read(tar, &mut copying, &aigis_registry::archive::Limits::TREE).unwrap();
    copying.writer.end().unwrap()
}

#[test]
fn pkg_50_what_is_said_beside_the_content_is_not_believed_either() {
    let here = Host::new();
    let record = here.build("one").record;
    let tar = here.exported("golden");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let other = Digest::of(b"other").to_string();
    let replaced = |from: String| {
        let other = other.clone();
        move |bytes: Vec<u8>| Some(text(bytes).replace(&from, &other).into_bytes())
    };
    type Edit = Box<dyn Fn(Vec<u8>) -> Option<Vec<u8>>>;
    let edits: Vec<(&str, Edit)> = vec![
        ("aigis/record.json", Box::new(|_| None)),
        ("aigis/state.json", Box::new(|_| Some(b"[]".to_vec()))),
        ("aigis/state.json", Box::new(move |bytes| Some(text(bytes).replace("\"one\"]", "\"a b\"]").into_bytes()))),
        ("manifest.json", Box::new(|_| Some(b"[]".to_vec()))),
        ("index.json", Box::new(|_| None)),
        ("oci-layout", Box::new(|_| Some(b"{}".to_vec()))),
        ("aigis/record.json", Box::new(replaced(record.inputs.to_string()))),
        ("aigis/record.json", Box::new(replaced(record.images[0].inputs.to_string()))),
        ("aigis/record.json", Box::new(replaced(record.trees["hello"].to_string()))),
        ("aigis/record.json", Box::new(replaced(record.spec.to_string()))),
        (
            "aigis/record.json",
            Box::new(move |bytes| Some(text(bytes).replace("\"golden\"", "\"silver\"").into_bytes())),
        ),
        (
            "aigis/record.json",
            Box::new(move |bytes| Some(text(bytes).replace("\"tier\":0", "\"tier\":1,\"x\":1").into_bytes())),
        ),
    ];
    for (path, edit) in edits {
        let there = Host::new();
        let error = import(&there.store, &edited(&tar, path, edit)[..]).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{path}: {error}");
        assert_eq!(there.store.list().unwrap(), []);
        assert_eq!(files(there.data.path()), [] as [String; 0], "{path}");
    }
    let there = Host::new();
    import(&there.store, &edited(&tar, "none", Some)[..]).unwrap();
}

#[test]
fn pkg_51_an_archive_that_would_harm_is_refused() {
    let refused = |tar: &[u8]| -> Error {
        let there = Host::new();
        let error = import(&there.store, tar).unwrap_err();
        assert_eq!(files(there.data.path()), [] as [String; 0]);
        error
    };
    let of = |write: &dyn Fn(&mut Writer<Vec<u8>>)| {
        let mut writer = Writer::new(Vec::new());
        write(&mut writer);
        writer.end().unwrap()
    };
    let tars = [
        of(&|writer| writer.file("../x", false, 0).unwrap()),
        of(&|writer| writer.link("x", "/etc/passwd").unwrap()),
        of(&|writer| writer.link("x", "y").unwrap()),
        of(&|writer| (0..25_000).for_each(|number| writer.file(&format!("{number:06}"), false, 0).unwrap())),
        of(&|writer| writer.file("aigis/unknown", false, 0).unwrap()),
        vec![0; 1024],
        Vec::new(),
    ];
    for (number, tar) in tars.iter().enumerate() {
        let error = refused(tar);
        assert_eq!(error.code, Code::InvalidArgument, "{number}: {error}");
    }
}

#[test]
fn pkg_53_what_killed_processes_left_goes_a_day_later() {
    let host = Host::new();
    let record = host.build("one").record;
    let (root, blobs) = (host.data.path(), host.data.path().join("blobs/sha256"));
    let two_days_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(48 * 60 * 60);
    for (name, is_old) in [(".part-old", true), (".part-new", false)] {
        let file = fs::File::create(blobs.join(name)).unwrap();
        if is_old {
            file.set_modified(two_days_ago).unwrap();
        }
    }
    let import = root.join(".import-old");
    fs::create_dir_all(import.join("tree")).unwrap();
    fs::File::open(&import).unwrap().set_modified(two_days_ago).unwrap();
    let layer = host.store.blobs().path(&record.images[0].layers[0].digest);
    fs::File::open(&layer).unwrap().set_modified(two_days_ago).unwrap();
    let again = Store::open(root).unwrap();
    assert!(!blobs.join(".part-old").exists() && !import.exists());
    assert!(blobs.join(".part-new").exists() && layer.exists());
    assert_eq!(again.list().unwrap().len(), 1);
}

#[test]
fn pkg_34_what_differs_is_named() {
    let host = Host::new();
    let record = |what: &str| {
        let record = host.build("one").record;
        assert!(Differences::of(&host.store, &record, &record).unwrap().is_empty(), "{what}");
        record
    };
    let first = record("first");
    host.change("x");
    fs::set_permissions(host.project.path().join("run.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    fs::remove_file(host.project.path().join("link")).unwrap();
    fs::write(host.project.path().join("uv.lock"), "").unwrap();
    let manifest = golden::MANIFEST.replace("8080", "8081").replace("\"1.0\",", "\"1.0\",\"x-a/b\":1,");
    fs::write(host.project.path().join("aigis.json"), manifest).unwrap();
    let second = record("second");
    let differences = Differences::of(&host.store, &second, &first).unwrap();
    assert_eq!(differences.spec, ["/containers/hello/ports/0", "/x-a~1b"]);
    let files: Vec<_> = differences.files.iter().map(|file| (file.path.as_str(), file.kind)).collect();
    let expected = [
        ("data/changed", Change::Added),
        ("link", Change::Removed),
        ("run.sh", Change::Mode),
        ("uv.lock", Change::Added),
    ];
    assert_eq!(files, expected);
    let locks: Vec<_> = differences.locks.iter().map(|lock| lock.file.as_str()).collect();
    assert_eq!((locks, differences.bases.len()), (vec!["uv.lock"], 0));
    assert_eq!(differences.layers.iter().map(|layer| layer.what.as_str()).collect::<Vec<_>>(), ["files hello"]);
    host.change("y");
    let third = record("third");
    let differences = Differences::of(&host.store, &third, &second).unwrap();
    let only =
        FileDifference { application: "hello".to_owned(), path: "data/changed".to_owned(), kind: Change::Content };
    assert_eq!((differences.files, differences.spec.len(), differences.layers.len()), (vec![only], 0, 1));
}

#[test]
fn whether_builds_agree_is_measured_and_never_claimed() {
    let host = Host::new();
    let record = host.build("one").record;
    let of = |measured: bool, tier: u8, cache_hits: u64, output: &[u8]| {
        let mut build = host.store.builds(&record.inputs).unwrap().remove(0);
        (build.measured, build.tier, build.cache_hits) = (measured, tier, cache_hits);
        build.outputs = [("c".to_owned(), [(Platform::Amd64, Digest::of(output))].into())].into();
        build
    };
    for (builds, expected) in [
        (vec![of(true, 0, 0, b"a"), of(true, 0, 0, b"a")], Reproducible::Unchecked),
        (vec![of(true, 1, 0, b"a")], Reproducible::Unchecked),
        // Whoever registers builds can say that there were two.
        (vec![of(false, 1, 0, b"a"), of(false, 1, 0, b"a")], Reproducible::Unchecked),
        // What was there before a node measured it was not made of what that gave; what came later may have been.
        (vec![of(false, 1, 0, b"a"), of(true, 1, 0, b"a")], Reproducible::Yes),
        (vec![of(true, 1, 0, b"a"), of(false, 1, 0, b"a")], Reproducible::Unchecked),
        (vec![of(true, 1, 0, b"a"), of(true, 1, 0, b"a")], Reproducible::Yes),
        // What came from a cache is not independent of what filled it.
        (vec![of(false, 1, 1, b"a"), of(true, 1, 0, b"a")], Reproducible::Unchecked),
        (vec![of(true, 1, 0, b"a"), of(true, 1, 1, b"a")], Reproducible::Unchecked),
        (vec![of(false, 1, 0, b"a"), of(true, 1, 0, b"a"), of(false, 1, 1, b"b")], Reproducible::No),
        (vec![], Reproducible::Unchecked),
    ] {
        assert_eq!(Reproducible::of(&builds), expected, "{builds:?}");
    }
    let mut other = of(true, 1, 0, b"a");
    other.verify_of = Some(Digest::of(b"another"));
    assert_eq!(Reproducible::of(&[other]), Reproducible::No, "it verified a package that came from elsewhere");
    assert_eq!("no".parse(), Ok(Reproducible::No));
}
