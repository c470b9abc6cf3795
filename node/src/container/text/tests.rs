use serde_json::json;

use super::*;

fn status_of(changes: Value) -> Value {
    let mut status = json!({"ci": "test-app", "node": "alpha", "container_id": "0".repeat(64),
        "observed_at": "2026-11-21T07:25:40.450Z", "container_name": "test-app", "state": "running", "exit_code": null,
        "oom_killed": false, "engine_error": null, "started_at": "2026-11-21T04:13:40.450Z", "finished_at": null,
        "uptime_s": 11520, "restarts": 0,
        "image": {"reference": "nginx:1.27", "id": format!("sha256:96baa819448b{}", "0".repeat(52)), "digest": null},
        "services": [{"name": "nginx", "role": "web", "running": true, "confidence": "certain",
            "ports": [{"port": 80, "protocol": "tcp", "address": "0.0.0.0", "published": ["0.0.0.0:8080"]}]}],
        "memory": {"used_bytes": 12_897_484, "limit_bytes": 67_108_864, "percent": 19.2},
        "cpu": {"percent": 0.4, "limit_cpus": null}, "pids": 3, "health": "healthy",
        "health_reasons": ["80/tcp listens"], "replica_of": null, "notes": []});
    for (key, value) in changes.as_object().unwrap() {
        status[key] = value.clone();
    }
    status
}

fn text_of(changes: Value) -> String {
    render("status", &status_of(changes), "test-app@alpha").unwrap()
}

#[test]
fn ci_03_status_has_eight_lines() {
    assert_eq!(
        text_of(json!({})),
        "test-app@alpha is running: healthy\n\
         services: nginx (80/tcp -> 0.0.0.0:8080)\n\
         memory: 12.3 MiB of 64.0 MiB (19.2%)\n\
         cpu: 0.4%\n\
         uptime: 3h 12m\n\
         restarts: 0\n\
         image: nginx:1.27 (sha256:96baa819448b)\n\
         observed: 2026-11-21T07:25:40Z\n"
    );
}

#[test]
fn ci_07_no_limit_is_said() {
    let text = text_of(json!({"memory": {"used_bytes": 12_897_484, "limit_bytes": null, "percent": null}}));
    assert!(text.contains("memory: 12.3 MiB (no limit)\n"), "{text}");
}

#[test]
fn ci_08_a_stopped_container_has_its_code_and_no_uptime() {
    let text = text_of(
        json!({"state": "exited", "exit_code": 137, "health": "stopped", "uptime_s": null, "services": [],
        "memory": {"used_bytes": null, "limit_bytes": null, "percent": null}, "cpu": {"percent": null, "limit_cpus": null}}),
    );
    assert!(text.starts_with("test-app@alpha is exited (137): stopped\nservices: none\n"), "{text}");
    assert!(text.contains("memory: unknown\ncpu: unknown\nuptime: none\n"), "{text}");
    assert_eq!(text.lines().count(), 8);
}

#[test]
fn unknown_values_read_unknown() {
    let text =
        text_of(json!({"services": null, "uptime_s": null, "image": {"reference": null, "id": null, "digest": null}}));
    assert!(text.contains("services: unknown\n") && text.contains("uptime: unknown\n"), "{text}");
    assert!(text.contains("image: unknown\n"), "{text}");
}

#[test]
fn ci_31_health_begins_with_the_verdict() {
    let result = json!({"ci": "x", "node": "alpha", "container_id": "0".repeat(64),
        "observed_at": "2026-11-21T07:25:40.450Z", "verdict": "unhealthy",
        "checks": [{"name": "state", "outcome": "pass", "detail": "running"},
            {"name": "engine_health", "outcome": "fail", "detail": "its health check failed 3 times in a row"}],
        "engine_health": null, "replica_of": null, "notes": []});
    assert_eq!(
        render("health", &result, "x@alpha").unwrap(),
        "x@alpha: unhealthy (its health check failed 3 times in a row)\nstate: pass, running\n\
         engine_health: fail, its health check failed 3 times in a row\n"
    );
}

#[test]
fn services_say_what_there_is() {
    let result = |state: &str, services: Value| {
        json!({"ci": "x", "node": "alpha", "container_id": "0".repeat(64), "observed_at": "2026-11-21T07:25:40.450Z",
            "services": services, "unknown": [], "complete": true, "state": state, "replica_of": null, "notes": []})
    };
    assert_eq!(render("services", &result("exited", json!([])), "x").unwrap(), "no process\n");
    assert_eq!(render("services", &result("running", json!([])), "x").unwrap(), "no known service\n");
    let nginx = json!([{"name": "nginx", "role": "web", "detail": null, "running": true, "confidence": "certain",
        "pids": [1], "ports": [{"port": 80, "protocol": "tcp", "address": "0.0.0.0", "published": []}],
        "evidence": [{"source": "process", "detail": "nginx"}, {"source": "socket", "detail": "80/tcp"}]}]);
    assert_eq!(
        render("services", &result("running", nginx), "x").unwrap(),
        "nginx web 80/tcp certain (process, socket)\n"
    );
}

#[test]
fn ci_39_log_lines_are_as_they_were() {
    let frame = |line: Value, partial: bool| json!({"at": null, "source": "stdout", "line": line, "partial": partial});
    assert_eq!(render("logs", &frame(json!("a\r"), false), "x").unwrap(), "a\r\n");
    assert_eq!(render("logs", &frame(json!("a"), true), "x").unwrap(), "a");
    assert_eq!(render("logs", &json!({"event": "stopped", "container_id": "0"}), "x").unwrap(), "");
}

#[test]
fn sizes_and_spans_read_as_people_write_them() {
    for (value, text) in
        [(0, "0 B"), (1023, "1023 B"), (12_897_484, "12.3 MiB"), (1 << 30, "1.0 GiB"), (u64::MAX, "16777216.0 TiB")]
    {
        assert_eq!(bytes(value), text);
    }
    assert_eq!(bytes((1 << 30) - 1), "1.0 GiB");
    for (seconds, text) in [(0, "0s"), (59, "59s"), (61, "1m 1s"), (11_520, "3h 12m"), (90_000, "1d 1h")] {
        assert_eq!(span(seconds), text);
    }
}

#[test]
fn what_has_another_shape_has_no_text() {
    assert_eq!(render("status", &json!({"state": 3}), "x"), None);
    assert_eq!(render("optimist", &json!({}), "x"), None);
}
