//! `message`: what free text runs, and what it does not.

use std::sync::Mutex;

use aigis_proxy::{
    Code,
    dispatch::{Begun, Deed, Directory, Dispatcher, Journal, Outcome},
    subject::HandTarget,
};
use futures::future::{BoxFuture, FutureExt, ready};

use super::*;

/// A directory of one CI.
struct Only(Arc<Container>);

impl Directory for Only {
    fn find(&self, _: &HandTarget) -> Result<Arc<dyn Ci>, Error> {
        Ok(Arc::clone(&self.0) as Arc<dyn Ci>)
    }
}

/// A journal that keeps its lines in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

impl Journal for Lines {
    fn begin<'a>(&'a self, deed: Deed<'a>) -> BoxFuture<'a, Result<Begun, Error>> {
        self.add(format!("{} begins {}", deed.caller, deed.path));
        ready(Ok(Begun::Run)).boxed()
    }

    fn end<'a>(&'a self, deed: Deed<'a>, outcome: Outcome<'a>) -> BoxFuture<'a, ()> {
        self.add(format!(
            "{} ends {}",
            if !matches!(outcome, Outcome::Failed(_)) { "well" } else { "badly" },
            deed.path
        ));
        ready(()).boxed()
    }

    fn refused<'a>(&'a self, caller: &'a Caller, _: &'a str, _: &'a str) -> BoxFuture<'a, ()> {
        self.add(format!("{caller} refused"));
        ready(()).boxed()
    }
}

async fn said(rig: &Rig, text: &str) -> Result<Value, Error> {
    match rig.run("message", json!({"text": text})).await? {
        Answer::Value(value) => Ok(value),
        _ => panic!("no value"),
    }
}

fn skills(value: &Value) -> Vec<&str> {
    value["answers"].as_array().unwrap().iter().map(|one| one["skill"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_56_what_is_asked_for_is_answered_in_its_own_shape() {
    let rig = Rig::new(Running::busybox(&[], &["sh", "-c", "echo hello; exec sleep 1000"])).await;
    for (text, expected) in [
        ("What's your status?", vec!["status"]),
        ("STATUS!", vec!["status"]),
        ("are you healthy?", vec!["health"]),
        ("services and health", vec!["services", "health"]),
        ("health, services", vec!["health", "services"]),
        ("logs", vec!["logs"]),
    ] {
        let value = said(&rig, text).await.unwrap();
        assert_eq!(skills(&value), expected, "{text}");
    }
    let both = said(&rig, "services and health").await.unwrap();
    rig.check("message", &both);
    for one in both["answers"].as_array().unwrap() {
        rig.check(one["skill"].as_str().unwrap(), &one["result"]);
    }
    let text = both["text"].as_str().unwrap();
    let (services, health) = text.split_once("\n\n").unwrap();
    assert!(services.starts_with("unknown: sleep (") && health.starts_with(&rig.address()), "{text}");
    assert_eq!(said(&rig, "logs").await.unwrap()["text"], "hello\n");
    let own = format!("please show me the status of {}", rig.ci.name());
    assert_eq!(skills(&said(&rig, &own).await.unwrap()), ["status"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_55_ci_57_what_is_not_understood_runs_nothing() {
    let rig = Rig::new(Running::busybox(&[], &["sleep", "1000"])).await;
    let since = OffsetDateTime::now_utc();
    let long = "status ".repeat(200);
    for (text, reason) in [
        ("please do not optimize anything", "negated"),
        ("don't restart", "negated"),
        ("status of optimize?", "ambiguous"),
        ("status logs", "ambiguous"),
        ("status and restart", "ambiguous"),
        ("restart", "needs_yes"),
        ("please stop", "needs_yes"),
        ("exec ls", "unknown"),
        ("статус", "unknown"),
        ("状态", "unknown"),
        ("\u{1b}[31mstatus", "unknown"),
        (long.as_str(), "unknown"),
    ] {
        let error = said(&rig, text).await.unwrap_err();
        assert_eq!(error.code, aigis_proxy::Code::InvalidArgument, "{text}");
        assert_eq!(error.detail("reason"), Some(&json!(reason)), "{text}");
        assert!(error.message.contains("status") && error.message.contains("health"), "{error}");
        assert!(!error.message.contains('\u{1b}'), "{text}");
        assert!(error.detail("could_ask").is_some() && error.detail("hint_call").is_some(), "{text}");
    }
    assert_eq!(rig.events_since(since), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_something_runs_with_yes_and_the_role_and_stands_in_the_journal() {
    let rig = Rig::new(Running::busybox(&[], &["sleep", "1000"])).await;
    let journal = Lines::default();
    rig.ci.host().set_dispatcher(Dispatcher::new(Arc::new(Only(Arc::clone(&rig.ci))), Arc::new(journal.clone())));
    let said = json!({"text": "please stop", "confirm": true});
    let own = rig.ci.name().to_string();
    let since = OffsetDateTime::now_utc();
    let error = rig.run_by(Role::Viewer, "message", said.clone(), &own).await.unwrap_err();
    assert_eq!(error.code, Code::PermissionDenied, "{error}");
    assert_eq!(rig.events_since(since), Vec::<String>::new());
    let both = json!({"text": "status and stop", "confirm": true});
    assert_eq!(rig.run_as("message", both, &own).await.unwrap_err().detail("reason"), Some(&json!("ambiguous")));
    let Answer::Value(stopped) = rig.run_as("message", said, &own).await.unwrap() else { panic!("a stream") };
    assert_eq!(stopped.pointer("/answers/0/result/changed"), Some(&json!(true)), "{stopped}");
    assert_eq!(rig.running.field("{{.State.Running}}"), "false");
    let lines = journal.0.lock().unwrap().clone();
    assert_eq!(lines, ["viewer.otto refused", "operator.otto begins stop", "well ends stop"]);
}
