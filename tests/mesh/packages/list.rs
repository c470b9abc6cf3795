//! Which packages are listed, and what is said of each.

use std::{fs, path::Path, sync::Arc};

use aigis_proxy::{
    Bus, bus,
    identity::Credential,
    kv::{self, Bucket, Expect},
};
use aigis_tests::{Mesh, nonce};
use serde_json::{Value, json};

use super::build::{shown, write};

const PACKAGES: usize = 30;

/// Writes the project of that number: of one of three, with a version and a description where that is to be.
fn project(directory: &Path, number: usize) {
    let names = ["one", "three", "two"];
    let mut manifest = json!({
        "manifest_version": "1.0", "project": {"name": names[number % 3]},
        "applications": {"a": {"type": "files", "run_command": ["/app/a"]}},
        "containers": {"a": {"base_image": "scratch", "applications": ["a"]}},
        "packaging": {"platforms": ["linux/amd64"]},
    });
    if number.is_multiple_of(2) {
        manifest["project"]["description"] = format!("What \"{number}\" is for: ä & <b>").into();
    }
    if number.is_multiple_of(5) {
        manifest["project"]["version"] = format!("1.{number}.0").into();
    }
    write(directory, "aigis.json", &manifest.to_string());
    write(directory, "a", &format!("{number}"));
}

