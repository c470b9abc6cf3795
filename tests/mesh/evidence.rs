//! What `read` skills find out, and that they leave a container alone.

use std::time::Duration;

use aigis_tests::{Container, Events, Mesh, Ran, nonce, until};
use serde_json::{Value, json};

const SRV: &str = "aigis-test/srv";
const STACK: &str = "aigis-test/stack";

#[test]
fn ci_10_a_container_without_a_shell_is_seen_without_running_anything_in_it() {
    let mesh = Mesh::up();
    let mut events = Events::follow();
    let x = Container::run(&format!("x-{}", nonce()), &[], SRV, &[]);
    let _row = mesh.live(&x.name, &x.id);
    let services = until("its port is seen", Duration::from_secs(20), || {
        let services = mesh.aish([&x.name, "services", "--json"]).good().json();
        (services["unknown"][0]["ports"] != json!([])).then_some(services)
    });
    assert_eq!(services["services"], json!([]));
    assert_eq!(services["unknown"].as_array().map(Vec::len), Some(1), "{services}");
    assert_eq!(services["unknown"][0]["command"], "srv");
    assert_eq!(services["unknown"][0]["ports"][0]["port"], 9000);
    let seen = events.of(&x);
    assert!(seen.iter().any(|action| action == "start"), "{seen:?}");
    assert!(!seen.iter().any(|action| action.starts_with("exec_")), "{seen:?}");
}

#[test]
fn ci_11_no_read_skill_leaves_a_trace() {
    let mesh = Mesh::up();
    let x = Container::run(&format!("x-{}", nonce()), &[], STACK, &["/usr/bin/redis-server"]);
    let _row = mesh.live(&x.name, &x.id);
    until("redis runs", Duration::from_secs(20), || {
        let services = mesh.aish(["call", &format!("{}.services", x.name), "--json"]).good().json();
        (services["services"][0]["name"] == "redis").then_some(())
    });
    let mut events = Events::follow();
    let before = x.inspect();
    let described = mesh.aish(["describe", &x.name, "--json"]).good().json();
    let skills: Vec<&Value> = described["skills"].as_array().into_iter().flatten().collect();
    let read: Vec<&str> =
        skills.iter().filter(|skill| skill["effect"] == "read").filter_map(|skill| skill["path"].as_str()).collect();
    for expected in
        ["debug", "describe", "health", "logs", "message", "monitor", "optimize", "services", "stats", "status"]
    {
        assert!(read.contains(&expected), "{expected}: {read:?}");
    }
    for path in read {
        let target = format!("{}.{path}", x.name);
        let arguments: &[&str] = match path {
            "message" => &["text=status"],
            "monitor" => &["count=2"],
            "optimize" => &["window_s=5"],
            _ => &[],
        };
        let ran = mesh.aish([&["call", &target, "--json"], arguments].concat());
        assert_eq!(ran.code, 0, "{path}: {ran:?}");
        answered(path, &ran);
    }
    assert_eq!(events.of(&x), Vec::<String>::new());
    let after = x.inspect();
    assert_eq!((&before["State"], &before["HostConfig"]), (&after["State"], &after["HostConfig"]));
}

/// A skill that does nothing leaves no trace either.
fn answered(path: &str, ran: &Ran) {
    let lines: Vec<Value> = ran.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    match path {
        "monitor" => assert_eq!(lines.iter().map(|frame| &frame["seq"]).collect::<Vec<_>>(), [1, 2], "{ran:?}"),
        "logs" => assert!(ran.stdout.contains("Redis"), "{ran:?}"),
        _ => assert!(lines.len() == 1 && lines.iter().all(Value::is_object), "{path}: {ran:?}"),
    }
}
