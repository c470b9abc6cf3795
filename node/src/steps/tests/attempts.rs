//! Attempts at a step: taken up after a restart, remembered, ended, and overtaken by later ones.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Code,
    chain::Attempt,
    identity::Credential,
    rpc,
    services::{
        chains::PushOptions,
        steps::{AssistantWork, Known, Limits, Order, Work},
    },
};
use aigis_registry::{
    Cache, Shared, Timestamp,
    shared::{Budget, ChainRecord, Key, Source, Status, StepRecord},
};

use super::place::{PATIENCE, Place};
use crate::steps::container;

#[tokio::test(flavor = "multi_thread")]
async fn chn_46_what_ran_is_taken_up_after_a_restart_and_runs_once() {
    let mut place = Place::start("alpha").await;
    let script = "for i in 1 2 3 4 5 6 7 8; do echo tick $i; sleep 1; done; echo once > /out/app/once\n";
    let work = place.assistant(script, "").await;
    let order = place.order(Work::Assistant(Box::new(work)));
    place.begin(&order).await.unwrap();
    place.begin(&order).await.unwrap();
    let (mut known, mut log) = (Known::default(), String::new());
    while !log.contains("tick 2") {
        let news =
            rpc::answered(place.client.follow(rpc::within(PATIENCE), order.attempt.clone(), known).await).unwrap();
        assert!(news.ended.is_none(), "{news:?}");
        log.push_str(std::str::from_utf8(&news.log.0).unwrap());
        known = Known { log: news.log_from + news.log.0.len() as u64, version: news.version };
    }
    place.restart().await;
    let (ended, log) = place.end_of(&order.attempt).await;
    let finished = ended.result.unwrap_or_else(|error| panic!("{error}: {log}"));
    let ticks: Vec<&str> = log.lines().filter(|line| line.starts_with("tick")).collect();
    assert_eq!(ticks.len(), 8, "{log}");
    assert_eq!(place.files(&finished.app_tree.unwrap()).await["once"], "once\n");
    // It stays as it ended, until it is forgotten.
    place.restart().await;
    place.begin(&order).await.unwrap();
    let (ended, again) = place.end_of(&order.attempt).await;
    assert!(ended.result.is_ok());
    assert_eq!(again, log);
    let Attempt { chain, step, .. } = order.attempt.clone();
    rpc::answered(place.client.forget(rpc::within(PATIENCE), chain, step, 2).await).unwrap();
    let error =
        rpc::answered(place.client.follow(rpc::within(PATIENCE), order.attempt.clone(), known).await).unwrap_err();
    assert_eq!(error.code, Code::NotFound);
    let error = place.begin(&order).await.unwrap_err();
    assert!(error.message.contains("epoch 1"), "an older epoch is refused: {error}");
    place.stop(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_27_chn_43_chn_68_what_takes_too_long_or_too_much_is_ended() {
    let place = Place::start("alpha").await;
    let slow = place.assistant("trap 'exit 0' TERM; while true; do sleep 0.1; done\n", "").await;
    let order = Order { timeout_s: 2, ..place.order(Work::Assistant(Box::new(slow.clone()))) };
    place.begin(&order).await.unwrap();
    let (ended, _) = place.end_of(&order.attempt).await;
    assert_eq!(ended.result.unwrap_err().code, Code::DeadlineExceeded);
    let order = place.order(Work::Assistant(Box::new(slow)));
    place.begin(&order).await.unwrap();
    rpc::answered(place.client.end(rpc::within(PATIENCE), order.attempt.clone(), 1).await).unwrap();
    let (ended, _) = place.end_of(&order.attempt).await;
    assert_eq!(ended.result.unwrap_err().code, Code::Cancelled);
    place.is_gone(&order.attempt).await;
    // A shell that is a container's first process is not told of TERM, and so is not waited for.
    let deaf = place.assistant("echo on; while true; do sleep 0.1; done\n", "").await;
    let order = place.order(Work::Assistant(Box::new(deaf)));
    place.begin(&order).await.unwrap();
    let name = container::name(&order.attempt);
    let until = Instant::now() + PATIENCE;
    while place.engine.find(&name).await.unwrap().is_none_or(|found| found.pid.is_none()) {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let asked = Instant::now();
    rpc::answered(place.client.end(rpc::within(PATIENCE), order.attempt.clone(), 1).await).unwrap();
    let (ended, _) = place.end_of(&order.attempt).await;
    assert_eq!(ended.result.unwrap_err().code, Code::Cancelled);
    assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
    let hog = place.assistant("x=a; while true; do x=$x$x; done\n", "").await;
    let limits = Limits { memory_bytes: Some(32 * 1024 * 1024), ..Limits::default() };
    let (ended, log) = place.run(Work::Assistant(Box::new(AssistantWork { limits, ..hog }))).await;
    let error = ended.result.unwrap_err();
    assert!(error.message.contains("killed for memory"), "{error}: {log}");
    place.stop(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_66_a_deterministic_assistant_runs_once_for_the_same_inputs() {
    let place = Place::start("alpha").await;
    let assistant = place.assistant("echo 1 > /out/app/a\n", "").await;
    let work = AssistantWork { deterministic: true, ..assistant };
    let (first, _) = place.run(Work::Assistant(Box::new(work.clone()))).await;
    let (second, _) = place.run(Work::Assistant(Box::new(work))).await;
    let (first, second) = (first.result.unwrap(), second.result.unwrap());
    assert!(!first.cached && second.cached);
    assert_eq!((first.app_tree, first.state_tree), (second.app_tree, second.state_tree));
    place.stop(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_48_a_later_attempt_ends_the_earlier_one() {
    let place = Place::start("alpha").await;
    let work = place.assistant("trap 'exit 0' TERM; while true; do sleep 0.1; done\n", "").await;
    let first = place.order(Work::Assistant(Box::new(work)));
    place.begin(&first).await.unwrap();
    let attempt = Attempt { attempt: 2, ..first.attempt.clone() };
    let second = Order { attempt, epoch: 2, ..first.clone() };
    place.begin(&second).await.unwrap();
    let (ended, _) = place.end_of(&first.attempt).await;
    assert_eq!(ended.result.unwrap_err().code, Code::Cancelled);
    assert_eq!(place.begin(&first).await.unwrap_err().code, Code::FailedPrecondition);
    let Attempt { chain, step, .. } = first.attempt;
    rpc::answered(place.client.forget(rpc::within(PATIENCE), chain, step, 2).await).unwrap();
    assert!(place.engine.find(&container::name(&second.attempt)).await.unwrap().is_none());
    place.stop(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_48_a_place_learns_from_the_journal_that_its_attempt_is_stale() {
    let place = Place::start("alpha").await;
    let work = place.assistant("trap 'exit 0' TERM; while true; do sleep 0.1; done\n", "").await;
    let order = place.order(Work::Assistant(Box::new(work)));
    place.begin(&order).await.unwrap();
    let Attempt { chain, step, .. } = order.attempt.clone();
    let now = Timestamp::now();
    let home = &place.options.home;
    let credential = home.credential(&place.options.node.user());
    let credential = Credential::read(&credential, home.read_issuer().unwrap().as_ref()).unwrap();
    let bus = place.node.as_ref().unwrap().bus();
    let cache = Cache::open(bus, Some(place.options.node.clone()), PATIENCE).await.unwrap();
    let shared = Shared::of_node(bus, &cache, credential);
    let budget = Budget { max_steps: 50, max_time_s: 60, used_steps: 0, used_time_s: 0 };
    let record = ChainRecord {
        id: chain.clone(),
        app: order.app.clone(),
        created_at: now,
        created_by: place.person.name().clone(),
        mandate: order.mandate.clone(),
        source: Source { tree: None, from: "test".to_owned() },
        status: Status::Running,
        status_reason: String::new(),
        step,
        next: Some("local:probe".to_owned()),
        app_tree: None,
        state_tree: None,
        budget,
        on: Vec::new(),
        options: PushOptions::default(),
        queued_behind: None,
        assistants: Default::default(),
        hold: None,
        question: None,
        answers: BTreeMap::new(),
        holder: None,
        epoch: 1,
        cancelled_by: None,
        error: None,
        ended_at: None,
        updated_at: now,
    };
    shared.create(&Key::Chain(chain.clone()), &record).await.unwrap().unwrap();
    let journal = serde_json::json!({
        "n": step, "attempt": 2, "assistant": "local:probe", "assistant_digest": null, "node": "beta", "status": "running",
        "in": { "app": null, "state": null }, "started_at": now,
    });
    let journal: StepRecord = serde_json::from_value(journal).unwrap();
    shared.create(&Key::Step(chain.clone(), step), &journal).await.unwrap().unwrap();
    let (ended, _) = place.end_of(&order.attempt).await;
    assert_eq!(ended.result.unwrap_err().code, Code::Cancelled);
    place.is_gone(&order.attempt).await;
    place.stop(&[]).await;
}
