//! `services` and `health` on programs that are, and are not, what they seem.

use super::*;

fn names(services: &Value) -> Vec<&str> {
    services["services"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

fn unknown(services: &Value) -> Vec<&str> {
    services["unknown"].as_array().unwrap().iter().filter_map(|one| one["command"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_10_a_container_without_a_shell_is_seen_without_running_anything_in_it() {
    let rig = Rig::new(Running::image(&SRV, &[], &[])).await;
    let since = OffsetDateTime::now_utc();
    let listens = |seen: &Value| seen.pointer("/unknown/0/ports/0/port").is_some();
    let services = rig.until("services", "the port", listens).await;
    assert_eq!(services["services"], json!([]));
    assert_eq!(
        (&services["unknown"][0]["command"], &services["unknown"][0]["ports"][0]["port"]),
        (&json!("srv"), &json!(9000))
    );
    assert_eq!(services["complete"], true);
    assert_eq!(rig.events_since(since), Vec::<String>::new());
    assert!(rig.text("services", &services).starts_with("unknown: srv (pid "), "{services}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_11_ci_30_no_read_skill_makes_an_engine_event_and_each_keeps_its_shape() {
    let rig = Rig::new(Running::image(&STACK, &[], &["/usr/bin/redis-server"])).await;
    rig.until("services", "redis", |seen| names(seen) == ["redis"]).await;
    let since = OffsetDateTime::now_utc();
    let described = rig.value("describe", json!({})).await;
    let skills = described["skills"].as_array().unwrap();
    let paths: Vec<&str> = skills.iter().map(|skill| skill["path"].as_str().unwrap()).collect();
    assert!(paths.is_sorted(), "{paths:?}");
    for skill in skills.iter().filter(|skill| skill["effect"] == "read") {
        let path = skill["path"].as_str().unwrap();
        let kwargs = match path {
            "message" => json!({"text": "status"}),
            "monitor" => json!({"count": 2, "interval_s": 1}),
            "optimize" => json!({"window_s": 5}),
            _ => json!({}),
        };
        if skill["stream"] == true {
            let frames = rig.frames(path, kwargs).await;
            assert!(!frames.is_empty(), "{path}");
            frames.iter().for_each(|frame| drop(rig.text(path, frame)));
        } else {
            let value = rig.value(path, kwargs).await;
            let text = rig.text(path, &value);
            assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{path}: {text:?}");
        }
    }
    assert_eq!(rig.events_since(since), Vec::<String>::new());
    let error = rig.run("nosuch", json!({})).await.unwrap_err();
    assert_eq!(error.code, aigis_proxy::Code::NotFound);
    assert_eq!(error.detail("skills"), Some(&json!(paths)));
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_31_the_engine_s_own_check_decides() {
    let nonce = format!("nonce-{}", std::process::id());
    let check = format!("echo {nonce}; exit 1");
    let options = ["--health-cmd", check.as_str(), "--health-interval", "1s", "--health-retries", "3"];
    let rig = Rig::new(Running::busybox(&options, &["sleep", "1000"])).await;
    let health = rig.until("health", "three failures", |health| health["verdict"] == "unhealthy").await;
    assert!(health["engine_health"]["last_output"].as_str().unwrap().contains(&nonce), "{health}");
    assert!(health["engine_health"]["failing_streak"].as_u64().unwrap() >= 3);
    assert!(rig.text("health", &health).starts_with(&format!("{}: unhealthy (", rig.address())));
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_32_a_port_on_which_nothing_listens_degrades_after_30_s() {
    let rig = Rig::new(Running::busybox(&["--expose", "8080"], &["sleep", "1000"])).await;
    assert_eq!(rig.value("health", json!({})).await["verdict"], "unknown");
    let health = rig.until("health", "the end of the grace", |health| health["verdict"] != "unknown").await;
    assert_eq!(health["verdict"], "degraded");
    let checks = health["checks"].as_array().unwrap();
    let ports = checks.iter().find(|check| check["name"] == "ports").unwrap();
    assert!(ports["outcome"] == "fail" && ports["detail"].as_str().unwrap().contains("8080"), "{ports}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_33_without_evidence_the_verdict_is_unknown() {
    let rig = Rig::new(Running::busybox(&[], &["sleep", "1000"])).await;
    assert_eq!(rig.value("health", json!({})).await["verdict"], "unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_34_three_services_under_one_supervisor_are_three() {
    let rig = Rig::new(Running::image(&STACK, &[], &[])).await;
    let up = |seen: &Value| {
        let all = seen["services"].as_array().unwrap();
        all.len() == 3 && all.iter().all(|one| one["ports"].as_array().is_some_and(|ports| !ports.is_empty()))
    };
    let services = rig.until("services", "three services", up).await;
    assert_eq!(names(&services), ["gunicorn", "nginx", "redis"]);
    let top = docker(&["top", rig.running.id.as_str(), "-eo", "pid"]);
    for (service, port) in services["services"].as_array().unwrap().iter().zip([8000, 80, 6379]) {
        assert_eq!((&service["running"], &service["ports"][0]["port"]), (&json!(true), &json!(port)));
        for pid in service["pids"].as_array().unwrap() {
            assert!(top.lines().any(|line| line.trim().parse().ok() == pid.as_u64()), "{pid}: {top}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_35_an_image_s_name_is_no_process() {
    let tag = format!("aigis-test-{}/postgres:16", std::process::id());
    docker(&["tag", crate::images::busybox(), &tag]);
    let running = Running::image(&tag, &["--name", &format!("nginx-{}", std::process::id())], &["sleep", "1000"]);
    let rig = Rig::new(running).await;
    let services = rig.value("services", json!({})).await;
    docker(&["rmi", &tag]);
    assert!(services["services"].as_array().unwrap().iter().all(|one| one["running"] == false), "{services}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_36_names_within_names_are_no_services() {
    let exporter = Rig::new(Running::image(&SRV, &[], &["/node_exporter"])).await;
    let services = exporter.value("services", json!({})).await;
    assert_eq!(
        (&services["services"][0]["name"], &services["services"][0]["role"]),
        (&json!("node_exporter"), &json!("metrics"))
    );
    assert_eq!(names(&services).len(), 1);
    let script = Rig::new(Running::image(&STACK, &[], &["python3", "/srv/nginx_log_parser.py"])).await;
    let services = script.until("services", "python", |seen| !names(seen).is_empty()).await;
    assert_eq!(names(&services), ["python"]);
    assert_eq!(services["services"][0]["detail"], "nginx_log_parser.py");
    let tail = Running::busybox(
        &[],
        &[
            "sh",
            "-c",
            "mkdir -p /var/log/nginx; touch /var/log/nginx/access.log; exec tail -f /var/log/nginx/access.log",
        ],
    );
    let tail = Rig::new(tail).await;
    assert_eq!(names(&tail.value("services", json!({})).await), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_37_a_borrowed_name_is_seen_through() {
    let rig = Rig::new(Running::image(&STACK, &[], &["bash", "-c", "exec -a redis-server sleep 1000"])).await;
    let services = rig.until("services", "sleep", |seen| unknown(seen) == ["sleep"]).await;
    assert_eq!(names(&services), Vec::<&str>::new());
    let rig = Rig::new(Running::busybox(&[], &["httpd", "-f", "-p", "80"])).await;
    let services = rig.until("services", "httpd", |seen| !names(seen).is_empty()).await;
    assert_eq!(names(&services), ["busybox-httpd"]);
}
