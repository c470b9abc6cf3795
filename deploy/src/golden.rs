//! The project of the golden vectors, made anew for each test.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use aigis_proxy::Error;

use crate::{
    image::Platform,
    manifest,
    pack::{self, Request},
    package::{Build, Origin, Parents, Record, Registered, Registration, Store},
};

/// Its manifest.
pub(crate) const MANIFEST: &str = r#"{"manifest_version":"1.0","project":{"name":"golden"},"applications":{"hello":{"type":"files","run_command":["/app/run.sh"]}},"containers":{"hello":{"base_image":"scratch","applications":["hello"],"ports":[8080]}},"packaging":{"platforms":["linux/amd64"]}}"#;
/// The digest of its source tree.
pub(crate) const TREE: &str = "2b9afd0568eafcd5192a923886d1125011a0d9cd5effb4cae05d37a10b9d8f8d";

/// How many bytes its layer has.
pub(crate) const LAYER_BYTES: u64 = 8_192;

/// Writes it into an empty directory. With `odd`, what must not count differs: the order, the modes, the times.
pub(crate) fn make(directory: &Path, odd: bool) {
    let long = format!("data/{}/f", "n".repeat(100));
    let mut files = vec![
        ("run.sh", "#!/bin/sh\necho golden\n", true),
        ("data/\u{e4}.txt", "\u{e4}\n", false),
        (long.as_str(), "x", false),
        ("aigis.json", MANIFEST, false),
    ];
    if odd {
        files.reverse();
    }
    for (path, content, runs) in files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let mode = match (runs, odd) {
            (true, true) => 0o700,
            (true, false) => 0o755,
            (false, true) => 0o600,
            (false, false) => 0o644,
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if odd {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
            fs::File::open(&path).unwrap().set_modified(time).unwrap();
            fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
        }
    }
    symlink("data/\u{e4}.txt", directory.join("link")).unwrap();
}

/// The digests of the whole, by what they are of.
pub(crate) const SPEC: &str = "36baced5c33e3311360a4beb80482b916670c7efced183e9dd7adfe78667814a";
/// Of its inputs.
pub(crate) const INPUTS: &str = "400408a16f889204b7aca687f643e3ad551931f61558cc931561c0dd802dda91";
/// Of its package.
pub(crate) const OUTPUT: &str = "4ae8dd081b62c37ffaf9ad6bea31f5519f51e0eee2b7919e2183dc2198e76142";

/// Packages the project in a directory, by its manifest and without a lock.
pub(crate) fn assemble(store: &Store, project: &Path, platforms: &[Platform]) -> Result<Record, Error> {
    assemble_with(store, project, platforms, &manifest::Lock::default())
}

/// The same with a lock.
pub(crate) fn assemble_with(
    store: &Store,
    project: &Path,
    platforms: &[Platform],
    lock: &manifest::Lock,
) -> Result<Record, Error> {
    let manifest = fs::read(project.join("aigis.json")).unwrap();
    let checked = manifest::check(&manifest, &manifest::Directory(project.to_owned()));
    assert_eq!(checked.problems, []);
    let request = Request {
        project,
        recorded: None,
        document: &checked.document.unwrap(),
        lock,
        containers: &[],
        platforms: &platforms.iter().copied().collect(),
        commit_epoch: Some(1_000_000_000),
        by: "ann",
        node: None,
        at: "2026-01-01T00:00:00Z".parse().unwrap(),
        builder: None,
        fresh: false,
        locked: false,
    };
    pack::assemble(store.blobs(), &request).map(|assembled| assembled.record)
}

/// A build of a package, by Ann.
pub(crate) fn build(id: String, record: &Record) -> Build {
    Build {
        id,
        package: record.id,
        inputs: record.inputs,
        outputs: record.by_image(|image| image.output),
        tier: 0,
        source: Origin::default(),
        node: None,
        engine: None,
        started_at: record.created_at,
        ended_at: record.created_at,
        by: "ann".to_owned(),
        cache_hits: 0,
        verify_of: None,
        measured: false,
    }
}

/// Registers a package that follows the newest of its project.
pub(crate) fn register(store: &Store, record: Record, tag: &str) -> Result<Registered, Error> {
    let build = build(format!("bld_{tag}"), &record);
    store.register(Registration {
        record,
        build: Some(build),
        tags: [tag.to_owned()].into(),
        labels: [("made".to_owned(), tag.to_owned())].into(),
        description: Some("Golden".to_owned()),
        parents: Parents::Newest,
    })
}
