//! `start`, `stop` and `restart` on the real engine.

use std::{net::TcpListener, time::Duration};

use aigis_tests::{Container, Mesh, nonce, now};
use serde_json::json;

const BUSYBOX: &str = "aigis-test/busybox";
/// A program that is the first of its container gets no default action: the kill is its only quick end.
const QUICK: [&str; 2] = ["--stop-signal", "SIGKILL"];

#[test]
fn ci_50_ci_51_restart_and_stop_do_what_they_say_once() {
    let mesh = Mesh::up();
    let name = format!("x-{}", nonce());
    let container = Container::run(&name, &QUICK, BUSYBOX, &["sleep", "1000"]);
    let _row = mesh.live(&name, &container.id);
    let olga = mesh.user("olga", "operator");

    let before = container.inspect();
    let restart = mesh.aish(["--creds", &olga, &name, "restart", "--yes"]).good();
    assert_eq!(restart.stdout, format!("{name}@alpha: restarted (running)\n"));
    let after = container.inspect();
    assert_eq!(before["Id"], after["Id"]);
    let started = |inspect: &serde_json::Value| inspect["State"]["StartedAt"].as_str().map(str::to_owned);
    assert!(started(&after) > started(&before), "{before} {after}");
    let lines = mesh.audit(&name, 2);
    for (line, phase) in lines.iter().zip(["begin", "end"]) {
        let of = |key: &str| line[key].as_str().unwrap_or_default();
        let shown = (of("phase"), of("caller"), of("role"), of("skill"), of("effect"));
        assert_eq!(shown, (phase, "olga", "operator", "restart", "write"), "{line}");
        assert_eq!(line["code"], json!(null), "{line}");
    }

    let address = format!("{name}.stop");
    let first = mesh.aish(["--creds", &olga, "call", &address, "--json"]).good().json();
    assert_eq!((&first["changed"], &first["after"]["state"]), (&json!(true), &json!("exited")), "{first}");
    assert_eq!(first["before"]["state"], "running", "{first}");
    let stopped = container.inspect();
    assert_eq!(stopped["State"]["Status"], "exited");
    assert_eq!(first["after"]["exit_code"], stopped["State"]["ExitCode"], "{first}");
    let second = mesh.aish(["--creds", &olga, "call", &address, "--json"]).good().json();
    assert_eq!((&second["changed"], &second["after"]), (&json!(false), &first["after"]), "{second}");
    assert_eq!(container.inspect()["State"], stopped["State"]);
}

#[test]
fn ci_52_a_start_that_the_engine_refuses_gives_its_words() {
    let mesh = Mesh::up();
    let name = format!("x-{}", nonce());
    let (container, port) = published(&name);
    let _row = mesh.live(&name, &container.id);
    let _stopped = mesh.aish(["call", &format!("{name}.stop")]).good();
    let holder = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let start = mesh.aish(["call", &format!("{name}.start")]).failed(1);
    assert!(start.stderr.contains("address already in use"), "{start:?}");
    assert!(start.stderr.contains(&port.to_string()), "{start:?}");
    assert_eq!(container.inspect()["State"]["Running"], false);
    drop(holder);
    let start = mesh.aish(["call", &format!("{name}.start"), "--json"]).good().json();
    assert_eq!((&start["changed"], &container.inspect()["State"]["Running"]), (&json!(true), &json!(true)), "{start}");
}

#[test]
fn a_container_that_ends_as_soon_as_it_is_started_is_not_started() {
    let mesh = Mesh::up();
    let (name, word) = (format!("x-{}", nonce()), nonce());
    let container = Container::run(&name, &[], BUSYBOX, &["sh", "-c", &format!("echo {word}; exit 7")]);
    let _row = mesh.live(&name, &container.id);
    let since = now();
    let start = mesh.aish(["call", &format!("{name}.start"), "--json"]).failed(1);
    let error: serde_json::Value = serde_json::from_str(&start.stderr).unwrap();
    assert_eq!((&error["code"], &error["data"]["after"]["exit_code"]), (&json!("failed_precondition"), &json!(7)));
    assert!(error.to_string().contains(&word), "{error}");
    assert!(container.events_since(&since).contains(&"die".to_owned()));
    assert!(start.took > Duration::from_secs(1), "read a second later: {start:?}");
}

/// A container that publishes a port of the host which was free a moment ago, and that port.
fn published(name: &str) -> (Container, u16) {
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr());
    let port = free.unwrap_or_else(|error| panic!("no port is free: {error}")).port();
    let publish = format!("127.0.0.1:{port}:80");
    let options = [&QUICK[..], &["--publish", &publish]].concat();
    (Container::run(name, &options, BUSYBOX, &["sleep", "1000"]), port)
}
