//! A node with a project of which there is nothing yet, and images that go with their test.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, TcpListener},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aigis_node::{Home, Node, Options};
use aigis_proxy::{
    Bus, Error, MeshName, Name, NodeName, Request, SkillPath,
    blob::Digest,
    bus,
    client::{self, Target},
    identity::{Credential, Mandate, Purpose},
    rpc,
    secret::{self, SecretName, Selector},
    services::{
        ISSUER, IssuerClient, IssuerRequest, IssuerResponse, WantedSecret,
        deployments::{
            DEPLOYMENTS, DeploymentsClient, DeploymentsRequest, DeploymentsResponse, Judgement, Replica, Restart,
            Survey,
        },
    },
};
use aigis_registry::Cache;
use serde_json::{Value, json};
use tarpc::context::Context;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    images::{busybox, docker},
    start,
};

pub(super) const SOON: Duration = Duration::from_secs(60);

/// An image that goes with its test.
pub(super) struct Image(pub(super) String);

impl Image {
    /// Busybox that runs a script in a shell, with more in its Dockerfile.
    pub(super) fn new(script: &str, more: &str) -> Self {
        let command = json!(["sh", "-c", script]);
        let text = format!("FROM {}\nWORKDIR /dev/shm\nUSER 10001:10001\n{more}\nCMD {command}\n", busybox());
        let mut build = Command::new("docker")
            .args(["build", "-q", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut build.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let built = build.wait_with_output().unwrap();
        assert!(built.status.success(), "{text}");
        Self(String::from_utf8(built.stdout).unwrap().trim().to_owned())
    }

    /// One that serves that text at port 8000, and is checked for it.
    pub(super) fn web(text: &str) -> Self {
        let script = format!("mkdir w && echo {text} > w/index.html && exec httpd -f -p 8000 -h w");
        let check = "HEALTHCHECK --interval=1s --timeout=3s --start-period=20s --retries=3 \
                     CMD [\"wget\", \"-q\", \"-O\", \"/dev/null\", \"http://127.0.0.1:8000/\"]";
        Self::new(&script, &format!("EXPOSE 8000\n{check}"))
    }

    pub(super) fn digest(&self) -> Digest {
        self.0.parse().unwrap()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rmi", &self.0]).output();
    }
}

/// A node, and a project of which there is nothing yet.
pub(super) struct Stand {
    home: Home,
    pub(super) node: Option<Node>,
    pub(super) bus: Bus,
    pub(super) admin: Credential,
    pub(super) project: Name,
    pub(super) package: Digest,
    _directory: tempfile::TempDir,
}

impl Drop for Stand {
    /// A test that failed leaves nothing on the engine.
    fn drop(&mut self) {
        let made = self.mark();
        for (list, remove) in [
            (&["ps", "-aq"][..], &["rm", "-f", "-v"][..]),
            (&["network", "ls", "-q"], &["network", "rm"]),
            (&["volume", "ls", "-q"], &["volume", "rm", "-f"]),
        ] {
            let found = Command::new("docker").args(list).args(["--filter", &made]).output();
            let ids = found.map(|found| String::from_utf8_lossy(&found.stdout).into_owned()).unwrap_or_default();
            let ids: Vec<&str> = ids.lines().collect();
            if !ids.is_empty() {
                let _ = Command::new("docker").args(remove).args(ids).output();
            }
        }
    }
}

type Client = DeploymentsClient<rpc::Asker<DeploymentsRequest, DeploymentsResponse>>;

pub(super) fn soon() -> Context {
    rpc::within(SOON)
}

async fn node(home: &Home) -> Node {
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    Node::start(Options { engine: None, ..start::options(home, listen) }).await.unwrap()
}

impl Stand {
    pub(super) async fn start() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        busybox();
        let directory = tempfile::tempdir().unwrap();
        let own = format!("d{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let home = Home::new(directory.path(), MeshName::parse(&own).unwrap());
        let node = Some(node(&home).await);
        let admin = Credential::read(&home.default_credential(), None).unwrap();
        let (bus, project) = (person(&home, &admin).await, Name::parse(&own).unwrap());
        Self { home, node, bus, admin, project, package: Digest::of(b"package"), _directory: directory }
    }

    pub(super) async fn restart(&mut self) {
        self.node.take().unwrap().stop(Duration::from_secs(5)).await;
        self.node = Some(node(&self.home).await);
        self.bus = person(&self.home, &self.admin).await;
    }

    pub(super) async fn stop(mut self) {
        self.node.take().unwrap().stop(Duration::from_secs(5)).await;
    }

    /// The filter of what this node made.
    pub(super) fn mark(&self) -> String {
        let file = self.home.credential(&NodeName::parse("alpha").unwrap().user());
        format!("label=aigis.node={}", Credential::read(&file, None).unwrap().public())
    }

    pub(super) fn client(&self) -> Client {
        DeploymentsClient::from(rpc::Asker::new(&self.bus, "alpha", DEPLOYMENTS))
    }

    pub(super) fn mandate(&self) -> Mandate {
        Mandate::sign(&self.admin, Purpose::Deployment, self.project.clone(), Some(self.package))
    }

    /// A name of the project that no other test has.
    pub(super) fn name(&self, of: &str) -> Name {
        Name::parse(&format!("{}-{of}", self.project)).unwrap()
    }

    pub(super) fn replica(&self, container: &str, image: &Image) -> Replica {
        Replica {
            project: self.project.clone(),
            container: Name::parse(container).unwrap(),
            name: self.name(container),
            ci_name: self.name(&format!("{container}-ci")),
            service: None,
            package: self.package,
            image: image.digest(),
            volumes: BTreeMap::new(),
            publish: BTreeMap::new(),
            secret_files: BTreeSet::new(),
            secret_env: BTreeSet::new(),
            resources: Default::default(),
            restart: Restart::No,
            grace_s: 1,
            capabilities: None,
            remotes: Vec::new(),
            about: Value::Null,
            document: Value::Null,
        }
    }

    pub(super) async fn replace(&self, replica: &Replica) -> Result<String, Error> {
        rpc::answered(self.client().replace(soon(), self.mandate(), replica.clone()).await)
    }

    pub(super) async fn survey(&self, names: &[&Name]) -> Survey {
        let names = names.iter().map(|name| (*name).clone()).collect();
        rpc::answered(self.client().survey(soon(), self.project.clone(), names).await).unwrap()
    }

    /// Waits for a judgement that is wanted.
    pub(super) async fn judged(&self, name: &Name, wanted: impl Fn(&Judgement) -> bool) -> Judgement {
        let end = Instant::now() + SOON;
        loop {
            let judged = rpc::answered(self.client().judge(soon(), self.project.clone(), name.clone()).await).unwrap();
            if wanted(&judged) {
                return judged;
            }
            assert!(Instant::now() < end, "{judged:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(super) async fn call(&self, ci: &Name, path: &str) -> Result<Value, Error> {
        let server = NodeName::parse("alpha").unwrap().user();
        let target = Target { server, ci: ci.clone(), path: SkillPath::parse(path).unwrap(), timeout: None };
        client::call(&self.bus, &target, Request::default()).await
    }

    /// Calls until it answers: a CI is known a moment after its container.
    pub(super) async fn called(&self, ci: &Name, path: &str) -> Value {
        let end = Instant::now() + SOON;
        loop {
            match self.call(ci, path).await {
                Ok(value) => return value,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Sets a secret of the project for this node.
    pub(super) async fn keep_secret(&self, key: &str, value: &str) {
        let file = self.home.read_mesh().unwrap().unwrap();
        let cache = Cache::open(&self.bus, Some(file.issuer), SOON).await.unwrap();
        let (alpha, name) = (NodeName::parse("alpha").unwrap(), format!("project/{}/{key}", self.project));
        let (name, mesh) = (SecretName::parse(&name).unwrap(), self.home.mesh());
        let to = BTreeMap::from([(alpha.clone(), cache.snapshot().sealing_key(mesh, &alpha).unwrap())]);
        let place = secret::Place { mesh, name: &name, version: 1 };
        let sealed = secret::seal(place, value.as_bytes(), &to).unwrap();
        let issuer = IssuerClient::from(rpc::Asker::<IssuerRequest, IssuerResponse>::new(&self.bus, "alpha", ISSUER));
        let wanted = WantedSecret { name, version: 1, selectors: vec![Selector::Node(alpha)], sealed };
        rpc::answered(issuer.set_secret(soon(), wanted).await).unwrap();
    }
}

async fn person(home: &Home, admin: &Credential) -> Bus {
    let url = home.read_mesh().unwrap().unwrap().bus;
    let credential = Arc::new(admin.clone());
    let end = Instant::now() + SOON;
    loop {
        let (url, credential) = (url.clone(), credential.clone());
        let options = bus::Options { url, ca: None, credential, label: "admin".to_owned() };
        match Bus::connect(options).await {
            Ok(bus) => return bus,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
    }
}

/// What is answered to `GET /` there.
pub(super) async fn get(at: SocketAddr) -> std::io::Result<String> {
    let mut tcp = TcpStream::connect(at).await?;
    tcp.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await?;
    Ok(answer.rsplit("\r\n").next().unwrap_or_default().trim().to_owned())
}

pub(super) fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(super) fn field(id: &str, template: &str) -> String {
    docker(&["inspect", "--format", template, id])
}
