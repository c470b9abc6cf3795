//! Steps at a real node, with the real engine at the usual socket. Whatever they make has names of its own, and is removed.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Code, Error, MeshName, Name, NodeName,
    blob::{Life, Store},
    chain::{Attempt, ChainId, Tree},
    identity::{Credential, Mandate, Purpose},
    rpc::{self, Asker},
    services::chains::PushOptions,
    services::steps::{
        AssistantWork, BuildWork, Ended, GitWork, Known, Limits, Order, Room, STEPS, StepsClient, StepsRequest,
        StepsResponse, Wanted, Work,
    },
};
use aigis_registry::{
    Cache, Shared, Timestamp, archive,
    shared::{Budget, ChainRecord, Key, Source, Status, StepRecord},
    tree,
};
use tarpc::context::Context;

use crate::{Home, LogTap, Node, Options, engine::Engine};

const PATIENCE: Duration = Duration::from_secs(120);
/// The base of all assistants here: a shell, and nothing else.
const BASE: &str = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nCOPY run.sh /run.sh\n";

/// A node of its own, with a bus of its own.
struct Place {
    node: Option<Node>,
    options: Options,
    engine: Engine,
    client: StepsClient<Asker<StepsRequest, StepsResponse>>,
    blobs: Store,
    person: Credential,
    _data: tempfile::TempDir,
}

fn within(time: Duration) -> Context {
    let mut context = tarpc::context::current();
    context.deadline = Instant::now() + time;
    context
}

