//! Who calls is what the bus says: attacks by plain NATS clients on a whole mesh, each without effect.

use std::{collections::BTreeMap, time::Duration};

use aigis_tests::{Container, Mesh, nonce, now, until};
use async_nats::{HeaderMap, Message};
use serde_json::Value;

use crate::client::Client;

const BUSYBOX: &str = "aigis-test/busybox";
/// How long something is given to not happen.
const NEVER: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(60);

fn code(answer: &Message) -> &str {
    answer.headers.as_ref().and_then(|headers| headers.get("Aigis-Error")).map_or("", |code| code.as_str())
}

/// The records of one container: others' come and go on the same engine.
fn records_of(client: &Client, name: &str) -> BTreeMap<String, (u64, String)> {
    client.records().into_iter().filter(|(key, _)| key.contains(name)).collect()
}

#[test]
fn atk_13_atk_18_atk_35_atk_36_a_viewer_is_confined_by_the_bus_itself() {
    let mesh = Mesh::up();
    let name = format!("x-{}", nonce());
    let container = Container::run(&name, &[], BUSYBOX, &["sleep", "1000"]);
    let _row = mesh.live(&name, &container.id);
    let vera = Client::of(&mesh, "vera", "viewer");
    let (since, before) = (now(), records_of(&vera, &name));
    assert_eq!(before.len(), 1, "{before:?}");

    for subject in [
        format!("aigis.v1.main.call.operator.vera.{name}.restart"),
        format!("aigis.v1.main.call.admin.vera.{name}.stop"),
        format!("aigis.v1.main.call.viewer.olga.{name}.status"),
        format!("aigis.v1.main.to.alpha.admin.vera.{name}.stop"),
        format!("aigis.v1.main.to.alpha.viewer.olga.{name}.status"),
        format!("aigis.v1.main.to.alpha.node.alpha.{name}.stop"),
        "aigis.v1.main.rpc.admin.vera.issuer.issue".to_owned(),
        "aigis.v1.main.event.audit.alpha.x".to_owned(),
        "aigis.v1.main.event.ci.alpha.x".to_owned(),
        "aigis.v1.main.log.alpha.x".to_owned(),
        format!("$KV.records.ci.{name}.alpha"),
        format!("$KV.records.ci.{name}.vera"),
        "$KV.leases.live.alpha".to_owned(),
        "$JS.API.STREAM.PURGE.KV_records".to_owned(),
        "$JS.API.STREAM.DELETE.KV_leases".to_owned(),
        "$SYS.REQ.CLAIMS.UPDATE".to_owned(),
    ] {
        vera.publish(&subject, Some("_INBOX.vera.x"), HeaderMap::new(), "{}");
        vera.refused("publish", &subject);
    }
    for subject in [
        ">",
        "aigis.v1.main.>",
        "aigis.v1.main.call.>",
        "aigis.v1.main.to.alpha.>",
        "aigis.v1.main.rpc.>",
        "_INBOX.>",
        "_INBOX.olga.>",
        "_INBOX.alpha.>",
        "$KV.>",
        "$JS.API.>",
        "$JS.>",
        "$SRV.>",
        "$SYS.>",
    ] {
        let _refused = vera.subscribe(subject);
        vera.refused("subscription", subject);
    }

    // What she may send is judged by the node: the subject's role counts, whatever else the message says.
    let mut headers = HeaderMap::new();
    headers.insert("Aigis-Role", "admin");
    headers.insert("Nats-Request-Info", r#"{"user":"adam"}"#);
    let mut inbox = vera.subscribe("_INBOX.vera.mine");
    for skill in ["restart", "stop", "exec"] {
        let body = r#"{"meta":{"role":"admin","caller":"adam"}}"#;
        let subject = format!("aigis.v1.main.call.viewer.vera.{name}.{skill}");
        vera.publish(&subject, Some("_INBOX.vera.mine"), headers.clone(), body);
        let answer = vera.next(&mut inbox, SOON).unwrap();
        assert_eq!(code(&answer), "permission_denied", "{answer:?}");
    }
    let answer = vera.request(&format!("aigis.v1.main.call.viewer.vera.{name}.status"), "{}");
    let status: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(status["container_id"], container.id.as_str(), "honest calls work meanwhile");

    let refused = until("the refusals are on record", SOON, || {
        let lines = mesh.aish(["audit", "--json", "--caller", "vera"]).good().json();
        lines.as_array().filter(|lines| lines.len() >= 3).cloned()
    });
    assert!(refused.iter().all(|line| line["phase"] == "refused" && line["role"] == "viewer"), "{refused:?}");
    assert_eq!(container.events_since(&since), [""; 0]);
    assert_eq!(records_of(&vera, &name), before);
}

#[test]
fn atk_12_atk_41_a_request_without_an_own_way_back_does_nothing() {
    let mesh = Mesh::up();
    let name = format!("x-{}", nonce());
    let container = Container::run(&name, &[], BUSYBOX, &["sleep", "1000"]);
    let _row = mesh.live(&name, &container.id);
    let (olga, vera) = (Client::of(&mesh, "olga", "operator"), Client::of(&mesh, "vera", "viewer"));
    let mut inbox = vera.subscribe("_INBOX.vera.x");
    let (since, before) = (now(), records_of(&vera, &name));

    let stolen = format!("aigis.v1.main.to.alpha.admin.adam.{name}.stop");
    let record = format!("$KV.records.ci.{name}.beta");
    let ways = [
        None,
        Some("$JS.ACK.KV_records.x.1.1.1.1.1"),
        Some("_INBOX.vera.x"),
        Some("_INBOX.olgas.x"),
        Some("aigis.v1.main.event.audit.alpha.x"),
        Some(stolen.as_str()),
        Some(record.as_str()),
    ];
    for reply in ways {
        for skill in ["restart", "status"] {
            let subject = format!("aigis.v1.main.call.operator.olga.{name}.{skill}");
            olga.publish(&subject, reply, HeaderMap::new(), "{}");
        }
    }
    let lines = until("each is on record", SOON, || {
        // Ten refusals a second have a line each; those above are counted in a later one, which this brings about.
        olga.publish(&format!("aigis.v1.main.call.operator.olga.{name}.status"), None, HeaderMap::new(), "{}");
        let lines = mesh.aish(["audit", "--json", "--caller", "olga"]).good().json();
        let told = |line: &Value| 1 + line["more"].as_u64().unwrap_or_default();
        let lines = lines.as_array().cloned().unwrap_or_default();
        (lines.iter().map(told).sum::<u64>() > 14).then_some(lines)
    });
    assert!(lines.iter().all(|line| line["phase"] == "refused"), "{lines:?}");
    assert!(lines.iter().any(|line| line["reason"].as_str().is_some_and(|why| why.contains("reply"))), "{lines:?}");
    assert!(vera.next(&mut inbox, NEVER).is_none(), "nobody gets another's answer");
    assert_eq!(container.events_since(&since), [""; 0]);
    assert_eq!(records_of(&vera, &name), before);
    let answer =
        olga.request(&format!("aigis.v1.main.call.operator.olga.{name}.restart"), r#"{"kwargs":{"grace_s":0}}"#);
    assert_eq!(code(&answer), "", "the same with an own way back: {answer:?}");
    assert!(container.events_since(&since).contains(&"restart".to_owned()));
}

#[test]
fn atk_39_atk_42_the_stores_answers_are_no_call_no_cancel_and_no_event() {
    let mesh = Mesh::up();
    let name = format!("x-{}", nonce());
    let container = Container::run(&name, &[], BUSYBOX, &["sh", "-c", "while :; do date; sleep 0.3; done"]);
    let _row = mesh.live(&name, &container.id);
    let (olga, vera) = (Client::of(&mesh, "olga", "operator"), Client::of(&mesh, "vera", "viewer"));
    let gamma = Client::of(&mesh, "gamma", "node");
    let mut heard = mesh.running(["events", "--json"]);
    let (since, before) = (now(), records_of(&vera, &name));
    let ask = |reply: &str| {
        for question in [
            format!("DIRECT.GET.KV_records.$KV.records.ci.{name}.alpha"),
            "DIRECT.GET.KV_records.$KV.records.ci.nobody.alpha".to_owned(),
            "STREAM.INFO.KV_records".to_owned(),
        ] {
            vera.publish(&format!("$JS.API.{question}"), Some(reply), HeaderMap::new(), "");
        }
    };

    // The attack is real: answers do arrive where the asker may not publish. The server drops some of those that share
    // a reply subject, so that each attack is repeated.
    let mut arrived = gamma.subscribe("aigis.v1.main.to.gamma.>");
    let mut answers = Vec::new();
    until("a record, a refusal and a description arrive", SOON, || {
        ask("aigis.v1.main.to.gamma.operator.olga._.cancel.x");
        answers.extend(std::iter::from_fn(|| gamma.next(&mut arrived, Duration::from_millis(300))));
        let has = |kind: fn(&Message) -> bool| answers.iter().any(kind);
        let record = has(|answer| String::from_utf8_lossy(&answer.payload).contains("container"));
        (record && has(|answer| answer.status.is_some()) && has(|answer| answer.headers.is_none())).then_some(())
    });
    assert!(answers.iter().all(|answer| answer.reply.is_none()), "{answers:?}");

    // A stream that its caller follows: who knows its token is still not its caller.
    let token = format!("{}{}", nonce(), "a".repeat(10));
    let mut frames = olga.subscribe(&format!("_INBOX.olga.{token}"));
    let logs = format!("aigis.v1.main.to.alpha.operator.olga.{name}.logs");
    let follow = r#"{"kwargs":{"follow":true,"tail":0}}"#;
    olga.publish(&logs, Some(&format!("_INBOX.olga.{token}")), HeaderMap::new(), follow);
    let frame = olga.next(&mut frames, SOON).unwrap();
    assert_eq!(code(&frame), "", "{frame:?}");
    vera.publish(&format!("aigis.v1.main.to.alpha.viewer.vera._.cancel.{token}"), None, HeaderMap::new(), "");
    for _ in 0..10 {
        ask(&format!("aigis.v1.main.to.alpha.operator.olga._.cancel.{token}"));
        ask(&format!("aigis.v1.main.call.operator.olga._.cancel.{token}"));
        let frame = olga.next(&mut frames, SOON).unwrap();
        assert!(!String::from_utf8_lossy(&frame.payload).contains("cancelled"), "{frame:?}");
    }
    olga.publish(&format!("aigis.v1.main.to.alpha.operator.olga._.cancel.{token}"), None, HeaderMap::new(), "");
    until("the caller itself ends it", SOON, || olga.next(&mut frames, NEVER).is_none().then_some(()));

    for reply in [
        format!("aigis.v1.main.to.alpha.admin.adam.{name}.stop"),
        format!("aigis.v1.main.call.admin.adam.{name}.stop"),
        format!("$KV.records.ci.{name}.beta"),
        "$KV.leases.live.alpha".to_owned(),
        "aigis.v1.main.event.audit.alpha.forged".to_owned(),
        "aigis.v1.main.event.ci.alpha.forged".to_owned(),
    ] {
        for _ in 0..5 {
            ask(&reply);
        }
    }
    until("an honest event is heard", SOON, || {
        gamma.publish("aigis.v1.main.event.ci.gamma.honest", None, HeaderMap::new(), "{}");
        heard.next(NEVER).filter(|line| line.contains("honest"))
    });
    for _ in 0..10 {
        ask("aigis.v1.main.event.ci.alpha.forged");
    }
    gamma.publish("aigis.v1.main.event.ci.gamma.last", None, HeaderMap::new(), "{}");
    heard.until("the last event is heard", SOON, |line| line.contains("gamma\",\"topic\":\"last").then_some(()));
    assert!(!heard.seen().iter().any(|line| line.contains("forged")), "{:?}", heard.seen());

    assert_eq!(container.events_since(&since), [""; 0]);
    assert_eq!(records_of(&vera, &name), before);
    let audit = mesh.aish(["audit", "--json", "--ci", &name]).good().json();
    assert_eq!(audit, serde_json::json!([]));
}
