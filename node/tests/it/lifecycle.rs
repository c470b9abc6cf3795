//! `start`, `stop` and `restart` on the real engine.

use aigis_proxy::Code;
use serde_json::json;

use crate::{
    images::{Running, docker},
    in_process::{Lab, call},
};

/// Ends at once when it is told to.
const SLEEP: &[&str] = &["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"];

#[tokio::test(flavor = "multi_thread")]
async fn ci_51_stop_and_start_are_idempotent_and_resume_what_is_paused() {
    let (lab, running) = (Lab::new(), Running::busybox(&[], SLEEP));
    let ci = lab.ci(&running).await;
    docker(&["pause", running.id.as_str()]);
    let stopped = call(&ci, "stop", json!({})).await.unwrap();
    assert_eq!((&stopped["changed"], &stopped["before"]["state"]), (&json!(true), &json!("paused")));
    // It had its grace: it ended by itself, and not by a kill.
    assert_eq!((&stopped["after"]["state"], &stopped["after"]["exit_code"]), (&json!("exited"), &json!(0)));
    let again = call(&ci, "stop", json!({})).await.unwrap();
    assert_eq!((&again["changed"], &again["after"]["state"]), (&json!(false), &json!("exited")));
    let started = call(&ci, "start", json!({})).await.unwrap();
    assert_eq!((&started["changed"], &started["after"]["state"]), (&json!(true), &json!("running")));
    assert_eq!(call(&ci, "start", json!({})).await.unwrap()["changed"], json!(false));
    docker(&["pause", running.id.as_str()]);
    let resumed = call(&ci, "start", json!({})).await.unwrap();
    assert_eq!((&resumed["changed"], &resumed["after"]["state"]), (&json!(true), &json!("running")));
    assert_eq!(resumed["after"]["started_at"], started["after"]["started_at"]);
    let keys: Vec<&String> = resumed.as_object().unwrap().keys().collect();
    let wanted = ["ci", "node", "container_id", "observed_at", "changed", "before", "after", "replica_of", "notes"];
    assert_eq!(keys, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_50_a_restart_keeps_the_container_and_has_a_newer_start() {
    let (lab, running) = (Lab::new(), Running::busybox(&[], SLEEP));
    let ci = lab.ci(&running).await;
    let done = call(&ci, "restart", json!({"grace_s": 3})).await.unwrap();
    assert_eq!((&done["changed"], &done["container_id"]), (&json!(true), &json!(running.id.as_str())));
    assert!(done["after"]["started_at"].as_str() > done["before"]["started_at"].as_str(), "{done}");
    let error = call(&ci, "restart", json!({"grace_s": 301})).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_52_a_taken_port_is_told_in_the_engine_s_words() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let publish = format!("127.0.0.1:{port}:80");
    let lab = Lab::new();
    let created = docker(&["create", "-p", &publish, crate::images::busybox(), "sleep", "1000"]);
    let running = Running { id: created.parse().unwrap() };
    let ci = lab.ci(&running).await;
    let error = call(&ci, "start", json!({})).await.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    assert!(error.message.contains("address already in use") || error.message.contains("port"), "{error}");
    assert_ne!(running.field("{{.State.Status}}"), "running");
    drop(holder);
    call(&ci, "start", json!({})).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_network_is_told_and_is_not_taken_for_a_missing_container() {
    let lab = Lab::new();
    let name = format!("aigis-test-{}", std::process::id());
    let network = docker(&["network", "create", &name]);
    let running = Running::busybox(&["--network", &network], SLEEP);
    docker(&["kill", running.id.as_str()]);
    docker(&["network", "rm", &network]);
    let error = call(&lab.ci(&running).await, "start", json!({})).await.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    assert!(error.message.contains("network"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_stopped_and_could_not_start_says_so() {
    let (lab, directory) = (Lab::new(), tempfile::tempdir().unwrap());
    let mount = format!("type=bind,src={},dst=/mnt", directory.path().display());
    let running = Running::busybox(&["--mount", &mount], SLEEP);
    directory.close().unwrap();
    let error = call(&lab.ci(&running).await, "restart", json!({})).await.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    assert!(error.message.contains("it is now stopped") && error.message.contains("no such file"), "{error}");
    assert_eq!(error.detail("after").unwrap()["state"], json!("exited"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ends_again_is_a_failure_with_its_last_lines() {
    let lab = Lab::new();
    let script = "for i in $(seq 30); do echo line $i >&2; done; echo no config >&2; exit 3";
    let running = Running::busybox(&[], &["sh", "-c", script]);
    docker(&["wait", running.id.as_str()]);
    let ci = lab.ci(&running).await;
    for skill in ["start", "restart"] {
        let error = call(&ci, skill, json!({})).await.unwrap_err();
        assert_eq!(error.code, Code::FailedPrecondition);
        assert!(error.message.contains("exit code 3"), "{error}");
        assert_eq!(error.detail("exit_code"), Some(&json!(3)));
        assert_eq!(error.detail("after").unwrap()["state"], json!("exited"));
        let lines = error.detail("log").unwrap().as_array().unwrap();
        assert_eq!(lines.len(), 20);
        assert_eq!(lines.last(), Some(&json!("no config")));
    }
    // One that the engine starts again and again has ended all the same.
    docker(&["update", "--restart", "always", running.id.as_str()]);
    let error = call(&ci, "start", json!({})).await.unwrap_err();
    assert!(error.message.contains("ended again"), "{error}");
    let stopped = call(&ci, "stop", json!({})).await.unwrap();
    assert_eq!(stopped["after"]["state"], json!("exited"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_removed_is_unavailable() {
    let (lab, running) = (Lab::new(), Running::busybox(&[], SLEEP));
    let ci = lab.ci(&running).await;
    docker(&["rm", "-f", running.id.as_str()]);
    for skill in ["start", "stop", "restart"] {
        let error = call(&ci, skill, json!({})).await.unwrap_err();
        assert_eq!(error.code, Code::Unavailable);
        assert!(error.message.contains("was removed"), "{error}");
    }
}
