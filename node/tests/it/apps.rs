//! Apps at their place, on a real bus and the real engine: what the records name runs, and its reports reach a coordinator.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aigis_node::{Home, Node, Options, gateway};
use aigis_proxy::{
    Bus, Error, MeshName, Name, NodeName, Request, SkillPath,
    blob::{Content, Life, Store},
    bus,
    chain::ChainId,
    client::{self, Target},
    dispatch::NoJournal,
    identity::{Credential, Mandate, Purpose},
    rpc,
    services::{
        chains::{
            AppChange, CHAINS, Chains, Control, InstanceId, LogPiece, NewAssistant, Push, Report, Reported, Restart,
            Wish,
        },
        instances::{INSTANCES, InstancesClient, InstancesRequest, InstancesResponse, Signal},
        steps::Limits,
    },
    task,
    tunnel::{self, Hub},
};
use aigis_registry::{
    Cache, Shared, Timestamp,
    shared::{AppRecord, Instance, Key, Source},
};
use futures::FutureExt as _;
use serde_json::{Value, json};
use tarpc::{context, context::Context, server::Serve as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    images::{busybox, docker},
    start,
};

const SOON: Duration = Duration::from_secs(60);

/// A coordinator that only notes what it is told.
#[derive(Debug, Clone, Default)]
struct Notes(Arc<Mutex<Vec<Report>>>);

impl Drop for Place {
    /// A test that failed leaves nothing on the engine.
    fn drop(&mut self) {
        let place = self.mark();
        for (list, remove) in [(["ps", "-a"], &["rm", "-f", "-v"][..]), (["network", "ls"], &["network", "rm"])] {
            let mut command = std::process::Command::new("docker");
            let found = command.args(list).args(["--filter", &place, "--format", "{{.ID}}"]).output();
            let ids = found.map(|found| String::from_utf8_lossy(&found.stdout).into_owned()).unwrap_or_default();
            let ids: Vec<&str> = ids.lines().collect();
            if !ids.is_empty() {
                let _ = std::process::Command::new("docker").args(remove).args(ids).output();
            }
        }
    }
}

fn nothing<T>() -> Result<T, Error> {
    Err(Error::internal("not in this test"))
}

impl Chains for Notes {
    async fn announce(self, _: Context, _: Wish) -> Result<(), Error> {
        nothing()
    }
    async fn push(self, _: Context, _: Push) -> Result<ChainId, Error> {
        nothing()
    }
    async fn control(self, _: Context, _: ChainId, _: Control) -> Result<String, Error> {
        nothing()
    }
    async fn log(self, _: Context, _: ChainId, _: u32, _: u64) -> Result<LogPiece, Error> {
        nothing()
    }
    async fn keep_assistant(self, _: Context, _: NewAssistant) -> Result<(), Error> {
        nothing()
    }
    async fn remove_assistant(self, _: Context, _: String) -> Result<(), Error> {
        nothing()
    }
    async fn change_app(self, _: Context, _: Name, _: AppChange) -> Result<(), Error> {
        nothing()
    }
    async fn report(self, _: Context, report: Report) -> Result<(), Error> {
        self.0.lock().unwrap().push(report);
        Ok(())
    }
}

struct Place {
    home: Home,
    node: Option<Node>,
    gateway: u16,
    bus: Bus,
    shared: Shared,
    admin: Credential,
    notes: Notes,
    app: Name,
    revision: Mutex<u64>,
    _serving: task::Owned,
    _directory: tempfile::TempDir,
}

async fn node(home: &Home, gateway: u16) -> Node {
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let gateway =
        gateway::Options { address: SocketAddr::from(([127, 0, 0, 1], gateway)), domain: gateway::Domain::default() };
    let options = Options { gateway: Some(gateway), engine: None, ..start::options(home, listen) };
    Node::start(options).await.unwrap()
}

impl Place {
    /// A node, and an app of that name of which there is nothing yet.
    async fn start(app: &str) -> Self {
        busybox();
        let directory = tempfile::tempdir().unwrap();
        // Several of these run at once on one engine.
        let mesh = MeshName::parse(&format!("t{}-{app}", std::process::id())).unwrap();
        let home = Home::new(directory.path(), mesh);
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let gateway = free.local_addr().unwrap().port();
        drop(free);
        let node = node(&home, gateway).await;
        let own = Credential::read(&home.credential(&NodeName::parse("alpha").unwrap().user()), None).unwrap();
        let admin = Credential::read(&home.default_credential(), None).unwrap();
        let file = home.read_mesh().unwrap().unwrap();
        let options =
            bus::Options { url: file.bus, ca: None, credential: Arc::new(own.clone()), label: "test".to_owned() };
        let bus = Bus::connect(options).await.unwrap();
        let cache = Cache::open(&bus, Some(file.issuer), SOON).await.unwrap();
        let shared = Shared::of_node(&bus, &cache, own);
        let notes = Notes::default();
        let desk = notes.clone();
        let serving = rpc::serve_shared(&bus, CHAINS, Arc::new(NoJournal), move |_, context, request| {
            let desk = desk.clone();
            async move { desk.serve().serve(context, request).await }.boxed()
        });
        let serving = serving.await.unwrap();
        let app = Name::parse(app).unwrap();
        let revision = Mutex::new(0);
        Self {
            home,
            node: Some(node),
            gateway,
            bus,
            shared,
            admin,
            notes,
            app,
            revision,
            _serving: serving,
            _directory: directory,
        }
    }

