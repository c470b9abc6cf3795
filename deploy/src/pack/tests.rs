use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::{golden, manifest::LockedBase, package::Store};

struct Fixture {
    store: Store,
    project: tempfile::TempDir,
    _data: tempfile::TempDir,
}

fn fixture(odd: bool) -> Fixture {
    let (data, project) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    golden::make(project.path(), odd);
    Fixture { store: Store::open(&data.path().join("packages")).unwrap(), project, _data: data }
}

#[test]
fn pkg_32_pkg_33_every_digest_of_the_golden_project() {
    for odd in [false, true] {
        let Fixture { store, project, _data } = fixture(odd);
        let record = golden::assemble(&store, project.path(), &[Platform::Amd64]).unwrap();
        assert_eq!(record.spec.hex(), golden::SPEC);
        assert_eq!(record.inputs.hex(), golden::INPUTS);
        assert_eq!((record.id.hex(), record.output), (golden::OUTPUT.to_owned(), record.id));
        let image = &record.images[0];
        assert_eq!((record.images.len(), image.container.as_str(), image.tier), (1, "hello", 0));
        assert_eq!(image.spec.hex(), "fa900cda3c07875f01cfd2048c6a3673b6fbdbefd0262330aedc812619889346");
        assert_eq!(image.inputs.hex(), "9a2e2749db373a39ad8483fe482fe062b26b9c24f558e5fe3a3d9176bcc5e39d");
        assert_eq!(image.config.hex(), "9b1b0bd7d1aeb6623a8ce049751391878e748e927d4a772e37f5877ba40924a5");
        assert_eq!(image.output.hex(), "07c926b1d365e8c367183db56acad7f8e7d209b38f3c187797e38156f8da3b39");
        assert_eq!(image.layers[0].digest.hex(), "863504307e6f8b3829c43c022d30c6f51545422f0e60072e1ed69e74d5e0e37d");
        assert_eq!(record.trees["hello"].hex(), golden::TREE);
        assert!(record.is_sound());
        let content = store.content(&record).unwrap();
        // Index; document, its configuration, manifest and lock; image, its configuration and layer.
        assert_eq!(content.len(), 8);
        for digest in content.iter().chain(record.trees.values()) {
            store.blobs().check(digest).unwrap();
        }
    }
}

#[test]
fn pkg_54_both_platforms_have_the_same_layers() {
    let Fixture { store, project, _data } = fixture(false);
    let record = golden::assemble(&store, project.path(), &[Platform::Amd64, Platform::Arm64]).unwrap();
    let [amd, arm] = &record.images[..] else { panic!("{} images", record.images.len()) };
    assert_eq!((amd.platform, arm.platform), (Platform::Amd64, Platform::Arm64));
    assert_eq!(amd.layers, arm.layers);
    assert_ne!(amd.config, arm.config);
    let architecture = |image: &ImageRecord| store.value(&image.config).unwrap()["architecture"].clone();
    assert_eq!((architecture(amd), architecture(arm)), (json!("amd64"), json!("arm64")));
    assert_eq!(store.value(&record.id).unwrap()["manifests"][2]["platform"]["architecture"], "arm64");
}

#[test]
fn pkg_34_what_changes_a_package_and_what_does_not() {
    let Fixture { store, project, _data } = fixture(false);
    let path = |name: &str| project.path().join(name);
    let build = || golden::assemble(&store, project.path(), &[Platform::Amd64]).unwrap();
    let before = build();
    fs::File::open(path("run.sh")).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    fs::write(path(".env"), "A=1").unwrap();
    fs::write(path("Dockerfile"), "FROM x").unwrap();
    assert_eq!(build().id, before.id, "what does not count");
    fs::write(path("data/more.txt"), "x").unwrap();
    let more = build();
    assert_ne!((more.inputs, more.id), (before.inputs, before.id));
    assert_eq!(more.spec, before.spec);
    fs::write(path("README.md"), "hello").unwrap();
    assert_ne!(build().id, more.id);
}

