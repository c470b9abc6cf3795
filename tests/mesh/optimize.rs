//! `optimize` measures and proposes; `optimize.apply` does one proposal, once, and can take it back.

use std::{process::Command, time::Duration};

use aigis_tests::{Container, Mesh, docker, nonce, now, until};
use serde_json::{Value, json};

const BUSYBOX: &str = "aigis-test/busybox";
const STACK: &str = "aigis-test/stack";
const MIB: u64 = 1024 * 1024;

/// Fills shared memory, which counts as the container's, up to 60 of its 64 MiB.
const FILL: &str = "dd if=/dev/zero of=/dev/shm/fill bs=1M count=60; exec sleep 1000";

#[test]
fn ci_44_no_proposal_costs_a_cache_server_its_data() {
    let mesh = Mesh::up();
    let (name, word) = (format!("cache-{}", nonce()), nonce());
    let start = "dd if=/dev/zero of=/dev/shm/fill bs=1M count=57; exec redis-server --save ''";
    let container = Container::run(&name, &["--memory", "64m", "--pids-limit", "5"], STACK, &["sh", "-c", start]);
    let _row = mesh.live(&name, &container.id);
    let redis = |args: &[&str]| {
        let output = Command::new("docker").args(["exec", &container.id, "redis-cli"]).args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    until("redis answers", Duration::from_secs(20), || (redis(&["set", "k", &word]) == "OK").then_some(()));
    full(&mesh, &name, 57);

    let since = now();
    let found = mesh.aish([name.as_str(), "optimize", "--json"]).good().json();
    assert_eq!(container.events_since(&since), [""; 0]);
    let proposals: Vec<&Value> = found["proposals"].as_array().into_iter().flatten().collect();
    assert!(proposals.iter().any(|proposal| proposal["applicable"] == true), "{found}");
    for proposal in proposals.iter().filter(|proposal| proposal["applicable"] == true) {
        assert_eq!(proposal["blast_radius"]["data_at_risk"], false, "{proposal}");
        let applied = apply(&mesh, &[], &name, &proposal["id"]).good().json();
        assert_eq!(applied["applied"], true, "{applied}");
    }
    assert_eq!(redis(&["get", "k"]), word);
    assert_eq!(container.inspect()["HostConfig"]["Memory"], 96 * MIB);
}

#[test]
fn ci_45_ci_46_a_memory_limit_is_proposed_raised_once_and_taken_back() {
    let mesh = Mesh::up();
    let (name, container) = filled(&mesh, &[]);
    let before = container.inspect();
    let since = now();
    let found = mesh.aish(["call", &format!("{name}.optimize"), "window_s=5", "--json"]).good().json();
    let proposal = raise(&found);
    assert_eq!(proposal["change"]["before"]["memory_limit_bytes"], 64 * MIB, "{proposal}");
    assert_eq!(proposal["change"]["after"]["memory_limit_bytes"], 96 * MIB, "{proposal}");
    let radius = &proposal["blast_radius"];
    assert_eq!((&radius["restarts_container"], &radius["data_at_risk"]), (&json!(false), &json!(false)), "{radius}");
    let peak = found["measures"]["memory_peak_bytes"].as_u64().unwrap();
    assert!((60 * MIB..=64 * MIB).contains(&peak), "{found}");
    assert_eq!((container.inspect(), container.events_since(&since)), (before.clone(), vec![]));
    let again = mesh.aish(["call", &format!("{name}.optimize"), "window_s=5", "--json"]).good().json();
    assert_eq!(raise(&again)["id"], proposal["id"]);

    let olga = mesh.user("olga", "operator");
    let operator = ["--creds", olga.as_str()];
    let applied = apply(&mesh, &operator, &name, &proposal["id"]).good().json();
    assert_eq!((&applied["id"], &applied["applied"]), (&proposal["id"], &json!(true)), "{applied}");
    assert_eq!(limit(&container), 96 * MIB);
    assert_eq!(applied["after"]["memory_limit_bytes"], 96 * MIB, "{applied}");
    assert_eq!(container.inspect()["State"]["StartedAt"], before["State"]["StartedAt"], "no restart");

    let twice = apply(&mesh, &operator, &name, &proposal["id"]).failed(1);
    assert!(twice.stderr.contains("applied already"), "{twice:?}");
    assert_eq!(limit(&container), 96 * MIB);

    assert_eq!(applied["undo"]["skill"], "optimize.apply", "{applied}");
    let undone = apply(&mesh, &operator, &name, &applied["undo"]["kwargs"]["id"]).good().json();
    assert_eq!(undone["after"]["memory_limit_bytes"], 64 * MIB, "{undone}");
    assert_eq!(limit(&container), 64 * MIB);

    let lines = mesh.audit(&name, 6);
    let line = &lines[0];
    let of = |key: &str| line[key].as_str().unwrap_or_default();
    let shown = (of("phase"), of("caller"), of("role"), of("skill"));
    assert_eq!(shown, ("begin", "olga", "operator", "optimize.apply"), "{line}");
    assert_eq!(line["arguments"]["kwargs"]["id"], proposal["id"], "{line}");
    let codes: Vec<&Value> = lines.iter().filter(|line| line["phase"] == "end").map(|line| &line["code"]).collect();
    assert_eq!(codes, [&json!(null), &json!("failed_precondition"), &json!(null)]);
}

#[test]
fn ci_47_ci_48_nobody_applies_without_the_right_or_what_is_not_there() {
    let mesh = Mesh::up();
    let (name, container) = filled(&mesh, &[]);
    let found = mesh.aish(["call", &format!("{name}.optimize"), "window_s=5", "--json"]).good().json();
    let id = &raise(&found)["id"];
    let before = container.inspect();

    let vera = mesh.user("vera", "viewer");
    let refused = apply(&mesh, &["--creds", &vera], &name, id).failed(77);
    assert!(refused.stderr.contains("permission_denied"), "{refused:?}");
    assert_eq!(container.inspect(), before);
    let line = mesh.audit(&name, 1).remove(0);
    let of = |key: &str| line[key].as_str().unwrap_or_default();
    let shown = (of("phase"), of("caller"), of("role"), of("skill"), of("code"));
    assert_eq!(shown, ("refused", "vera", "viewer", "optimize.apply", "permission_denied"), "{line}");

    let bogus = apply(&mesh, &[], &name, &json!("bogus")).failed(65);
    assert!(bogus.stderr.contains("\"code\":\"not_found\""), "{bogus:?}");
    assert_eq!(container.inspect(), before);

    drop(container);
    let recreated = Container::run(&name, &["--memory", "64m"], BUSYBOX, &["sh", "-c", FILL]);
    let _row = mesh.live(&name, &recreated.id);
    let former = apply(&mesh, &[], &name, id).failed(1);
    assert!(former.stderr.contains("former container") && former.stderr.contains("optimize"), "{former:?}");
    assert_eq!(limit(&recreated), 64 * MIB);
}

#[test]
fn ci_49_an_owners_action_runs_only_when_it_is_applied() {
    let mesh = Mesh::up();
    let (name, word) = (format!("x-{}", nonce()), nonce());
    let action = json!({"argv": ["sh", "-c", format!("echo {word} >>/tmp/touched; echo {word} is done")]});
    let label = format!("aigis.action.touch={action}");
    let container = Container::run(&name, &["--label", &label], BUSYBOX, &["sleep", "1000"]);
    let _row = mesh.live(&name, &container.id);
    let since = now();
    let optimize = || mesh.aish(["call", &format!("{name}.optimize"), "window_s=5", "--json"]).good().json();
    let (first, second) = (optimize(), optimize());
    assert_eq!(container.events_since(&since), [""; 0]);
    let id = &first["actions"][0]["id"];
    assert!(id.as_str().is_some_and(|id| id.starts_with("action-touch-")), "{first}");
    assert_eq!(&second["actions"][0]["id"], id);
    let applied = apply(&mesh, &[], &name, id).good().json();
    assert_eq!((&applied["exit_code"], &applied["output"]), (&json!(0), &json!(format!("{word} is done\n"))));
    assert_eq!(docker(None, &["exec", &container.id, "cat", "/tmp/touched"]), word, "one line, once");
    let _refused = apply(&mesh, &[], &name, id).failed(1);
    assert_eq!(docker(None, &["exec", &container.id, "cat", "/tmp/touched"]), word, "one line, once");
}

#[test]
fn an_action_may_take_longer_than_a_call_usually_does() {
    let mesh = Mesh::up();
    let name = format!("x-{}", nonce());
    let label = r#"aigis.action.slow={"argv":["sleep","31"]}"#;
    let container = Container::run(&name, &["--label", label], BUSYBOX, &["sleep", "1000"]);
    let _row = mesh.live(&name, &container.id);
    let found = mesh.aish(["call", &format!("{name}.optimize"), "window_s=5", "--json"]).good().json();
    let applied = apply(&mesh, &[], &name, &found["actions"][0]["id"]).good();
    assert_eq!(applied.json()["exit_code"], 0);
    assert!(applied.took > Duration::from_secs(31), "{applied:?}");
}

/// A container of 64 MiB that uses 60 of them, and its name.
fn filled(mesh: &Mesh, options: &[&str]) -> (String, Container) {
    let name = format!("full-{}", nonce());
    let options = [&["--memory", "64m"], options].concat();
    let container = Container::run(&name, &options, BUSYBOX, &["sh", "-c", FILL]);
    let _row = mesh.live(&name, &container.id);
    full(mesh, &name, 60);
    (name, container)
}

/// Waits until a container uses so many MiB.
fn full(mesh: &Mesh, name: &str, mib: u64) {
    until(&format!("{name} uses {mib} MiB"), Duration::from_secs(30), || {
        let status = mesh.aish(["call", &format!("{name}.status"), "--json"]).good().json();
        (status["memory"]["used_bytes"].as_u64()? >= mib * MIB).then_some(())
    });
}

/// The proposal to raise the memory limit.
fn raise(found: &Value) -> &Value {
    let mut proposals = found["proposals"].as_array().into_iter().flatten();
    let raise = proposals.find(|proposal| proposal["kind"] == "raise-memory-limit");
    let raise = raise.unwrap_or_else(|| panic!("no such proposal: {found}"));
    assert!(raise["id"].as_str().is_some_and(|id| id.starts_with("raise-memory-limit-")), "{raise}");
    raise
}

fn apply(mesh: &Mesh, options: &[&str], name: &str, id: &Value) -> aigis_tests::Ran {
    let (skill, id) = (format!("{name}.optimize.apply"), format!("id={}", id.as_str().unwrap_or_default()));
    mesh.aish([options, &["call", &skill, &id, "--json"]].concat())
}

fn limit(container: &Container) -> u64 {
    container.inspect()["HostConfig"]["Memory"].as_u64().unwrap_or_default()
}
