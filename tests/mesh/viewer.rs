//! A viewer sees all and changes nothing.

use aigis_tests::{Container, Mesh, nonce, now};
use serde_json::{Value, json};

#[test]
fn a_viewer_reads_and_is_refused_what_changes() {
    let mesh = Mesh::up();
    let (name, word) = (format!("x-{}", nonce()), nonce());
    let container =
        Container::run(&name, &[], "aigis-test/busybox", &["sh", "-c", &format!("echo {word}; sleep 1000")]);
    let _row = mesh.live(&name, &container.id);
    let vera = mesh.user("vera", "viewer");
    let viewer = |words: &[&str]| mesh.aish([&["--creds", vera.as_str()], words].concat());

    let rows: Vec<Value> = serde_json::from_str(&viewer(&["list", "--json"]).good().stdout).unwrap();
    assert!(rows.iter().any(|row| row["container"]["id"] == container.id.as_str()), "{rows:?}");
    for skill in ["status", "health", "services", "stats"] {
        let answer = viewer(&["call", &format!("{name}.{skill}"), "--json"]);
        assert_eq!((answer.code, &answer.json()["container_id"]), (0, &json!(container.id)), "{skill}: {answer:?}");
    }
    assert_eq!(viewer(&["call", &format!("{name}.logs")]).good().stdout, format!("{word}\n"));
    let said = viewer(&[&name, "status"]);
    assert!(said.code == 0 && said.stdout.starts_with(&format!("{name}@alpha is running")), "{said:?}");

    let (before, since) = (container.inspect(), now());
    let skills = ["start", "stop", "restart", "exec", "optimize.apply"];
    for skill in skills {
        let refused = viewer(&["call", &format!("{name}.{skill}"), "--json"]).failed(77);
        let error: Value = serde_json::from_str(&refused.stderr).unwrap();
        assert_eq!(error["code"], "permission_denied", "{skill}: {error}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains("viewer")), "{error}");
    }
    let _refused = viewer(&[&name, "restart", "--yes"]).failed(77);
    let _refused = viewer(&["exec", &name, "--", "true"]).failed(77);
    assert_eq!(container.inspect(), before);
    assert_eq!(container.events_since(&since), [""; 0]);

    let lines = mesh.audit(&name, skills.len() + 2);
    let refused: Vec<&str> = lines.iter().filter_map(|line| line["skill"].as_str()).collect();
    assert_eq!(refused, [&skills[..], &["restart", "exec"]].concat());
    for line in &lines {
        let of = |key: &str| line[key].as_str().unwrap_or_default();
        let shown = (of("phase"), of("caller"), of("role"), of("code"));
        assert_eq!(shown, ("refused", "vera", "viewer", "permission_denied"), "{line}");
        assert_eq!(of("ci"), format!("{name}@alpha"), "{line}");
    }
}