#[test]
fn several_applications_and_a_container_on_another() {
    let Fixture { store, project, _data } = fixture(false);
    for name in ["a", "b"] {
        fs::create_dir(project.path().join(name)).unwrap();
        fs::write(project.path().join(name).join("file"), name).unwrap();
    }
    let manifest = json!({
        "manifest_version": "1.0", "project": {"name": "two", "version": "1.2.3"},
        "applications": {
            "a": {"type": "files", "root": "a", "run_command": ["/app/a/file"], "env": {"B": "a", "PORT": "1"}},
            "b": {"type": "files", "root": "b", "run_command": "/b c", "writable": ["log"]},
        },
        "containers": {
            "top": {"base_image": "container:zero", "applications": ["b", "a"], "start": "a", "ports": [80, 81],
                "env": {"A": "top", "B": "top"}, "user": "1:2", "labels": {"l": "1"},
                "health": {"command": ["/check"], "retries": 7}},
            "zero": {"base_image": "scratch", "applications": ["b"]},
        },
    });
    fs::write(project.path().join("aigis.json"), manifest.to_string()).unwrap();
    let record = golden::assemble(&store, project.path(), &[Platform::Arm64]).unwrap();
    assert_eq!(record.version.as_deref(), Some("1.2.3"));
    let [top, zero] = &record.images[..] else { panic!("{} images", record.images.len()) };
    assert_eq!(zero.layers.len(), 1);
    assert_eq!(top.bases, [("container:zero".to_owned(), zero.config)].into());
    let layers: Vec<_> = top.layers.iter().map(|layer| (layer.kind, layer.application.as_deref())).collect();
    assert_eq!(layers, [(Kind::Base, None), (Kind::Files, Some("b")), (Kind::Files, Some("a"))]);
    assert_eq!(top.layers[0].digest, zero.layers[0].digest);
    let config = store.value(&top.config).unwrap();
    let runs = &config["config"];
    assert_eq!((&runs["WorkingDir"], &runs["User"]), (&json!("/app/a"), &json!("1:2")));
    assert_eq!(runs["Cmd"], json!(["/app/a/file"]));
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(runs["Env"], json!([path, "HOME=/tmp", "PORT=1", "A=top", "B=top"]));
    assert_eq!(runs["Healthcheck"]["Retries"], 7);
    assert_eq!(config["history"].as_array().map(Vec::len), Some(3));
    assert_eq!(store.value(&zero.config).unwrap()["config"]["Cmd"], json!(["/b", "c"]));
}

#[test]
fn what_needs_an_engine_is_named() {
    let Fixture { store, project, _data } = fixture(false);
    for (application, base, word) in [
        (json!({"type": "files", "build_commands": ["make"]}), "python:3.13", "build_commands"),
        (json!({"type": "files", "system_packages": {"run": ["libpq5"]}}), "python:3.13", "system_packages"),
        (json!({"type": "files"}), "python:3.13", "python:3.13"),
    ] {
        let mut manifest: Value = serde_json::from_str(golden::MANIFEST).unwrap();
        manifest["applications"]["hello"] = application;
        manifest["applications"]["hello"]["run_command"] = json!(["x"]);
        manifest["containers"]["hello"]["base_image"] = base.into();
        fs::write(project.path().join("aigis.json"), manifest.to_string()).unwrap();
        let error = golden::assemble(&store, project.path(), &[Platform::Amd64]).unwrap_err();
        assert_eq!(error.code, Code::Unavailable, "{error}");
        assert!(error.message.contains(word), "{error}");
    }
}

