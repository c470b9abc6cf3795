//! Several calls in one message, to those who have shown that they read it, and to nobody else.

use std::{sync::atomic::Ordering, time::Duration};

use aigis_proxy::{Code, Role, UserName, client, client::Target};
use bytes::Bytes;
use futures::{StreamExt, future::join_all};
use serde_json::{Value, json};

use crate::calls::{connect, mesh, request, target, until};

/// A frame as `docs/specs/envelope.md` has it.
fn frame(kind: u8, token: &str, head: &str, body: &str) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend(token.as_bytes());
    frame.extend(u16::try_from(head.len()).unwrap().to_be_bytes());
    frame.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    frame.extend(head.as_bytes());
    frame.extend(body.as_bytes());
    frame
}

fn pack(frames: &[Vec<u8>]) -> Bytes {
    [&[1][..], &frames.concat()].concat().into()
}

/// Tokens, heads and bodies of the frames in a pack.
fn read(mut pack: &[u8]) -> Vec<(String, String, String)> {
    let mut frames = Vec::new();
    assert_eq!(pack[0], 1);
    pack = &pack[1..];
    while !pack.is_empty() {
        let head = usize::from(u16::from_be_bytes(pack[23..25].try_into().unwrap()));
        let body = u32::from_be_bytes(pack[25..29].try_into().unwrap()) as usize;
        let text = |from: usize, to: usize| String::from_utf8(pack[from..to].to_vec()).unwrap();
        frames.push((text(1, 23), text(29, 29 + head), text(29 + head, 29 + head + body)));
        pack = &pack[29 + head + body..];
    }
    frames
}

#[tokio::test]
async fn what_is_queued_together_leaves_together_once_the_server_reads_packs() {
    let mesh = mesh().await;
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    let (beta, _events) = mesh.bus.user("beta", Role::Node).await;
    let mut heard = beta.subscribe("aigis.v1.main.to.beta.>").await.unwrap();
    // A flush is no proof that the bus knows of the subscription.
    beta.publish("aigis.v1.main.to.beta.node.beta.own.message", "".into()).await.unwrap();
    heard.next().await.unwrap();
    let at_beta = Target { server: UserName::parse("beta").unwrap(), ..target("echo") };
    let texts: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    let ten = || join_all(texts.iter().map(|text| client::call(&olga, &at_beta, request(&[text]))));
    let serving = async {
        // Nothing is known of beta yet: ten messages, each with its own subject.
        for _ in 0..10 {
            let message = heard.next().await.unwrap();
            assert_eq!(message.subject.as_str(), "aigis.v1.main.to.beta.operator.olga.echo.echo");
            assert_eq!(message.payload.first(), Some(&b'{'));
            let reply = message.reply.unwrap();
            let token = reply.rsplit('.').next().unwrap();
            let answer = pack(&[frame(b'v', token, "", "1")]);
            beta.publish(reply, answer).await.unwrap();
        }
        // It has answered with packs: one message for all.
        let message = heard.next().await.unwrap();
        assert_eq!(message.subject.as_str(), "aigis.v1.main.to.beta.operator.olga._.pack");
        let asked = read(&message.payload);
        assert_eq!(asked.len(), 10);
        let answers: Vec<_> = asked
            .iter()
            .map(|(token, head, body)| {
                assert_eq!(head, "echo.echo");
                let body: Value = serde_json::from_str(body).unwrap();
                frame(b'v', token, "", &body["args"][0].to_string())
            })
            .collect();
        beta.publish(message.reply.unwrap(), pack(&answers)).await.unwrap();
        // And by itself, a call goes as it always did.
        let message = heard.next().await.unwrap();
        assert_eq!(message.subject.as_str(), "aigis.v1.main.to.beta.operator.olga.echo.echo");
        beta.publish(message.reply.unwrap(), "2".into()).await.unwrap();
    };
    let calling = async {
        assert!(ten().await.into_iter().all(|answer| answer.unwrap() == json!(1)));
        let answers: Vec<Value> = ten().await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, texts.iter().map(|text| json!(text)).collect::<Vec<_>>());
        assert_eq!(client::call(&olga, &at_beta, request(&["x"])).await.unwrap(), json!(2));
    };
    tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(serving, calling) }).await.unwrap();
}

#[tokio::test]
async fn hundreds_at_once_each_get_their_own_answer() {
    let mesh = mesh().await;
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    let texts: Vec<String> = (0..600).map(|n| n.to_string()).collect();
    let echo = target("echo");
    for _ in 0..3 {
        let answers = join_all(texts.iter().map(|text| client::call(&olga, &echo, request(&[text])))).await;
        for (text, answer) in texts.iter().zip(answers) {
            assert_eq!(answer.unwrap(), json!(text));
        }
    }
    let (unknown, large) = (target("nosuch"), "x".repeat(300_000));
    let large = [large.as_str()];
    let (unknown, echoed) = tokio::join!(
        client::call(&olga, &unknown, request(&[])),
        join_all((0..5).map(|_| client::call(&olga, &echo, request(&large))))
    );
    assert_eq!(unknown.unwrap_err().code, Code::NotFound);
    assert!(echoed.into_iter().all(|answer| answer.unwrap() == json!(large[0])));
}