    /// The admin's own connection.
    async fn person(&self) -> Bus {
        let url = self.home.read_mesh().unwrap().unwrap().bus;
        let credential = Arc::new(self.admin.clone());
        Bus::connect(bus::Options { url, ca: None, credential, label: "admin".to_owned() }).await.unwrap()
    }

    /// A connection to the gateway that has asked that of a host.
    async fn asked(&self, host: &str, more: &str) -> TcpStream {
        let mut tcp = TcpStream::connect(("127.0.0.1", self.gateway)).await.unwrap();
        let head = format!("GET /index.html HTTP/1.1\r\nHost: {host}:{}\r\n{more}\r\n", self.gateway);
        tcp.write_all(head.as_bytes()).await.unwrap();
        tcp
    }

    /// What the gateway answers for a host.
    async fn get(&self, host: &str) -> String {
        let mut answer = String::new();
        self.asked(host, "Connection: close\r\n").await.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Ends the node, and starts it anew.
    async fn restart(&mut self) {
        let home = self.home.clone();
        self.node.take().unwrap().stop(Duration::from_secs(5)).await;
        self.node = Some(node(&home, self.gateway).await);
        let end = Instant::now() + SOON;
        while self.bus.echo().await.is_err() {
            assert!(Instant::now() < end, "the bus is not back");
        }
    }

    async fn stop(mut self) {
        self.node.take().unwrap().stop(Duration::from_secs(5)).await;
    }

    /// An instance that runs that in a shell.
    fn instance(&self, script: &str, ports: &[u16]) -> Instance {
        Instance {
            id: InstanceId { chain: ChainId::new(), step: 1, epoch: 1 },
            node: NodeName::parse("alpha").unwrap(),
            image: busybox().to_owned(),
            archive: None,
            cmd: ["sh", "-c", script].map(str::to_owned).to_vec(),
            workingdir: Some("/tmp".to_owned()),
            ports: ports.to_vec(),
            restart: Restart::OnFailure,
            limits: Limits::default(),
            ready_timeout_s: 2,
            mandate: Mandate::sign(&self.admin, Purpose::App, self.app.clone(), None),
            ready: false,
            silent: Vec::new(),
            exit_code: None,
            end: None,
            since: Timestamp::now(),
        }
    }

    /// Writes the app's record.
    async fn name(&self, instance: Option<&Instance>, candidate: Option<&Instance>) {
        self.write(instance, candidate, false).await;
    }

    async fn write(&self, instance: Option<&Instance>, candidate: Option<&Instance>, stopped: bool) {
        let record = AppRecord {
            name: self.app.clone(),
            project: "p".to_owned(),
            pushed_by: self.admin.name().clone(),
            pushed_at: Timestamp::now(),
            chain: ChainId::new(),
            source: Source { tree: None, from: "here".to_owned() },
            on: Vec::new(),
            stopped,
            instance: instance.cloned(),
            candidate: candidate.cloned(),
            app_tree: None,
            state_tree: None,
            trouble: None,
            stranded: None,
        };
        let follows = *self.revision.lock().unwrap();
        let written = self.shared.put(&Key::App(self.app.clone()), &record, follows).await.unwrap();
        *self.revision.lock().unwrap() = written.expect("nobody else writes it");
    }

    /// Waits for a report of that instance that is wanted.
    async fn reported(&self, instance: &Instance, wanted: impl Fn(&Reported) -> bool) -> Reported {
        let end = Instant::now() + SOON;
        loop {
            let reports = self.notes.0.lock().unwrap().clone();
            let of = reports.iter().filter(|report| report.instance == instance.id && report.app == self.app);
            if let Some(report) = of.clone().find(|report| wanted(&report.what)) {
                return report.what.clone();
            }
            assert!(Instant::now() < end, "only {reports:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The filter of what this node made.
    fn mark(&self) -> String {
        let file = self.home.credential(&NodeName::parse("alpha").unwrap().user());
        format!("label=aigis.node={}", Credential::read(&file, None).unwrap().public())
    }

    fn containers(&self) -> Vec<String> {
        let place = self.mark();
        let owner = format!("label=aigis.owner=app/{}", self.app);
        let found = docker(&["ps", "-aq", "--no-trunc", "--filter", &place, "--filter", &owner]);
        found.lines().map(str::to_owned).collect()
    }

    async fn count(&self, wanted: usize) -> Vec<String> {
        let end = Instant::now() + SOON;
        loop {
            let containers = self.containers();
            if containers.len() == wanted {
                return containers;
            }
            assert!(Instant::now() < end, "{containers:?} are not {wanted}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn client(&self) -> InstancesClient<rpc::Asker<InstancesRequest, InstancesResponse>> {
        InstancesClient::from(rpc::Asker::new(&self.bus, "alpha", INSTANCES))
    }

    /// All that it writes until it has ended, or until that is in it.
    async fn output(&self, instance: &Instance, until: Option<&str>) -> (String, Option<i64>) {
        let (mut text, mut from, end) = (String::new(), 0, Instant::now() + SOON);
        loop {
            let asked = self.client().output(context::current(), self.app.clone(), instance.id.clone(), from).await;
            let written = rpc::answered(asked).unwrap();
            for (_, Content(bytes)) in &written.pieces {
                text.push_str(&String::from_utf8_lossy(bytes));
            }
            from = written.next;
            if written.exit_code.is_some() || until.is_some_and(|until| text.contains(until)) {
                return (text, written.exit_code);
            }
            assert!(Instant::now() < end, "only {text}");
        }
    }
}

/// A server that echoes, once that many seconds have passed.
fn echo(after: &str) -> String {
    format!("echo hello from $AIGIS_APP at $PORT; sleep {after}; exec nc -ll -p $PORT -e cat")
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_39_an_app_is_made_ready_spoken_with_and_ended() {
    let place = Place::start("echo").await;
    let first = place.instance(&echo("1"), &[7000]);
    place.name(None, Some(&first)).await;
    place.reported(&first, |what| *what == Reported::Ready).await;
    let (text, _) = place.output(&first, Some("\n")).await;
    assert_eq!(text, "hello from echo at 7000\n");
    let hub = Hub::open(&place.bus).await.unwrap();
    let alpha = NodeName::parse("alpha").unwrap();
    place.name(Some(&first), None).await;
    let end = Instant::now() + SOON;
    let mut tunnel = loop {
        match tunnel::dial(&hub, &alpha, &place.app, 7000).await {
            Ok((tunnel, _)) => break tunnel,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
    };
    tunnel.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    tunnel.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ping");
    // Another takes its place, and one container is left.
    let before = place.count(1).await;
    let second = place.instance(&echo("0"), &[7000]);
    place.name(Some(&first), Some(&second)).await;
    place.reported(&second, |what| *what == Reported::Ready).await;
    place.count(2).await;
    place.name(Some(&second), None).await;
    assert_ne!(place.count(1).await, before);
    // The node may end and begin again: the app is the same.
    let running = place.containers();
    let mut place = place;
    place.restart().await;
    let hub = Hub::open(&place.bus).await.unwrap();
    let end = Instant::now() + SOON;
    while let Err(error) = tunnel::dial(&hub, &alpha, &place.app, 7000).await {
        assert!(Instant::now() < end, "{error}");
    }
    assert_eq!(place.containers(), running);
    place.name(None, None).await;
    place.count(0).await;
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_24_an_app_that_ends_by_itself_says_how() {
    let place = Place::start("seven").await;
    let seven = place.instance("echo out; echo err >&2; exit 7", &[]);
    let seven = Instance { restart: Restart::No, ..seven };
    place.name(Some(&seven), None).await;
    let ended = place.reported(&seven, |what| matches!(what, Reported::Ended { .. })).await;
    let Reported::Ended { exit_code: 7, log: Some(log), by: None, .. } = ended else { panic!("{ended:?}") };
    let log = Store::new(&place.bus).read(Life::Kept, &log).await.unwrap();
    assert_eq!((log.len(), log.windows(3).filter(|piece| *piece == b"err").count()), (8, 1));
    assert_eq!(place.output(&seven, None).await.1, Some(7));
    place.count(0).await;
    // One that cannot be started says so.
    let bad = Instance { cmd: vec!["/nowhere".to_owned()], ..place.instance("", &[]) };
    place.name(Some(&bad), None).await;
    place.reported(&bad, |what| matches!(what, Reported::Failed { error } if error.message.contains("/nowhere"))).await;
    // Nobody's wish is none.
    let forged = Mandate::sign(&place.admin, Purpose::App, Name::parse("other").unwrap(), None);
    let forged = Instance { mandate: forged, ..place.instance("sleep 100", &[]) };
    place.name(Some(&forged), None).await;
    place.reported(&forged, |what| matches!(what, Reported::Failed { .. })).await;
    place.count(0).await;
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_57_an_app_is_started_again_until_somebody_ends_it() {
    let place = Place::start("again").await;
    let looping = place.instance("echo run; exit 3", &[]);
    place.name(Some(&looping), None).await;
    place.reported(&looping, |what| *what == Reported::Ready).await;
    place.output(&looping, Some("run\nrun\n")).await;
    let container = place.count(1).await;
    place.name(None, None).await;
    place.count(0).await;
    let stubborn = place.instance("trap '' INT TERM; echo up; while :; do sleep 1; done", &[9]);
    place.name(Some(&stubborn), None).await;
    place.output(&stubborn, Some("up")).await;
    assert_ne!(place.containers(), container);
    // It does not listen, and is told to end.
    let admin = place.person().await;
    let person =
        InstancesClient::from(rpc::Asker::<InstancesRequest, InstancesResponse>::new(&admin, "alpha", INSTANCES));
    place.reported(&stubborn, |what| *what == Reported::Silent { ports: vec![9] }).await;
    for signal in [Signal::Interrupt, Signal::Terminate, Signal::Kill] {
        assert_eq!(place.containers().len(), 1);
        let sent = person.signal(context::current(), place.app.clone(), stubborn.id.clone(), signal).await;
        rpc::answered(sent).unwrap();
    }
    let ended = place.reported(&stubborn, |what| matches!(what, Reported::Ended { .. })).await;
    assert!(
        matches!(&ended, Reported::Ended { exit_code: 137, by: Some(by), .. } if by == place.admin.name().as_str()),
        "{ended:?}"
    );
    place.count(0).await;
    place.stop().await;
}

/// Serves `hi` at its first port, and speaks something else at its second.
const WEB: &str = r#"mkdir w
echo hi > w/index.html
cat > up <<'END'
#!/bin/sh
while read -r line && [ ${#line} -gt 1 ]; do :; done
printf 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n'
exec cat
END
chmod +x up
nc -ll -p 7001 -e ./up &
exec httpd -f -p $PORT -h w"#;

#[tokio::test(flavor = "multi_thread")]
async fn chn_40_and_59_an_app_is_a_ci_and_answers_through_the_gateway() {
    let place = Place::start("web").await;
    let web = place.instance(WEB, &[7000, 7001]);
    place.name(Some(&web), None).await;
    place.reported(&web, |what| *what == Reported::Ready).await;
    let web = Instance { ready: true, ..web };
    place.name(Some(&web), None).await;
    let answer = place.get("web.localhost").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\nhi\n"), "{answer}");
    assert!(place.get("web-7000.localhost").await.starts_with("HTTP/1.1 200"));
    let answer = place.get("nosuch.localhost").await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("nosuch.localhost"), "{answer}");
    let answer = place.get("web-9.localhost").await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("port 9"), "{answer}");
    let mut socket = place.asked("web-7001.localhost", "Connection: Upgrade\r\nUpgrade: websocket\r\n").await;
    let mut head = vec![0; "HTTP/1.1 101".len()];
    socket.read_exact(&mut head).await.unwrap();
    assert_eq!(head, b"HTTP/1.1 101");
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    socket.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    socket.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ping");

    let admin = place.person().await;
    let call = |path: &str| {
        let (server, ci) = (NodeName::parse("alpha").unwrap().user(), place.app.clone());
        let target = Target { server, ci, path: SkillPath::parse(path).unwrap(), timeout: None };
        let admin = admin.clone();
        async move { client::call(&admin, &target, Request::default()).await }
    };
    let end = Instant::now() + SOON;
    let status = loop {
        match call("status").await {
            Ok(status) => break status,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
    };
    assert_eq!(status["ports"], json!([7000, 7001]));
    assert_eq!(status["chain"], web.id.chain.as_str());
    assert_eq!((&status["instance"]["ready"], &status["state"]), (&json!(true), &json!("running")));
    assert_eq!(status["url"], format!("http://web.localhost:{}", place.gateway));
    assert_eq!(status["container_id"].as_str(), place.containers().first().map(String::as_str));
    assert_eq!(call("describe").await.unwrap()["kind"], "app");
    let done: Value = call("restart").await.unwrap();
    assert_eq!(done["changed"], true);
    let end = Instant::now() + SOON;
    while !place.get("web.localhost").await.starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < end, "it does not answer again");
    }
    assert_eq!(place.notes.0.lock().unwrap().len(), 1, "nobody is told of a restart by hand");
    place.write(Some(&web), None, true).await;
    place.count(0).await;
    let answer = place.get("web.localhost").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.to_lowercase().contains("retry-after: 5"), "{answer}");
    let end = Instant::now() + SOON;
    while call("status").await.is_ok() {
        assert!(Instant::now() < end, "its CI stays");
    }
    place.write(None, None, false).await;
    place.stop().await;
}
