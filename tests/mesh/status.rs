//! `status`: what it says is what the engine says, measured when it is asked.

use std::time::Duration;

use aigis_tests::{Container, Mesh, docker, nonce, until};
use serde_json::Value;

const NGINX: &str = "aigis-test/nginx";
const BUSYBOX: &str = "aigis-test/busybox";
const MIB: f64 = 1024.0 * 1024.0;

fn status(mesh: &Mesh, name: &str) -> Value {
    let ran = mesh.aish([name, "status", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.json()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Instants of the engine have nanoseconds, ours milliseconds.
fn same_instant(ours: &Value, engines: &Value) -> bool {
    let first = |value: &Value| value.as_str().and_then(|text| text.get(..23)).map(str::to_owned);
    first(ours).is_some() && first(ours) == first(engines)
}

/// Writes so many MiB into the container's memory.
fn fill(container: &Container, file: &str, mib: u32) {
    let (to, count) = (format!("of=/dev/shm/{file}"), format!("count={mib}"));
    docker(None, &["exec", &container.id, "dd", "if=/dev/zero", &to, "bs=1048576", &count]);
}

#[test]
fn ci_03_ci_04_ci_05_ci_07_status_in_words_and_numbers() {
    let mesh = Mesh::up();
    let name = format!("test-app-{}", nonce());
    let container = Container::run(&name, &[], NGINX, &[]);
    let _row = mesh.live(&name, &container.id);

    let words = until("nginx listens", Duration::from_secs(20), || {
        let ran = mesh.aish([name.as_str(), "What's your status?"]).good();
        ran.stdout.starts_with(&format!("{name}@alpha is running: healthy\n")).then_some(ran)
    });
    let lines: Vec<&str> = words.stdout.lines().collect();
    assert!(lines[1].contains("nginx (80/tcp"), "{words:?}");
    let keys = ["services", "memory", "cpu", "uptime", "restarts", "image", "observed"];
    let found: Vec<&str> = lines[1..].iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(found, keys, "{words:?}");
    assert!(lines[2].ends_with(" MiB (no limit)"), "{words:?}");

    let inspect = container.inspect();
    let direct = mesh.aish(["call", &format!("{name}.status"), "--json"]);
    let (by_alias, by_call) = (status(&mesh, &format!("{name}-ci")), direct.json());
    let keys_of = |value: &Value| value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>());
    assert_eq!(keys_of(&by_alias), keys_of(&by_call));
    for key in ["ci", "node", "container_id"] {
        assert_eq!(by_alias[key], by_call[key], "{key}");
    }
    assert_eq!((&by_call["ci"], &by_call["node"]), (&name.as_str().into(), &"alpha".into()));
    assert_eq!(by_call["container_id"], inspect["Id"]);

    assert!(same_instant(&by_call["started_at"], &inspect["State"]["StartedAt"]), "{by_call}");
    assert_eq!(by_call["restarts"], inspect["RestartCount"]);
    assert_eq!(by_call["image"]["id"], inspect["Image"]);
    let used = number(&by_call["memory"]["used_bytes"]);
    assert!((used - container.memory().0).abs() <= 2.0 * MIB, "{by_call}");
    for unlimited in ["limit_bytes", "percent"] {
        assert_eq!(by_call["memory"][unlimited], Value::Null, "{by_call}");
    }
}

#[test]
fn ci_06_ci_08_ci_09_memory_is_measured_at_each_call_and_a_stop_or_pause_is_told() {
    let mesh = Mesh::up();
    let name = format!("busy-{}", nonce());
    let container = Container::run(&name, &["--memory", "64m"], BUSYBOX, &["sleep", "1000"]);
    let _row = mesh.live(&name, &container.id);

    let before = status(&mesh, &name);
    fill(&container, "x", 20);
    let asked = docker(Some("unix:///var/run/docker.sock"), &["info", "--format", "{{.SystemTime}}"]);
    let after = status(&mesh, &name);
    let used = |status: &Value| number(&status["memory"]["used_bytes"]);
    let grown = (used(&after) - used(&before)) / MIB;
    assert!((18.0..=22.0).contains(&grown), "{grown} MiB: {before} {after}");
    assert_eq!(after["memory"]["limit_bytes"], 64 * 1024 * 1024);
    let percent = used(&after) / (64.0 * MIB) * 100.0;
    assert!((number(&after["memory"]["percent"]) - percent).abs() <= 0.1, "{after}");
    let observed = after["observed_at"].as_str().unwrap_or_default();
    assert!(observed.get(..23) > asked.get(..23), "asked at {asked}, observed at {observed}");

    docker(None, &["pause", &container.id]);
    let paused = status(&mesh, &name);
    assert_eq!((&paused["state"], &paused["health"]), (&"paused".into(), &"paused".into()), "{paused}");
    assert!(used(&paused) > 20.0 * MIB, "{paused}");
    shown(&mesh, &name, "paused", "paused");

    docker(None, &["unpause", &container.id]);
    docker(None, &["stop", "--time", "1", &container.id]);
    let stopped = status(&mesh, &name);
    assert_eq!((&stopped["state"], &stopped["health"]), (&"exited".into(), &"stopped".into()), "{stopped}");
    assert_eq!(stopped["exit_code"], container.inspect()["State"]["ExitCode"]);
    assert!(stopped["exit_code"].is_i64(), "{stopped}");
    assert_eq!((&stopped["uptime_s"], &stopped["memory"]["used_bytes"]), (&Value::Null, &Value::Null), "{stopped}");
    shown(&mesh, &name, "exited", "stopped");
}

/// Waits until the list shows a live CI whose container is in that state.
fn shown(mesh: &Mesh, name: &str, state: &str, health: &str) {
    until(&format!("the list shows {state}"), Duration::from_secs(60), || {
        let row = mesh.row(name)?;
        assert_eq!(row["state"], "live");
        (row["container"]["state"] == state && row["container"]["health"] == health).then_some(())
    });
}

#[test]
fn status_agrees_with_the_engine() {
    let mesh = Mesh::up();
    let name = format!("load-{}", nonce());
    // Fails twice, then holds 40 MiB and burns its share of a CPU.
    let script = "n=$(cat /n 2>/dev/null || echo 0); if [ $n -lt 2 ]; then echo $((n+1)) >/n; exit 1; fi; \
                  dd if=/dev/zero of=/dev/shm/x bs=1048576 count=40; while :; do :; done";
    let options = ["--memory", "128m", "--cpus", "0.2", "--restart", "on-failure:5"];
    let container = Container::run(&name, &options, BUSYBOX, &["sh", "-c", script]);
    let _row = mesh.live(&name, &container.id);
    until("the load is steady", Duration::from_secs(30), || (container.memory().0 > 40.0 * MIB).then_some(()));

    let status = status(&mesh, &name);
    let (used, limit) = container.memory();
    let inspect = container.inspect();
    let near = |ours: &Value, engines: f64| (number(ours) - engines).abs() <= engines * 0.05;
    assert!(near(&status["memory"]["used_bytes"], used), "docker stats: {used}; {status}");
    assert!(near(&status["memory"]["limit_bytes"], limit), "docker stats: {limit}; {status}");
    assert_eq!(status["memory"]["limit_bytes"], inspect["HostConfig"]["Memory"]);
    assert!(same_instant(&status["started_at"], &inspect["State"]["StartedAt"]), "{status} {inspect}");
    assert_eq!((&status["restarts"], &inspect["RestartCount"]), (&2.into(), &2.into()));
    assert_eq!(number(&status["cpu"]["limit_cpus"]), 0.2);
    // The quota is kept over each tenth of a second: more than that nobody could have measured.
    assert!((1.0..=25.0).contains(&number(&status["cpu"]["percent"])), "{status}");
}
