use std::{collections::BTreeSet, path::Path};

use aigis_registry::{
    Timestamp,
    archive::{Attributes, Members, Sink as _, What, Writer},
};

use super::*;
use crate::{
    golden,
    manifest::{self, Document, Lock, LockedBase},
    pack::{Assembled, Request, assemble},
    package::{Blobs, Build, Reproducible, Store},
    phase::Phase,
};

const MANIFEST: &str = r#"{"manifest_version":"1.0","project":{"name":"shop"},"containers":{"api":
    {"dockerfile":"Dockerfile","ports":[8080],"env":{"B":"own"},"labels":{"l":"1"}}}}"#;

/// An entry of a made-up layer: its path, its mode, and what it holds.
type Made<'a> = (&'a str, u32, &'a str);

/// An engine that builds what it was told to, whatever the Dockerfile says.
#[derive(Debug)]
struct Engine<'a> {
    layers: Vec<Vec<Made<'a>>>,
    /// The time of all that it makes.
    time: u64,
    base: Vec<Made<'a>>,
}

impl Engine<'_> {
    fn layer(&self, blobs: &Blobs, made: &[Made<'_>]) -> Digest {
        let mut writer = Writer::new(Vec::new());
        for (path, mode, content) in made {
            let attributes = Attributes { mode: *mode, owner: (3, 4), time: self.time };
            if let Some(path) = path.strip_suffix('/') {
                writer.directory_with(path, attributes).unwrap();
                continue;
            }
            if let Some(capability) = content.strip_prefix("cap:") {
                writer.capability(capability.as_bytes()).unwrap();
            }
            writer.file_with(path, attributes, content.len() as u64).unwrap();
            writer.content(content.as_bytes()).unwrap();
            writer.end_file(content.len() as u64).unwrap();
        }
        blobs.put(&writer.end().unwrap()).unwrap()
    }

    fn keep_base(&self, blobs: &Blobs) -> LockedBase {
        let layer = self.with_time(0).layer(blobs, &self.base);
        let config = json!({"rootfs": {"type": "layers", "diff_ids": [layer]}, "history": [{"created_by": "base"}]});
        let config = blobs.put(config.to_string().as_bytes()).unwrap();
        LockedBase { manifest: None, config, diff_ids: vec![layer] }
    }

    fn with_time(&self, time: u64) -> Self {
        Self { layers: self.layers.clone(), time, base: self.base.clone() }
    }
}

impl crate::phase::Builder for Engine<'_> {
    fn image(
        &self,
        blobs: &Blobs,
        reference: &str,
        _: Platform,
        _: Option<&LockedBase>,
        _: bool,
    ) -> Result<LockedBase, Error> {
        assert_eq!(reference, "busy:1");
        Ok(self.keep_base(blobs))
    }

    fn run(&self, _: &Blobs, _: &Phase) -> Result<Digest, Error> {
        Err(Error::internal("no phase runs"))
    }

    fn engine(&self, _: Platform) -> Result<String, Error> {
        Ok("20.10.24".to_owned())
    }

    fn build(&self, blobs: &Blobs, image: &ImageBuild) -> Result<Digest, Error> {
        let base = self.keep_base(blobs);
        assert_eq!(image.bases, BTreeMap::from([("busy:1".to_owned(), base.config)]));
        let own = self.layers.iter().map(|made| self.layer(blobs, made));
        let diff_ids: Vec<Digest> = base.diff_ids.iter().copied().chain(own).collect();
        let config = json!({
            "created": self.time, "container": "c0ffee", "docker_version": "20.10",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "config": {
                "Hostname": "c0ffee", "Image": "sha256:1", "Env": ["PATH=/bin", "B=built"], "Cmd": ["a"], "Entrypoint": ["/e"],
                "User": "7:7", "Volumes": {"/v": {}}, "WorkingDir": "/srv/deep", "OnBuild": null, "Labels": {"k": "v"},
                "Healthcheck": {"Test": ["CMD", "true"]}, "StopSignal": "SIGINT", "ExposedPorts": {"53/udp": {}},
            },
        });
        blobs.put(config.to_string().as_bytes())
    }

    fn say(&self, _: &str) {}
}

