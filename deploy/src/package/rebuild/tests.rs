use std::{collections::BTreeMap, fs, sync::atomic::AtomicUsize};

use aigis_registry::archive::{Sink as _, Writer};

use super::*;
use crate::{
    differ::How,
    golden,
    manifest::LockedBase,
    manifest::{self, Found},
    package::{Blobs, Parents, Registration},
    phase::{ImageBuild, Phase},
};

/// A builder whose phases leave one file each: always the same, or another each time.
#[derive(Debug, Default)]
struct Fake {
    runs: AtomicUsize,
    is_fickle: bool,
}

impl Builder for Fake {
    fn image(
        &self,
        blobs: &Blobs,
        _: &str,
        _: Platform,
        locked: Option<&LockedBase>,
        _: bool,
    ) -> Result<LockedBase, Error> {
        let config = serde_json::json!({"rootfs": {"type": "layers", "diff_ids": []}}).to_string();
        let config = blobs.put(config.as_bytes())?;
        Ok(locked.cloned().unwrap_or(LockedBase { manifest: None, config, diff_ids: Vec::new() }))
    }

    fn run(&self, blobs: &Blobs, _: &Phase) -> Result<Digest, Error> {
        let run = self.runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let content = if self.is_fickle { run.to_string() } else { "same".to_owned() };
        let mut writer = Writer::new(Vec::new());
        writer.directory("app").unwrap();
        writer.file("app/out.txt", false, content.len() as u64).unwrap();
        writer.content(content.as_bytes()).unwrap();
        writer.end_file(content.len() as u64).unwrap();
        blobs.put(&writer.end().unwrap())
    }

    fn engine(&self, _: Platform) -> Result<String, Error> {
        Err(Error::internal("no engine is asked"))
    }

    fn build(&self, _: &Blobs, _: &ImageBuild) -> Result<Digest, Error> {
        Err(Error::internal("no Dockerfile is built"))
    }

    fn say(&self, _: &str) {}
}

/// A package with a phase, registered by somebody who built it with that builder.
fn registered(store: &Store, builder: &Fake) -> Record {
    let project = tempfile::tempdir().unwrap();
    fs::write(project.path().join("source.txt"), "source").unwrap();
    let manifest = serde_json::json!({
        "manifest_version": "1.0", "project": {"name": "phases"},
        "applications": {"api": {"type": "files", "build_commands": ["make"], "run_command": "run"}},
        "containers": {"api": {"base_image": "base", "applications": ["api"]}},
    });
    let checked = manifest::check(manifest.to_string().as_bytes(), &|_: &str| Found::Unseen);
    let request = Request {
        project: project.path(),
        recorded: None,
        document: &checked.document.unwrap(),
        lock: &Lock::default(),
        containers: &[],
        platforms: &[Platform::Amd64].into(),
        commit_epoch: None,
        by: "ann",
        node: None,
        at: "2026-01-01T00:00:00Z".parse().unwrap(),
        builder: Some(builder),
        fresh: false,
        locked: false,
    };
    let record = pack::assemble(store.blobs(), &request).unwrap().record;
    let build = Build { tier: 1, ..golden::build("bld_0".to_owned(), &record) };
    let registration = Registration {
        record,
        build: Some(build),
        tags: BTreeSet::new(),
        labels: BTreeMap::new(),
        description: None,
        parents: Parents::Newest,
    };
    store.register(registration).unwrap().record
}

fn by(builder: &Fake) -> Verifier<'_> {
    Verifier { by: "bob", node: Some("beta"), measured: true, builder: Some(builder) }
}

#[test]
fn pkg_37_a_package_is_built_again_without_its_project_and_without_a_cache() {
    let directory = tempfile::tempdir().unwrap();
    let (store, builder) = (Store::open(directory.path()).unwrap(), Fake::default());
    let record = registered(&store, &builder);
    assert_eq!(Reproducible::of(&store.builds(&record.inputs).unwrap()), Reproducible::Unchecked);
    let report = verify(&store, "phases", &by(&builder)).unwrap();
    assert_eq!((report.output, report.reproducible, report.differences), (record.id, Reproducible::Yes, vec![]));
    assert_eq!(builder.runs.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[test]
fn pkg_36_what_comes_out_otherwise_is_named_and_stays_on_record() {
    let directory = tempfile::tempdir().unwrap();
    let (store, builder) = (Store::open(directory.path()).unwrap(), Fake { is_fickle: true, ..Fake::default() });
    let record = registered(&store, &builder);
    let report = verify(&store, &record.id.to_string(), &by(&builder)).unwrap();
    assert_eq!((report.package, report.reproducible), (record.id, Reproducible::No));
    assert_ne!(report.output, record.id);
    let [only] = &report.differences[..] else { panic!("{report:?}") };
    assert_eq!((only.path.as_str(), only.kind, only.offset), ("app/out.txt", How::Content, Some(0)));
    let builds = store.builds(&record.inputs).unwrap();
    assert_eq!((builds.len(), builds[1].verify_of, builds[1].package), (2, Some(record.id), report.output));
    assert_eq!(store.list().unwrap().len(), 1, "what came out otherwise is no package");
}

#[test]
fn pkg_37_only_what_is_kept_whole_can_be_built_again() {
    let directory = tempfile::tempdir().unwrap();
    let (store, builder) = (Store::open(directory.path()).unwrap(), Fake::default());
    let record = registered(&store, &builder);
    let alone = Verifier { builder: None, ..by(&builder) };
    assert_eq!(verify(&store, "phases", &alone).unwrap_err().code, Code::Unavailable, "nobody runs its phases");
    fs::remove_file(store.blobs().path(&record.trees["api"])).unwrap();
    assert_eq!(verify(&store, "phases", &by(&builder)).unwrap_err().code, Code::NotFound);
    assert_eq!(verify(&store, "other", &by(&builder)).unwrap_err().code, Code::NotFound);
    assert_eq!(store.builds(&record.inputs).unwrap().len(), 1);
}
