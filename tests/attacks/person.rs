//! Persons of the mesh who want more than their role: ATK-35 to ATK-47.

use std::time::{Duration, Instant};

use aigis_tests::{Cases, nonce};
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::{
    wire::{NEVER, PROMPT, Papers, SOON, Said, Wire, token},
    world::World,
};

const C: &str = "aigis.v1.main";
/// What a body or a header may say of who calls.
const CLAIMS: [(&str, &str); 6] = [
    ("", r#"{"meta":{"role":"admin","caller":"adam"}}"#),
    ("", r#"{"meta":{"role":"admin","caller":"adam","user":"adam","identity":{"role":"admin"}}}"#),
    ("Aigis-Role: admin\r\nAigis-Caller: adam", "{}"),
    ("Nats-Request-Info: {\"acc\":\"main\",\"user\":\"adam\",\"name\":\"adam\"}", "{}"),
    ("Authorization: Bearer x\r\nX-Forwarded-User: adam", "{}"),
    ("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "{}"),
];

/// Calls a skill in both forms, and is denied by the callee.
fn is_denied(cases: &mut Cases, wire: &mut Wire, role: &str, skill: &str, headers: &str, body: &str) {
    let name = wire.name().to_owned();
    for subject in [format!("{C}.call.{role}.{name}.{skill}"), format!("{C}.to.alpha.{role}.{name}.{skill}")] {
        cases.refusal(format!("{subject} {headers} {body}"), || {
            let answer = wire.request_with(&subject, headers, body.as_bytes());
            assert_eq!(answer.code(), "permission_denied", "{subject}: {answer:?}");
        });
    }
}

#[test]
fn atk_35_atk_40_a_viewer_changes_nothing_whoever_it_says_it_is() {
    let world = World::up();
    let mut vera = world.user("vera", "viewer");
    let before = world.before();
    let mut cases = Cases::of("ATK-35");
    let web = world.name.clone();
    let mut asked = 0;
    for skill in ["start", "stop", "restart", "exec", "optimize.apply"] {
        for (headers, body) in CLAIMS {
            is_denied(&mut cases, &mut vera, "viewer", &format!("{web}.{skill}"), headers, body);
            asked += 2;
        }
    }
    for skill in ["cordon", "uncordon", "drain", "label"] {
        is_denied(&mut cases, &mut vera, "viewer", &format!("alpha.{skill}"), "", "{}");
    }
    for text in ["restart", "stop web now", "please stop", "exec rm -rf /", "apply the proposal", "drain"] {
        for body in [json!({"args": [text]}), json!({"args": [text], "kwargs": {"yes": true}})] {
            cases.case(format!("the message {body}"), || {
                let subject = format!("{C}.call.viewer.vera.{web}.message");
                let answer = vera.request(&subject, &body.to_string());
                assert!(
                    !answer.code().is_empty() || answer.json()["ran"].as_array().is_none_or(Vec::is_empty),
                    "{answer:?}"
                );
            });
        }
    }
    cases.within(PROMPT);
    let lines = world.audit("vera");
    assert!(lines.iter().all(|line| line["phase"] == "refused" && line["role"] == "viewer"), "{lines:?}");
    let told: u64 = lines.iter().map(|line| 1 + line["more"].as_u64().unwrap_or_default()).sum();
    // Ten a second have a line each; the rest is told by a later one.
    assert!(told >= 10, "{asked} were asked: {lines:?}");
    world.is_as(&before);
}

/// What only admins may ask of the issuer.
fn deeds(key: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("users.create", json!({"Issue": {"name": "zoe", "role": "admin", "public_key": key}})),
        ("users.create", json!({"Issue": {"name": "alpha", "role": "node", "public_key": key}})),
        ("users.revoke", json!({"Revoke": {"name": "adam"}})),
        ("users.revoke", json!({"Revoke": {"name": "nobody"}})),
        ("users.grant", json!({"Grant": {"name": "plug", "grants": ["alpha:write"]}})),
        ("nodes.remove", json!({"RemoveNode": {"node": "alpha"}})),
        ("nodes.remove", json!({"RemoveNode": {"node": "nowhere"}})),
        (
            "tokens.create",
            json!({"CreateToken": {"public_key": key, "wanted": {"role": "admin", "name": null, "ttl_s": 60, "uses": 1}}}),
        ),
        ("tokens.revoke", json!({"RevokeToken": {"id": "token-1"}})),
    ]
}

/// What only a node may ask of the issuer, and only for what it hosts.
fn hosted(key: &str) -> Vec<Value> {
    let host = |name| json!({"HostPlugin": {"name": name, "public_key": key, "grants": ["alpha:write"]}});
    let end = |name| json!({"EndPlugin": {"name": name}});
    let mut requests: Vec<Value> = ["core-alpha", "plug", "adam", "alpha"].map(host).to_vec();
    requests.extend(["core-alpha", "plug", "adam", "alpha"].map(end));
    requests
}

#[test]
fn atk_37_atk_38_nobody_but_admins_is_served_by_the_issuer() {
    let world = World::up();
    let _adam = world.mesh.user("adam", "admin");
    let users = [("vera", "viewer"), ("olga", "operator"), ("plug", "plugin"), ("gamma", "node")];
    let mut wires = users.map(|(name, role)| (world.user(name, role), name, role));
    let before = world.before();
    let mut cases = Cases::of("ATK-37");
    let key = KeyPair::new_user().public_key();
    for (wire, name, role) in &mut wires {
        for (_, request) in deeds(&key) {
            cases.refusal(format!("{name}: {request}"), || {
                let body = json!({"request": request}).to_string();
                let answer = wire.request(&format!("{C}.rpc.{role}.{name}.alpha.users"), &body);
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(text.contains("permission_denied") && text.contains("needs the role admin"), "{text}");
                // Whether there is such a user, node or token is not said.
                assert!(
                    !text.contains("no user") && !text.contains("no node") && !text.contains("no join token"),
                    "{text}"
                );
            });
        }
        for request in hosted(&key) {
            cases.refusal(format!("{name}: {request}"), || {
                let body = json!({"request": request}).to_string();
                let answer = wire.request(&format!("{C}.rpc.{role}.{name}.alpha.users"), &body);
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(text.contains("permission_denied") && text.contains("is no plugin that"), "{text}");
                assert!(!text.contains("no user"), "{text}");
            });
        }
        world.on_record(name, "users.create", 1);
        let lines = world.audit(name);
        assert!(lines.iter().all(|line| line["phase"] == "refused" && line["role"] == *role), "{lines:?}");
    }
    cases.within(PROMPT);
    let mut cases = Cases::of("ATK-38");
    let (olga, ..) = &mut wires[1];
    for skill in [format!("{}.exec", world.name), "alpha.drain".to_owned(), "alpha.cordon".to_owned()] {
        is_denied(&mut cases, olga, "operator", &skill, "", r#"{"kwargs":{"command":["true"]}}"#);
    }
    cases.within(PROMPT);
    world.is_as(&before);
}

#[test]
fn atk_39_anothers_call_stays_anothers() {
    let world = World::with(&[], &["sh", "-c", "while true; do echo on; sleep 0.2; done"]);
    let mut adam = world.user("adam", "admin");
    let mut olga = world.user("olga", "operator");
    let mut cases = Cases::of("ATK-39");
    let web = world.name.clone();
    olga.is_refused(
        &mut cases,
        &[
            format!("{C}.to.alpha.admin.adam._.cancel.x"),
            format!("{C}.call.admin.adam._.cancel.x"),
            format!("{C}.to.alpha.operator.adam._.credit.x"),
        ],
        &["_INBOX.adam.>", "_INBOX.adam.r1", "aigis.v1.main.tunnel.adam.>", "aigis.v1.main.tunnel.adam.x"],
    );
    // A stream of adam's: who knows its token is not its caller.
    let reply = adam.ask(&format!("{C}.to.alpha.admin.adam.{web}.logs"), "", br#"{"kwargs":{"follow":true,"tail":0}}"#);
    let token = reply.rsplit_once('.').unwrap().1.to_owned();
    assert_eq!(adam.answer(&reply, SOON).unwrap().header("Aigis-Stream"), "1");
    for subject in [
        format!("{C}.to.alpha.operator.olga._.cancel.{token}"),
        format!("{C}.call.operator.olga._.cancel.{token}"),
        format!("{C}.to.alpha.operator.olga._.credit.{token}"),
    ] {
        cases.case(&subject, || {
            olga.publish(&subject, Some("_INBOX.olga.x"), "", b"-1");
            assert_eq!(olga.settle(), []);
        });
    }
    for _ in 0..5 {
        let frame = adam.answer(&reply, SOON).unwrap().json();
        assert!(frame["error"].is_null() && frame["end"].is_null(), "{frame}");
    }
    adam.publish(&format!("{C}.to.alpha.admin.adam._.cancel.{token}"), None, "", b"");

    // The same call id by another caller is another call, with an answer of its own.
    let before = world.web.inspect()["State"]["StartedAt"].clone();
    let id = nonce();
    let body = json!({"kwargs": {"grace_s": 0}, "meta": {"call": id}}).to_string();
    let first = adam.request(&format!("{C}.call.admin.adam.{web}.restart"), &body);
    assert_eq!(first.code(), "", "{first:?}");
    let once = world.web.inspect()["State"]["StartedAt"].clone();
    assert_ne!(once, before);
    cases.case("adam's call id with olga's arguments", || {
        let other = json!({"kwargs": {"grace_s": 1}, "meta": {"call": id}}).to_string();
        let answer = olga.request(&format!("{C}.call.operator.olga.{web}.restart"), &other);
        assert_eq!(answer.code(), "", "{answer:?}");
    });
    cases.case("adam's own again is answered from memory", || {
        let since = aigis_tests::now();
        let again = adam.request(&format!("{C}.call.admin.adam.{web}.restart"), &body);
        assert_eq!(again.body, first.body);
        assert_eq!(world.web.events_since(&since), [""; 0]);
    });
    world.on_record("olga", "bus.publish", 3);
}

#[test]
fn atk_43_nobody_breaks_the_store() {
    let world = World::up();
    let mut adam = world.user("adam", "admin");
    let mut gamma = world.user("gamma", "node");
    let before = world.before();
    let mut cases = Cases::of("ATK-43");
    let mut verbs: Vec<String> = Vec::new();
    for stream in ["KV_records", "KV_leases", "AUDIT"] {
        for verb in [
            "STREAM.CREATE",
            "STREAM.UPDATE",
            "STREAM.DELETE",
            "STREAM.PURGE",
            "STREAM.SNAPSHOT",
            "STREAM.RESTORE",
            "STREAM.MSG.DELETE",
            "STREAM.MSG.GET",
            "STREAM.PEER.REMOVE",
            "STREAM.LEADER.STEPDOWN",
            "CONSUMER.NAMES",
            "CONSUMER.LIST",
            "CONSUMER.DELETE",
            "CONSUMER.DURABLE.CREATE",
            "CONSUMER.MSG.NEXT",
            "CONSUMER.PAUSE",
        ] {
            let rest = if verb.starts_with("CONSUMER.") && verb.contains("DELETE") { ".x" } else { "" };
            verbs.push(format!("$JS.API.{verb}.{stream}{rest}"));
        }
    }
    verbs.extend(
        ["STREAM.LIST", "STREAM.NAMES", "META.LEADER.STEPDOWN", "SERVER.REMOVE", "ACCOUNT.PURGE.x", "INFO"]
            .map(|verb| format!("$JS.API.{verb}")),
    );
    for wire in [&mut adam, &mut gamma] {
        wire.is_refused(&mut cases, &verbs, &[]);
        let name = wire.name().to_owned();
        world.on_record(&name, "bus.publish", verbs.len());
    }
    // With a key of its own, a node could empty a bucket that allowed it.
    for rollup in ["all", "sub"] {
        cases.case(format!("Nats-Rollup: {rollup}"), || {
            let answer = gamma.request_with("$KV.records.node.gamma", &format!("Nats-Rollup: {rollup}"), b"{}").json();
            assert_eq!(answer["error"]["err_code"], 10111, "{answer}");
        });
    }
    for marker in ["DEL", "PURGE"] {
        cases.case(format!("KV-Operation: {marker} on another's key"), || {
            gamma.publish(
                &format!("$KV.records.ci.{}.alpha", world.name),
                None,
                &format!("KV-Operation: {marker}"),
                b"",
            );
            assert!(matches!(gamma.settle().as_slice(), [Said::Error(words)] if words.contains("Violation")));
        });
    }
    cases.within(PROMPT);
    world.is_as(&before);
}

#[test]
fn atk_44_typed_services_outlive_hostile_bodies() {
    let world = World::up();
    let mut adam = world.user("adam", "admin");
    let mut cases = Cases::of("ATK-44");
    let renew = r#""Renew":{}"#;
    let bodies: Vec<(Vec<u8>, &str)> = vec![
        (br#"{"timeout_ms":18446744073709551615,"request":{"Burn":{}}}"#.to_vec(), "unimplemented"),
        (br#"{"timeout_ms":1e300,"request":{"Burn":{}}}"#.to_vec(), "unimplemented"),
        (
            br#"{"context":{"deadline":{"secs":18446744073709551615,"nanos":4294967295}},"request":"x"}"#.to_vec(),
            "unimplemented",
        ),
        (format!("{{\"timeout_ms\":-1,\"request\":{{{renew}}}}}").into_bytes(), "invalid_argument"),
        (format!("{{\"request\":{{{renew},{renew}}}}}").into_bytes(), "invalid_argument"),
        (br#"{"request":{"Issue":{"name":"*","role":"admin","public_key":"U"}}}"#.to_vec(), "invalid_argument"),
        (br#"{"request":{"Issue":{"name":"a.b","role":"admin","public_key":"U"}}}"#.to_vec(), "invalid_argument"),
        (br#"{"request":{"Issue":{"name":"zoe","role":"root","public_key":"U"}}}"#.to_vec(), "invalid_argument"),
        (br#"{"request":{"Issue":{"name":"zoe"}}}"#.to_vec(), "invalid_argument"),
        (br#"{"request":{"Revoke":{"name":["zoe"]}}}"#.to_vec(), "invalid_argument"),
        (br#"{"request":null}"#.to_vec(), "invalid_argument"),
        (b"{}".to_vec(), "invalid_argument"),
        (b"[".repeat(100_000), "invalid_argument"),
        (vec![0xff; 1024 * 1024 - 1024], "invalid_argument"),
        (vec![0; 4096], "invalid_argument"),
        (b"\x01".repeat(64), "invalid_argument"),
        (Vec::new(), "invalid_argument"),
    ];
    for (body, code) in &bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        cases.refusal(&shown, || {
            let answer = adam.request_with(&format!("{C}.rpc.admin.adam.alpha.users"), "", body);
            assert_eq!(answer.code(), *code, "{shown}: {answer:?}");
        });
    }
    let honest = adam.request(&format!("{C}.rpc.admin.adam.alpha.users"), &format!("{{\"request\":{{{renew}}}}}"));
    assert!(
        honest.code().is_empty() && honest.body.starts_with(b"{\"Renew\":{\"Ok\":\"eyJ"),
        "the service lives: {honest:?}"
    );
}

#[test]
fn atk_46_atk_58_who_was_revoked_is_out_by_every_way() {
    let world = World::with(&[], &["sh", "-c", "while true; do echo on; sleep 0.2; done"]);
    let mesh = &world.mesh;
    let mut cases = Cases::of("ATK-46");
    for (name, role) in [("olga", "operator"), ("gamma", "node")] {
        let file = mesh.user(name, role);
        let papers = Papers::read(&file);
        let mut wire = Wire::log_in(mesh, name, &file);
        let follow = br#"{"kwargs":{"follow":true,"tail":0}}"#;
        let reply = wire.ask(&format!("{C}.to.alpha.{role}.{name}.{}.logs", world.name), "", follow);
        assert_eq!(wire.answer(&reply, SOON).unwrap().header("Aigis-Stream"), "1");
        let begun = Instant::now();
        let revoked = mesh.aish(["users", "revoke", name]).good();
        cases.case(format!("{name}'s open connection and stream"), || {
            loop {
                match wire.next(Duration::from_secs(4)) {
                    Some(Said::Closed) => break,
                    Some(_) => {}
                    None => panic!("{name} is still there"),
                }
            }
        });
        println!("{name} was cut off within {:?}; the command took {:?}", begun.elapsed(), revoked.took);
        let turned_away = |cases: &mut Cases, what: &str, jwt: &str, seed: &str| {
            cases.refusal(format!("{name}: {what}"), || {
                let mut wire = Wire::dial(mesh);
                let sig = wire.proof(seed);
                let said = wire.connect(&json!({"jwt": jwt, "sig": sig}));
                assert!(matches!(&said, Said::Error(words) if words == "Authorization Violation"), "{what}: {said:?}");
            });
        };
        turned_away(&mut cases, "a new login", &papers.jwt, &papers.seed);
        let fresh = KeyPair::new_user().seed().unwrap();
        turned_away(&mut cases, "the old token, a new key", &papers.jwt, &fresh);
        let mut renamed = papers.claims();
        renamed["name"] = "zoe".into();
        turned_away(&mut cases, "the old token, a new name", &token(&papers.seed, &renamed), &papers.seed);
        let mut renewed = papers.claims();
        renewed["iat"] = 4_000_000_000_u64.into();
        turned_away(&mut cases, "the old token, dated anew", &token(&papers.seed, &renewed), &papers.seed);
        // By our own way in, and by the node's socket.
        cases.refusal(format!("{name}: by aish"), || mesh.aish(["--creds", file.as_str(), "list"]).failed(77));
        // Whoever holds a token of before cannot bring the old key back.
        let token = mesh.token(role);
        let host = aigis_tests::Mesh::absent();
        if role == "operator" {
            cases.case("the name again, by a token, with a new key", || {
                let ran = host.aish(["join", &token, "--name", name]);
                assert_eq!(ran.code, 0, "a name that was revoked is free: {ran:?}");
            });
            turned_away(&mut cases, "the old key beside the new one", &papers.jwt, &papers.seed);
        }
    }
    let refused = world.on_record("none", "bus.login", 6);
    assert!(refused.iter().all(|line| line["role"] == "join"), "{refused:?}");
}

#[test]
fn atk_47_atk_59_an_admin_without_the_keys_is_no_operator() {
    let world = World::up();
    let users = [("adam", "admin"), ("gamma", "node"), ("plug", "plugin"), ("vera", "viewer")];
    let mut wires = users.map(|(name, role)| (world.user(name, role), name));
    let system: Value = json!({"account": Papers::read(&world.mesh.path().join("creds/default.creds").display().to_string()).claims()["nats"]["issuer_account"]});
    let account = system["account"].as_str().unwrap().to_owned();
    let before = world.before();
    let mut cases = Cases::of("ATK-47");
    let server = "$SYS.REQ.SERVER";
    let asked: Vec<String> = [
        "$SYS.REQ.CLAIMS.UPDATE".to_owned(),
        "$SYS.REQ.CLAIMS.DELETE".to_owned(),
        "$SYS.REQ.CLAIMS.LIST".to_owned(),
        "$SYS.REQ.CLAIMS.PACK".to_owned(),
        format!("$SYS.REQ.ACCOUNT.{account}.CLAIMS.UPDATE"),
        format!("$SYS.REQ.ACCOUNT.{account}.CLAIMS.LOOKUP"),
        format!("$SYS.REQ.ACCOUNT.{account}.CONNZ"),
        format!("{server}.PING"),
        format!("{server}.PING.VARZ"),
        format!("{server}.PING.KICK"),
        format!("{server}.X.RELOAD"),
        format!("{server}.X.LDM"),
        format!("{server}.X.KICK"),
        "$SYS.DEBUG.SUBSCRIBERS".to_owned(),
        "$SYS.ACCOUNT.x.CLAIMS.UPDATE".to_owned(),
    ]
    .into();
    for (wire, name) in &mut wires {
        wire.is_refused(&mut cases, &asked, &["$SYS.>", "$SYS.ACCOUNT.>", "$SYS.SERVER.>"]);
        world.on_record(name, "bus.publish", asked.len());
        world.on_record(name, "bus.subscribe", 3);
    }
    cases.within(PROMPT);
    world.is_as(&before);
}

#[test]
fn atk_47_nobody_leaves_the_mesh_without_an_admin() {
    let world = World::up();
    let mut cases = Cases::of("ATK-47");
    let text = std::fs::read_to_string(world.mesh.path().join("creds/default.creds")).unwrap();
    let first = text.lines().find_map(|line| line.split_once("holder is ")?.1.split(':').next()).unwrap().to_owned();
    let mut adam = world.user("adam", "admin");
    let revoke = |wire: &mut Wire, by: &str, name: &str| {
        let body = json!({"request": {"Revoke": {"name": name}}}).to_string();
        let reply = wire.ask(&format!("{C}.rpc.admin.{by}.alpha.users"), "", body.as_bytes());
        wire.answer(&reply, SOON).map(|answer| String::from_utf8_lossy(&answer.body).into_owned()).unwrap_or_default()
    };
    cases.case("the issuer's own node", || {
        let said = revoke(&mut adam, "adam", "alpha");
        assert!(said.contains("failed_precondition"), "{said}");
    });
    let said = revoke(&mut adam, "adam", &first);
    assert!(said.contains("\"Ok\""), "one of two may go: {said}");
    cases.case("the last one, by itself", || {
        let said = revoke(&mut adam, "adam", "adam");
        assert!(said.contains("failed_precondition") && said.contains("last admin"), "{said}");
    });
    assert!(adam.next(NEVER).is_none(), "and it is still there");
}
