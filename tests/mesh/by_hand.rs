//! Calls by hand, from any NATS client, mean what calls by `aish` mean.

use aigis_tests::{Container, Mesh, nonce, until};
use serde_json::Value;
use std::time::Duration;

use crate::client::Client;

const BUSYBOX: &str = "aigis-test/busybox";

/// Takes out what is measured anew at each call.
fn settled(mut answer: Value) -> Value {
    for measured in ["observed_at", "uptime_s", "pids", "cpu", "memory"] {
        answer.as_object_mut().unwrap().remove(measured);
    }
    answer
}

#[test]
fn ci_77_a_request_by_hand_is_answered_as_a_call_by_aish() {
    let mesh = Mesh::up();
    let name = format!("x-{}", nonce());
    let container = Container::run(&name, &[], BUSYBOX, &["sleep", "1000"]);
    let _row = mesh.live(&name, &container.id);
    let file = mesh.user("olga", "operator");
    let olga = Client::log_in(&mesh, "olga", &file);
    let by_aish = mesh.aish(["--creds", &file, "call", &format!("{name}.status"), "--json"]).good().json();
    assert_eq!(by_aish["container_id"], container.id.as_str());

    for (target, body) in [
        (name.clone(), r#"{"args":[],"kwargs":{}}"#),
        (name.clone(), ""),
        (format!("{name}@alpha"), "{}"),
        (format!("{name}-ci"), r#"{"meta":{"timeout_ms":10000}}"#),
    ] {
        let answer = olga.request(&format!("aigis.v1.main.call.operator.olga.{target}.status"), body);
        assert!(answer.headers.is_none(), "{answer:?}");
        let by_hand: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert!(by_hand["memory"].is_object() && by_hand["observed_at"].is_string(), "{by_hand}");
        assert_eq!(settled(by_hand), settled(by_aish.clone()), "{target} {body}");
    }

    let wrong = olga.request(&format!("aigis.v1.main.call.operator.olga.{name}.nosuch"), "{}");
    assert_eq!(wrong.headers.unwrap().get("Aigis-Error").unwrap().as_str(), "not_found");

    // A second node over the same engine: each container stands on both, and the bare name is nobody's.
    let beta = mesh.joined("beta");
    until("both nodes list it", Duration::from_secs(20), || {
        let rows = mesh.rows(&[]);
        let live = rows.iter().filter(|row| row["name"] == name.as_str() && row["state"] == "live");
        (live.count() == 2).then_some(())
    });
    let since = aigis_tests::now();
    for skill in ["status", "restart"] {
        let subject = format!("aigis.v1.main.call.operator.olga.{name}.{skill}");
        let answer = until("the bare name is known to be ambiguous", Duration::from_secs(20), || {
            // A node that has not yet heard of the other may answer a `status`, but nothing else is risked.
            let answer = olga.request(&subject, "{}");
            answer.headers.is_some().then_some(answer)
        });
        assert_eq!(answer.headers.unwrap().get("Aigis-Error").unwrap().as_str(), "failed_precondition");
        let error: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(error["code"], "failed_precondition");
        let text = error.to_string();
        assert!(text.contains(&format!("{name}@alpha")) && text.contains(&format!("{name}@beta")), "{text}");
    }
    for node in ["alpha", "beta"] {
        let answer = olga.request(&format!("aigis.v1.main.call.operator.olga.{name}@{node}.status"), "{}");
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!((&answer["node"], &answer["container_id"]), (&node.into(), &container.id.as_str().into()));
    }
    assert_eq!(container.events_since(&since), [""; 0]);
    drop(beta);
}
