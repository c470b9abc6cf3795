//! A bus of the bench's own, with the identities of a fresh mesh, and the processes that answer on it.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus, MeshName, Role, UserName,
    bus::Options,
    identity::{Credential, MeshKeys, ServerFiles, ServerOptions},
};

use crate::error::{Error, part, system};

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
        let directory = tempfile::tempdir().map_err(system("make a directory"))?;
        let mesh = MeshName::parse("main").map_err(part("name the mesh"))?;
        let keys = MeshKeys::create(&directory.path().join("keys"), &mesh).map_err(part("make keys"))?;
        let files = ServerFiles::new(directory.path().join("bus"));
        let options = ServerOptions {
            name: "alpha".to_owned(),
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
            store: directory.path().join("store"),
            max_file_store: 256 * 1024 * 1024,
            max_memory_store: 64 * 1024 * 1024,
            tls: None,
            log: Some(directory.path().join("bus.log")),
        };
        files.write(&keys, &options).map_err(part("write the server's files"))?;
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

    /// Writes a credential and gives its file.
    fn credential_file(&self, name: &str, role: Role) -> Result<PathBuf, Error> {
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
        connect(&self.url, self.credential(name, role)?).await
    }

    /// Starts a process that answers as user `name`, and waits until it is ready.
    pub(crate) fn callee(&self, kind: &str, name: &str) -> Result<Callee, Error> {
        let credential = self.credential_file(name, Role::Node)?;
        let program = std::env::current_exe().map_err(system("find the own program"))?;
        let mut command = Command::new(program);
        command.arg("callee").arg(kind).arg(&self.url).arg(credential).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(system("start a callee"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let callee = Callee { child, _stdin: stdin };
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line).map_err(system("hear from a callee"))?;
        }
        if line.trim() == "ready" {
            Ok(callee)
        } else {
            Err(Error::Part { what: "start a callee", reason: format!("it said {line:?}") })
        }
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
    _stdin: Option<ChildStdin>,
}

impl Drop for Callee {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects with a credential.
pub(crate) async fn connect(url: &str, credential: Credential) -> Result<Bus, Error> {
    let label = credential.name().to_string();
    let options = Options { url: url.to_owned(), ca: None, credential: Arc::new(credential), label };
    Bus::connect(options).await.map_err(part("connect to the bus"))
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
