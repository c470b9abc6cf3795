//! What commands print for programs, and who may give them.

use aigis_tests::{Mesh, Ran, until};
use serde_json::Value;

use super::{
    COPY, LIMIT, Source, ended,
    running::{removed, web},
};

/// Asserts that a command wrote JSON alone, one object or array or a line for each event, and nothing that steers a terminal.
fn is_for_programs(ran: Ran) -> Vec<Value> {
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'), "{ran:?}");
    match serde_json::from_str(&ran.stdout) {
        Ok(one) => vec![one],
        Err(_) => ran
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}: {ran:?}")))
            .collect(),
    }
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> =
        value.as_object().unwrap_or_else(|| panic!("{value}")).keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn chn_69_programs_read_json_alone() {
    let (mesh, source) = (Mesh::up(), web("json"));
    let json = |words: &[&str]| {
        let ran = mesh.aish([words, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
        is_for_programs(ran)
    };
    let one = |words: &[&str]| {
        let mut all = json(words);
        assert_eq!(all.len(), 1, "{words:?}: {all:?}");
        all.remove(0)
    };
    let (path, app) = (source.path(), source.name.as_str());
    let path = path.to_str().unwrap();
    let folder = source.assistant("cp", COPY);

    let listed = one(&["push", path, "--dry-run"]);
    assert!(listed.to_string().contains("index.html"), "{listed}");
    let events = json(&["push", path, "--until", "ready"]);
    let known = ["upload", "start", "step", "log", "question", "ports", "app", "conflict", "end", "status"];
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert!(kinds.len() == events.len() && kinds.iter().all(|kind| known.contains(kind)), "{kinds:?}");
    assert_eq!((kinds.first(), kinds.last()), (Some(&"upload"), Some(&"end")), "{kinds:?}");
    assert_eq!(
        keys(&events[0]),
        ["bytes", "chunks", "event", "files", "sent_bytes", "sent_chunks", "tree"],
        "{}",
        events[0]
    );

    let apps = one(&["apps", "list"]);
    let row = apps.as_array().unwrap().iter().find(|row| row["name"] == app).unwrap();
    for key in ["name", "node", "status", "health", "url", "ports", "chain", "image", "pushed_by", "pushed_at"] {
        assert!(row.get(key).is_some(), "{key}: {row}");
    }
    let chains = one(&["chains", "list", "--app", app]);
    let id = chains[0]["id"].as_str().unwrap();
    assert_eq!(
        keys(&chains[0]),
        ["app", "assistant", "created_at", "ended_at", "id", "node", "status", "step"],
        "{chains}"
    );
    let shown = one(&["chains", "show", &id[id.len() - 6..]]);
    assert_eq!((&shown["id"], shown["steps"].as_array().map(Vec::len)), (&Value::from(id), Some(2)), "{shown}");
    assert_eq!(one(&["chains", "show", id, "--step", "1"])["n"], 1);
    assert!(one(&["chains", "show", id, "--step", "1", "--log"])["log"].is_string());
    let _app = one(&["apps", "show", app]);
    let _logs = json(&["apps", "logs", app, "--tail", "5"]);
    let pulled = tempfile::tempdir().unwrap();
    let _pulled = one(&["apps", "pull", app, pulled.path().join("there").to_str().unwrap()]);
    assert!(pulled.path().join("there/index.html").is_file());

    let kept = one(&["assistants", "push", &folder]);
    assert!(kept.to_string().contains("local:cp"), "{kept}");
    let assistants = one(&["assistants", "list"]);
    let names: Vec<String> = assistants
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{}:{}", row["kind"].as_str().unwrap(), row["name"].as_str().unwrap()))
        .collect();
    assert!(names.is_sorted() && names.contains(&"local:cp".to_owned()), "{names:?}");
    for key in ["name", "kind", "description", "digest", "detect", "pushed_by", "pushed_at"] {
        assert!(assistants[0].get(key).is_some(), "{key}: {assistants}");
    }
    let _first = mesh.in_directory(&source.path(), ["apps", "assistant", "local:cp", "--json"]);
    is_for_programs(mesh.in_directory(&source.path(), ["apps", "assistant", "--json"]));

    assert_eq!(keys(&one(&["apps", "stop", app])), ["name", "status"]);
    assert_eq!(keys(&one(&["apps", "start", app])), ["name", "status"]);
    assert_eq!(keys(&one(&["chains", "cancel", id])), ["id", "status"]);
    let slow = source.assistant("slow", "sleep 600");
    let queued = json(&["push", path, "--assistant", &slow, "--no-follow"]);
    let id = queued.last().and_then(|event| event["chain"].as_str().or(event["id"].as_str())).unwrap().to_owned();
    assert_eq!(one(&["chains", "hold", &id, "--why", "x", "--now"])["id"], id.as_str());
    assert_eq!(one(&["chains", "resume", &id])["id"], id.as_str());
    assert_eq!(one(&["chains", "cancel", &id])["id"], id.as_str());
    let over = json_of_failure(&mesh, &["chains", "follow", &id], 1);
    assert_eq!(over.last().map(|event| event["event"] == "end"), Some(true), "{over:?}");
    until("it is cancelled", LIMIT, || (one(&["chains", "show", &id])["status"] == "cancelled").then_some(()));
    assert_eq!(one(&["chains", "retry", &id])["id"], id.as_str());
    assert_eq!(one(&["chains", "cancel", &id])["id"], id.as_str());
    let _removed = one(&["assistants", "rm", "cp"]);
    let _removed = one(&["apps", "rm", app, "--data", "--yes"]);
    // What fails says so on standard error, as JSON too.
    let failed = mesh.aish(["chains", "show", "nosuch", "--json"]).failed(65);
    assert!(serde_json::from_str::<Value>(&failed.stderr).is_ok(), "{failed:?}");
}

fn json_of_failure(mesh: &Mesh, words: &[&str], code: i32) -> Vec<Value> {
    let ran = mesh.aish([words, &["--json"]].concat());
    assert_eq!(ran.code, code, "{words:?}: {ran:?}");
    is_for_programs(ran)
}

#[test]
fn chn_62_a_viewer_sees_chains_and_changes_none() {
    let (mesh, source) = (Mesh::up(), web("seen"));
    let _ran = ended(source.push(&mesh, &["--until", "ready"]), 0);
    let id = source.chain(&mesh)["id"].as_str().unwrap().to_owned();
    let (vera, app) = (mesh.user("vera", "viewer"), source.name.as_str());
    let viewer = |words: &[&str]| mesh.aish([&["--creds", vera.as_str()], words].concat());
    let chains = viewer(&["chains", "list", "--json"]).good().json();
    assert!(chains.as_array().unwrap().iter().any(|chain| chain["id"] == id.as_str()), "{chains}");
    let _shown = viewer(&["chains", "show", &id]).good();
    assert_eq!(viewer(&["apps", "logs", app]).code, 0);

    source.known(&mesh, "cp", COPY);
    let other = Source::new(&[("Dockerfile", "FROM busybox\nCMD true\n")]);
    let refused = mesh.aish(["--creds", vera.as_str(), "push", other.path().to_str().unwrap()]).failed(77);
    assert!(!refused.stderr.contains("uploaded"), "nothing is sent: {refused:?}");
    for words in [
        &["chains", "cancel", &id][..],
        &["chains", "hold", &id, "--why", "x"],
        &["chains", "resume", &id],
        &["chains", "retry", &id],
        &["chains", "answer", &id, "yes"],
        &["apps", "stop", app],
        &["apps", "rm", app, "--yes"],
        &["assistants", "rm", "cp"],
    ] {
        let refused = viewer(words).failed(77);
        assert!(refused.stderr.contains("viewer"), "{words:?}: {refused:?}");
    }
    assert_eq!(source.chain(&mesh)["status"], "serving");
    until("all of it is on record", LIMIT, || {
        let lines = mesh.aish(["audit", "--caller", "vera", "--json"]).good().json();
        let refused: Vec<&str> = lines
            .as_array()?
            .iter()
            .filter(|line| line["phase"] == "refused")
            .filter_map(|line| line["skill"].as_str())
            .collect();
        let all = ["chains.push", "chains.cancel", "chains.hold", "chains.retry", "apps.change", "assistants.rm"];
        all.iter().all(|skill| refused.contains(skill)).then_some(())
    });
    removed(&mesh, &source);
}
