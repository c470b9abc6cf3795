//! A node's key in the hands of a plain client: ATK-48 to ATK-54.

use std::time::{Duration, Instant};

use aigis_tests::{Cases, until};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::{
    wire::{NEVER, PROMPT, SOON, Said, Wire},
    world::{BUSYBOX, World},
};

const C: &str = "aigis.v1.main";
/// What a lease grants, and as much again.
const LEASE: Duration = Duration::from_secs(32);

/// Seals a record, as any writer must.
fn sealed(content: &Value) -> Vec<u8> {
    let content = content.to_string();
    let hex: String = digest(&SHA256, content.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{{\"digest\":\"{hex}\",\"content\":{content}}}").into_bytes()
}

/// Now, as records have it.
fn stamp() -> String {
    let output = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%3NZ"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Makes a node of a plain client: its record, a CI of its own, and a sign of life.
pub(crate) fn appears(wire: &mut Wire, cis: &[&str], ttl: bool) {
    let (name, now) = (wire.name().to_owned(), stamp());
    let node = json!({"name": name, "id": "U", "version": "0.1.0", "started_at": now, "updated_at": now});
    let mut writes = vec![(format!("$KV.records.node.{name}"), node)];
    for ci in cis {
        let skills = json!([{"path": "status", "effect": "read"}, {"path": "restart", "effect": "write"}]);
        let record = json!({
            "name": ci, "node": name, "server": name, "kind": "wrapped", "skills": skills,
            "registered_at": now, "updated_at": now,
        });
        writes.push((format!("$KV.records.ci.{ci}.{name}"), record));
    }
    for (subject, record) in writes {
        let answer = wire.request_with(&subject, "", &sealed(&record)).json();
        assert!(answer["seq"].is_u64(), "{subject}: {answer}");
    }
    lives(wire, 1, ttl);
}

/// Renews a lease.
pub(crate) fn lives(wire: &mut Wire, counter: u64, ttl: bool) {
    let name = wire.name().to_owned();
    let lease = json!({"boot": "b", "counter": counter, "since_at": stamp(), "goodbye": false});
    let headers = if ttl { "Nats-TTL: 15s" } else { "" };
    let answer = wire.request_with(&format!("$KV.leases.live.{name}"), headers, lease.to_string().as_bytes()).json();
    assert!(answer["seq"].is_u64(), "{answer}");
}

#[test]
fn atk_48_a_node_writes_nothing_as_another() {
    let world = World::up();
    let web = world.name.as_str();
    let mut gamma = world.user("gamma", "node");
    let since = aigis_tests::now();
    let mut cases = Cases::of("ATK-48");
    let mut writes: Vec<String> = [
        format!("$KV.records.ci.{web}.alpha"),
        "$KV.records.ci.alpha.alpha".to_owned(),
        "$KV.records.node.alpha".to_owned(),
        "$KV.records.bus.x.alpha".to_owned(),
        "$KV.records.claim.roll.alpha".to_owned(),
        "$KV.records.user.adam.alpha".to_owned(),
        "$KV.records.token.t.alpha".to_owned(),
        "$KV.records.removed.alpha.alpha".to_owned(),
        format!("$KV.records.ci.{web}.x.gamma"),
        "$KV.records.gamma".to_owned(),
        "$KV.records.ci.*.alpha".to_owned(),
        "$KV.leases.live.alpha".to_owned(),
        "$KV.leases.live.gamma.alpha".to_owned(),
        "$KV.leases.gamma".to_owned(),
        format!("{C}.log.alpha.node"),
    ]
    .into();
    for kind in ["audit", "ci", "node", "other"] {
        writes.push(format!("{C}.event.{kind}.alpha.x"));
        writes.push(format!("{C}.event.{kind}"));
    }
    gamma.is_refused(&mut cases, &writes, &[]);
    world.on_record("gamma", "bus.publish", writes.len());
    // What it may write in its own name counts as the issuer's word for nobody.
    let user = json!({
        "name": "zoe", "role": "admin", "public_key": "U", "issued_at": stamp(), "expires_at": "2099-01-01T00:00:00.000Z",
    });
    let removal = json!({"node": "alpha", "by": "adam", "at": stamp()});
    let revoked = json!({
        "name": "olga", "role": "operator", "public_key": "U", "issued_at": stamp(),
        "expires_at": "2099-01-01T00:00:00.000Z", "revoked_at": stamp(),
    });
    let _olga = world.mesh.user("olga", "operator");
    for (key, record) in [("user.zoe", user), ("user.olga", revoked), ("removed.alpha", removal)] {
        cases.case(format!("{key}.gamma"), || {
            let answer = gamma.request_with(&format!("$KV.records.{key}.gamma"), "", &sealed(&record)).json();
            assert!(answer["seq"].is_u64(), "{answer}");
        });
    }
    cases.within(PROMPT);
    let users = world.mesh.aish(["users", "list", "--json"]).json();
    let of = |name: &str| {
        users.as_array().unwrap().iter().find(|user| user["name"] == name).map(|user| user["state"].clone())
    };
    assert_eq!((of("zoe"), of("olga")), (None, Some("valid".into())), "{users}");
    let row = world.mesh.row(web).unwrap();
    assert_eq!(row["state"], "live", "its node was not removed: {row}");
    assert_eq!(world.web.events_since(&since), [""; 0]);
}

#[test]
fn atk_49_a_second_claim_makes_a_conflict_and_takes_nothing() {
    let world = World::up();
    let mesh = &world.mesh;
    let solo = format!("solo-{}", aigis_tests::nonce());
    let wrapped = mesh.wrap(["-n", solo.as_str(), "--", "cat"]);
    let mut gamma = world.user("gamma", "node");
    let mut cases = Cases::of("ATK-49");
    gamma.subscribe(&format!("{C}.to.gamma.>"));
    assert_eq!(gamma.settle(), []);
    let mut counter = 1;
    appears(&mut gamma, &[&solo], true);
    cases.case("the bare name means nobody", || {
        let ran = until("it is a conflict", SOON, || {
            counter += 1;
            lives(&mut gamma, counter, true);
            let ran = mesh.aish([solo.as_str(), "hello"]);
            (ran.code == 68).then_some(ran)
        });
        assert!(
            ran.stderr.contains(&format!("{solo}@alpha")) && ran.stderr.contains(&format!("{solo}@gamma")),
            "{ran:?}"
        );
        assert!(ran.stdout.is_empty(), "{ran:?}");
    });
    assert_eq!(gamma.settle(), [], "nothing was asked of the forger");
    cases.case("the true one answers by its address", || {
        let ran = mesh.aish([&format!("{solo}@alpha"), "hello"]).good();
        assert_eq!(ran.stdout.trim(), "hello");
    });
    cases.case("the other one too", || {
        let asked = mesh.running(["call", &format!("{solo}@gamma.status"), "--timeout", "5s", "--json"]);
        let heard = match gamma.next(SOON) {
            Some(Said::Message(heard)) => heard,
            other => panic!("{other:?}"),
        };
        assert!(heard.subject.contains(&format!(".{solo}.status")), "{heard:?}");
        drop(asked);
    });
    drop(wrapped);
}

#[test]
fn atk_50_a_node_acts_on_no_other_ones_cis() {
    let world = World::up();
    let mut gamma = world.user("gamma", "node");
    let before = world.before();
    let mut cases = Cases::of("ATK-50");
    let web = world.name.clone();
    let mut skills: Vec<String> =
        ["start", "stop", "restart", "exec", "optimize.apply"].map(|skill| format!("{web}.{skill}")).into();
    skills.extend(["cordon", "uncordon", "drain", "label"].map(|skill| format!("alpha.{skill}")));
    let mandates = [
        "{}",
        r#"{"meta":{"mandate":{"name":"adam","role":"admin"},"role":"admin"}}"#,
        r#"{"kwargs":{"mandate":"adam","on_behalf_of":"adam"}}"#,
    ];
    for skill in &skills {
        for body in mandates {
            for subject in [format!("{C}.to.alpha.node.gamma.{skill}"), format!("{C}.call.node.gamma.{skill}")] {
                cases.refusal(format!("{subject} {body}"), || {
                    let answer = gamma.request(&subject, body);
                    assert_eq!(answer.code(), "permission_denied", "{answer:?}");
                });
            }
        }
    }
    // A container that bears its name is not its own.
    let by_node = format!("{C}.call.node.gamma.{web}@alpha.stop");
    cases.refusal(&by_node, || assert_eq!(gamma.request(&by_node, "{}").code(), "permission_denied"));
    let elsewhere = format!("{C}.to.alpha.node.gamma.{web}@gamma.stop");
    cases.refusal(&elsewhere, || assert_ne!(gamma.request(&elsewhere, "{}").code(), ""));
    cases.within(PROMPT);
    world.on_record("gamma", "stop", 1);
    world.is_as(&before);
}

#[test]
fn atk_51_a_node_hears_no_call_that_is_anothers() {
    let world = World::up();
    let mesh = &world.mesh;
    let mut gamma = world.user("gamma", "node");
    let olga = mesh.user("olga", "operator");
    let mut cases = Cases::of("ATK-51");
    gamma.is_refused(
        &mut cases,
        &[],
        &["aigis.v1.main.to.alpha.>", "aigis.v1.main.to.*.>", "aigis.v1.main.rpc.*.*.alpha.>"],
    );
    world.on_record("gamma", "bus.subscribe", 3);
    for ear in ["aigis.v1.main.call.*.*.*.>".to_owned(), format!("{C}.call.*.*.{}.>", world.name)] {
        gamma.subscribe(&ear);
    }
    assert_eq!(gamma.settle(), []);
    // What aish asks, over the bus and over the socket.
    for at in ["the socket", "the bus"] {
        for words in [
            vec![world.name.as_str(), "status"],
            vec!["call", &format!("{}.health", world.name)],
            vec!["describe", &world.name],
            vec!["logs", &world.name],
            vec!["alpha", "status"],
            vec!["exec", &world.name, "--", "sh", "-c", "true"],
        ] {
            let file = if words[0] == "exec" { None } else { Some(olga.as_str()) };
            cases.case(format!("{words:?} over {at}"), || {
                let creds: Vec<&str> = file.map_or_else(Vec::new, |file| vec!["--creds", file]);
                assert_eq!(mesh.aish([creds, words.clone()].concat()).code, 0, "{words:?}");
            });
        }
        let _ = std::fs::remove_file(mesh.path().join("node.sock"));
    }
    assert_eq!(gamma.settle(), [], "none of it was heard");
    let mut by_hand = Wire::log_in(mesh, "olga", &olga);
    by_hand.publish(&format!("{C}.call.operator.olga.{}.status", world.name), Some("_INBOX.olga.x"), "", b"{}");
    assert!(matches!(gamma.next(SOON), Some(Said::Message(_))), "a call by hand is heard by all nodes, as it is said");
}

#[test]
fn atk_52_who_empties_the_leases_kills_nobody() {
    let world = World::up();
    let mesh = &world.mesh;
    let mut gamma = world.user("gamma", "node");
    let mut cases = Cases::of("ATK-52");
    appears(&mut gamma, &[], true);
    let mut watch = mesh.running(["list", "--watch", "--json", "--node", "alpha"]);
    watch.until("the watch has begun", SOON, |line| line.contains(&world.name).then_some(()));
    for round in 0..5 {
        cases.case(format!("round {round}"), || {
            let lease = json!({"boot": "b", "counter": round + 2, "since_at": stamp(), "goodbye": false}).to_string();
            let answer = gamma
                .request_with("$KV.leases.live.gamma", "Nats-TTL: 15s\r\nNats-Rollup: all", lease.as_bytes())
                .json();
            let emptied = answer["seq"].is_u64();
            println!("round {round}: {answer}");
            let begun = Instant::now();
            // The row grants 5 s; twice that on a machine that does much else.
            until("the lease of alpha is there again", Duration::from_secs(10), || {
                let found = gamma.request("$JS.API.DIRECT.GET.KV_leases.$KV.leases.live.alpha", "");
                found.headers.starts_with("NATS/1.0\r\n").then_some(())
            });
            println!("emptied: {emptied}; back after {:?}", begun.elapsed());
            let row = mesh.row(&world.name).unwrap();
            assert!(row["state"] != "offline" && row["state"] != "gone", "{row}");
        });
    }
    let told = |line: &str| line.contains("emptied its bucket") && line.contains("live.gamma");
    assert!(mesh.log().lines().any(told), "the node says who it was: {}", mesh.log());
    while let Some(line) = watch.next(NEVER) {
        assert!(!line.contains("offline") && !line.contains("gone"), "{line}");
    }
}

#[test]
fn atk_53_a_lease_without_end_keeps_no_dead_node_alive() {
    let world = World::up();
    let mesh = &world.mesh;
    let mut gamma = world.user("gamma", "node");
    let mut cases = Cases::of("ATK-53");
    let ghost = format!("ghost-{}", aigis_tests::nonce());
    appears(&mut gamma, &[&ghost], false);
    let mut watch = mesh.running(["list", "--watch", "--json", "--node", "gamma"]);
    let begun = Instant::now();
    cases.case("a lease without a lifetime", || {
        watch.until("it is offline", LEASE + Duration::from_secs(35), |line| line.contains("offline").then_some(()));
    });
    println!("offline after {:?}", begun.elapsed());
    let found = gamma.request("$JS.API.DIRECT.GET.KV_leases.$KV.leases.live.gamma", "");
    assert!(found.headers.starts_with("NATS/1.0\r\n"), "and the key is still there: {found:?}");
}

#[test]
fn atk_54_nobody_disturbs_other_readers() {
    let world = World::up();
    let mesh = &world.mesh;
    let users = [("gamma", "node"), ("vera", "viewer")];
    let mut wires = users.map(|(name, role)| (world.user(name, role), name));
    let mut watch = mesh.running(["list", "--watch", "--json", "--node", "alpha"]);
    watch.until("the watch has begun", SOON, |line| line.contains(&world.name).then_some(()));
    let mut cases = Cases::of("ATK-54");
    for (wire, name) in &mut wires {
        let mut asked = Vec::new();
        for stream in ["KV_records", "KV_leases", "AUDIT", "LOGS"] {
            for verb in [
                "CONSUMER.NAMES.{}",
                "CONSUMER.LIST.{}",
                "CONSUMER.DELETE.{}.x",
                "CONSUMER.RESET.{}.x",
                "CONSUMER.PAUSE.{}.x",
                "CONSUMER.MSG.NEXT.{}.x",
                "CONSUMER.DURABLE.CREATE.{}.x",
                "CONSUMER.UNPIN.{}.x",
            ] {
                asked.push(format!("$JS.API.{}", verb.replace("{}", stream)));
            }
        }
        wire.is_refused(&mut cases, &asked, &[]);
        world.on_record(name, "bus.publish", asked.len());
        // How many readers there are is seen, and none of their names, without which none can be redefined.
        let info = wire.request("$JS.API.STREAM.INFO.KV_records", "").json();
        assert!(info["state"]["consumer_count"].as_u64() >= Some(1), "{info}");
        assert!(!info.to_string().contains("consumer_names"), "{info}");
    }
    cases.within(PROMPT);
    let more = aigis_tests::Container::run(&format!("y-{}", aigis_tests::nonce()), &[], BUSYBOX, &["sleep", "1000"]);
    watch.until("the watch goes on", SOON, |line| line.contains(&more.name).then_some(()));
}
