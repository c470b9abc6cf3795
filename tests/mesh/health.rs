//! How a container is: its verdict, and what it uses.

use std::time::{Duration, Instant};

use aigis_tests::{Container, Mesh, cpu_seconds, docker, nonce, until};
use rustix::process::Pid;
use serde_json::{Value, json};

const BUSYBOX: &str = "aigis-test/busybox";

#[test]
fn ci_31_ci_32_ci_33_a_verdict_rests_on_what_can_be_judged() {
    let mesh = Mesh::up();
    let (nonce, said) = (nonce(), nonce());
    let check = format!("echo {said}; exit 1");
    let options = ["--health-cmd", &check, "--health-interval", "1s", "--health-retries", "3"];
    let failing = Container::run(&format!("failing-{nonce}"), &options, BUSYBOX, &[]);
    let silent = Container::run(&format!("silent-{nonce}"), &["--expose", "8080"], BUSYBOX, &[]);
    let plain = Container::run(&format!("plain-{nonce}"), &[], BUSYBOX, &["sleep", "1000"]);
    for container in [&failing, &silent, &plain] {
        let _row = mesh.live(&container.name, &container.id);
    }
    let health = |container: &Container| mesh.aish([&container.name, "health", "--json"]).good().json();

    let unknown = health(&plain);
    assert_eq!((&unknown["verdict"], &unknown["engine_health"]), (&json!("unknown"), &Value::Null));

    let health_of_failing = until("the check has failed 3 times", Duration::from_secs(30), || {
        Some(health(&failing)).filter(|health| health["verdict"] == "unhealthy")
    });
    let engine = &health_of_failing["engine_health"];
    assert!(engine["last_output"].as_str().is_some_and(|output| output.contains(&said)), "{engine}");
    assert!(engine["failing_streak"].as_u64().is_some_and(|streak| streak >= 3), "{engine}");
    assert_eq!((&engine["status"], &engine["last_exit_code"]), (&json!("unhealthy"), &json!(1)));
    let words = mesh.aish([&failing.name, "health"]).good();
    assert!(words.stdout.starts_with(&format!("{}@alpha: unhealthy (", failing.name)), "{words:?}");

    let degraded = until("30 s after its start", Duration::from_secs(60), || {
        Some(health(&silent)).filter(|health| health["verdict"] != "unknown")
    });
    assert_eq!(degraded["verdict"], "degraded");
    let ports = degraded["checks"].as_array().into_iter().flatten().find(|check| check["name"] == "ports");
    let ports = ports.unwrap_or_else(|| panic!("{degraded}"));
    assert!(ports["outcome"] == "warn" || ports["outcome"] == "fail", "{ports}");
    assert!(ports["detail"].as_str().is_some_and(|detail| detail.contains("8080")), "{ports}");
}

#[test]
fn ci_38_a_burned_cpu_is_measured_and_a_stopped_container_is_not() {
    let mesh = Mesh::up();
    let x = Container::run(&format!("x-{}", nonce()), &[], BUSYBOX, &["sh", "-c", "while :; do :; done"]);
    let _row = mesh.live(&x.name, &x.id);
    let idle = Container::run(&format!("idle-{}", nonce()), &[], BUSYBOX, &["sleep", "1000"]);
    let _row = mesh.live(&idle.name, &idle.id);
    let target = format!("{}.stats", x.name);
    let stats = || mesh.aish(["call", &target, "--json"]);
    let pid = x.inspect()["State"]["Pid"].as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let pid = pid.unwrap_or_else(|| panic!("it does not run"));
    // The loop burns what the kernel gives it: a whole CPU, and less on a busy machine.
    let mut last = (Instant::now(), cpu_seconds(pid));
    until("the burned CPU is seen", Duration::from_secs(60), || {
        let shown = stats().good().json()["cpu"]["percent"].as_f64()?;
        let elapsed = last.0.elapsed().as_secs_f64();
        if elapsed < 1.0 {
            return None;
        }
        let burned = (cpu_seconds(pid) - last.1) / elapsed * 100.0;
        last = (Instant::now(), cpu_seconds(pid));
        (burned > 25.0 && (burned - 20.0..=burned + 20.0).contains(&shown)).then_some(())
    });
    let resting = mesh.aish(["call", &format!("{}.stats", idle.name), "--json"]).good().json();
    assert!(resting["cpu"]["percent"].as_f64().is_some_and(|percent| percent < 5.0), "{resting}");
    let _ = docker(None, &["stop", "--time", "0", &x.id]);
    let ran = stats();
    assert_eq!(ran.code, 0, "{ran:?}");
    let stopped = ran.json();
    assert_eq!(stopped["state"], "exited");
    for measure in [
        "/interval_s",
        "/cpu/percent",
        "/cpu/throttled_percent",
        "/memory/used_bytes",
        "/memory/cache_bytes",
        "/memory/percent",
        "/network",
        "/block_io/read_bytes",
        "/block_io/write_bytes",
        "/pids/current",
    ] {
        assert_eq!(stopped.pointer(measure), Some(&Value::Null), "{measure}: {stopped}");
    }
}

#[test]
fn a_node_says_how_it_is_in_words() {
    let mesh = Mesh::up();
    let status = mesh.aish(["call", "alpha.status"]).good();
    let lines: Vec<&str> = status.stdout.lines().collect();
    assert_eq!((lines.first(), lines.len()), (Some(&"alpha@alpha is live"), 7), "{status:?}");
    assert_eq!(mesh.aish(["alpha", "how are you?"]).good().stdout.lines().next(), Some("alpha@alpha is live"));
    let health = mesh.aish(["call", "alpha.health"]).good();
    assert!(health.stdout.starts_with("alpha@alpha: healthy (nats-server "), "{health:?}");
    let described = mesh.aish(["call", "alpha.describe"]).good();
    assert!(described.stdout.starts_with("alpha@alpha is a node: live\n"), "{described:?}");
}
