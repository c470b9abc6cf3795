//! Steps at a real node, with the real engine at the usual socket. Whatever they make has names of its own, and is removed.

use std::{collections::BTreeMap, fs, time::Instant};

use aigis_proxy::{
    Code, Name,
    blob::Life,
    chain::{Attempt, ChainId},
    rpc,
    services::steps::{AssistantWork, BuildWork, GitWork, Known, Limits, Order, Room, Wanted, Work},
};
use place::{PATIENCE, Place, write};

mod asking;
mod attempts;
mod place;

#[tokio::test(flavor = "multi_thread")]
async fn an_assistant_runs_in_its_container_and_what_it_leaves_is_stored() {
    let place = Place::start("alpha").await;
    let script = "id -u; pwd; echo env $X $AIGIS_APP $AIGIS_STEP\n\
        cat /in/app/hello.txt /in/state/next; ls /in/state\n\
        echo x > /in/app/x; echo x > /in/state/x\n\
        cp -a /in/app/. /out/app/; echo made > /out/app/made\n\
        echo '[\"a\"]' > /out/state/cmd; echo null > /out/state/gone; echo ' local:cp ' > /out/state/next\n";
    let work = AssistantWork {
        app_tree: place.tree(&[("hello.txt", "hello\n"), ("d/run.sh", "x")]).await,
        state_tree: place.tree(&[("gone", "1"), ("mykey", "2"), ("next", "builtin:exec")]).await,
        ..place.assistant(script, "ENV X=NONCE\nWORKDIR /w\nUSER 1000\n").await
    };
    let (ended, log) = place.run(Work::Assistant(Box::new(work.clone()))).await;
    let finished = ended.result.unwrap_or_else(|error| panic!("{error}: {log}"));
    // Which of its two outputs is read first is chance.
    for words in
        ["1000\n", "/w\n", "env NONCE hello 1\n", "hello\n", "nil", "/in/app/x: Read-only", "/in/state/x: Read-only"]
    {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert_eq!((finished.exit_code, finished.next.as_deref()), (Some(0), Some("local:cp")));
    let app = place.files(&finished.app_tree.unwrap()).await;
    assert_eq!(app.keys().collect::<Vec<_>>(), ["d/run.sh", "hello.txt", "made"]);
    let state = place.files(&finished.state_tree.unwrap()).await;
    assert_eq!(state, BTreeMap::from([("cmd".into(), "[\"a\"]\n".into()), ("mykey".into(), "2".into())]));
    let stored = place.blobs.read(Life::Kept, &ended.log.unwrap()).await.unwrap();
    assert_eq!(String::from_utf8(stored).unwrap(), log);
    // The image is there now, and is not built again.
    let (_, log) = place.run(Work::Assistant(Box::new(work))).await;
    assert!(!log.contains("=> build the image"), "{log}");
    place.stop(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_13_chn_32_what_a_failed_assistant_leaves_is_its_state_and_its_log() {
    let place = Place::start("alpha").await;
    let work = place.assistant("echo words; echo x > /out/app/a; echo 1 > /out/state/mykey; exit 3\n", "").await;
    let (ended, log) = place.run(Work::Assistant(Box::new(work))).await;
    let error = ended.result.unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (Code::FailedPrecondition, "local:probe exited with 3"));
    assert_eq!((ended.remains.exit_code, ended.remains.app_tree), (Some(3), None));
    assert_eq!(place.files(&ended.remains.state_tree.unwrap()).await["mykey"], "1\n");
    assert!(log.ends_with("words\n"), "{log}");
    for (script, path) in [
        ("ln -s /etc/shadow /out/app/link\n", "link"),
        ("mknod /out/app/device c 1 3\n", "device"),
        ("rmdir /out/app; ln -s /etc /out/app\n", "/out/app"),
        ("rmdir /out/state; ln -s /etc /out/state\n", "/out/state"),
    ] {
        let work = place.assistant(script, "").await;
        let (ended, _) = place.run(Work::Assistant(Box::new(work))).await;
        let error = ended.result.unwrap_err();
        assert!(error.code == Code::InvalidArgument && error.message.contains(path), "{error:?}");
        let state = ended.remains.state_tree.unwrap();
        assert!(place.files(&state).await.is_empty(), "nothing of the host comes with it: {script}");
    }
    place.stop(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_22_an_image_is_built_and_a_failed_build_names_its_line() {
    let place = Place::start("alpha").await;
    let dir = tempfile::tempdir().unwrap();
    fs::copy("/bin/busybox", dir.path().join("busybox")).unwrap();
    let dockerfile = "FROM scratch\nCOPY --link --chmod=555 busybox /bin/busybox\nCOPY . /all\nEXPOSE 3000 80/udp\n\
        VOLUME /data\nWORKDIR /w\nRUN [\"/bin/busybox\", \"ls\", \"-l\", \"/bin/busybox\", \"/all\"]\nCMD a b\n";
    // What was built before says nothing.
    let nonce = uuid::Uuid::now_v7().to_string();
    for (name, content) in [
        ("nonce", nonce.as_str()),
        ("Dockerfile", dockerfile),
        ("dist/x", "1"),
        ("kept", "2"),
        (".dockerignore", "dist\n"),
    ] {
        write(dir.path(), name, content);
    }
    let tag = format!("aigis/steps-test:{}", std::process::id());
    let context = place.keep(dir.path()).await;
    let build = BuildWork { context, dockerfile: None, tag: tag.clone() };
    let (ended, log) = place.run(Work::Build(build)).await;
    let image = ended.result.unwrap_or_else(|error| panic!("{error}: {log}")).image.unwrap();
    assert_eq!(image.cmd, ["/bin/sh", "-c", "a b"]);
    assert_eq!(
        (image.workingdir.as_str(), image.exposed, image.volumes),
        ("/w", vec!["3000/tcp".to_owned(), "80/udp".to_owned()], vec!["/data".to_owned()],)
    );
    assert!(log.contains("-r-xr-xr-x") && log.contains("kept") && !log.contains("dist"), "{log}");
    let bad =
        "FROM scratch\nCOPY busybox /bin/busybox\n\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo why; exit 4\"]\n";
    let build = BuildWork { context, dockerfile: Some(bad.to_owned()), tag: tag.clone() };
    let (ended, _) = place.run(Work::Build(build)).await;
    let error = ended.result.unwrap_err();
    assert!(error.message.contains("Dockerfile:4: RUN") && error.message.contains("\n  why"), "{error}");
    let build = BuildWork { context, dockerfile: Some("FROM scratch\nNONSENSE x\n".to_owned()), tag: tag.clone() };
    let (ended, _) = place.run(Work::Build(build)).await;
    let error = ended.result.unwrap_err();
    assert!(error.message.contains("Dockerfile:2: NONSENSE x"), "{error}");
    place.stop(&[&tag]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_says_what_it_would_give_and_refuses_what_nobody_asked_for() {
    let place = Place::start("alpha").await;
    let wanted = Wanted {
        chain: ChainId::new(),
        step: 1,
        room: Room::Build,
        blobs: Vec::new(),
        images: Vec::new(),
        limits: Limits::default(),
        patience_ms: 0,
    };
    let bid = async || {
        let wanted = Wanted { chain: ChainId::new(), ..wanted.clone() };
        rpc::answered(place.client.bid(rpc::within(PATIENCE), wanted).await)
    };
    let first = bid().await.unwrap();
    assert!(first.platform.starts_with("linux/") && first.free_memory_bytes > 0 && first.free_disk_bytes > 0);
    bid().await.unwrap();
    assert_eq!(bid().await.unwrap_err().code, Code::ResourceExhausted);
    let work = || Work::Build(BuildWork { context: None, dockerfile: None, tag: "aigis/none:1".to_owned() });
    let order = Order { app: Name::parse("other").unwrap(), ..place.order(work()) };
    assert_eq!(place.begin(&order).await.unwrap_err().code, Code::PermissionDenied);
    let order = Order { bid: Some(first.id), ..place.order(work()) };
    place.begin(&order).await.unwrap();
    let (ended, _) = place.end_of(&order.attempt).await;
    assert!(ended.result.unwrap_err().message.contains("no Dockerfile"));
    place.stop(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_brought_and_its_own_files_are_left_out() {
    let place = Place::start("alpha").await;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.txt", "1");
    let git = |words: &[&str]| {
        let done = std::process::Command::new("git").arg("-C").arg(dir.path()).args(words).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "."]);
    git(&["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "one"]);
    let url = format!("file://{}", dir.path().display());
    let work =
        |reference: Option<&str>| Work::Git(GitWork { url: url.clone(), reference: reference.map(str::to_owned) });
    let (ended, log) = place.run(work(Some("main"))).await;
    let finished = ended.result.unwrap_or_else(|error| panic!("{error}: {log}"));
    assert_eq!(place.files(&finished.app_tree.unwrap()).await, BTreeMap::from([("a.txt".into(), "1".into())]));
    let (ended, _) = place.run(work(Some("nosuch"))).await;
    assert!(ended.result.unwrap_err().message.contains("nosuch"));
    place.stop(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_without_end_keeps_its_two_ends() {
    let place = Place::start("alpha").await;
    let line = "x".repeat(4_000);
    let script = format!("echo first; yes {line} | head -c 150000000; echo; echo last\n");
    let work = place.assistant(&script, "").await;
    let order = place.order(Work::Assistant(Box::new(work)));
    place.begin(&order).await.unwrap();
    let (mut known, until) = (Known::default(), Instant::now() + PATIENCE);
    let ended = loop {
        assert!(Instant::now() < until);
        let news =
            rpc::answered(place.client.follow(rpc::within(PATIENCE), order.attempt.clone(), known).await).unwrap();
        known = Known { log: news.log_from + news.log.0.len() as u64, version: news.version };
        if let Some(ended) = news.ended {
            break ended;
        }
    };
    ended.result.unwrap();
    let log = String::from_utf8(place.blobs.read(Life::Kept, &ended.log.unwrap()).await.unwrap()).unwrap();
    assert!(ended.log_dropped > 100_000_000, "{}", ended.log_dropped);
    assert!(log.contains("first\n") && log.ends_with("last\n"));
    assert!(log.contains(&format!("{{dropped: {}}}\n", ended.log_dropped)));
    let Attempt { chain, step, .. } = order.attempt;
    rpc::answered(place.client.forget(rpc::within(PATIENCE), chain, step, 1).await).unwrap();
    place.stop(&[]).await;
}
