use std::time::{Duration, Instant};

use aigis_node::{
    engine::{State, watch::Watch},
    host,
    services::Protocol,
    usage::Sampler,
};

use super::real;
use crate::{
    burned::Burned,
    images::{Running, docker},
};

const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn ci_05_figures_agree_with_the_engine() {
    let container = Running::busybox(&["--memory", "64m", "--cpus", "0.5", "-p", "127.0.0.1::80"], &["sleep", "1000"]);
    let engine = real();
    let seen = engine.inspect(&container.id).await.unwrap();
    assert_eq!(seen.state, State::Running);
    assert_eq!(seen.pid.unwrap().to_string(), container.field("{{.State.Pid}}"));
    assert_eq!(seen.image_id.clone().unwrap(), container.field("{{.Image}}"));
    assert_eq!(seen.restart_count.to_string(), container.field("{{.RestartCount}}"));
    assert_eq!((seen.memory_limit, seen.limit_cpus()), (Some(64 * MIB), Some(0.5)));
    assert_eq!((seen.exit_code, seen.finished_at), (None, None));
    let format = &time::format_description::well_known::Rfc3339;
    let started = time::OffsetDateTime::parse(&container.field("{{.State.StartedAt}}"), format).unwrap();
    assert_eq!(seen.started_at, Some(started));
    assert_eq!(seen.published.len(), 1);
    assert!(seen.notes.is_empty(), "{:?}", seen.notes);
    let image = engine.image(seen.image_id.as_deref().unwrap()).await.unwrap();
    assert_eq!((Some(image.id.as_str()), image.digest()), (seen.image_id.as_deref(), None));

    let watch = Watch::spawn(engine.clone());
    let sampler = Sampler::spawn(engine, watch.observation());
    let usage = sampler.measure(&container.id, seen.pid.unwrap()).await;
    let told = docker(&["stats", "--no-stream", "--format", "{{.MemUsage}}", container.id.as_str()]);
    let told = bytes(told.split(" / ").next().unwrap());
    let used = usage.memory.used_bytes.unwrap();
    assert!(used.abs_diff(told) <= 2 * MIB, "{used} and the engine's {told}");
    assert_eq!(usage.memory.limit_bytes, Some(64 * MIB));
    assert_eq!(usage.pids.current, Some(1));
    assert!(usage.network.unwrap().iter().any(|device| device.name == "eth0"));
    assert!(usage.interval_s.unwrap() >= 0.5);
}