fn project(manifest: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let files = [
        ("aigis.json", manifest),
        ("Dockerfile", "FROM busy:1\nCOPY . /srv\n"),
        (".dockerignore", "*\n!kept\n"),
        ("kept/a.txt", "a"),
        ("left-out.txt", "x"),
    ];
    for (path, content) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    directory
}

fn built(store: &Store, project: &Path, engine: &Engine<'_>, fresh: bool) -> Result<Assembled, Error> {
    let bytes = fs::read(project.join("aigis.json")).unwrap();
    let checked = manifest::check(&bytes, &manifest::Directory(project.to_owned()));
    let document: Document = checked.document.unwrap_or_else(|| panic!("{:?}", checked.problems));
    let (lock, platforms) = (Lock::default(), BTreeSet::from([Platform::Amd64]));
    let request = Request {
        project,
        recorded: None,
        document: &document,
        lock: &lock,
        containers: &[],
        platforms: &platforms,
        commit_epoch: None,
        by: "ann",
        node: None,
        at: Timestamp::now(),
        builder: Some(engine),
        fresh,
        locked: false,
    };
    assemble(store.blobs(), &request)
}

fn members(blobs: &Blobs, layer: &Digest) -> Vec<(String, u32, (u32, u32), bool)> {
    let mut members = Members::new(blobs.open_blob(layer).unwrap().0);
    let mut found = Vec::new();
    while let Some(member) = members.next().unwrap() {
        assert_ne!(member.what, What::Other);
        found.push((member.path, member.mode, member.owner, member.capability.is_some()));
    }
    found
}

fn engine() -> Engine<'static> {
    Engine {
        base: vec![("etc/", 0o755, ""), ("etc/old", 0o644, "x"), ("tmp/", 0o1777, "")],
        layers: vec![
            vec![("srv/", 0o755, ""), ("srv/deep/", 0o750, "")],
            vec![("bin/", 0o755, ""), ("bin/cap", 0o755, "cap:bits"), ("bin/set", 0o4755, "x"), ("etc/.wh.old", 0, "")],
            // A layer need not say what it only goes through.
            vec![("tmp/x", 0o600, "x"), ("srv/.aigis.Dockerfile", 0o644, "FROM busy:1\n")],
            vec![(".aigis.Dockerfile", 0o644, "FROM busy:1\n")],
        ],
        time: 1_700_000_000,
    }
}

#[test]
fn pkg_45_pkg_46_what_an_engine_built_is_put_together_anew_as_it_was_made() {
    let (data, project, engine) = (tempfile::tempdir().unwrap(), project(MANIFEST), engine());
    let store = Store::open(data.path()).unwrap();
    let first = built(&store, project.path(), &engine, true).unwrap();
    let second = built(&store, project.path(), &engine.with_time(1_800_000_000), false).unwrap();
    assert_eq!(first.record.id, second.record.id);
    assert_eq!((first.cache_hits, second.cache_hits), (0, 1));
    let image = &first.record.images[0];
    assert_eq!((image.tier, image.builder.as_str()), (2, "dockerfile/1 20.10.24 buildkit"));
    assert!(first.record.is_sound());

    let [base, work, system, rest] = &image.layers[..] else { panic!("{:?}", image.layers) };
    assert_eq!((base.kind, base.digest), (Kind::Base, engine.keep_base(store.blobs()).diff_ids[0]));
    let own = (3, 4);
    let told = |layer: &Layer| members(store.blobs(), &layer.digest);
    let row = |path: &str, mode, owner, capability| (path.to_owned(), mode, owner, capability);
    assert_eq!(told(work), [row("srv", 0o755, own, false), row("srv/deep", 0o750, own, false)]);
    assert_eq!(
        told(system),
        [
            row("bin", 0o755, own, false),
            row("bin/cap", 0o755, own, true),
            row("bin/set", 0o4755, own, false),
            row("etc", 0o755, own, false),
            row("etc/.wh.old", 0o644, (0, 0), false),
        ]
    );
    assert_eq!(told(rest), [row("tmp", 0o1777, own, false), row("tmp/x", 0o600, own, false)]);

    let config = store.value(&image.config).unwrap();
    assert_eq!(
        config["config"],
        json!({
            "Env": ["PATH=/bin", "B=own"], "Cmd": ["a"], "Entrypoint": ["/e"], "User": "7:7", "Volumes": {"/v": {}},
            "WorkingDir": "/srv/deep", "Labels": {"k": "v", "l": "1"}, "Healthcheck": {"Test": ["CMD", "true"]},
            "StopSignal": "SIGINT", "ExposedPorts": {"53/udp": {}, "8080/tcp": {}},
        })
    );
    assert_eq!(config["created"], "1980-01-01T00:00:00Z");
    let keys: Vec<&String> = config.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["architecture", "config", "created", "history", "os", "rootfs"]);
}

