//! `logs`, `monitor` and `debug`.

use super::*;

/// The bytes that the text form of log frames has.
fn text(rig: &Rig, frames: &[Value]) -> String {
    frames.iter().map(|frame| rig.text("logs", frame)).collect()
}

/// Frames until one is as wanted.
async fn until(stream: &mut BoxStream<'static, Result<Value, Error>>, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut seen = Vec::new();
    let all = async {
        while let Some(frame) = stream.next().await {
            seen.push(frame.unwrap());
            if seen.last().is_some_and(&wanted) {
                return;
            }
        }
        panic!("the stream ended");
    };
    let came = tokio::time::timeout(Duration::from_secs(30), all).await.is_ok();
    assert!(came, "not within 30 s; came: {seen:?}");
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_39_ten_thousand_lines_are_as_they_were() {
    let script = "i=0; while [ $i -lt 10000 ]; do i=$((i+1)); echo \"line $i of 10000\"; done; echo other >&2";
    let rig = Rig::new(Running::busybox(&[], &["sh", "-c", script])).await;
    rig.until("status", "the end", |status| status["state"] == "exited").await;
    let frames = rig.frames("logs", json!({"tail": 10000, "source": "stdout"})).await;
    let expected = docker(&["logs", "--tail", "10000", rig.running.id.as_str()]);
    assert!(text(&rig, &frames) == format!("{expected}\n"), "{} frames", frames.len());
    assert_eq!(rig.frames("logs", json!({})).await.len(), 100);
    assert_eq!(rig.frames("logs", json!({"tail": 0})).await.len(), 0);
    let errors = rig.frames("logs", json!({"tail": 20000, "source": "stderr"})).await;
    assert_eq!((errors.len(), &errors[0]["line"], &errors[0]["source"]), (1, &json!("other"), &json!("stderr")));
    assert_eq!(rig.frames("logs", json!({"until": "1h"})).await.len(), 0);
    let stamped = rig.frames("logs", json!({"tail": 20000, "source": "stderr", "timestamps": true})).await;
    assert_eq!(stamped[0]["line"], format!("{} other", stamped[0]["at"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lines_arrive_in_parts_and_whole() {
    let script = "head -c 200000 /dev/zero | tr '\\0' x; echo; printf unfinished";
    let rig = Rig::new(Running::busybox(&[], &["sh", "-c", script])).await;
    rig.until("status", "the end", |status| status["state"] == "exited").await;
    let frames = rig.frames("logs", json!({})).await;
    let partial: Vec<bool> = frames.iter().map(|frame| frame["partial"].as_bool().unwrap()).collect();
    assert_eq!(partial, [true, true, true, false, true]);
    assert!(frames.iter().all(|frame| frame["line"].as_str().is_some_and(|line| line.len() <= 65536)));
    assert_eq!(text(&rig, &frames), "x".repeat(200_000) + "\nunfinished");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_text_arrive_as_they_were() {
    // The engine's usual log is JSON, in which such bytes are lost before anybody can read them.
    let rig = Rig::new(Running::busybox(&["--log-driver", "local"], &["printf", "\\377\\nplain\\n"])).await;
    rig.until("status", "the end", |status| status["state"] == "exited").await;
    let frames = rig.frames("logs", json!({})).await;
    assert_eq!((&frames[0]["line"], &frames[1]["line"]), (&json!({"$bytes": "/w=="}), &json!("plain")));
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_40_following_goes_on_over_restart_and_recreate() {
    let name = format!("aigis-test-follow-{}", std::process::id());
    let rig = Rig::new(Running::busybox(&["--name", &name], &["sh", "-c", "echo up; exec sleep 1000"])).await;
    let id = rig.running.id.as_str();
    let mut stream = rig.stream("logs", json!({"follow": true})).await;
    let is_up = |frame: &Value| frame["line"] == "up";
    assert_eq!(until(&mut stream, is_up).await.len(), 1);
    docker(&["restart", "-t", "0", id]);
    let seen = until(&mut stream, is_up).await;
    let events: Vec<&Value> = seen.iter().map(|frame| &frame["event"]).filter(|event| !event.is_null()).collect();
    assert!(events.contains(&&json!("started")), "{seen:?}");
    docker(&["rm", "-f", id]);
    let again = Running::busybox(&["--name", &name], &["sh", "-c", "echo again; exec sleep 1000"]);
    let seen = until(&mut stream, |frame| frame["line"] == "again").await;
    let recreated = seen.iter().find(|frame| frame["event"] == "recreated").expect("an event");
    assert_eq!(recreated["container_id"], again.id.as_str());
    seen.iter().for_each(|frame| rig.check("logs", frame));
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_42_a_log_driver_that_keeps_nothing_is_said() {
    let rig = Rig::new(Running::busybox(&["--log-driver", "none"], &["sleep", "1000"])).await;
    let error = rig.run("logs", json!({})).await.unwrap_err();
    assert_eq!(error.code, aigis_proxy::Code::FailedPrecondition, "{error}");
    let debug = rig.value("debug", json!({})).await;
    assert_eq!((&debug["logs"], &debug["errors"][0]["part"]), (&Value::Null, &json!("logs")));
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_43_debug_has_all_parts_and_no_secret() {
    let nonce = format!("s3cret{}", std::process::id());
    let environment = format!("DB_PASSWORD={nonce}");
    let script = "echo $DB_PASSWORD; exec tail -f /dev/null";
    let options = ["-e", environment.as_str(), "--label", &format!("api.token={nonce}")];
    let rig = Rig::new(Running::busybox(&options, &["sh", "-c", script, "srv", "--token", &nonce])).await;
    rig.until("debug", "a line", |debug| debug["logs"].as_array().is_some_and(|lines| !lines.is_empty())).await;
    let debug = rig.value("debug", json!({})).await;
    for part in ["inspect", "logs", "events", "top", "stats", "health", "services", "mounts", "networks"] {
        assert!(!debug[part].is_null(), "{part}");
    }
    assert_eq!(debug["errors"], json!([]));
    assert!(!debug.to_string().contains(&nonce), "{debug:#}");
    assert!(!rig.text("debug", &debug).contains(&nonce));
    let shown = rig.value("services", json!({})).await;
    assert!(!shown.to_string().contains(&nonce), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_goes_on_while_stopped_and_shows_events_at_once() {
    let rig = Rig::new(Running::busybox(&[], &["sleep", "1000"])).await;
    let mut stream = rig.stream("monitor", json!({"interval_s": 3600})).await;
    let first = until(&mut stream, |_| true).await.remove(0);
    assert_eq!((&first["seq"], &first["state"], &first["event"]), (&json!(1), &json!("running"), &Value::Null));
    docker(&["kill", rig.running.id.as_str()]);
    let seen = until(&mut stream, |frame| frame["event"] == "die" || frame["state"] == "exited").await;
    let last = seen.last().unwrap();
    rig.check("monitor", last);
    let ended = rig.frames("monitor", json!({"count": 1})).await.remove(0);
    assert_eq!((&ended["state"], &ended["memory"]["used_bytes"]), (&json!("exited"), &Value::Null));
    docker(&["start", rig.running.id.as_str()]);
    until(&mut stream, |frame| frame["event"] == "start").await;
}