impl Place {
    async fn start(name: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let home = Home::new(data.path(), MeshName::parse("steps").unwrap());
        // The usual port may be another's, and may be taken between two looks at it.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let options = Options {
            home: home.clone(),
            node: NodeName::parse(name).unwrap(),
            listen: Some(free),
            bus_cluster: None,
            bus_sites: Vec::new(),
            ended_sites: Vec::new(),
            bus: None,
            ca: None,
            credential_life: Duration::from_secs(24 * 3600),
            new_store: false,
            labels: BTreeMap::new(),
            metrics: None,
            gateway: None,
            engine: None,
            images: Default::default(),
            audit_room: None,
            plugins: None,
            logs: LogTap::default(),
        };
        // Where the set-up of a host puts it, for who says nothing else.
        let usual = std::env::home_dir().unwrap().join(".local/share/aigis/bin");
        if usual.is_dir() {
            std::os::unix::fs::symlink(usual, data.path().join("bin")).unwrap();
        }
        let node = Node::start(options.clone()).await.unwrap();
        let issuer = home.read_issuer().unwrap();
        let person = Credential::read(&home.default_credential(), issuer.as_ref()).unwrap();
        let client = StepsClient::from(Asker::new(node.bus(), name, STEPS));
        let blobs = Store::new(node.bus());
        Self { node: Some(node), options, engine: Engine::from_env(), client, blobs, person, _data: data }
    }

    /// Ends the node, and starts it again on what it left.
    async fn restart(&mut self) {
        self.node.take().unwrap().stop(Duration::from_secs(1)).await;
        let node = Node::start(self.options.clone()).await.unwrap();
        self.client = StepsClient::from(Asker::new(node.bus(), self.options.node.as_str(), STEPS));
        self.blobs = Store::new(node.bus());
        self.node = Some(node);
    }

    /// Waits until nothing is left of an attempt's container: that it has ended is told before.
    async fn is_gone(&self, attempt: &Attempt) {
        let until = Instant::now() + PATIENCE;
        while self.engine.find(&super::container::name(attempt)).await.unwrap().is_some() {
            assert!(Instant::now() < until, "its container is still there");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Removes an image, once the last container of it is gone.
    async fn remove_image(&self, image: &str) {
        let until = Instant::now() + PATIENCE;
        while let Err(error) = self.engine.remove_image(image).await {
            assert!(Instant::now() < until, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn stop(mut self, images: &[&str]) {
        let known = self.options.home.root().join("step-images.json");
        if let Ok(text) = fs::read_to_string(known) {
            let known: serde_json::Value = serde_json::from_str(&text).unwrap();
            for image in known.as_object().unwrap().values() {
                self.remove_image(image["tag"].as_str().unwrap()).await;
            }
        }
        for image in images {
            self.remove_image(image).await;
        }
        self.node.take().unwrap().stop(Duration::from_secs(1)).await;
    }

    /// Stores files; a name that ends in `*` is one that can be run.
    async fn tree(&self, files: &[(&str, &str)]) -> Tree {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            write(dir.path(), name, content);
        }
        self.keep(dir.path()).await
    }

    async fn keep(&self, dir: &Path) -> Tree {
        tree::store(&self.blobs, dir, |_, _| true, archive::Limits::TREE).await.unwrap().tree
    }

    async fn files(&self, tree: &Tree) -> BTreeMap<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        tree::fetch(&self.blobs, tree, &top).await.unwrap();
        let mut found = BTreeMap::new();
        let mut below = vec![top.clone()];
        while let Some(directory) = below.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    below.push(path);
                } else {
                    let name = path.strip_prefix(&top).unwrap().to_string_lossy().into_owned();
                    found.insert(name, String::from_utf8(fs::read(&path).unwrap()).unwrap());
                }
            }
        }
        found
    }

    /// An assistant whose image runs that script.
    async fn assistant(&self, script: &str, rest: &str) -> AssistantWork {
        let dir = tempfile::tempdir().unwrap();
        fs::copy("/bin/busybox", dir.path().join("busybox")).unwrap();
        write(dir.path(), "run.sh", script);
        write(dir.path(), "name", "probe");
        write(dir.path(), "Dockerfile", &format!("{BASE}{rest}ENTRYPOINT [\"/bin/sh\", \"/run.sh\"]\n"));
        AssistantWork {
            assistant: "local:probe".to_owned(),
            folder: self.keep(dir.path()).await,
            app_tree: None,
            state_tree: None,
            limits: Limits::default(),
            network: false,
            deterministic: false,
            secret: None,
            answers: BTreeMap::new(),
            yes: false,
        }
    }

    fn order(&self, work: Work) -> Order {
        let app = Name::parse("hello").unwrap();
        Order {
            attempt: Attempt { chain: ChainId::new(), step: 1, attempt: 1 },
            epoch: 1,
            bid: None,
            mandate: Mandate::sign(&self.person, Purpose::App, app.clone(), None),
            app,
            work,
            timeout_s: 60,
        }
    }

    async fn begin(&self, order: &Order) -> Result<(), Error> {
        rpc::answered(self.client.run(within(PATIENCE), order.clone()).await)
    }

    /// Follows an attempt to its end, and gives its whole log.
    async fn end_of(&self, attempt: &Attempt) -> (Ended, String) {
        let (mut known, mut log, until) = (Known::default(), Vec::new(), Instant::now() + PATIENCE);
        loop {
            assert!(Instant::now() < until, "it does not end; its log: {}", String::from_utf8_lossy(&log));
            let news = rpc::answered(self.client.follow(within(PATIENCE), attempt.clone(), known).await).unwrap();
            assert_eq!(news.log_from, known.log);
            log.extend_from_slice(&news.log.0);
            known = Known { log: news.log_from + news.log.0.len() as u64, version: news.version };
            if let Some(ended) = news.ended {
                return (*ended, String::from_utf8_lossy(&log).into_owned());
            }
        }
    }

    async fn run(&self, work: Work) -> (Ended, String) {
        let order = self.order(work);
        self.begin(&order).await.unwrap();
        let ended = self.end_of(&order.attempt).await;
        let Attempt { chain, step, .. } = order.attempt;
        rpc::answered(self.client.forget(within(PATIENCE), chain, step, 1).await).unwrap();
        ended
    }
}

