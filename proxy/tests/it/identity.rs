//! The bus itself enforces who may do what: plain clients with real credentials, against a real server.

use std::time::Duration;

use aigis_proxy::{
    Role, UserName,
    identity::{Credential, MeshKeys, ServerOptions, server},
};
use async_nats::{
    Client, HeaderMap, Message, Subscriber,
    jetstream::{self, kv, stream},
};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::bus_server::BusServer;

const SOON: Duration = Duration::from_secs(60);
const NEVER: Duration = Duration::from_millis(400);

async fn make_buckets(server: &BusServer) -> Client {
    let client = server.store().await;
    let context = jetstream::new(client.clone());
    for bucket in ["records", "shared", "blobs"] {
        let config = stream::Config {
            name: format!("KV_{bucket}"),
            subjects: vec![format!("$KV.{bucket}.>")],
            max_messages_per_subject: 1,
            allow_direct: true,
            deny_delete: true,
            deny_purge: true,
            ..Default::default()
        };
        context.create_stream(config).await.unwrap();
    }
    let leases = kv::Config {
        bucket: "leases".to_owned(),
        history: 1,
        storage: stream::StorageType::Memory,
        limit_markers: Some(Duration::from_secs(60)),
        ..Default::default()
    };
    context.create_key_value(leases).await.unwrap();
    let audit = stream::Config {
        name: "AUDIT".to_owned(),
        subjects: vec!["aigis.v1.main.event.audit.>".into()],
        allow_direct: true,
        deny_delete: true,
        deny_purge: true,
        ..Default::default()
    };
    context.create_stream(audit).await.unwrap();
    client
}

async fn put(client: &Client, subject: &str, body: &str) -> Value {
    let reply = tokio::time::timeout(SOON, client.request(subject.to_owned(), body.to_owned().into())).await;
    serde_json::from_slice(&reply.unwrap().unwrap().payload).unwrap()
}

async fn messages(client: &Client, stream: &str) -> u64 {
    let mut stream = jetstream::new(client.clone()).get_stream(stream).await.unwrap();
    stream.info().await.unwrap().state.messages
}

async fn last(client: &Client, stream: &str, subject: &str) -> Option<Message> {
    let reply = client.request(format!("$JS.API.DIRECT.GET.{stream}.{subject}"), "".into()).await.unwrap();
    (reply.status.is_none_or(|status| status.is_success())).then_some(reply)
}

async fn next(subscriber: &mut Subscriber) -> Option<Message> {
    tokio::time::timeout(NEVER, subscriber.next()).await.ok().flatten()
}

#[tokio::test]
async fn every_role_logs_in_and_hears_its_own_inbox_alone() {
    let server = BusServer::start().await;
    for role in Role::GIVEN {
        let (client, mut events) = server.user("vera", role).await;
        let inbox = client.new_inbox();
        assert!(inbox.starts_with("_INBOX.vera."));
        let mut own = client.subscribe(inbox.clone()).await.unwrap();
        client.publish(inbox, "here".into()).await.unwrap();
        let heard = tokio::time::timeout(SOON, own.next()).await.unwrap().unwrap();
        assert_eq!(heard.payload, "here", "{role}");

        for foreign in [">", "aigis.v1.main.>", "_INBOX.>", "_INBOX.olga.>", "$KV.>", "$JS.>", "$SYS.>"] {
            let _refused = client.subscribe(foreign).await.unwrap();
            events.expect(&format!("Permissions Violation for Subscription to \"{foreign}\"")).await;
        }
        if role != Role::Node {
            let _refused = client.subscribe("aigis.v1.main.to.alpha.>").await.unwrap();
            events.expect("Violation for Subscription to \"aigis.v1.main.to.alpha.>\"").await;
        }
    }
}

