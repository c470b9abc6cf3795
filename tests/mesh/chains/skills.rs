//! A chain as its app's CI speaks of it.

use aigis_tests::{Mesh, until};
use serde_json::Value;

use super::{
    COPY, LIMIT, ended,
    running::{removed, web},
};

/// Waits until the app answers as a CI.
fn answering(mesh: &Mesh, app: &str) {
    until("it answers", LIMIT, || (mesh.aish([app, "status", "--json"]).code == 0).then_some(()));
}

#[test]
fn chn_51_an_apps_ci_steers_its_chain() {
    let (mesh, source) = (Mesh::up(), web("one"));
    let _ran = ended(source.push(&mesh, &["--until", "ready"]), 0);
    let app = source.name.as_str();
    answering(&mesh, app);
    let described = mesh.aish(["describe", app, "--json"]).good().json();
    let skills: Vec<(&str, &str)> = described["skills"]
        .as_array()
        .unwrap_or_else(|| panic!("{described}"))
        .iter()
        .filter_map(|skill| Some((skill["path"].as_str()?, skill["effect"].as_str()?)))
        .filter(|(path, _)| path.starts_with("chain."))
        .collect();
    let writing =
        ["chain.answer", "chain.cancel", "chain.hold", "chain.resume", "chain.retry"].map(|path| (path, "write"));
    assert_eq!(skills, [&writing[..], &[("chain.show", "read")]].concat());

    // What serves is shown, and cannot be held.
    let shown = mesh.aish([app, "chain.show", "--json"]).good().json();
    assert_eq!((&shown["status"], &shown["app"]), (&Value::from("serving"), &Value::from(app)), "{shown}");
    assert_eq!(shown["steps"].as_array().map(Vec::len), Some(2), "{shown}");
    let refused = mesh.aish([app, "chain.hold", "--why", "maintenance"]).failed(1);
    assert!(refused.stderr.contains("serving"), "{refused:?}");

    // The next push is held by the app's name, goes on, and is cancelled.
    let slow = source.assistant("slow", &format!("echo begun\nsleep 600\n{COPY}"));
    let id = source.begun(&mesh, &["--assistant", &slow]);
    until("its step runs", LIMIT, || {
        let chain = mesh.aish([app, "chain.show", "--json"]).good().json();
        (chain["id"] == id.as_str() && chain["steps"][0]["status"] == "running").then_some(())
    });
    let held =
        mesh.aish([app, "chain.hold", "--why", "maintenance", "--until", "+1h", "--now", "--json"]).good().json();
    assert_eq!(held["id"], id.as_str(), "{held}");
    let chain = until("it is held", LIMIT, || {
        let chain = mesh.aish(["chains", "show", &id, "--json"]).good().json();
        (chain["status"] == "held").then_some(chain)
    });
    assert_eq!(
        (&chain["hold"]["why"], chain["hold"]["until"].is_string()),
        (&Value::from("maintenance"), true),
        "{chain}"
    );
    let bare = mesh.aish([app, "chain.hold"]);
    assert_ne!(bare.code, 0, "{bare:?}");
    let resumed = mesh.aish(["call", &format!("{app}.chain.resume"), "--json"]).good().json();
    assert_eq!(resumed["id"], id.as_str(), "{resumed}");

    // A viewer sees it, and is refused what changes it.
    let vera = mesh.user("vera", "viewer");
    let viewer = |words: &[&str]| mesh.aish([&["--creds", vera.as_str(), app], words].concat());
    assert_eq!(viewer(&["chain.show", "--json"]).good().json()["id"], id.as_str());
    let _refused = viewer(&["chain.cancel"]).failed(77);

    let _cancelled = mesh.aish([app, "chain.cancel"]).good();
    until("it is cancelled", LIMIT, || {
        let chain = mesh.aish(["chains", "show", &id, "--json"]).good().json();
        (chain["status"] == "cancelled").then_some(())
    });
    // All of it is on record, under the app's name.
    let lines = mesh.audit(app, 8);
    for (skill, phase, caller) in
        [("chain.hold", "end", None), ("chain.cancel", "refused", Some("vera")), ("chain.cancel", "end", None)]
    {
        let is = |line: &Value| {
            line["skill"] == skill && line["phase"] == phase && caller.is_none_or(|caller| line["caller"] == caller)
        };
        assert!(lines.iter().any(is), "{skill} {phase}: {lines:#?}");
    }
    removed(&mesh, &source);
}

#[test]
fn chn_51_a_chain_is_steered_while_its_apps_place_is_away() {
    let (alpha, source) = (Mesh::up(), web("away"));
    let beta = alpha.joined("beta");
    let _ran = ended(source.push(&alpha, &["--on", "beta", "--until", "ready"]), 0);
    let app = source.name.as_str();
    answering(&alpha, app);
    beta.kill("node.pid");
    until("its place is away", LIMIT, || alpha.row(app).is_some_and(|row| row["state"] == "offline").then_some(()));
    let status = alpha.aish([app, "status"]);
    assert_eq!(status.code, 69, "{status:?}");
    let shown = alpha.aish([app, "chain.show", "--json"]).good().json();
    assert_eq!(shown["app"], app, "{shown}");
    let cancelled = alpha.aish([app, "chain.cancel", "--json"]).good().json();
    assert_eq!(cancelled["id"], shown["id"], "{cancelled}");
    until("it is over", LIMIT, || {
        (alpha.aish([app, "chain.show", "--json"]).good().json()["status"] == "cancelled").then_some(())
    });
    let lines = alpha.audit(app, 2);
    assert!(lines.iter().any(|line| line["skill"] == "chain.cancel" && line["phase"] == "end"), "{lines:#?}");
    beta.start();
    removed(&alpha, &source);
}
