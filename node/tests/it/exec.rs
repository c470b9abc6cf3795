//! `exec` on the real engine.

use std::time::Duration;

use aigis_proxy::Code;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::{
    images::{Running, docker},
    in_process::{Lab, open},
};

const SLEEP: &[&str] = &["sleep", "1000"];

/// All frames, and what of them came from where.
async fn exec(
    ci: &std::sync::Arc<aigis_node::container::Container>,
    arguments: Value,
) -> Result<(String, String, i64), aigis_proxy::Error> {
    let frames: Vec<Value> = open(ci, "exec", arguments).await?.try_collect().await?;
    let (last, output) = frames.split_last().unwrap();
    let of = |source: &str| -> String {
        output.iter().filter(|frame| frame["source"] == source).map(|frame| frame["data"].as_str().unwrap()).collect()
    };
    Ok((of("stdout"), of("stderr"), last["exit_code"].as_i64().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_53_output_input_and_exit_code_pass_through() {
    let (lab, running) = (Lab::new(), Running::busybox(&[], SLEEP));
    let ci = lab.ci(&running).await;
    let hostname = format!("{}\n", running.field("{{.Config.Hostname}}"));
    assert_eq!(exec(&ci, json!({"argv": ["hostname"]})).await.unwrap(), (hostname, String::new(), 0));
    let script = "echo out; echo err >&2; exit 7";
    let ended = exec(&ci, json!({"argv": ["sh", "-c", script]})).await.unwrap();
    assert_eq!(ended, ("out\n".into(), "err\n".into(), 7));
    let input = "x".repeat(300_000);
    let ended = exec(&ci, json!({"argv": ["busybox", "wc", "-c"], "input": input})).await.unwrap();
    assert_eq!((ended.0.trim(), ended.2), ("300000", 0));
    let ended = exec(&ci, json!({"argv": ["sh", "-c", "echo $A; pwd"], "env": {"A": "b c"}, "workdir": "/tmp"})).await;
    assert_eq!(ended.unwrap().0, "b c\n/tmp\n");
    let ended = exec(&ci, json!({"argv": ["id", "-u"], "user": "7"})).await.unwrap();
    assert_eq!(ended.0, "7\n");
    let ended = exec(&ci, json!({"argv": ["cat"], "input": "a\n", "tty": true})).await.unwrap();
    assert!(ended.0.contains('a') && ended.2 == 0, "{ended:?}");
    let frames: Vec<Value> =
        open(&ci, "exec", json!({"argv": ["printf", "\\377"]})).await.unwrap().try_collect().await.unwrap();
    assert_eq!(frames[0]["data"], json!({"$bytes": "/w=="}));
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_54_a_missing_program_and_a_paused_container_are_told() {
    let (lab, running) = (Lab::new(), Running::busybox(&[], SLEEP));
    let ci = lab.ci(&running).await;
    let error = exec(&ci, json!({"argv": ["no-such-shell"]})).await.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    assert!(error.message.contains("no-such-shell"), "{error}");
    docker(&["pause", running.id.as_str()]);
    let error = exec(&ci, json!({"argv": ["sh"]})).await.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    assert!(error.message.contains("paused"), "{error}");
    docker(&["unpause", running.id.as_str()]);
    docker(&["kill", running.id.as_str()]);
    let error = exec(&ci, json!({"argv": ["sh"]})).await.unwrap_err();
    assert!(error.code == Code::FailedPrecondition && error.message.contains("exited"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_gives_up_ends_the_command_and_nothing_else() {
    let (lab, running) = (Lab::new(), Running::busybox(&[], SLEEP));
    let ci = lab.ci(&running).await;
    let processes = || docker(&["top", running.id.as_str(), "-eo", "pid,args"]);
    let mut frames = open(&ci, "exec", json!({"argv": ["sh", "-c", "echo up; exec sleep 77"]})).await.unwrap();
    assert_eq!(frames.next().await.unwrap().unwrap()["data"], json!("up\n"));
    assert!(processes().contains("sleep 77"));
    drop(frames);
    let gone = async {
        while processes().contains("sleep 77") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the command is killed");
    assert_eq!(running.field("{{.State.Status}}"), "running");
    assert!(processes().contains("sleep 1000"));
}
