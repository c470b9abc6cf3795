//! A node of a test's own, with a bus of its own, and what is asked of it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Error, MeshName, Name, NodeName,
    blob::Store,
    chain::{Attempt, ChainId, Tree},
    identity::{Credential, Mandate, Purpose},
    rpc::{self, Asker},
    services::steps::{
        AssistantWork, Ended, Known, Limits, Order, STEPS, StepsClient, StepsRequest, StepsResponse, Work,
    },
};
use aigis_registry::{archive, tree};

use crate::{Home, LogTap, Node, Options, engine::Engine, steps::container};

pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// The base of all assistants here: a shell, and nothing else.
const BASE: &str = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nCOPY run.sh /run.sh\n";

/// A node of its own, with a bus of its own.
pub(super) struct Place {
    pub(super) node: Option<Node>,
    pub(super) options: Options,
    pub(super) engine: Engine,
    pub(super) client: StepsClient<Asker<StepsRequest, StepsResponse>>,
    pub(super) blobs: Store,
    pub(super) person: Credential,
    _data: tempfile::TempDir,
}

impl Place {
    pub(super) async fn start(name: &str) -> Self {
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
    pub(super) async fn restart(&mut self) {
        self.node.take().unwrap().stop(Duration::from_secs(1)).await;
        let node = Node::start(self.options.clone()).await.unwrap();
        self.client = StepsClient::from(Asker::new(node.bus(), self.options.node.as_str(), STEPS));
        self.blobs = Store::new(node.bus());
        self.node = Some(node);
    }

    /// Waits until nothing is left of an attempt's container: that it has ended is told before.
    pub(super) async fn is_gone(&self, attempt: &Attempt) {
        let until = Instant::now() + PATIENCE;
        while self.engine.find(&container::name(attempt)).await.unwrap().is_some() {
            assert!(Instant::now() < until, "its container is still there");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Removes an image, once the last container of it is gone.
    pub(super) async fn remove_image(&self, image: &str) {
        let until = Instant::now() + PATIENCE;
        while let Err(error) = self.engine.remove_image(image).await {
            assert!(Instant::now() < until, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) async fn stop(mut self, images: &[&str]) {
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
    pub(super) async fn tree(&self, files: &[(&str, &str)]) -> Tree {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            write(dir.path(), name, content);
        }
        self.keep(dir.path()).await
    }

    pub(super) async fn keep(&self, dir: &Path) -> Tree {
        tree::store(&self.blobs, dir, |_, _| true, archive::Limits::TREE).await.unwrap().tree
    }

    pub(super) async fn files(&self, tree: &Tree) -> BTreeMap<String, String> {
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
    pub(super) async fn assistant(&self, script: &str, rest: &str) -> AssistantWork {
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

    pub(super) fn order(&self, work: Work) -> Order {
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

    pub(super) async fn begin(&self, order: &Order) -> Result<(), Error> {
        rpc::answered(self.client.run(rpc::within(PATIENCE), order.clone()).await)
    }

    /// Follows an attempt to its end, and gives its whole log.
    pub(super) async fn end_of(&self, attempt: &Attempt) -> (Ended, String) {
        let (mut known, mut log, until) = (Known::default(), Vec::new(), Instant::now() + PATIENCE);
        loop {
            assert!(Instant::now() < until, "it does not end; its log: {}", String::from_utf8_lossy(&log));
            let news = rpc::answered(self.client.follow(rpc::within(PATIENCE), attempt.clone(), known).await).unwrap();
            assert_eq!(news.log_from, known.log);
            log.extend_from_slice(&news.log.0);
            known = Known { log: news.log_from + news.log.0.len() as u64, version: news.version };
            if let Some(ended) = news.ended {
                return (*ended, String::from_utf8_lossy(&log).into_owned());
            }
        }
    }

    pub(super) async fn run(&self, work: Work) -> (Ended, String) {
        let order = self.order(work);
        self.begin(&order).await.unwrap();
        let ended = self.end_of(&order.attempt).await;
        let Attempt { chain, step, .. } = order.attempt;
        rpc::answered(self.client.forget(rpc::within(PATIENCE), chain, step, 1).await).unwrap();
        ended
    }
}

pub(super) fn write(dir: &Path, name: &str, content: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    if Path::new(name).extension().is_some_and(|extension| extension == "sh") {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
