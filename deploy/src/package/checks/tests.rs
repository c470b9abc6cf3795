use std::fs;

use serde_json::json;

use super::*;
use crate::{
    Digest, golden,
    image::Platform,
    manifest::{Lock, LockedBase},
    package::{Build, Origin, Parents, Registration},
};

struct Host {
    store: Store,
    project: tempfile::TempDir,
    _data: tempfile::TempDir,
}

const NODE: &str = r#"{"name":"x","dependencies":{"express":"4"},"scripts":{"start":"node index.js"}}"#;

/// An application of Node, without anything that a check looks for.
fn bare() -> serde_json::Value {
    json!({
        "manifest_version": "1.0", "project": {"name": "p"},
        "applications": {"a": {"type": "node", "run_command": ["/app/a"]}},
        "containers": {"a": {"base_image": "scratch", "applications": ["a"], "user": "0:0"}},
    })
}

impl Host {
    fn new(manifest: &serde_json::Value, files: &[(&str, &str)]) -> Self {
        let (data, project) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let manifest = manifest.to_string();
        for (path, content) in files.iter().copied().chain([("aigis.json", manifest.as_str()), ("index.js", "")]) {
            let path = project.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Self { store: Store::open(data.path()).unwrap(), project, _data: data }
    }

    /// Registers what stands there, built from that.
    fn built(&self, lock: &Lock, source: Option<Origin>) -> Known {
        let record = golden::assemble_with(&self.store, self.project.path(), &[Platform::Amd64], lock).unwrap();
        let build = source.map(|source| Build { source, ..golden::build("bld_1".to_owned(), &record) });
        self.registered(record, build)
    }

    fn registered(&self, record: super::super::Record, build: Option<Build>) -> Known {
        let id = record.id.to_string();
        let parents = Parents::Newest;
        let (tags, labels, description) = Default::default();
        self.store.register(Registration { record, build, tags, labels, description, parents }).unwrap();
        self.store.find(&id).unwrap()
    }

    fn says(&self, known: &Known, question: Question) -> Check {
        let mut told = checks(&self.store, known, &[question]).unwrap();
        assert_eq!((told.len(), told[0].name), (1, question));
        assert!(!told[0].evidence.is_empty() || question == Question::Reproducible, "{told:?}");
        told.remove(0)
    }
}

/// What one project comes to, for one question: what it is changed by, and what the evidence says then.
type Case<'a> = (Question, Outcome, fn(&mut serde_json::Value), &'a [(&'a str, &'a str)], &'a str);

#[test]
fn pkg_57_what_sources_and_manifests_come_to() {
    use Outcome::{Fail, Pass};
    use Question::{Documented, HasTests, HealthCheck, Locked, NoSecrets, NonRoot, Versioned};
    let same: fn(&mut serde_json::Value) = |_| {};
    let (long, short) = ("x".repeat(201), "x".repeat(200));
    let key = format!("const k = \"ghp_{}\"", "a1".repeat(18));
    let cases: &[Case<'_>] = &[
        (Documented, Pass, same, &[("README.md", &long)], "a: README.md, 201 bytes"),
        (Documented, Fail, same, &[("README.md", &short), ("docs/README.md", &long)], "no README"),
        (HasTests, Pass, same, &[("lib/a.test.js", "x")], "a: lib/a.test.js"),
        (HasTests, Fail, same, &[("a.test.js", ""), ("contest.js", "x")], "no file of tests"),
        (Versioned, Pass, |manifest| manifest["project"]["version"] = "1.2.3".into(), &[], "1.2.3"),
        (Versioned, Fail, same, &[], "no /project/version"),
        (Locked, Fail, same, &[("package.json", NODE)], "nothing locks what npm installs"),
        (
            Locked,
            Pass,
            same,
            &[("package.json", NODE), ("package-lock.json", "{\"lockfileVersion\":3,\"packages\":{}}")],
            "npm by package-lock.json",
        ),
        (NonRoot, Fail, same, &[], "a linux/amd64 runs as 0:0"),
        (
            NonRoot,
            Pass,
            |manifest| drop(manifest["containers"]["a"].as_object_mut().unwrap().remove("user")),
            &[],
            "10001",
        ),
        (HealthCheck, Fail, same, &[], "no health check"),
        (
            HealthCheck,
            Pass,
            |manifest| manifest["containers"]["a"]["health"] = json!({"command": ["/ok"]}),
            &[],
            "a linux/amd64: /ok",
        ),
        (
            HealthCheck,
            Pass,
            |manifest| {
                manifest["containers"]["a"]["ports"] = json!([8080]);
                manifest["containers"]["a"]["health"] = json!({"http": "/up"});
            },
            &[],
            "a linux/amd64: its node asks for /up",
        ),
        (
            HealthCheck,
            Pass,
            |manifest| manifest["containers"]["a"]["health"] = json!({"tcp": 8080}),
            &[],
            "a linux/amd64: its node connects to 8080",
        ),
        (NoSecrets, Pass, same, &[], "no known key"),
        (NoSecrets, Fail, same, &[("lib/k.js", &key)], "app/lib/k.js holds a key that begins with ghp_"),
    ];
    for (question, outcome, change, files, words) in cases {
        let mut manifest = bare();
        change(&mut manifest);
        let host = Host::new(&manifest, files);
        let said = host.says(&host.built(&Lock::default(), None), *question);
        assert_eq!(said.outcome, *outcome, "{said:?}");
        assert!(said.evidence[0].contains(words), "{said:?} lacks {words}");
    }
}

#[test]
fn pkg_57_where_it_is_from_is_told_by_its_builds() {
    let mut manifest = bare();
    manifest["project"]["repository"] = "github.com/acme/p".into();
    let at = |commit: Option<&str>, dirty| Some(Origin { repository: None, commit: commit.map(str::to_owned), dirty });
    use Outcome::{Fail, Pass, Unknown};
    for (source, sourced, clean) in [
        (at(Some("c0ffee"), Some(false)), Pass, Pass),
        (at(Some("c0ffee"), Some(true)), Pass, Fail),
        (at(None, None), Fail, Fail),
        (None, Unknown, Unknown),
    ] {
        let host = Host::new(&manifest, &[]);
        let known = host.built(&Lock::default(), source.clone());
        let said = [Question::Sourced, Question::CleanCommit].map(|question| host.says(&known, question).outcome);
        assert_eq!(said, [sourced, clean], "{source:?}");
    }
    let host = Host::new(&bare(), &[]);
    let known = host.built(&Lock::default(), at(Some("c0ffee"), Some(false)));
    assert_eq!(host.says(&known, Question::Sourced).outcome, Fail);
    assert_eq!(host.says(&known, Question::Reproducible).outcome, Unknown);
}

#[test]
fn pkg_57_a_base_is_pinned_where_the_lock_knows_what_it_is() {
    let host = Host::new(&bare(), &[]);
    let known = host.built(&Lock::default(), None);
    assert_eq!(host.says(&known, Question::BasesPinned).outcome, Outcome::Pass, "scratch");
    let config = Digest::of(b"config");
    let base = LockedBase { manifest: None, config, diff_ids: vec![] };
    let mut lock = Lock::default();
    lock.bases.insert("py".to_owned(), [(Platform::Amd64, base)].into());
    let mut of = known.clone();
    of.record.lock = host.store.blobs().put(&lock.canonical()).unwrap();
    for (reference, config, outcome) in [
        ("py", config, Outcome::Pass),
        ("py", Digest::of(b"another"), Outcome::Fail),
        ("other", config, Outcome::Fail),
        (&format!("other@{config}"), config, Outcome::Pass),
    ] {
        of.record.images[0].bases = [(reference.to_owned(), config)].into();
        assert_eq!(host.says(&of, Question::BasesPinned).outcome, outcome, "{reference}");
    }
    of.record.images[0].bases.clear();
    of.record.images[0].tier = 2;
    assert_eq!(host.says(&of, Question::BasesPinned).outcome, Outcome::Unknown);
}

#[test]
fn pkg_57_what_is_not_stored_is_unknown() {
    let host = Host::new(&bare(), &[("README.md", &"x".repeat(300))]);
    let known = host.built(&Lock::default(), None);
    fs::remove_file(host.store.blobs().path(&known.record.trees["a"])).unwrap();
    for question in [Question::Documented, Question::HasTests, Question::Locked] {
        assert_eq!(host.says(&known, question).outcome, Outcome::Unknown, "{question}");
    }
    let names: Vec<String> = QUESTIONS.iter().map(|(_, question)| question.to_string()).collect();
    assert!(names.iter().zip(QUESTIONS).all(|(name, (known, question))| {
        name == known && name.parse::<Question>() == Ok(question) && serde_json::to_value(question).unwrap() == *known
    }));
}
