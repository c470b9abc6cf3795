//! A bus that somebody else runs.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::until;

/// How long a server may take until it listens.
const SOON: Duration = Duration::from_secs(20);

/// A `nats-server` of others, with a store, which ends with it.
#[derive(Debug)]
pub struct ForeignBus {
    place: tempfile::TempDir,
    port: u16,
    server: Option<Child>,
}

impl ForeignBus {
    /// A place and a port for a server, which does not run yet.
    ///
    /// # Panics
    ///
    /// Panics when the operating system gives neither.
    #[must_use]
    pub fn new() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let place = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        Self { place, port: free.unwrap_or_else(|error| panic!("{error}")).port(), server: None }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The directory of its configuration, where it also runs.
    #[must_use]
    pub fn place(&self) -> &Path {
        self.place.path()
    }

    /// Starts it, anew if it runs, with more lines of configuration; returns when it listens.
    ///
    /// # Panics
    ///
    /// Panics when it does not.
    pub fn serve(&mut self, more: &str) {
        self.end();
        let (file, store) = (self.place().join("server.conf"), self.place().join("store"));
        let (port, store) = (self.port, store.display());
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{store}\", sync_interval: always }}\n{more}\n"
        );
        fs::write(&file, config).unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new("nats-server");
        command.arg("--config").arg(file).current_dir(self.place()).stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(command.spawn().unwrap_or_else(|error| panic!("{error}")));
        until("the foreign bus listens", SOON, || TcpStream::connect(("127.0.0.1", port)).ok().map(drop));
    }

    /// Ends it, if it runs.
    pub fn end(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Default for ForeignBus {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ForeignBus {
    fn drop(&mut self) {
        self.end();
    }
}
