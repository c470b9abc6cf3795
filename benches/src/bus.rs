//! A bus of the bench's own, with the identities of a fresh mesh, and the processes that answer on it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus, MeshName, Role, UserName,
    bus::Options,
    client::Client,
    identity::{Credential, Login, MeshKeys, ServerFiles, ServerOptions},
    kv,
    socket::Local,
};

use crate::{
    callee,
    error::{Error, part, system},
};

/// How long the server may take to start.
const READY: Duration = Duration::from_secs(20);
/// How long a credential of the bench holds.
const LIFETIME: Duration = Duration::from_secs(3_600);

/// A `nats-server` that ends with this value.
pub(crate) struct BusServer {
    keys: MeshKeys,
    url: String,
    child: Child,
    directory: tempfile::TempDir,
}

impl BusServer {
    /// Starts it on loopback, on a port of its own choice.
    pub(crate) fn start() -> Result<Self, Error> {
        Self::start_in(&std::env::temp_dir())
    }

    /// The same with its files in memory: where they are only filled, and that is not measured.
    pub(crate) fn start_in_memory() -> Result<Self, Error> {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::start_in(memory) } else { Self::start() }
    }

    fn start_in(place: &Path) -> Result<Self, Error> {
        let directory = tempfile::tempdir_in(place).map_err(system("make a directory"))?;
        let mesh = MeshName::parse("main").map_err(part("name the mesh"))?;
        let keys = MeshKeys::create(&directory.path().join("keys"), &mesh).map_err(part("make keys"))?;
        let files = ServerFiles::new(directory.path().join("bus"));
        let options = ServerOptions {
            name: "alpha".to_owned(),
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
            store: directory.path().join("store"),
            max_file_store: 8 * 1024 * 1024 * 1024,
            max_memory_store: 64 * 1024 * 1024,
            tls: None,
            log: Some(directory.path().join("bus.log")),
            cluster: None,
        };
        files.write(&keys.charter(), &options).map_err(part("write the server's files"))?;
        let program = std::env::var_os("AIGIS_NATS_SERVER").unwrap_or_else(|| "nats-server".into());
        let mut command = Command::new(program);
        command.arg("--config").arg(files.config()).stdout(Stdio::null());
        let child = command.spawn().map_err(system("start nats-server"))?;
        let ports = files.ports().join(format!("nats-server_{}.ports", child.id()));
        let mut server = Self { keys, url: String::new(), child, directory };
        let started = Instant::now();
        while started.elapsed() < READY {
            if let Some(port) = port(&ports) {
                server.url = format!("nats://127.0.0.1:{port}");
                return Ok(server);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Err(Error::Part { what: "start nats-server", reason: "it named no port within 20 s".to_owned() })
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Makes the mesh's store in it, and gives a login to that.
    pub(crate) async fn create_store(&self) -> Result<Login, Error> {
        let login = self.keys.store_credential(LIFETIME).map_err(part("log in to the store"))?;
        kv::create_store(&self.url, None, &login, self.keys.mesh(), 1).await.map_err(part("make the store"))?;
        Ok(login)
    }

    /// The keys of its mesh.
    pub(crate) fn keys(directory: &Path) -> Result<MeshKeys, Error> {
        MeshKeys::open(&directory.join("keys")).map_err(part("open the keys"))
    }

    /// Where the callee with skills has its socket.
    pub(crate) fn socket(directory: &Path) -> PathBuf {
        directory.join("node.sock")
    }

    /// What calls over the socket of the callee with skills.
    pub(crate) async fn local(&self, name: &str) -> Result<Client, Error> {
        let credential = Arc::new(self.credential(name, Role::Operator)?);
        let server = UserName::parse(callee::SKILL).map_err(part("name the server"))?;
        let local = Local::new(Self::socket(self.directory.path()), server, credential.clone());
        Ok(Client::new(connect(&self.url, credential).await?).with_local(local))
    }

    /// How `name` connects.
    pub(crate) fn options(&self, name: &str, role: Role) -> Result<Options, Error> {
        Ok(options(&self.url, Arc::new(self.credential(name, role)?)))
    }

    /// Writes a credential and gives its file.
    pub(crate) fn credential_file(&self, name: &str, role: Role) -> Result<PathBuf, Error> {
        let file = self.directory.path().join(format!("{name}.creds"));
        self.credential(name, role)?.write(&file).map_err(part("write a credential"))?;
        Ok(file)
    }

    /// Makes a credential.
    pub(crate) fn credential(&self, name: &str, role: Role) -> Result<Credential, Error> {
        let key = Credential::generate().map_err(part("make a key"))?;
        let name = UserName::parse(name).map_err(part("name a user"))?;
        let jwt = self.keys.issue(&name, role, key.public(), LIFETIME).map_err(part("issue a credential"))?;
        Credential::new(&jwt, key, Some(&self.keys.issuer())).map_err(part("read a credential"))
    }

    /// Connects as `aish` and the nodes do.
    pub(crate) async fn connect(&self, name: &str, role: Role) -> Result<Bus, Error> {
        connect(&self.url, Arc::new(self.credential(name, role)?)).await
    }

    /// Starts a process that answers as user `name`, and waits until it is ready.
    pub(crate) fn callee(&self, kind: &str, name: &str) -> Result<Callee, Error> {
        self.process(kind, name, Role::Node)
    }

    /// Starts a process of the bench that connects as user `name`, and waits until it has said something.
    pub(crate) fn process(&self, kind: &str, name: &str, role: Role) -> Result<Callee, Error> {
        let credential = self.credential_file(name, role)?;
        let program = std::env::current_exe().map_err(system("find the own program"))?;
        let mut command = Command::new(program);
        command
            .arg("process")
            .arg(kind)
            .arg(&self.url)
            .arg(credential)
            .arg(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().map_err(system("start a process"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let mut callee = Callee { child, said: String::new(), _stdin: stdin };
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut callee.said).map_err(system("hear from a process"))?;
        }
        match callee.said.trim().strip_prefix("ready") {
            Some(said) => callee.said = said.trim().to_owned(),
            None => return Err(Error::Part { what: "start a process", reason: format!("it said {:?}", callee.said) }),
        }
        Ok(callee)
    }
}

impl Drop for BusServer {
    fn drop(&mut self) {
        // It may have ended by itself, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that answers until this value is dropped.
pub(crate) struct Callee {
    child: Child,
    /// What it said beside that it is ready.
    pub(crate) said: String,
    _stdin: Option<ChildStdin>,
}

impl Drop for Callee {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects with a credential.
pub(crate) async fn connect(url: &str, credential: Arc<Credential>) -> Result<Bus, Error> {
    Bus::connect(options(url, credential)).await.map_err(part("connect to the bus"))
}

fn options(url: &str, credential: Arc<Credential>) -> Options {
    let label = credential.name().to_string();
    Options { url: url.to_owned(), ca: None, credential, label }
}

/// Connects a plain client with a credential.
pub(crate) async fn connect_raw(url: &str, credential: Credential) -> Result<async_nats::Client, Error> {
    let (jwt, inbox) = (credential.jwt(), credential.inbox());
    let credential = Arc::new(credential);
    async_nats::ConnectOptions::with_jwt(jwt, move |nonce| std::future::ready(Ok(credential.sign(&nonce))))
        .custom_inbox_prefix(inbox)
        .connect(url)
        .await
        .map_err(part("connect a plain client"))
}

fn port(file: &std::path::Path) -> Option<u16> {
    let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    ports.get("nats")?.get(0)?.as_str()?.rsplit(':').next()?.parse().ok()
}