#[test]
fn a_base_that_the_lock_knows_is_used_if_it_is_here() {
    let Fixture { store, project, _data } = fixture(false);
    let mut manifest: Value = serde_json::from_str(golden::MANIFEST).unwrap();
    manifest["containers"]["hello"]["base_image"] = "base:1".into();
    fs::write(project.path().join("aigis.json"), manifest.to_string()).unwrap();
    let layer = Digest::of(b"a layer");
    let config = json!({"config": {"Env": ["PATH=/own"]}, "rootfs": {"diff_ids": [layer]}}).to_string();
    let locked = LockedBase { manifest: None, config: Digest::of(config.as_bytes()), diff_ids: vec![layer] };
    let mut lock = Lock::default();
    lock.bases.insert("base:1".to_owned(), [(Platform::Amd64, locked)].into());
    let pack = || golden::assemble_with(&store, project.path(), &[Platform::Amd64], &lock);
    store.blobs().put(config.as_bytes()).unwrap();
    assert_eq!(pack().unwrap_err().code, Code::Unavailable, "a layer is not here");
    store.blobs().put(b"a layer").unwrap();
    let record = pack().unwrap();
    let image = &record.images[0];
    assert_eq!(image.layers[0].digest, layer);
    assert_eq!(image.bases["base:1"], Digest::of(config.as_bytes()));
    assert_eq!(record.lock, lock.digest());
    assert_eq!(store.value(&image.config).unwrap()["config"]["Env"][0], "PATH=/own");
}

#[test]
fn a_site_is_served_and_the_epoch_may_be_that_of_the_commit() {
    let Fixture { store, project, _data } = fixture(false);
    let mut manifest: Value = serde_json::from_str(golden::MANIFEST).unwrap();
    manifest["applications"]["hello"] = json!({"type": "files", "site": {"root": "data"}, "writable": ["log"]});
    manifest["packaging"]["epoch"] = "commit".into();
    fs::write(project.path().join("aigis.json"), manifest.to_string()).unwrap();
    let record = golden::assemble(&store, project.path(), &[Platform::Amd64]).unwrap();
    let config = store.value(&record.images[0].config).unwrap();
    assert_eq!(config["created"], "2001-09-09T01:46:40Z");
    assert_eq!(config["config"]["Cmd"], json!(["caddy", "run", "--config", "/app/Caddyfile"]));
    let layer = fs::read(store.blobs().path(&record.images[0].layers[0].digest)).unwrap();
    let has = |text: &str| layer.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("\troot * /app/data\n") && has(":8080 {") && has("app/log/"));
    fs::write(project.path().join("Caddyfile"), "x").unwrap();
    let error = golden::assemble(&store, project.path(), &[Platform::Amd64]).unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    assert!(error.message.contains("Caddyfile"), "{error}");
}

#[test]
fn what_is_copied_of_another_application_lies_where_it_is_to() {
    let Fixture { store, project, _data } = fixture(false);
    let mut manifest: Value = serde_json::from_str(golden::MANIFEST).unwrap();
    manifest["applications"]["web"] = json!({"type": "files", "root": "data"});
    manifest["applications"]["hello"]["exclude"] = json!(["data"]);
    manifest["applications"]["hello"]["copy"] = json!([
        {"from": "web", "path": ".", "to": "public"}, {"from": "web", "path": "/app/ä.txt", "to": "/srv/words/"},
    ]);
    let assembled = |manifest: &Value| {
        fs::write(project.path().join("aigis.json"), manifest.to_string()).unwrap();
        golden::assemble(&store, project.path(), &[Platform::Amd64])
    };
    let record = assembled(&manifest).unwrap();
    assert!(record.is_sound());
    let image = &record.images[0];
    assert_eq!((image.tier, image.layers.len()), (0, 1));
    assert_eq!(image.applications, ["hello", "web"]);
    let files = layer::entries::Entries::read(store.blobs(), &image.layers[0].digest).unwrap();
    for path in ["app/run.sh", "app/public/ä.txt", "srv/words/ä.txt"] {
        assert!(files.is_file(path), "{path}");
    }
    assert!(!files.holds("app/data"));
    // It is the container's own that says where it lies; and what is not there is said.
    manifest["applications"]["hello"]["copy"][0]["path"] = "nothing".into();
    let error = assembled(&manifest).unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition, "{error}");
    assert!(error.message.contains("/app/nothing of \"web\""), "{error}");
}