#[test]
fn pkg_58_each_filter_gives_exactly_what_it_names() {
    let (host, place) = (Mesh::absent(), tempfile::tempdir().unwrap());
    assert_eq!(host.aish(["packages", "list", "--json"]).good().json(), json!([]));
    let mut made: Vec<Value> = Vec::new();
    for number in 0..PACKAGES {
        project(place.path(), number);
        let (tag, label) = (format!("t{number}"), format!("row={}", number % 4));
        let words = ["packages", "build", shown(place.path()), "--json", "--tag", &tag, "--label", &label, "--local"];
        let ran = host.aish([&words[..], &["--label", "note=a=b ä"]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        made.push(ran.json());
    }
    let id = |number: usize| made[number]["id"].as_str().unwrap().to_owned();
    // By project, and then by time.
    let mut order: Vec<usize> = (0..PACKAGES).collect();
    order.sort_by_key(|number| (number % 3, *number));
    let ids = |options: &[&str]| -> Vec<String> {
        let rows = host.aish([&["packages", "list", "--json"], options].concat()).good().json();
        rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    let of = |wanted: &dyn Fn(usize) -> bool| -> Vec<String> {
        order.iter().copied().filter(|number| wanted(*number)).map(id).collect()
    };
    let config = made[7]["images"][0]["config"].as_str().unwrap();
    let cases: [(&[&str], Vec<String>); 19] = [
        (&[], of(&|_| true)),
        (&["--project", "three"], of(&|number| number % 3 == 1)),
        (&["--project", "thre"], vec![]),
        (&["--tag", "t4"], of(&|number| number == 4)),
        (&["--tag", "t"], vec![]),
        (&["--label", "row=2"], of(&|number| number % 4 == 2)),
        (&["--label", "note=a=b ä"], of(&|_| true)),
        (&["--label", "note=a"], vec![]),
        (&["--digest", config], of(&|number| number == 7)),
        (&["--digest", made[9]["inputs"].as_str().unwrap()], of(&|number| number == 9)),
        (&["--digest", made[10]["spec"].as_str().unwrap()], of(&|number| number == 10)),
        (&["--digest", made[11]["images"][0]["output"].as_str().unwrap()], of(&|number| number == 11)),
        (&["--text", "\"14\" is for: ä & <b>"], of(&|number| number == 14)),
        (&["--text", "1.25.0"], of(&|number| number == 25)),
        (&["--check", "versioned=pass"], of(&|number| number.is_multiple_of(5))),
        (&["--check", "versioned=fail", "--project", "one", "--limit", "3"], vec![id(3), id(6), id(9)]),
        (&["--reproducible", "unchecked", "--label", "row=1"], of(&|number| number % 4 == 1)),
        (&["--reproducible", "yes"], vec![]),
        (&["--project", "two", "--label", "row=0", "--text", "What"], of(&|number| number % 3 == 2 && number % 4 == 0)),
    ];
    for (options, expected) in cases {
        assert_eq!(ids(options), expected, "{options:?}");
    }
    // Page by page it is the same, and the last page is empty.
    let (mut all, mut after) = (Vec::new(), Vec::new());
    loop {
        let page = ids(&[&["--limit", "7"], &after.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
        let Some(last) = page.last() else { break };
        after = vec!["--after".to_owned(), last.clone()];
        all.extend(page);
        assert!(all.len() <= PACKAGES);
    }
    assert_eq!(all, of(&|_| true));
    let row = host.aish(["packages", "list", "--json", "--tag", "t20"]).good().json()[0].clone();
    assert_eq!(
        json!([row["project"], row["version"], row["description"], row["tags"], row["labels"], row["images"]]),
        json!(["two", "1.20.0", "What \"20\" is for: ä & <b>", ["t20"], {"note": "a=b ä", "row": "0"}, made[20]["images"]])
    );
    let _ = host.aish(["packages", "list", "--check", "tested=pass"]).failed(2);
    let _ = host.aish(["packages", "list", "--after", "nosuch"]).refused(65);
}

#[test]
fn pkg_57_checks_are_of_the_content_and_nobody_sets_them() {
    let (host, place) = (Mesh::absent(), tempfile::tempdir().unwrap());
    project(place.path(), 0);
    write(place.path(), "README.md", &"x".repeat(300));
    write(place.path(), "own", &nonce());
    let made = host.aish(["packages", "build", shown(place.path()), "--local", "--json"]).json();
    let outcomes = || -> Value {
        let known = host.aish(["packages", "show", "one", "--json"]).good().json();
        let checks = known["checks"].as_array().unwrap();
        assert!(checks.iter().all(|check| check["evidence"].is_array()), "{checks:?}");
        checks.iter().map(|check| (check["name"].as_str().unwrap().to_owned(), check["outcome"].clone())).collect()
    };
    let expected = json!({
        "documented": "pass", "has_tests": "fail", "versioned": "pass", "sourced": "fail", "locked": "pass",
        "bases_pinned": "pass", "non_root": "pass", "health_check": "fail", "no_secrets": "pass",
        "clean_commit": "fail", "reproducible": "unknown",
    });
    assert_eq!(outcomes(), expected);
    // What somebody writes into the state is not what is told.
    let digits = made["id"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let state = host.path().with_file_name("packages").join(format!("state/{digits}.json"));
    let mut edited: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    edited["labels"]["checks"] = "has_tests=pass".into();
    fs::write(&state, edited.to_string()).unwrap();
    assert_eq!(outcomes(), expected);
    edited["checks"] = json!([{"name": "has_tests", "outcome": "pass", "evidence": []}]);
    fs::write(&state, edited.to_string()).unwrap();
    // A state of another form is none.
    let _ = host.aish(["packages", "show", "one", "--json"]).failed(70);
    for command in ["build", "push", "show"] {
        let _ = host.aish(["packages", command, "one", "--check", "has_tests=pass"]).failed(2);
    }
}

#[test]
fn pkg_57_what_somebody_writes_into_the_records_of_a_mesh_sets_no_check() {
    let (mesh, place) = (Mesh::up(), tempfile::tempdir().unwrap());
    project(place.path(), 0);
    write(place.path(), "own", &nonce());
    let build = |tag: &str| {
        let ran = mesh.aish(["packages", "build", shown(place.path()), "--json", "--tag", tag]);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.json()
    };
    let made = build("v0");
    // That something is passed over may be said beside it.
    let told = || {
        let ran = mesh.aish(["packages", "show", "one", "--json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.json()
    };
    let outcomes = |told: &Value| -> Vec<Value> {
        let checks = told["checks"].as_array().unwrap().iter();
        checks.map(|check| json!([check["name"], check["outcome"]])).collect()
    };
    let expected = outcomes(&told());
    assert_eq!(expected.len(), 11);
    let key = format!("package_state.{}", made["id"].as_str().unwrap().strip_prefix("sha256:").unwrap());
    let checks = json!([{"name": "has_tests", "outcome": "pass", "evidence": []}]);
    // Bare; in the form of a version that nobody signed; and in one that its node did sign, for another content.
    let forms: [fn(&Value, &Value) -> Value; 3] = [
        |_, checks| json!({"checks": checks, "tags": ["v1"]}),
        |_, checks| json!({"content": {"checks": checks}, "digest": "", "follows": 0, "by": "alpha", "signature": ""}),
        |stored, checks| {
            let mut edited = stored.clone();
            edited["content"]["checks"] = checks.clone();
            edited["content"]["labels"]["checks"] = "has_tests=pass".into();
            edited
        },
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let credential = Credential::read(&mesh.path().join("creds/alpha.creds"), None).unwrap();
    let options =
        bus::Options { url: mesh.bus(), ca: None, credential: Arc::new(credential), label: "editor".to_owned() };
    let bus = runtime.block_on(Bus::connect(options)).unwrap();
    for (tag, form) in ["v1", "v2", "v3"].into_iter().zip(forms) {
        let before = told();
        runtime.block_on(async {
            let there = kv::get(&bus, Bucket::Shared, &key, kv::PATIENCE).await.unwrap().unwrap();
            let edited = form(&serde_json::from_slice(&there.value).unwrap(), &checks);
            let (value, expect) = (edited.to_string().into(), Expect::Revision(there.revision));
            kv::put(&bus, Bucket::Shared, &key, value, expect, kv::PATIENCE).await.unwrap();
        });
        assert_eq!(told(), before);
        assert_eq!(mesh.aish(["packages", "list", "--check", "has_tests=pass", "--json"]).json(), json!([]));
        // The next version of it is written as ever.
        assert_eq!(build(tag)["created"], false);
        let after = told();
        assert!(after["tags"].as_array().unwrap().contains(&json!(tag)), "{after}");
        assert_eq!(outcomes(&after), expected);
    }
}
