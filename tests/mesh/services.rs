//! Which services run in a container, judged by its processes and not by names.

use std::time::Duration;

use aigis_tests::{Container, Mesh, docker, nonce, until};
use serde_json::{Value, json};

const BUSYBOX: &str = "aigis-test/busybox";
const SRV: &str = "aigis-test/srv";
const STACK: &str = "aigis-test/stack";
const LOG_READER: &str =
    "mkdir -p /var/log/nginx; touch /var/log/nginx/access.log; exec tail -f /var/log/nginx/access.log";

/// What `services` says of a container, as soon as the condition holds.
fn services(mesh: &Mesh, container: &Container, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    let _row = mesh.live(&container.name, &container.id);
    let mut last = Value::Null;
    until(&format!("{what} in {}", container.name), Duration::from_secs(40), || {
        last = mesh.aish([&container.name, "services", "--json"]).good().json();
        condition(&last).then(|| last.clone())
    })
}

fn names(services: &Value) -> Vec<&str> {
    services["services"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect()
}

fn unknown(services: &Value) -> Vec<&str> {
    services["unknown"].as_array().into_iter().flatten().filter_map(|one| one["command"].as_str()).collect()
}

#[test]
fn ci_34_three_services_under_one_supervisor_are_three() {
    let mesh = Mesh::up();
    let x = Container::run(&format!("x-{}", nonce()), &[], STACK, &[]);
    let three = [("gunicorn", 8000), ("nginx", 80), ("redis", 6379)];
    let found = services(&mesh, &x, "three services with their ports", |seen| {
        let all = seen["services"].as_array();
        all.is_some_and(|all| all.len() == 3 && all.iter().all(|one| one["ports"] != json!([])))
    });
    assert_eq!(names(&found), three.map(|(name, _)| name));
    assert_eq!(unknown(&found), Vec::<&str>::new());
    let top = docker(None, &["top", &x.id, "-eo", "pid"]);
    let running: Vec<u64> = top.lines().filter_map(|line| line.trim().parse().ok()).collect();
    for (service, (_, port)) in found["services"].as_array().into_iter().flatten().zip(three) {
        assert_eq!(service["running"], true, "{service}");
        let ports: Vec<&Value> = service["ports"].as_array().into_iter().flatten().map(|one| &one["port"]).collect();
        assert!(!ports.is_empty() && ports.iter().all(|seen| **seen == port), "{service}");
        let pids: Vec<u64> = service["pids"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        assert!(!pids.is_empty() && pids.iter().all(|pid| running.contains(pid)), "{service}: {top}");
    }
}

#[test]
fn ci_35_ci_36_ci_37_a_name_is_no_evidence() {
    let mesh = Mesh::up();
    let nonce = nonce();
    let name = |kind: &str| format!("{kind}-{nonce}");

    let tag = format!("aigis-test-{nonce}/postgres:16");
    let _ = docker(None, &["tag", BUSYBOX, &tag]);
    let nginx = Container::run(&name("nginx"), &[], &tag, &["sleep", "1000"]);
    let _ = docker(None, &["image", "rm", &tag]);
    let seen = services(&mesh, &nginx, "sleep", |seen| unknown(seen) == ["sleep"]);
    assert!(seen["services"].as_array().is_some_and(|all| all.iter().all(|one| one["running"] == false)), "{seen}");

    let exporter = Container::run(&name("exporter"), &[], SRV, &["/node_exporter"]);
    let seen = services(&mesh, &exporter, "a service", |seen| !names(seen).is_empty());
    assert_eq!(names(&seen), ["node_exporter"]);
    assert_eq!(seen["services"][0]["role"], "metrics");

    let script = Container::run(&name("script"), &[], STACK, &["python3", "/srv/nginx_log_parser.py"]);
    let seen = services(&mesh, &script, "a service", |seen| !names(seen).is_empty());
    assert_eq!(names(&seen), ["python"]);
    assert_eq!(seen["services"][0]["detail"], "nginx_log_parser.py");

    let reader = Container::run(&name("reader"), &[], BUSYBOX, &["sh", "-c", LOG_READER]);
    let seen = services(&mesh, &reader, "tail", |seen| unknown(seen) == ["tail"]);
    assert_eq!(names(&seen), Vec::<&str>::new());

    let masked = ["bash", "-c", "exec -a redis-server sleep 1000"];
    let masked = Container::run(&name("masked"), &[], STACK, &masked);
    let seen = services(&mesh, &masked, "sleep", |seen| unknown(seen) == ["sleep"]);
    assert_eq!(names(&seen), Vec::<&str>::new());

    let httpd = Container::run(&name("httpd"), &[], BUSYBOX, &["busybox", "httpd", "-f", "-p", "80"]);
    let seen = services(&mesh, &httpd, "a service", |seen| !names(seen).is_empty());
    assert_eq!(names(&seen), ["busybox-httpd"]);
}