#[test]
fn pkg_45_context_and_dockerfile_count_and_what_is_left_out_does_not() {
    let (data, project, engine) = (tempfile::tempdir().unwrap(), project(MANIFEST), engine());
    let store = Store::open(data.path()).unwrap();
    let first = built(&store, project.path(), &engine, true).unwrap().record;
    let context = first.trees[CONTEXT];
    let paths: Vec<String> = members(store.blobs(), &context).into_iter().map(|(path, ..)| path).collect();
    assert_eq!(paths, ["kept", "kept/a.txt"]);
    fs::write(project.path().join("left-out.txt"), "y").unwrap();
    assert_eq!(built(&store, project.path(), &engine, true).unwrap().record.inputs, first.inputs);
    fs::write(project.path().join("kept/a.txt"), "b").unwrap();
    let other = built(&store, project.path(), &engine, true).unwrap().record;
    assert_ne!(other.inputs, first.inputs);
    fs::write(project.path().join("Dockerfile"), "FROM busy:1\nCOPY . /srv\nCMD x\n").unwrap();
    let third = built(&store, project.path(), &engine, true).unwrap().record;
    assert_ne!(third.inputs, other.inputs);
    assert_eq!(third.trees, other.trees);
    assert!(third.sources().contains(&third.images[0].dockerfile.unwrap()));
}

#[test]
fn pkg_45_what_a_dockerfile_makes_is_unchecked_until_somebody_verifies_it() {
    let (data, project, engine) = (tempfile::tempdir().unwrap(), project(MANIFEST), engine());
    let record = built(&Store::open(data.path()).unwrap(), project.path(), &engine, true).unwrap().record;
    let build =
        |verify_of, tier| Build { tier, verify_of, measured: true, ..golden::build("bld_1".to_owned(), &record) };
    assert_eq!(Reproducible::of(&[build(None, 2), build(None, 2)]), Reproducible::Unchecked);
    assert_eq!(Reproducible::of(&[build(None, 2), build(Some(record.id), 2)]), Reproducible::Yes);
    assert_eq!(Reproducible::of(&[build(None, 1), build(None, 1)]), Reproducible::Yes);
}

#[test]
fn pkg_45_a_dockerfile_gets_no_build_secrets_and_needs_images_that_can_be_told() {
    let with_secrets = r#"{"manifest_version":"1.0","project":{"name":"shop"},
        "applications":{"web":{"type":"files","build_secrets":["KEY"]}},
        "containers":{"api":{"dockerfile":"Dockerfile","applications":["web"]}}}"#;
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    let refused = built(&store, project(with_secrets).path(), &engine(), true).unwrap_err();
    assert_eq!(refused.code, Code::Unimplemented, "{refused:?}");
    let project = project(MANIFEST);
    fs::write(project.path().join("Dockerfile"), "ARG BASE\nFROM $BASE\n").unwrap();
    let refused = built(&store, project.path(), &engine(), true).unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(refused.message.contains("Dockerfile:2"), "{refused:?}");
}
