use std::{sync::Arc, time::Duration};

use aigis_node::engine::{CheckStatus, State, watch::Watch};

use super::{heard, observed, real};
use crate::images::{Running, docker};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn ci_02_containers_come_change_and_go() {
    let watch = Watch::spawn(real());
    let mut seen = watch.observation();
    observed(&mut seen, SOON, "the engine is reachable", |all| all.engine.is_reachable()).await;
    let container = Running::busybox(&["--label", "a=b"], &["sleep", "1000"]);
    let id = container.id.clone();
    let found = observed(&mut seen, SOON, "the container runs", |all| {
        all.containers.get(&id).is_some_and(|one| one.state == State::Running)
    })
    .await;
    let one = Arc::clone(&found.containers[&id]);
    assert_eq!(one.name, container.field("{{.Name}}").trim_start_matches('/'));
    assert_eq!(one.image_id.as_deref(), Some(container.field("{{.Image}}").as_str()));
    assert_eq!(one.labels.get("a").map(String::as_str), Some("b"));

    let mut events = watch.events();
    let renamed = format!("renamed-{}", id.short());
    docker(&["rename", id.as_str(), &renamed]);
    observed(&mut seen, SOON, "the new name", |all| all.containers[&id].name == renamed).await;
    let event = heard(&mut events, &id, "rename").await;
    assert_eq!(event.name(), Some(renamed.as_str()));

    real().stop(&id, Duration::ZERO).await.unwrap();
    let stopped = observed(&mut seen, SOON, "it ended", |all| all.containers[&id].state == State::Exited).await;
    assert_eq!(stopped.containers[&id].exit_code, Some(137));
    real().start(&id).await.unwrap();
    observed(&mut seen, SOON, "it runs again", |all| all.containers[&id].state == State::Running).await;
    heard(&mut events, &id, "start").await;
    let history = watch.history(&id);
    assert_eq!(history.restarts_within(time::Duration::hours(24)), 1);
    let actions: Vec<&str> = history.events.iter().map(|event| event.action.as_str()).collect();
    assert!(actions.starts_with(&["create", "start", "rename"]), "{actions:?}");

    drop(container);
    observed(&mut seen, SOON, "it is gone", |all| !all.containers.contains_key(&id)).await;
    assert!(watch.history(&id).events.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_31_the_verdict_of_a_health_check_is_followed() {
    let watch = Watch::spawn(real());
    let mut seen = watch.observation();
    let options = ["--health-cmd", "echo NONCE; exit 1", "--health-interval", "1s", "--health-retries", "2"];
    let container = Running::busybox(&options, &["sleep", "1000"]);
    let id = container.id.clone();
    observed(&mut seen, Duration::from_secs(20), "it is unhealthy", |all| {
        all.containers.get(&id).is_some_and(|one| one.health == Some(CheckStatus::Unhealthy))
    })
    .await;
    let check = real().inspect(&id).await.unwrap().health.unwrap();
    assert_eq!(check.status, CheckStatus::Unhealthy);
    assert!(check.failing_streak >= 2);
    assert_eq!(check.last_exit_code, Some(1));
    assert!(check.last_output.unwrap().contains("NONCE"));
    assert!(check.last_checked_at.is_some());
    let history = watch.history(&id);
    assert!(history.events.iter().all(|event| !event.is_noise()));
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_45_kills_for_memory_are_counted() {
    let watch = Watch::spawn(real());
    let mut seen = watch.observation();
    observed(&mut seen, SOON, "the engine is reachable", |all| all.engine.is_reachable()).await;
    let script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=60; sleep 1";
    // An engine may miss one kill.
    let options = ["--memory", "16m", "--memory-swap", "16m", "--restart", "always"];
    let container = Running::busybox(&options, &["sh", "-c", script]);
    let id = container.id.clone();
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    while watch.history(&id).oom_kills_within(time::Duration::minutes(10)) == 0 {
        assert!(tokio::time::Instant::now() < end, "{:?}", watch.history(&id));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flt_37_a_burst_does_not_fall_behind() {
    const COUNT: usize = 300;
    let watch = Watch::spawn(real());
    let mut seen = watch.observation();
    observed(&mut seen, SOON, "the engine is reachable", |all| all.engine.is_reachable()).await;
    let image = crate::images::busybox();
    let label = format!("burst={}", std::process::id());
    let made: Vec<_> = (0..4)
        .map(|_| {
            let label = label.clone();
            tokio::task::spawn_blocking(move || {
                let make = || docker(&["create", "--label", &label, image, "true"]);
                (0..COUNT / 4).map(|_| Running { id: make().parse().unwrap() }).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut all = Vec::new();
    for some in made {
        all.extend(some.await.unwrap());
    }
    let ids: Vec<_> = all.iter().map(|one| one.id.clone()).collect();
    observed(&mut seen, SOON, "all are listed", |now| ids.iter().all(|id| now.containers.contains_key(id))).await;
    tokio::task::spawn_blocking(move || drop(all)).await.unwrap();
    observed(&mut seen, SOON, "none is listed", |now| !ids.iter().any(|id| now.containers.contains_key(id))).await;
}