#[tokio::test]
async fn a_pack_that_nobody_hears_fails_all_its_calls_at_once() {
    let mut mesh = mesh().await;
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    let echo = target("echo");
    client::call(&olga, &echo, request(&["x"])).await.unwrap();
    mesh.tasks.clear();
    let hangs = target("hang");
    // The end of the subscription reaches the bus a moment later. Another connection waits for it, so that this one
    // still takes the server for one that reads packs.
    let vera = connect(&mesh.bus, "vera", Role::Viewer).await;
    let gone = async {
        loop {
            let mut probe = request(&["x"]);
            probe.meta.timeout = Some(Duration::from_millis(200));
            if client::call(&vera, &echo, probe).await.is_err_and(|error| error.code == Code::Unavailable) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    let calls = join_all((0..10).map(|_| client::call(&olga, &hangs, request(&[]))));
    for answer in tokio::time::timeout(Duration::from_secs(20), calls).await.unwrap() {
        let error = answer.unwrap_err();
        assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&json!(false))));
    }
}

#[tokio::test]
async fn a_plain_client_gets_a_single_body() {
    let mesh = mesh().await;
    let (olga, _events) = mesh.bus.user("olga", Role::Operator).await;
    for subject in ["aigis.v1.main.to.alpha.operator.olga.echo.echo", "aigis.v1.main.call.operator.olga.echo.echo"] {
        let reply = olga.request(subject, r#"{"args":["hi"]}"#.into()).await.unwrap();
        assert_eq!(&reply.payload[..], b"\"hi\"");
    }
}

#[tokio::test]
async fn bad_07_packs_by_hand_get_nothing_that_calls_would_not() {
    let mesh = mesh().await;
    let (vera, _events) = mesh.bus.user("vera", Role::Viewer).await;
    let to_alpha = "aigis.v1.main.to.alpha.viewer.vera._.pack";
    let (inbox, token) = ("_INBOX.vera.x.p", "a".repeat(22));
    let mut replies = vera.subscribe(format!("{inbox}.>")).await.unwrap();
    let write = pack(&[frame(b'q', &token, "echo.write", "{}")]);
    // The reply elsewhere: dropped. An inbox that is not said to read packs, and a pack by hand: ignored.
    for reply in [format!("_INBOX.adam.x.p.{token}"), "aigis.v1.main.to.alpha.admin.adam.echo.write".to_owned()] {
        vera.publish_with_reply(to_alpha, reply, write.clone()).await.unwrap();
    }
    vera.publish_with_reply(to_alpha, format!("_INBOX.vera.x.{token}"), write.clone()).await.unwrap();
    let by_hand = "aigis.v1.main.call.viewer.vera._.pack";
    vera.publish_with_reply(by_hand, format!("{inbox}.{token}"), write).await.unwrap();
    // What cannot be read is ignored; what stands before it is answered, within the caller's role.
    let mut mixed = pack(&[
        frame(b'q', &token, "echo.write", "{}"),
        frame(b'q', &"b".repeat(22), "echo.echo", r#"{"args":["x"],"args":[]}"#),
        frame(b'q', &"c".repeat(22), "nodot", "{}"),
        frame(b'q', &"d".repeat(22), "echo.echo", r#"{"args":["x"]}"#),
    ])
    .to_vec();
    mixed.extend(frame(b'q', &"e".repeat(22), "echo.echo", "{}").split_at(40).0);
    vera.publish_with_reply(to_alpha, format!("{inbox}.{token}"), mixed.into()).await.unwrap();
    let mut answers = Vec::new();
    while answers.len() < 4 {
        let message = tokio::time::timeout(Duration::from_secs(20), replies.next()).await.unwrap().unwrap();
        answers.extend(read(&message.payload));
    }
    let of = |letter: &str| &answers.iter().find(|(token, ..)| *token == letter.repeat(22)).unwrap().2;
    assert!(of("a").contains("permission_denied"), "{answers:?}");
    for refused in ["b", "c"] {
        assert!(of(refused).contains("invalid_argument"), "{answers:?}");
    }
    assert_eq!(of("d"), "\"x\"");
    assert_eq!(mesh.echo.writes.load(Ordering::SeqCst), 0);
    until("both were dropped", || mesh.server.counters().dropped.load(Ordering::SeqCst) == 2).await;
}
