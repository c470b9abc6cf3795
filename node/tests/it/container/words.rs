//! `message`: what free text runs, and what it does not.

use super::*;

async fn said(rig: &Rig, text: &str) -> Result<Value, Error> {
    match rig.run("message", json!({"text": text})).await? {
        Answer::Value(value) => Ok(value),
        Answer::Stream(_) => panic!("a stream"),
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
