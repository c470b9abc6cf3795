//! `optimize` and `optimize.apply` on the real engine.

use std::{sync::Arc, time::Duration};

use aigis_node::container::Container;
use aigis_proxy::{Code, Error};
use serde_json::{Value, json};

use crate::{
    images::{Running, docker},
    in_process::{Lab, call},
};

const MIB: u64 = 1024 * 1024;

async fn optimize(ci: &Arc<Container>) -> Value {
    call(ci, "optimize", json!({"window_s": 5})).await.unwrap()
}

async fn apply(ci: &Arc<Container>, id: &str) -> Result<Value, Error> {
    call(ci, "optimize.apply", json!({"id": id})).await
}

fn proposal<'a>(found: &'a Value, list: &str, kind: &str) -> &'a Value {
    let all = found[list].as_array().unwrap();
    all.iter().find(|one| one["kind"] == kind).unwrap_or_else(|| panic!("no {kind} in {found}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_45_46_a_full_memory_is_proposed_raised_once_and_taken_back() {
    let lab = Lab::new();
    let fill = "head -c 62914560 /dev/zero > /dev/shm/x && echo full; exec sleep 1000";
    let running = Running::busybox(&["--memory", "64m", "--shm-size", "64m"], &["sh", "-c", fill]);
    let ci = lab.ci(&running).await;
    // The file is there before it is measured. Nothing else fits into the container to look for it.
    let filled = async {
        while docker(&["logs", running.id.as_str()]) != "full" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), filled).await.expect("the container fills its memory");
    let found = optimize(&ci).await;
    let keys: Vec<&String> = found.as_object().unwrap().keys().collect();
    let wanted = [
        "ci",
        "node",
        "container_id",
        "observed_at",
        "window_s",
        "measures",
        "proposals",
        "actions",
        "replica_of",
        "notes",
    ];
    assert_eq!(keys, wanted);
    assert!(found["measures"]["memory_peak_bytes"].as_u64().unwrap() >= 60 * MIB, "{found}");
    let raise = proposal(&found, "proposals", "raise-memory-limit");
    let id = raise["id"].as_str().unwrap();
    assert!(id.starts_with("raise-memory-limit-"));
    assert_eq!(raise["change"]["after"]["memory_limit_bytes"], json!(96 * MIB));
    assert_eq!(raise["blast_radius"]["data_at_risk"], json!(false));
    assert_eq!(running.field("{{.HostConfig.Memory}}"), (64 * MIB).to_string());
    assert_eq!(proposal(&optimize(&ci).await, "proposals", "raise-memory-limit")["id"], *id);

    let started = running.field("{{.State.StartedAt}}");
    let applied = apply(&ci, id).await.unwrap();
    assert_eq!((&applied["applied"], &applied["id"]), (&json!(true), &json!(id)));
    assert_eq!(applied["after"]["memory_limit_bytes"], json!(96 * MIB));
    assert_eq!(running.field("{{.HostConfig.Memory}}"), (96 * MIB).to_string());
    assert_eq!(running.field("{{.State.StartedAt}}"), started);
    let again = apply(&ci, id).await.unwrap_err();
    assert_eq!(again.code, Code::FailedPrecondition);
    assert!(again.hint.as_deref().unwrap().contains("ask `optimize` again"), "{again:?}");

    let undo = &applied["undo"];
    assert_eq!(undo["skill"], json!("optimize.apply"));
    let undo = undo["kwargs"]["id"].as_str().unwrap();
    let back = apply(&ci, undo).await.unwrap();
    assert_eq!((&back["after"], &back["undo"]), (&applied["before"], &Value::Null));
    assert_eq!(running.field("{{.HostConfig.Memory}}"), (64 * MIB).to_string());
    assert_eq!(apply(&ci, undo).await.unwrap_err().code, Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_48_ids_that_are_not_good_change_nothing() {
    let lab = Lab::new();
    let options = ["--label", r#"aigis.action.note={"argv":["true"]}"#];
    let running = Running::busybox(&options, &["sleep", "1000"]);
    let ci = lab.ci(&running).await;
    assert_eq!(apply(&ci, "bogus").await.unwrap_err().code, Code::NotFound);
    let found = optimize(&ci).await;
    let id = found["actions"][0]["id"].as_str().unwrap();
    let recreated = Running::busybox(&options, &["sleep", "1000"]);
    ci.bind(lab.bound(&recreated).await);
    let error = apply(&ci, id).await.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    assert!(error.message.contains("former container"), "{error}");
    // A value that somebody else changed meanwhile is not taken back.
    ci.bind(lab.bound(&running).await);
    docker(&["kill", running.id.as_str()]);
    let found = call(&ci, "optimize", json!({})).await.unwrap();
    let policy = proposal(&found, "proposals", "set-restart-policy")["id"].as_str().unwrap();
    assert_eq!(found["actions"][0]["applicable"], json!(false));
    assert_eq!(apply(&ci, id).await.unwrap_err().code, Code::FailedPrecondition);
    let applied = apply(&ci, policy).await.unwrap();
    assert_eq!(running.field("{{.HostConfig.RestartPolicy.Name}}"), "on-failure");
    docker(&["update", "--restart", "always", running.id.as_str()]);
    let undo = applied["undo"]["kwargs"]["id"].as_str().unwrap();
    assert!(apply(&ci, undo).await.unwrap_err().message.contains("changed since"));
    assert_eq!(running.field("{{.HostConfig.RestartPolicy.Name}}"), "always");
    docker(&["update", "--restart", "on-failure:5", running.id.as_str()]);
    apply(&ci, undo).await.unwrap();
    assert_eq!(running.field("{{.HostConfig.RestartPolicy.Name}}"), "no");
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_49_an_owner_s_action_runs_only_when_it_is_applied() {
    let lab = Lab::new();
    let action =
        r#"aigis.action.touch={"argv":["sh","-c","echo line >> /tmp/file; echo done"],"description":"writes a line"}"#;
    let bad = r#"aigis.action.fail={"argv":["sh","-c","echo why; exit 4"]}"#;
    let running = Running::busybox(&["--label", action, "--label", bad], &["sleep", "1000"]);
    let ci = lab.ci(&running).await;
    let begun = docker(&["info", "--format", "{{.SystemTime}}"]);
    let found = optimize(&ci).await;
    assert_eq!(found["proposals"], json!([]));
    assert_eq!(optimize(&ci).await["actions"][1]["id"], found["actions"][1]["id"]);
    let until = docker(&["info", "--format", "{{.SystemTime}}"]);
    let filter = format!("container={}", running.id);
    let events =
        docker(&["events", "--since", &begun, "--until", &until, "--filter", &filter, "--format", "{{.Action}}"]);
    assert!(events.lines().all(|event| event == "top"), "{events}");

    let touch = found["actions"][1]["id"].as_str().unwrap();
    assert!(touch.starts_with("action-touch-"));
    let (one, two) = tokio::join!(apply(&ci, touch), apply(&ci, touch));
    let (good, refused) = if one.is_ok() { (one, two) } else { (two, one) };
    let good = good.unwrap();
    assert_eq!((&good["exit_code"], &good["output"], &good["undo"]), (&json!(0), &json!("done\n"), &Value::Null));
    assert_eq!(refused.unwrap_err().code, Code::FailedPrecondition);
    assert_eq!(docker(&["exec", running.id.as_str(), "cat", "/tmp/file"]), "line");

    let fail = found["actions"][0]["id"].as_str().unwrap();
    let error = apply(&ci, fail).await.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    assert_eq!((error.detail("exit_code"), error.detail("output")), (Some(&json!(4)), Some(&json!("why\n"))));
}
