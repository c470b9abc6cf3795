//! A real `nats-server` with the files of a fresh mesh, on a port of its own choice, ended with the test.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus, MeshName, Role, UserName,
    bus::Options,
    identity::{Credential, Key, Login, MeshKeys, ServerFiles, ServerOptions, server::Tls},
    kv,
};
use async_nats::{Client, ConnectError, ConnectOptions, Event};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct BusServer {
    pub(crate) keys: MeshKeys,
    pub(crate) files: ServerFiles,
    pub(crate) options: ServerOptions,
    child: Option<Child>,
    port: u16,
    _directory: tempfile::TempDir,
}

impl BusServer {
    pub(crate) async fn start() -> Self {
        let mut server = Self::prepare();
        server.files.write(&server.keys.charter(), &server.options).unwrap();
        server.run().await;
        server
    }

    /// Starts it with that certificate, which reads as PEM from these files.
    pub(crate) async fn start_with(write: impl FnOnce(&Tls)) -> Self {
        let mut server = Self::prepare();
        let tls = server.files.tls();
        write(&tls);
        server.options.tls = Some(tls);
        server.files.write(&server.keys.charter(), &server.options).unwrap();
        server.run().await;
        server
    }

    fn prepare() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = MeshKeys::create(&directory.path().join("keys"), &MeshName::parse("main").unwrap()).unwrap();
        let files = ServerFiles::new(directory.path().join("bus"));
        let options = ServerOptions {
            name: "alpha".to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            store: directory.path().join("store"),
            max_file_store: 512 * 1024 * 1024,
            max_memory_store: 64 * 1024 * 1024,
            tls: None,
            log: Some(directory.path().join("bus.log")),
            cluster: None,
        };
        Self { keys, files, options, child: None, port: 0, _directory: directory }
    }

    pub(crate) async fn run(&mut self) {
        let child = Command::new("nats-server").arg("--config").arg(self.files.config()).stdout(Stdio::null()).spawn();
        let child = self.child.insert(child.unwrap());
        let ports = self.files.ports().join(format!("nats-server_{}.ports", child.id()));
        let deadline = Instant::now() + PATIENCE;
        self.port = loop {
            if let Some(port) = read_port(&ports) {
                break port;
            }
            let log = self.options.log.as_deref().and_then(|log| fs::read_to_string(log).ok());
            assert!(Instant::now() < deadline, "no nats-server: {log:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.options.tls.is_some() { "tls" } else { "nats" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Starts it again where it was before, after [`BusServer::stop`].
    pub(crate) async fn run_again(&mut self) {
        self.options.listen.set_port(self.port);
        self.files.write(&self.keys.charter(), &self.options).unwrap();
        self.run().await;
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn credential(&self, name: &str, role: Role) -> Credential {
        let key = Credential::generate().unwrap();
        let name = UserName::parse(name).unwrap();
        let life = Duration::from_secs(600);
        if role == Role::Join {
            return Credential::timeless(&self.keys.issue_token(&name, key.public(), life).unwrap(), key).unwrap();
        }
        let jwt = self.keys.issue(&name, role, key.public(), life).unwrap();
        Credential::new(&jwt, key, Some(&self.keys.issuer())).unwrap()
    }

    /// A plain client, as any NATS client would be.
    pub(crate) async fn user(&self, name: &str, role: Role) -> (Client, Events) {
        let credential = self.credential(name, role);
        self.log_in(&credential.login(), &credential.inbox()).await.unwrap()
    }

    /// Makes the store.
    pub(crate) async fn create_store(&self) {
        let login = self.keys.store_credential(Duration::from_secs(600)).unwrap();
        kv::create_store(&self.url(), None, &login, self.keys.mesh(), 1).await.unwrap();
    }

    /// Lets blobs take that many bytes.
    pub(crate) async fn limit_blobs(&self, bytes: u64) {
        let login = self.keys.store_credential(Duration::from_secs(600)).unwrap();
        kv::limit_blobs(&self.url(), None, &login, 1, bytes).await.unwrap();
    }

    /// A user's connection.
    pub(crate) async fn bus(&self, name: &str, role: Role) -> Bus {
        let credential = Arc::new(self.credential(name, role));
        Bus::connect(Options { url: self.url(), ca: None, credential, label: name.to_owned() }).await.unwrap()
    }

    pub(crate) async fn store(&self) -> Client {
        let login = self.keys.store_credential(Duration::from_secs(600)).unwrap();
        self.log_in(&login, "_INBOX").await.unwrap().0
    }

    pub(crate) async fn system(&self) -> (Client, Events) {
        let login = self.keys.system_credential(Duration::from_secs(600)).unwrap();
        self.log_in(&login, "_INBOX").await.unwrap()
    }

    pub(crate) async fn log_in(&self, login: &Login, inbox: &str) -> Result<(Client, Events), ConnectError> {
        let signer = login.clone();
        self.connect(login.jwt().to_owned(), move |nonce| signer.sign(nonce), inbox).await
    }

    /// Logs in with any token and any key, whether they fit or not.
    pub(crate) async fn log_in_with(
        &self,
        jwt: String,
        key: Key,
        inbox: &str,
    ) -> Result<(Client, Events), ConnectError> {
        self.connect(jwt, move |nonce| key.sign(nonce), inbox).await
    }

    async fn connect(
        &self,
        jwt: String,
        sign: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
        inbox: &str,
    ) -> Result<(Client, Events), ConnectError> {
        let (sender, events) = mpsc::unbounded_channel();
        let client = ConnectOptions::with_jwt(jwt, move |nonce| {
            let signature = sign(&nonce);
            async move { Ok(signature) }
        })
        .custom_inbox_prefix(inbox)
        .request_timeout(Some(Duration::from_secs(2)))
        .event_callback(move |event| {
            // The test may have ended and dropped its end.
            let _ = sender.send(event);
            std::future::ready(())
        })
        .connect(format!("nats://127.0.0.1:{}", self.port))
        .await?;
        Ok((client, Events(events)))
    }
}

impl Drop for BusServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn read_port(file: &Path) -> Option<u16> {
    let ports: serde_json::Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
}

/// What the bus reports out of band.
pub(crate) struct Events(mpsc::UnboundedReceiver<Event>);

impl Events {
    /// Waits for the event whose text holds `part`.
    pub(crate) async fn expect(&mut self, part: &str) {
        let found = async {
            while let Some(event) = self.0.recv().await {
                if event.to_string().to_lowercase().contains(&part.to_lowercase()) {
                    return;
                }
            }
            panic!("the connection ended before: {part}");
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no event: {part}"));
    }
}