#[tokio::test]
async fn atk_08_a_tokens_credential_can_ask_for_admission_and_nothing_else() {
    let server = BusServer::start().await;
    let (node, _) = server.user("alpha", Role::Node).await;
    let mut asked = node.subscribe("aigis.v1.main.rpc.*.*.issuer.join").await.unwrap();
    node.flush().await.unwrap();
    let (token, mut events) = server.user("token-1", Role::Join).await;
    for beyond in [
        "aigis.v1.main.rpc.join.token-1.alpha.users",
        "aigis.v1.main.rpc.join.token-2.issuer.join",
        "aigis.v1.main.call.join.token-1.web.status",
        "aigis.v1.main.to.alpha.join.token-1.web.status",
        "aigis.v1.main.tunnel.alpha.x",
        "$JS.API.STREAM.INFO.KV_records",
        "_INBOX.alpha.x",
    ] {
        token.publish(beyond, "{}".into()).await.unwrap();
        events.expect(&format!("Permissions Violation for Publish to \"{beyond}\"")).await;
    }
    for beyond in ["aigis.v1.main.rpc.*.*.issuer.join", "aigis.v1.main.event.ci.>", "aigis.v1.main.tunnel.token-1.>"] {
        let _refused = token.subscribe(beyond).await.unwrap();
        events.expect(&format!("Permissions Violation for Subscription to \"{beyond}\"")).await;
    }
    token.publish("aigis.v1.main.rpc.join.token-1.issuer.join", "me".into()).await.unwrap();
    assert_eq!(next(&mut asked).await.unwrap().payload, "me");
}

#[tokio::test]
async fn plg_69_only_a_plugins_own_user_serves_its_ci() {
    let server = BusServer::start().await;
    let (dice, mut dice_events) = server.user("plugin-dice", Role::Plugin).await;
    let mut calls = dice.subscribe("aigis.v1.main.to.dice.>").await.unwrap();
    dice.flush().await.unwrap();
    let call = "aigis.v1.main.to.dice.operator.olga.dice.roll";

    // A plugin that serves another CI, and users whose credentials say nothing of any.
    for (name, role) in [
        ("plugin-other", Role::Plugin),
        ("host", Role::Plugin),
        ("core-alpha", Role::Plugin),
        ("alpha", Role::Node),
        ("anna", Role::Admin),
    ] {
        let (client, mut events) = server.user(name, role).await;
        let _refused = client.subscribe("aigis.v1.main.to.dice.>").await.unwrap();
        events.expect("Permissions Violation for Subscription to \"aigis.v1.main.to.dice.>\"").await;
        client.publish(call, "{}".into()).await.unwrap();
        events.expect(&format!("Permissions Violation for Publish to \"{call}\"")).await;
        let inbox = client.new_inbox();
        let mut own = client.subscribe(inbox.clone()).await.unwrap();
        client.publish(inbox, "here".into()).await.unwrap();
        assert!(tokio::time::timeout(SOON, own.next()).await.unwrap().is_some(), "{name} is a user like others");
    }
    assert!(next(&mut calls).await.is_none());

    let (olga, _) = server.user("olga", Role::Operator).await;
    olga.publish(call, "hers".into()).await.unwrap();
    assert_eq!(tokio::time::timeout(SOON, calls.next()).await.unwrap().unwrap().payload, "hers");
    // What it sends itself deceives nobody else: so its node hands on what was asked by hand.
    dice.publish(call, "handed on".into()).await.unwrap();
    assert_eq!(tokio::time::timeout(SOON, calls.next()).await.unwrap().unwrap().payload, "handed on");
    for beyond in ["aigis.v1.main.to.alpha.operator.olga.dice.roll", "aigis.v1.main.to.other.operator.olga.other.x"] {
        dice.publish(beyond, "{}".into()).await.unwrap();
        dice_events.expect(&format!("Permissions Violation for Publish to \"{beyond}\"")).await;
    }
}

