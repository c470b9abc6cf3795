//! A real `nats-server` with the files of a fresh mesh, which keeps its port over a restart and ends with the test.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus, MeshName, Role, UserName, bus,
    identity::{Credential, MeshKeys, ServerFiles, ServerOptions},
    kv::{self, StoreId},
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct BusServer {
    pub(crate) keys: MeshKeys,
    files: ServerFiles,
    options: ServerOptions,
    child: Option<Child>,
    _directory: tempfile::TempDir,
}

impl BusServer {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = MeshKeys::create(&directory.path().join("keys"), &MeshName::parse("main").unwrap()).unwrap();
        let options = ServerOptions {
            name: "alpha".to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            store: directory.path().join("store"),
            max_file_store: 256 * 1024 * 1024,
            max_memory_store: 64 * 1024 * 1024,
            tls: None,
            log: Some(directory.path().join("bus.log")),
            cluster: None,
        };
        let files = ServerFiles::new(directory.path().join("bus"));
        let mut server = Self { keys, files, options, child: None, _directory: directory };
        server.run().await;
        server.create_store().await;
        server
    }

    pub(crate) async fn run(&mut self) {
        self.files.write(&self.keys.charter(), &self.options).unwrap();
        let child = Command::new("nats-server").arg("--config").arg(self.files.config()).stdout(Stdio::null()).spawn();
        let child = self.child.insert(child.unwrap());
        let ports = self.files.ports().join(format!("nats-server_{}.ports", child.id()));
        let port = until("the server's port", async || {
            let ports: serde_json::Value = serde_json::from_slice(&fs::read(&ports).ok()?).ok()?;
            ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
        });
        self.options.listen.set_port(port.await);
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Loses what the server stored, while that does not run.
    pub(crate) fn empty(&self) {
        fs::remove_dir_all(&self.options.store).unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.options.listen)
    }

    pub(crate) async fn create_store(&self) -> StoreId {
        let login = self.keys.store_credential(Duration::from_secs(600)).unwrap();
        kv::create_store(&self.url(), None, &login, self.keys.mesh(), 1).await.unwrap()
    }

    pub(crate) fn credential(&self, name: &str, role: Role) -> Arc<Credential> {
        let key = Credential::generate().unwrap();
        let name = UserName::parse(name).unwrap();
        let jwt = self.keys.issue(&name, role, key.public(), Duration::from_secs(600)).unwrap();
        Arc::new(Credential::new(&jwt, key, Some(&self.keys.issuer())).unwrap())
    }

    pub(crate) fn options(&self, credential: Arc<Credential>) -> bus::Options {
        bus::Options { url: self.url(), ca: None, credential, label: "test".to_owned() }
    }

    pub(crate) async fn user(&self, name: &str, role: Role) -> Bus {
        Bus::connect(self.options(self.credential(name, role))).await.unwrap()
    }
}

impl Drop for BusServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
