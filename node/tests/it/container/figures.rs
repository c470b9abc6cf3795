//! `status` and `stats` against what the engine itself says.

use super::*;
use crate::burned::Burned;

/// Bytes out of the engine's own figures: `12.3MiB / 64MiB`.
fn used_bytes(id: &str) -> f64 {
    let text = docker(&["stats", "--no-stream", "--format", "{{.MemUsage}}", id]);
    let used = text.split(" / ").next().unwrap();
    let unit = used.find(|c: char| c.is_ascii_alphabetic()).unwrap();
    let number: f64 = used[..unit].parse().unwrap();
    number
        * match &used[unit..] {
            "B" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1_048_576.0,
            "GiB" => 1_073_741_824.0,
            other => panic!("unit {other}"),
        }
}

fn used(status: &Value) -> f64 {
    status["memory"]["used_bytes"].as_f64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_03_ci_05_status_agrees_with_the_engine() {
    let rig = Rig::new(Running::image(&NGINX, &["--memory", "64m", "-p", "127.0.0.1::80"], &[])).await;
    let status = rig.until("status", "nginx", |status| status["health"] == "healthy").await;
    let inspected: OffsetDateTime = OffsetDateTime::parse(
        &rig.running.field("{{.State.StartedAt}}"),
        &time::format_description::well_known::Rfc3339,
    )
    .unwrap();
    let told =
        OffsetDateTime::parse(status["started_at"].as_str().unwrap(), &time::format_description::well_known::Rfc3339)
            .unwrap();
    assert!((inspected - told).abs() < time::Duration::milliseconds(1), "{inspected} {told}");
    assert_eq!(status["restarts"].to_string(), rig.running.field("{{.RestartCount}}"));
    assert_eq!(status["image"]["id"], rig.running.field("{{.Image}}"));
    assert_eq!(status["image"]["digest"], Value::Null);
    assert_eq!(status["container_name"], rig.running.field("{{slice .Name 1}}"));
    assert_eq!(status["memory"]["limit_bytes"], 67_108_864);
    assert!((used(&status) - used_bytes(rig.running.id.as_str())).abs() < 2_097_152.0, "{status}");
    assert_eq!(status["notes"], json!([]));
    assert_eq!(status["replica_of"], Value::Null);
    assert_eq!(status["health_reasons"], json!(["80/tcp listens"]));
    let text = rig.text("status", &status);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 8, "{text}");
    assert_eq!(lines[0], format!("{} is running: healthy", rig.address()));
    assert!(lines[1].contains("nginx (80/tcp -> 127.0.0.1:"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_06_memory_is_measured_at_each_call() {
    let rig = Rig::new(Running::busybox(&["--memory", "64m", "--shm-size", "40m"], &["sleep", "1000"])).await;
    let first = rig.value("status", json!({})).await;
    docker(&["exec", rig.running.id.as_str(), "dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1048576", "count=20"]);
    let before = OffsetDateTime::now_utc();
    let second = rig.value("status", json!({})).await;
    let grown = (used(&second) - used(&first)) / 1_048_576.0;
    assert!((18.0..=22.0).contains(&grown), "{grown} MiB");
    let percent = second["memory"]["percent"].as_f64().unwrap();
    assert!((percent - used(&second) / 67_108_864.0 * 100.0).abs() <= 0.1);
    let observed_at =
        OffsetDateTime::parse(second["observed_at"].as_str().unwrap(), &time::format_description::well_known::Rfc3339);
    assert!(observed_at.unwrap() >= before - time::Duration::milliseconds(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_07_ci_09_no_limit_and_a_pause_are_said() {
    let rig = Rig::new(Running::busybox(&[], &["sleep", "1000"])).await;
    let status = rig.value("status", json!({})).await;
    assert_eq!((&status["memory"]["limit_bytes"], &status["memory"]["percent"]), (&Value::Null, &Value::Null));
    assert!(rig.text("status", &status).contains("(no limit)"));
    docker(&["pause", rig.running.id.as_str()]);
    let paused = rig.value("status", json!({})).await;
    assert_eq!((&paused["state"], &paused["health"]), (&json!("paused"), &json!("paused")));
    assert!(paused["memory"]["used_bytes"].is_u64() && paused["uptime_s"].is_u64(), "{paused}");
    let stats = rig.value("stats", json!({})).await;
    assert_eq!(stats["cpu"]["percent"], 0.0);
    docker(&["unpause", rig.running.id.as_str()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_08_ci_38_a_burned_cpu_shows_and_a_stopped_container_has_no_figures() {
    let rig = Rig::new(Running::busybox(&[], &["sh", "-c", "while :; do :; done"])).await;
    let burned = Burned::of(rig.running.field("{{.State.Pid}}").parse().unwrap());
    let busy = |stats: &Value| stats["cpu"]["percent"].as_f64().is_some_and(|shown| burned.is_about(shown));
    rig.until("stats", "one busy CPU", busy).await;
    docker(&["kill", rig.running.id.as_str()]);
    let status = rig.value("status", json!({})).await;
    assert_eq!((&status["state"], &status["health"]), (&json!("exited"), &json!("stopped")));
    assert_eq!(status["exit_code"], 137);
    assert_eq!((&status["uptime_s"], &status["memory"]["used_bytes"]), (&Value::Null, &Value::Null));
    let text = rig.text("status", &status);
    assert!(text.starts_with(&format!("{} is exited (137): stopped\n", rig.address())), "{text}");
    assert!(text.contains("uptime: none\n"), "{text}");
    let stats = rig.value("stats", json!({})).await;
    for measure in
        ["/cpu/percent", "/memory/used_bytes", "/memory/cache_bytes", "/network", "/pids/current", "/interval_s"]
    {
        assert_eq!(stats.pointer(measure), Some(&Value::Null), "{measure}: {stats}");
    }
    assert_eq!(rig.text("services", &rig.value("services", json!({})).await), "no process\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn host_network_has_no_network_figures() {
    let rig = Rig::new(Running::busybox(&["--network", "host"], &["sleep", "1000"])).await;
    let stats = rig.value("stats", json!({})).await;
    assert_eq!(stats["network"], Value::Null);
    assert!(stats["notes"].to_string().contains("host's network"), "{stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_recreated_meanwhile_answers_and_one_removed_is_unavailable() {
    let name = format!("aigis-test-again-{}", std::process::id());
    let rig = Rig::new(Running::busybox(&["--name", &name], &["sleep", "1000"])).await;
    docker(&["rm", "-f", rig.running.id.as_str()]);
    let again = Running::busybox(&["--name", &name], &["sleep", "1000"]);
    // The CI is still bound to the container that is gone.
    let status = rig.value("status", json!({})).await;
    assert_eq!(status["container_id"], again.id.as_str());
    drop(again);
    for path in ["status", "health", "services", "stats", "debug", "describe", "logs", "monitor"] {
        let error = rig.run(path, json!({})).await.unwrap_err();
        assert_eq!(error.code, aigis_proxy::Code::Unavailable, "{path}: {error}");
        assert!(error.message.contains("was removed"), "{path}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_20_a_call_by_the_service_names_it() {
    let rig = Rig::new(Running::busybox(&["--label", "aigis.service=shop"], &["sleep", "1000"])).await;
    let Answer::Value(status) = rig.run_as("status", json!({}), "shop").await.unwrap() else { panic!("a stream") };
    assert_eq!(status["replica_of"], "shop");
    assert_eq!(rig.value("status", json!({})).await["replica_of"], Value::Null);
    let said = json!({"text": "restart", "confirm": true});
    let error = rig.run_as("message", said, "shop").await.unwrap_err();
    assert_eq!(error.code, aigis_proxy::Code::FailedPrecondition);
    assert_eq!(error.detail("candidates"), Some(&json!([rig.address()])));
}