fn write(dir: &Path, name: &str, content: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    if Path::new(name).extension().is_some_and(|extension| extension == "sh") {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

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
async fn chn_46_what_ran_is_taken_up_after_a_restart_and_runs_once() {
    let mut place = Place::start("alpha").await;
    let script = "for i in 1 2 3 4 5 6 7 8; do echo tick $i; sleep 1; done; echo once > /out/app/once\n";
    let work = place.assistant(script, "").await;
    let order = place.order(Work::Assistant(Box::new(work)));
    place.begin(&order).await.unwrap();
    place.begin(&order).await.unwrap();
    let (mut known, mut log) = (Known::default(), String::new());
    while !log.contains("tick 2") {
        let news = rpc::answered(place.client.follow(within(PATIENCE), order.attempt.clone(), known).await).unwrap();
        assert!(news.ended.is_none(), "{news:?}");
        log.push_str(std::str::from_utf8(&news.log.0).unwrap());
        known = Known { log: news.log_from + news.log.0.len() as u64, version: news.version };
    }
    place.restart().await;
    let (ended, log) = place.end_of(&order.attempt).await;
    let finished = ended.result.unwrap_or_else(|error| panic!("{error}: {log}"));
    let ticks: Vec<&str> = log.lines().filter(|line| line.starts_with("tick")).collect();
    assert_eq!(ticks.len(), 8, "{log}");
    assert_eq!(place.files(&finished.app_tree.unwrap()).await["once"], "once\n");
    // It stays as it ended, until it is forgotten.
    place.restart().await;
    place.begin(&order).await.unwrap();
    let (ended, again) = place.end_of(&order.attempt).await;
    assert!(ended.result.is_ok());
    assert_eq!(again, log);
    let Attempt { chain, step, .. } = order.attempt.clone();
    rpc::answered(place.client.forget(within(PATIENCE), chain, step, 2).await).unwrap();
    let error = rpc::answered(place.client.follow(within(PATIENCE), order.attempt.clone(), known).await).unwrap_err();
    assert_eq!(error.code, Code::NotFound);
    let error = place.begin(&order).await.unwrap_err();
    assert!(error.message.contains("epoch 1"), "an older epoch is refused: {error}");
    place.stop(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_27_chn_43_chn_68_what_takes_too_long_or_too_much_is_ended() {
    let place = Place::start("alpha").await;
    let slow = place.assistant("trap 'exit 0' TERM; while true; do sleep 0.1; done\n", "").await;
    let order = Order { timeout_s: 2, ..place.order(Work::Assistant(Box::new(slow.clone()))) };
    place.begin(&order).await.unwrap();
    let (ended, _) = place.end_of(&order.attempt).await;
    assert_eq!(ended.result.unwrap_err().code, Code::DeadlineExceeded);
    let order = place.order(Work::Assistant(Box::new(slow)));
    place.begin(&order).await.unwrap();
    rpc::answered(place.client.end(within(PATIENCE), order.attempt.clone(), 1).await).unwrap();
    let (ended, _) = place.end_of(&order.attempt).await;
    assert_eq!(ended.result.unwrap_err().code, Code::Cancelled);
    place.is_gone(&order.attempt).await;
    // A shell that is a container's first process is not told of TERM, and so is not waited for.
    let deaf = place.assistant("echo on; while true; do sleep 0.1; done\n", "").await;
    let order = place.order(Work::Assistant(Box::new(deaf)));
    place.begin(&order).await.unwrap();
    let name = super::container::name(&order.attempt);
    let until = Instant::now() + PATIENCE;
    while place.engine.find(&name).await.unwrap().is_none_or(|found| found.pid.is_none()) {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let asked = Instant::now();
    rpc::answered(place.client.end(within(PATIENCE), order.attempt.clone(), 1).await).unwrap();
    let (ended, _) = place.end_of(&order.attempt).await;
    assert_eq!(ended.result.unwrap_err().code, Code::Cancelled);
    assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
    let hog = place.assistant("x=a; while true; do x=$x$x; done\n", "").await;
    let limits = Limits { memory_bytes: Some(32 * 1024 * 1024), ..Limits::default() };
    let (ended, log) = place.run(Work::Assistant(Box::new(AssistantWork { limits, ..hog }))).await;
    let error = ended.result.unwrap_err();
    assert!(error.message.contains("killed for memory"), "{error}: {log}");
    place.stop(&[]).await;
}

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
        let news = rpc::answered(place.client.follow(within(PATIENCE), order.attempt.clone(), known).await).unwrap();
        known = Known { log: 0, version: news.version };
        if let Some(question) = news.questions.first() {
            assert_eq!((question.id.as_str(), question.ask.as_str()), ("q", "Go on?"));
            break;
        }
        assert!(news.ended.is_none(), "{news:?}");
    }
    let answer = async |value: &str| {
        let (attempt, id) = (order.attempt.clone(), "q".to_owned());
        rpc::answered(place.client.answer(within(PATIENCE), attempt, id, value.to_owned()).await)
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

#[tokio::test(flavor = "multi_thread")]
async fn chn_66_a_deterministic_assistant_runs_once_for_the_same_inputs() {
    let place = Place::start("alpha").await;
    let assistant = place.assistant("echo 1 > /out/app/a\n", "").await;
    let work = AssistantWork { deterministic: true, ..assistant };
    let (first, _) = place.run(Work::Assistant(Box::new(work.clone()))).await;
    let (second, _) = place.run(Work::Assistant(Box::new(work))).await;
    let (first, second) = (first.result.unwrap(), second.result.unwrap());
    assert!(!first.cached && second.cached);
    assert_eq!((first.app_tree, first.state_tree), (second.app_tree, second.state_tree));
    place.stop(&[]).await;
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
        rpc::answered(place.client.bid(within(PATIENCE), wanted).await)
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
    let secrets = super::init::pairs("assistant/local/x", "A=NONCE one\nC='NONCE two'\n").unwrap();
    let shelf = super::init::wrap(&mut recipe, &image, &secrets, input.path()).unwrap();
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
    let folder = super::folder::Folder::new(&place.options.home.root().join("steps"), attempt);
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
        let news = rpc::answered(place.client.follow(within(PATIENCE), attempt.clone(), known).await).unwrap();
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
async fn chn_48_a_later_attempt_ends_the_earlier_one() {
    let place = Place::start("alpha").await;
    let work = place.assistant("trap 'exit 0' TERM; while true; do sleep 0.1; done\n", "").await;
    let first = place.order(Work::Assistant(Box::new(work)));
    place.begin(&first).await.unwrap();
    let attempt = Attempt { attempt: 2, ..first.attempt.clone() };
    let second = Order { attempt, epoch: 2, ..first.clone() };
    place.begin(&second).await.unwrap();
    let (ended, _) = place.end_of(&first.attempt).await;
    assert_eq!(ended.result.unwrap_err().code, Code::Cancelled);
    assert_eq!(place.begin(&first).await.unwrap_err().code, Code::FailedPrecondition);
    let Attempt { chain, step, .. } = first.attempt;
    rpc::answered(place.client.forget(within(PATIENCE), chain, step, 2).await).unwrap();
    assert!(place.engine.find(&super::container::name(&second.attempt)).await.unwrap().is_none());
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
        let news = rpc::answered(place.client.follow(within(PATIENCE), order.attempt.clone(), known).await).unwrap();
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
    rpc::answered(place.client.forget(within(PATIENCE), chain, step, 1).await).unwrap();
    place.stop(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_48_a_place_learns_from_the_journal_that_its_attempt_is_stale() {
    let place = Place::start("alpha").await;
    let work = place.assistant("trap 'exit 0' TERM; while true; do sleep 0.1; done\n", "").await;
    let order = place.order(Work::Assistant(Box::new(work)));
    place.begin(&order).await.unwrap();
    let Attempt { chain, step, .. } = order.attempt.clone();
    let now = Timestamp::now();
    let home = &place.options.home;
    let credential = home.credential(&place.options.node.user());
    let credential = Credential::read(&credential, home.read_issuer().unwrap().as_ref()).unwrap();
    let bus = place.node.as_ref().unwrap().bus();
    let cache = Cache::open(bus, Some(place.options.node.clone()), PATIENCE).await.unwrap();
    let shared = Shared::of_node(bus, &cache, credential);
    let budget = Budget { max_steps: 50, max_time_s: 60, used_steps: 0, used_time_s: 0 };
    let record = ChainRecord {
        id: chain.clone(),
        app: order.app.clone(),
        created_at: now,
        created_by: place.person.name().clone(),
        mandate: order.mandate.clone(),
        source: Source { tree: None, from: "test".to_owned() },
        status: Status::Running,
        status_reason: String::new(),
        step,
        next: Some("local:probe".to_owned()),
        app_tree: None,
        state_tree: None,
        budget,
        on: Vec::new(),
        options: PushOptions::default(),
        queued_behind: None,
        assistants: Default::default(),
        hold: None,
        question: None,
        answers: BTreeMap::new(),
        holder: None,
        epoch: 1,
        cancelled_by: None,
        error: None,
        ended_at: None,
        updated_at: now,
    };
    shared.create(&Key::Chain(chain.clone()), &record).await.unwrap().unwrap();
    let journal = serde_json::json!({
        "n": step, "attempt": 2, "assistant": "local:probe", "assistant_digest": null, "node": "beta", "status": "running",
        "in": { "app": null, "state": null }, "started_at": now,
    });
    let journal: StepRecord = serde_json::from_value(journal).unwrap();
    shared.create(&Key::Step(chain.clone(), step), &journal).await.unwrap().unwrap();
    let (ended, _) = place.end_of(&order.attempt).await;
    assert_eq!(ended.result.unwrap_err().code, Code::Cancelled);
    place.is_gone(&order.attempt).await;
    place.stop(&[]).await;
}
