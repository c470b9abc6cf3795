//! `debug`: all that helps, and no secret.

use aigis_tests::{Container, Mesh, nonce};
use serde_json::json;

const BUSYBOX: &str = "aigis-test/busybox";

#[test]
fn ci_43_a_report_is_whole_and_shows_no_secret() {
    let mesh = Mesh::up();
    let secret = nonce();
    let variable = format!("DB_PASSWORD={secret}");
    // The program says its secrets too, as careless programs do.
    let command = [
        "sh",
        "-c",
        "echo \"token $2, password $DB_PASSWORD\"; sleep 1000; true",
        "careless",
        "--token",
        secret.as_str(),
    ];
    let x = Container::run(&format!("x-{}", nonce()), &["--env", &variable], BUSYBOX, &command);
    let _row = mesh.live(&x.name, &x.id);
    let ran = mesh.aish(["call", &format!("{}.debug", x.name), "--json"]).good();
    let report = ran.json();
    for part in ["inspect", "logs", "events", "top", "stats", "health", "services", "mounts", "networks"] {
        assert!(!report[part].is_null(), "{part}: {report}");
    }
    assert_eq!(report["errors"], json!([]));
    assert!(!ran.stdout.contains(&secret), "{report}");
    // What is masked is there all the same.
    assert_eq!(report["inspect"]["Id"], x.id.as_str());
    let shown = report["inspect"]["Config"]["Env"].to_string();
    assert!(shown.contains("DB_PASSWORD=***"), "{shown}");
    let processes = report["top"]["processes"].to_string();
    assert!(processes.contains("careless --token ***"), "{processes}");
    assert!(report["logs"].to_string().contains("token ***"), "{}", report["logs"]);
    let words = mesh.aish(["call", &format!("{}.debug", x.name)]);
    assert!(words.code == 0 && words.stdout.contains("--token ***") && !words.stdout.contains(&secret), "{words:?}");
}