/// Reads `1.5MiB` as the engine's command line prints it.
fn bytes(text: &str) -> u64 {
    let at = text.find(|character: char| character.is_ascii_alphabetic()).unwrap();
    let (number, unit) = text.split_at(at);
    let scale = match unit {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        other => panic!("{other}"),
    };
    (number.parse::<f64>().unwrap() * scale) as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_06_memory_follows_what_is_written() {
    let container = Running::busybox(&["--memory", "64m"], &["sleep", "1000"]);
    let engine = real();
    let watch = Watch::spawn(engine.clone());
    let sampler = Sampler::spawn(engine.clone(), watch.observation());
    let pid = engine.inspect(&container.id).await.unwrap().pid.unwrap();
    let before = sampler.measure(&container.id, pid).await;
    docker(&["exec", container.id.as_str(), "dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=20"]);
    let after = sampler.measure(&container.id, pid).await;
    let grown = after.memory.used_bytes.unwrap() - before.memory.used_bytes.unwrap();
    assert!(grown.abs_diff(20 * MIB) <= 2 * MIB, "{grown}");
    assert!(after.at > before.at);
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_38_one_burned_cpu_is_about_100_percent_and_nothing_when_stopped() {
    let container = Running::busybox(&[], &["sh", "-c", "while :; do :; done"]);
    let engine = real();
    let watch = Watch::spawn(engine.clone());
    let sampler = Sampler::spawn(engine.clone(), watch.observation());
    let pid = engine.inspect(&container.id).await.unwrap().pid.unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let burned = Burned::of(pid);
    loop {
        let percent = sampler.measure(&container.id, pid).await.cpu.percent.unwrap();
        assert!(percent <= 120.0, "{percent}");
        if burned.is_about(percent) {
            break;
        }
        assert!(Instant::now() < end, "{percent}");
    }
    // Soon it is known, and answered at once.
    loop {
        let begin = Instant::now();
        assert!(sampler.measure(&container.id, pid).await.cpu.percent.is_some());
        if begin.elapsed() < Duration::from_millis(400) {
            break;
        }
        assert!(Instant::now() < end);
    }
    let begin = Instant::now();
    assert!(sampler.measure(&container.id, pid).await.cpu.percent.is_some());
    assert!(begin.elapsed() < Duration::from_millis(400), "a known container is answered at once");
    engine.stop(&container.id, Duration::ZERO).await.unwrap();
    let stopped = sampler.measure(&container.id, pid).await;
    assert_eq!((stopped.cpu.percent, stopped.memory.used_bytes), (None, None));
    assert_eq!(stopped.notes.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_10_processes_and_sockets_are_seen_from_outside() {
    let container = Running::busybox(&[], &["httpd", "-f", "-p", "9000"]);
    let engine = real();
    let end = Instant::now() + Duration::from_secs(60);
    let seen = loop {
        let seen = host::look(&engine, &engine.inspect(&container.id).await.unwrap()).await;
        if seen.sockets.as_ref().is_some_and(|sockets| !sockets.is_empty()) {
            break seen;
        }
        assert!(Instant::now() < end, "{seen:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let processes = seen.processes.unwrap();
    let told = engine.top(&container.id).await.unwrap();
    let pids: Vec<String> = told.column("PID").flatten().map(str::to_owned).collect();
    assert_eq!(processes.iter().map(|process| process.pid.to_string()).collect::<Vec<_>>(), pids);
    assert_eq!(processes[0].args, ["httpd", "-f", "-p", "9000"]);
    assert!(processes[0].executable.as_deref().is_some_and(|path| path.ends_with("/busybox")), "{processes:?}");
    let sockets = seen.sockets.unwrap();
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    assert_eq!((sockets[0].port, sockets[0].protocol), (9000, Protocol::Tcp));
    assert_eq!(sockets[0].pids, [processes[0].pid]);
    assert!(seen.notes.is_empty(), "{:?}", seen.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_10_sockets_are_those_that_the_container_s_own_tables_show() {
    let servers = "httpd -p 127.0.0.1:9001; httpd -p 9002; echo interface lo > /tmp/dhcp; udhcpd -f /tmp/dhcp & \
                   exec httpd -f -p 9003";
    let container = Running::busybox(&["--network", "none"], &["sh", "-c", servers]);
    let engine = real();
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let seen = host::look(&engine, &engine.inspect(&container.id).await.unwrap()).await;
        let sockets = seen.sockets.unwrap();
        let held = sockets.iter().all(|socket| !socket.pids.is_empty());
        let mut seen: Vec<String> =
            sockets.iter().map(|socket| format!("{} {}:{}", socket.protocol, socket.address, socket.port)).collect();
        let printed = docker(&["exec", container.id.as_str(), "netstat", "-lntu"]);
        let rows = printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut shown: Vec<String> = rows
            .filter(|row| row[0].starts_with("tcp") || row[0].starts_with("udp"))
            .map(|row| format!("{} {}", &row[0][..3], row[3]))
            .collect();
        seen.sort_unstable();
        shown.sort_unstable();
        if seen.len() == 4 && seen == shown && held {
            break;
        }
        assert!(Instant::now() < end, "{sockets:?} and in the container {shown:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_08_ci_09_a_paused_one_is_measured_and_a_stopped_one_has_its_exit_code() {
    let container = Running::busybox(&[], &["sleep", "1000"]);
    let engine = real();
    let watch = Watch::spawn(engine.clone());
    let sampler = Sampler::spawn(engine.clone(), watch.observation());
    engine.pause(&container.id).await.unwrap();
    let paused = engine.inspect(&container.id).await.unwrap();
    assert_eq!(paused.state, State::Paused);
    let usage = sampler.measure(&container.id, paused.pid.unwrap()).await;
    assert!(usage.memory.used_bytes.is_some());
    assert_eq!(usage.cpu.percent, Some(0.0));
    engine.unpause(&container.id).await.unwrap();
    engine.stop(&container.id, Duration::ZERO).await.unwrap();
    let stopped = engine.inspect(&container.id).await.unwrap();
    assert_eq!((stopped.state, stopped.exit_code, stopped.pid), (State::Exited, Some(137), None));
    assert!(stopped.finished_at.is_some());
    engine.stop(&container.id, Duration::ZERO).await.unwrap();
    engine.start(&container.id).await.unwrap();
    engine.start(&container.id).await.unwrap();
    engine.restart(&container.id, Duration::ZERO).await.unwrap();
    assert_eq!(engine.inspect(&container.id).await.unwrap().state, State::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_46_limits_change_in_one_request_without_a_restart() {
    let container = Running::busybox(&["--memory", "64m"], &["sleep", "1000"]);
    let engine = real();
    let before = engine.inspect(&container.id).await.unwrap();
    let limits = aigis_node::engine::Limits {
        memory: Some(96 * MIB),
        memory_swap: Some(192 * MIB),
        pids_limit: Some(50),
        cpu_quota: Some(50_000),
        cpu_period: Some(100_000),
        restart_policy: Some(aigis_node::engine::RestartPolicy { name: "on-failure".to_owned(), maximum_retries: 5 }),
        ..Default::default()
    };
    engine.update(&container.id, &limits).await.unwrap();
    let after = engine.inspect(&container.id).await.unwrap();
    assert_eq!((after.memory_limit, after.pids_limit, after.limit_cpus()), (Some(96 * MIB), Some(50), Some(0.5)));
    assert_eq!((after.restart_policy.name.as_str(), after.restart_policy.maximum_retries), ("on-failure", 5));
    assert_eq!(after.started_at, before.started_at);
}
