//! What an assistant asks for and is given while it runs: answers of its user, and secrets.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Code, rpc,
    services::steps::{AssistantWork, Known, Work},
};
use aigis_registry::archive;

use super::place::{PATIENCE, Place, write};
use crate::{
    engine::Engine,
    steps::{folder::Folder, init},
};

#[tokio::test(flavor = "multi_thread")]
async fn chn_35_chn_36_an_assistant_asks_by_files_and_is_answered() {
    let place = Place::start("alpha").await;
    let script = "ask() { echo \"$2\" > /out/ask/.$1; mv /out/ask/.$1 /out/ask/$1; \
            while [ ! -e /in/answer/$1 ]; do sleep 0.1; done; cat /in/answer/$1; }\n\
        ask q '{\"ask\": \"Go on?\", \"kind\": \"confirm\"}'\n\
        ask d '{\"ask\": \"Which?\", \"default\": \"usual\", \"timeout_s\": 0.2}'\n\
        ask f '{\"ask\": \"Flag?\"}'\n\
        ask bad '{\"ask\": 1}'\n\
        ask none '{\"ask\": \"Anybody?\", \"timeout_s\": 0.2}'\n";
    let answers = BTreeMap::from([("f".to_owned(), "NONCE".to_owned())]);
    let work = AssistantWork { answers, ..place.assistant(script, "USER 1000\n").await };
    let order = place.order(Work::Assistant(Box::new(work)));
    place.begin(&order).await.unwrap();
    let (mut known, until) = (Known::default(), Instant::now() + PATIENCE);
    loop {
        assert!(Instant::now() < until);
        let news =
            rpc::answered(place.client.follow(rpc::within(PATIENCE), order.attempt.clone(), known).await).unwrap();
        known = Known { log: 0, version: news.version };
        if let Some(question) = news.questions.first() {
            assert_eq!((question.id.as_str(), question.ask.as_str()), ("q", "Go on?"));
            break;
        }
        assert!(news.ended.is_none(), "{news:?}");
    }
    let answer = async |value: &str| {
        let (attempt, id) = (order.attempt.clone(), "q".to_owned());
        rpc::answered(place.client.answer(rpc::within(PATIENCE), attempt, id, value.to_owned()).await)
    };
    assert_eq!(answer("perhaps").await.unwrap_err().code, Code::InvalidArgument);
    answer("yes").await.unwrap();
    let (ended, log) = place.end_of(&order.attempt).await;
    for line in [
        r#"{"id":"q","answer":true,"from":"user"}"#,
        r#"{"id":"d","answer":"usual","from":"default"}"#,
        r#"{"id":"f","answer":"NONCE","from":"flag"}"#,
        r#"{"error":"#,
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(ended.result.unwrap_err().message.contains("nobody answered the question \"none\""));
    place.stop(&[]).await;
}

#[tokio::test]
async fn chn_34_secrets_are_variables_that_the_engine_does_not_show() {
    let engine = Engine::from_env();
    let dir = tempfile::tempdir().unwrap();
    fs::copy("/bin/busybox", dir.path().join("busybox")).unwrap();
    let dockerfile = "FROM scratch\nCOPY busybox /usr/bin/sh\nENV A=image B=image PATH=/no:/usr/bin\n\
        USER 1000\nENTRYPOINT [\"sh\", \"-c\"]\nCMD [\"echo $A; echo $B; echo $C; echo $0 $HOME\"]\n";
    write(dir.path(), "Dockerfile", dockerfile);
    let mut context = Vec::new();
    archive::pack(dir.path(), &mut context, &mut |_, _| true, &archive::Limits::TREE).unwrap();
    let tag = format!("aigis/steps-secrets:{}", std::process::id());
    let request =
        crate::engine::BuildRequest { dockerfile: "Dockerfile".to_owned(), tag: Some(tag.clone()), fresh: false };
    let context = futures::stream::iter([Ok(bytes::Bytes::from(context))]);
    let mut building = engine.build(context, &request).await.unwrap();
    while building.next().await.unwrap().is_some() {}
    let image = engine.image_config(&tag).await.unwrap();
    let input = tempfile::tempdir().unwrap();
    fs::set_permissions(input.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let bind = crate::engine::Bind { source: input.path().to_owned(), target: "/in".to_owned(), writable: false };
    let mut recipe = crate::engine::Recipe {
        image: image.id.clone(),
        binds: vec![bind],
        network: "none".to_owned(),
        ..crate::engine::Recipe::default()
    };
    let secrets = init::pairs("assistant/local/x", "A=NONCE one\nC='NONCE two'\n").unwrap();
    let shelf = init::wrap(&mut recipe, &image, &secrets, input.path()).unwrap();
    let name = format!("aigis-steps-secrets-{}", std::process::id());
    let id = engine.create(&name, &recipe).await.unwrap();
    engine.start(&id).await.unwrap();
    let code = engine.wait(&id).await.unwrap();
    let mut logs =
        engine.logs(&id, false, &crate::engine::LogQuery { tail: None, ..Default::default() }).await.unwrap();
    let mut log = String::new();
    while let Some(entry) = futures::StreamExt::next(&mut logs).await {
        log.push_str(std::str::from_utf8(&entry.unwrap().bytes).unwrap());
    }
    let shown = format!("{:?}", engine.inspect(&id).await.unwrap());
    engine.remove(&id).await.unwrap();
    engine.remove_image(&tag).await.unwrap();
    drop(shelf);
    assert_eq!((code, log.as_str()), (0, "NONCE one\nimage\nNONCE two\nsh /\n"));
    assert!(shown.contains("/in/.init") && !shown.contains("NONCE"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_35_a_socket_says_asks_and_is_told_what_is_wrong() {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};

    let place = Place::start("alpha").await;
    let work = place.assistant("while [ ! -S $AIGIS_USER_SOCKET ]; do sleep 0.1; done; sleep 30\n", "").await;
    let order = place.order(Work::Assistant(Box::new(AssistantWork { yes: true, ..work })));
    place.begin(&order).await.unwrap();
    let attempt = &order.attempt;
    let folder = Folder::new(&place.options.home.root().join("steps"), attempt);
    let until = Instant::now() + PATIENCE;
    let stream = loop {
        match tokio::net::UnixStream::connect(folder.input().join("user.sock")).await {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let (reading, mut writing) = stream.into_split();
    let mut lines = tokio::io::BufReader::new(reading).lines();
    let long = format!("{{\"say\": \"{}\"}}\n", "x".repeat(70_000));
    for line in ["nonsense\n", r#"{"id": "a", "ask": "x", "kind": "guess"}"#, "\n", &long] {
        writing.write_all(line.as_bytes()).await.unwrap();
    }
    for _ in 0..3 {
        let line = lines.next_line().await.unwrap().unwrap();
        assert!(line.starts_with("{\"error\""), "{line}");
    }
    writing.write_all(b"{\"id\": \"q\", \"ask\": \"Go on?\", \"kind\": \"confirm\"}\n").await.unwrap();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), r#"{"id":"q","answer":true,"from":"flag"}"#);
    writing.write_all(b"{\"say\": \"hello\"}\n{\"progress\": 0.4, \"text\": \"half\"}\n").await.unwrap();
    let mut known = Known::default();
    let mut log = String::new();
    loop {
        let news = rpc::answered(place.client.follow(rpc::within(PATIENCE), attempt.clone(), known).await).unwrap();
        log.push_str(&String::from_utf8_lossy(&news.log.0));
        known = Known { log: news.log_from + news.log.0.len() as u64, version: news.version };
        if news.progress == Some((0.4, "half".to_owned())) && log.contains("hello\n") {
            break;
        }
        assert!(news.ended.is_none() && Instant::now() < until, "{news:?}");
    }
    for number in 0..=100 {
        let ask = format!("{{\"id\": \"q{number}\", \"ask\": \"?\"}}\n");
        writing.write_all(ask.as_bytes()).await.unwrap();
    }
    let (ended, _) = place.end_of(attempt).await;
    assert_eq!(ended.result.unwrap_err().code, Code::ResourceExhausted);
    place.stop(&[]).await;
}