#[tokio::test]
async fn another_name_or_role_in_the_subject_is_refused_by_the_bus() {
    let server = BusServer::start().await;
    let (node, _) = server.user("alpha", Role::Node).await;
    let mut calls = node.subscribe("aigis.v1.main.to.alpha.>").await.unwrap();
    let mut by_hand = node.subscribe("aigis.v1.main.call.*.*.*.>").await.unwrap();
    node.flush().await.unwrap();
    let (vera, mut events) = server.user("vera", Role::Viewer).await;

    for forged in [
        "aigis.v1.main.to.alpha.viewer.olga.web.status",
        "aigis.v1.main.to.alpha.admin.vera.web.stop",
        "aigis.v1.main.call.operator.vera.web.stop",
        "aigis.v1.main.call.viewer.olga.web.status",
        "aigis.v1.main.rpc.node.alpha.beta.drain",
        "aigis.v1.main.event.audit.alpha.x",
        "aigis.v1.main.log.alpha.web",
        "aigis.v1.other.to.alpha.viewer.vera.web.status",
        "$SYS.REQ.CLAIMS.UPDATE",
    ] {
        vera.publish(forged, "{}".into()).await.unwrap();
        events.expect(&format!("Permissions Violation for Publish to \"{forged}\"")).await;
    }
    assert!(next(&mut calls).await.is_none() && next(&mut by_hand).await.is_none());

    vera.publish("aigis.v1.main.to.alpha.viewer.vera.web.status", "{}".into()).await.unwrap();
    assert!(tokio::time::timeout(SOON, calls.next()).await.unwrap().is_some());
    vera.publish("aigis.v1.main.call.viewer.vera.web.status", "{}".into()).await.unwrap();
    assert!(tokio::time::timeout(SOON, by_hand.next()).await.unwrap().is_some());
    vera.publish("aigis.v1.main.to.alpha.viewer.vera._.cancel.t1", "".into()).await.unwrap();
    assert!(tokio::time::timeout(SOON, calls.next()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_node_writes_its_own_records_and_reads_all_through_the_imports() {
    let server = BusServer::start().await;
    make_buckets(&server).await;
    let (alpha, mut events) = server.user("alpha", Role::Node).await;
    let (vera, mut vera_events) = server.user("vera", Role::Viewer).await;

    let buckets = jetstream::new(vera.clone());
    let records = buckets.get_key_value("records").await.unwrap();
    let mut watch = records.watch_with_history(">").await.unwrap();

    let acknowledged = put(&alpha, "$KV.records.ci.web.alpha", "one").await;
    assert_eq!((&acknowledged["stream"], &acknowledged["seq"]), (&json!("KV_records"), &json!(1)));
    assert_eq!(put(&alpha, "$KV.records.node.alpha", "two").await["seq"], json!(2));
    assert_eq!(put(&alpha, "$KV.blobs.sha256-1", "three").await["stream"], json!("KV_blobs"));
    for expected in ["ci.web.alpha", "node.alpha"] {
        let entry = tokio::time::timeout(SOON, watch.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(entry.key, expected);
    }
    let entry = records.entry("ci.web.alpha").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.revision), (&b"one"[..], 1));
    assert_eq!(&last(&vera, "KV_records", "$KV.records.node.alpha").await.unwrap().payload[..], b"two");

    for foreign in ["$KV.records.ci.web.beta", "$KV.records.node.beta", "$KV.leases.live.beta", "$KV.leases.chain.x"] {
        alpha.publish(foreign, "x".into()).await.unwrap();
        events.expect(&format!("Permissions Violation for Publish to \"{foreign}\"")).await;
    }
    for write in [
        "$KV.records.ci.web.vera",
        "$KV.leases.live.vera",
        "$KV.shared.app.x",
        "$KV.blobs.x",
        "$JS.API.STREAM.PURGE.KV_records",
    ] {
        vera.publish(write, "x".into()).await.unwrap();
        vera_events.expect(&format!("Permissions Violation for Publish to \"{write}\"")).await;
    }
    for api in ["STREAM.DELETE.KV_records", "STREAM.UPDATE.KV_records", "CONSUMER.DELETE.KV_records.x", "INFO"] {
        alpha.publish(format!("$JS.API.{api}"), "".into()).await.unwrap();
        events.expect(&format!("Violation for Publish to \"$JS.API.{api}\"")).await;
    }
    assert_eq!(messages(&vera, "KV_records").await, 2);
}

#[tokio::test]
async fn a_watch_receives_a_full_bucket_under_flow_control() {
    let server = BusServer::start().await;
    let store = make_buckets(&server).await;
    let context = jetstream::new(store);
    let body = "x".repeat(64 * 1024);
    for index in 0..1000 {
        context.publish(format!("$KV.blobs.k{index}"), body.clone().into()).await.unwrap().await.unwrap();
    }
    let (alpha, _) = server.user("alpha", Role::Node).await;
    let blobs = jetstream::new(alpha).get_key_value("blobs").await.unwrap();
    let mut watch = blobs.watch_with_history(">").await.unwrap();
    for index in 0..1000 {
        let entry = tokio::time::timeout(SOON, watch.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(entry.key, format!("k{index}"));
    }
}

#[tokio::test]
async fn a_lease_is_renewed_by_a_raw_publish_with_a_lifetime() {
    let server = BusServer::start().await;
    make_buckets(&server).await;
    let (alpha, _) = server.user("alpha", Role::Node).await;
    let renew = async |expected: u64| {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-TTL", "15s");
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        let reply = alpha.request_with_headers("$KV.leases.live.alpha", headers, "{}".into()).await.unwrap();
        serde_json::from_slice::<Value>(&reply.payload).unwrap()
    };
    let first = renew(0).await["seq"].as_u64().unwrap();
    let second = renew(first).await["seq"].as_u64().unwrap();
    assert!(second > first);
    assert_eq!(renew(first).await["error"]["err_code"], json!(10071));
    let stored = last(&alpha, "KV_leases", "$KV.leases.live.alpha").await.unwrap();
    assert_eq!(stored.headers.unwrap().get("Nats-TTL").unwrap().as_str(), "15s");
}

#[tokio::test]
async fn audit_lines_are_acknowledged_kept_and_heard() {
    let server = BusServer::start().await;
    make_buckets(&server).await;
    let (adam, _) = server.user("adam", Role::Admin).await;
    let mut heard = adam.subscribe("aigis.v1.main.event.>").await.unwrap();
    adam.flush().await.unwrap();
    let (alpha, mut events) = server.user("alpha", Role::Node).await;

    let acknowledged = put(&alpha, "aigis.v1.main.event.audit.alpha.restart", "{}").await;
    assert_eq!(acknowledged["stream"], json!("AUDIT"));
    assert!(tokio::time::timeout(SOON, heard.next()).await.unwrap().is_some());
    assert!(next(&mut heard).await.is_none(), "heard once");
    alpha.publish("aigis.v1.main.event.audit.beta.restart", "{}".into()).await.unwrap();
    events.expect("Violation for Publish to \"aigis.v1.main.event.audit.beta.restart\"").await;
    assert!(last(&adam, "AUDIT", "aigis.v1.main.event.audit.alpha.restart").await.is_some());
    assert_eq!(messages(&adam, "AUDIT").await, 1);

    let (vera, mut events) = server.user("vera", Role::Viewer).await;
    vera.publish("$JS.API.STREAM.INFO.AUDIT", "".into()).await.unwrap();
    events.expect("Violation for Publish to \"$JS.API.STREAM.INFO.AUDIT\"").await;
}

/// The asker chooses where the store's answer goes. It may arrive there, but never as a record, never with a reply
/// subject, without which no callee runs it, and never looking like an event.
#[tokio::test]
async fn atk_42_the_stores_answers_write_nothing_and_make_no_call() {
    let server = BusServer::start().await;
    let store = make_buckets(&server).await;
    let (alpha, _) = server.user("alpha", Role::Node).await;
    put(&alpha, "$KV.records.ci.web.alpha", "mine").await;
    let mut calls = alpha.subscribe("aigis.v1.main.to.alpha.>").await.unwrap();
    let mut heard = alpha.subscribe("aigis.v1.main.event.>").await.unwrap();
    alpha.flush().await.unwrap();
    let (vera, _) = server.user("vera", Role::Viewer).await;

    for target in [
        "aigis.v1.main.to.alpha.admin.adam.web.stop",
        "$KV.records.ci.web.alpha",
        "$KV.records.ci.web.beta",
        "$KV.leases.live.alpha",
        "aigis.v1.main.event.audit.alpha.x",
        "$JS.API.STREAM.DELETE.KV_shared",
        "$JS.ACK.KV_records.x.1.1.1.1.1",
    ] {
        for request in ["DIRECT.GET.KV_records.$KV.records.ci.web.alpha", "STREAM.INFO.KV_records"] {
            vera.publish_with_reply(format!("$JS.API.{request}"), target, "".into()).await.unwrap();
        }
    }
    vera.flush().await.unwrap();
    while let Some(message) = next(&mut calls).await {
        assert!(message.reply.is_none(), "{message:?}");
    }
    while let Some(message) = next(&mut heard).await {
        let stored = message.headers.as_ref().is_some_and(|headers| headers.get("Nats-Stream").is_some());
        let body: Option<Value> = serde_json::from_slice(&message.payload).ok();
        let answer = body.is_some_and(|body| body["type"].as_str().is_some_and(|kind| kind.starts_with("io.nats.")));
        assert!(stored || answer, "no reader may take it for an event: {message:?}");
    }
    assert_eq!(messages(&store, "KV_records").await, 1);
    assert_eq!(&last(&store, "KV_records", "$KV.records.ci.web.alpha").await.unwrap().payload[..], b"mine");
    for empty in ["KV_leases", "KV_shared", "AUDIT"] {
        assert_eq!(messages(&store, empty).await, 0, "{empty}");
    }
}

/// A consumer delivers to a subject of its maker's choice, inside the store account. The server delivers only where
/// somebody subscribes to exactly that subject; streams subscribe to wildcards, and a client reaches no more of the
/// store account than its own inbox.
#[tokio::test]
async fn atk_42_a_consumer_delivers_into_no_stream_and_no_api() {
    let server = BusServer::start().await;
    let store = make_buckets(&server).await;
    let (alpha, _) = server.user("alpha", Role::Node).await;
    put(&alpha, "$KV.records.ci.web.alpha", "mine").await;
    put(&alpha, "$KV.blobs.poison", "{}").await;
    let mut calls = alpha.subscribe("aigis.v1.main.to.alpha.>").await.unwrap();
    alpha.flush().await.unwrap();
    let trap = stream::Config { name: "TRAP".to_owned(), subjects: vec!["trap".into()], ..Default::default() };
    jetstream::new(store.clone()).create_stream(trap).await.unwrap();
    let mut written = store.subscribe("$KV.records.>").await.unwrap();
    store.flush().await.unwrap();
    let (vera, _) = server.user("vera", Role::Viewer).await;

    let targets = [
        "aigis.v1.main.to.alpha.admin.adam.web.stop",
        "$KV.records.ci.web.beta",
        "$KV.leases.live.alpha",
        "aigis.v1.main.event.audit.alpha.x",
        "$JS.API.STREAM.DELETE.KV_shared",
        "trap",
    ];
    for (index, target) in targets.into_iter().enumerate() {
        let config = json!({
            "name": format!("c{index}"), "deliver_subject": target, "ack_policy": "none", "deliver_policy": "all",
            "headers_only": target.starts_with("$JS"), "replay_policy": "instant",
        });
        let body = json!({"stream_name": "KV_blobs", "config": config}).to_string();
        put(&vera, &format!("$JS.API.CONSUMER.CREATE.KV_blobs.c{index}"), &body).await;
    }
    put(&alpha, "$KV.blobs.more", "{}").await;
    assert!(next(&mut calls).await.is_none() && next(&mut written).await.is_none());
    assert_eq!(messages(&store, "TRAP").await, 2, "a stream with a literal subject: what no stream of ours may have");
    for index in 0..targets.len() - 1 {
        let info = put(&vera, &format!("$JS.API.CONSUMER.INFO.KV_blobs.c{index}"), "").await;
        assert_eq!(info["delivered"]["stream_seq"], json!(0), "{info}");
    }
    for (stream, count) in [("KV_records", 1), ("KV_blobs", 2), ("KV_leases", 0), ("KV_shared", 0), ("AUDIT", 0)] {
        assert_eq!(messages(&store, stream).await, count, "{stream}");
    }
}

#[tokio::test]
async fn atk_02_forged_credentials_do_not_log_in() {
    let server = BusServer::start().await;
    let vera = UserName::parse("vera").unwrap();
    let good = server.credential("vera", Role::Viewer);
    let key = Credential::generate().unwrap();
    let issue = |keys: &MeshKeys, lifetime| keys.issue(&vera, Role::Viewer, key.public(), lifetime).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let stranger = MeshKeys::create(&directory.path().join("keys"), server.keys.mesh()).unwrap();
    let own = issue(&server.keys, SOON);
    let (signed, _) = own.rsplit_once('.').unwrap();
    let token = good.jwt();
    let (_, signature) = token.rsplit_once('.').unwrap();

    for jwt in [
        token.clone(),
        issue(&stranger, SOON),
        issue(&server.keys, Duration::ZERO),
        format!("{signed}.{signature}"),
        String::new(),
    ] {
        let refused = server.log_in_with(jwt.clone(), key.clone(), "_INBOX.vera").await;
        assert!(refused.is_err(), "{jwt}");
    }
    assert!(server.log_in_with(own, key, "_INBOX.vera").await.is_ok());
}

#[tokio::test]
async fn a_revoked_user_is_cut_off_and_stays_out() {
    let server = BusServer::start().await;
    let credential = server.credential("vera", Role::Viewer);
    let (_vera, mut events) = server.log_in(&credential.login(), &credential.inbox()).await.unwrap();
    let (system, _) = server.system().await;

    let token = server.keys.revoke(credential.public()).unwrap();
    let answer = put(&system, "$SYS.REQ.CLAIMS.UPDATE", &token.jwt).await;
    assert_eq!(answer["data"]["code"], json!(200), "{answer}");
    events.expect("disconnected").await;
    assert!(server.log_in(&credential.login(), &credential.inbox()).await.is_err());
    assert!(server.user("olga", Role::Operator).await.0.flush().await.is_ok());
}

/// A message to the system account can store an account token that the operator never signed.
#[tokio::test]
async fn planted_account_tokens_are_put_back_before_each_start() {
    let mut server = BusServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let stranger = MeshKeys::create(&directory.path().join("keys"), server.keys.mesh()).unwrap();
    server.stop();
    let account = server.keys.accounts()[1].account.clone();
    let accounts = server.files.accounts();
    std::fs::write(accounts.join(format!("{account}.jwt")), &stranger.accounts()[1].jwt).unwrap();
    let planted = accounts.join(format!("{}.jwt", stranger.accounts()[0].account));
    std::fs::write(&planted, &stranger.accounts()[0].jwt).unwrap();

    let written = server.files.write(&server.keys.charter(), &server.options).unwrap();
    assert_eq!((written.restored, written.removed), (vec![account], vec![planted.clone()]));
    server.run().await;
    assert!(!planted.exists());
    assert!(server.user("vera", Role::Viewer).await.0.flush().await.is_ok());
    let again = server.files.write(&server.keys.charter(), &server.options).unwrap();
    assert!(again.restored.is_empty() && again.removed.is_empty());
}

#[tokio::test]
async fn records_outlive_a_killed_server() {
    let mut server = BusServer::start().await;
    make_buckets(&server).await;
    let (alpha, _) = server.user("alpha", Role::Node).await;
    put(&alpha, "$KV.records.ci.web.alpha", "kept").await;
    drop(alpha);
    server.stop();
    server.files.write(&server.keys.charter(), &server.options).unwrap();
    server.run().await;
    let (vera, _) = server.user("vera", Role::Viewer).await;
    let kept = last(&vera, "KV_records", "$KV.records.ci.web.alpha").await.unwrap();
    assert_eq!(&kept.payload[..], b"kept");
}

#[tokio::test]
async fn the_server_listens_beyond_loopback_with_tls_alone_and_nowhere_everywhere() {
    let server = BusServer::start().await;
    let refuse = |listen: &str| {
        let options = ServerOptions { listen: listen.parse().unwrap(), ..server.options.clone() };
        server.files.write(&server.keys.charter(), &options).unwrap_err()
    };
    assert!(matches!(refuse("0.0.0.0:4222"), server::Error::Everywhere { .. }));
    assert!(matches!(refuse("[::]:4222"), server::Error::Everywhere { .. }));
    assert!(matches!(refuse("192.0.2.1:4222"), server::Error::Plain { .. }));
}
