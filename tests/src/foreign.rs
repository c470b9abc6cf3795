//! A bus that somebody else runs: one server, or three.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::until;

/// How long a server may take until it listens.
const SOON: Duration = Duration::from_secs(60);

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

/// Three servers of others that are one bus, which ends with this.
#[derive(Debug)]
pub struct ForeignCluster {
    servers: [ForeignBus; 3],
    routes: [u16; 3],
    /// Whether they tell clients of each other.
    advertises: bool,
    more: String,
}

impl ForeignCluster {
    /// As [`ForeignCluster::new`], but its servers tell no client of each other.
    ///
    /// # Panics
    ///
    /// As [`ForeignCluster::new`].
    #[must_use]
    pub fn discreet() -> Self {
        Self { advertises: false, ..Self::new() }
    }

    /// Places and ports for three servers, which do not run yet.
    ///
    /// # Panics
    ///
    /// Panics when the operating system gives none.
    #[must_use]
    pub fn new() -> Self {
        // All held at once: no two are the same.
        let held = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("{error}")));
        let servers = [(); 3].map(|()| ForeignBus::new());
        let port = |listener: &TcpListener| listener.local_addr().unwrap_or_else(|error| panic!("{error}")).port();
        Self { servers, routes: held.each_ref().map(port), advertises: true, more: String::new() }
    }

    /// The addresses of all three, with commas between.
    #[must_use]
    pub fn url(&self) -> String {
        self.servers.each_ref().map(ForeignBus::url).join(",")
    }

    /// The directories of their configurations, where they also run.
    #[must_use]
    pub fn places(&self) -> [&Path; 3] {
        self.servers.each_ref().map(ForeignBus::place)
    }

    /// Starts all three, with more lines of configuration.
    ///
    /// # Panics
    ///
    /// Panics when one does not listen.
    pub fn serve(&mut self, more: &str) {
        more.clone_into(&mut self.more);
        for which in 0..self.servers.len() {
            self.start(which);
        }
    }

    /// Starts one of them, anew if it runs.
    ///
    /// # Panics
    ///
    /// Panics when it does not listen, or there is none.
    pub fn start(&mut self, which: usize) {
        let others = (0..self.routes.len()).filter(|other| *other != which);
        let routes = others.map(|other| format!("\"nats-route://127.0.0.1:{}\"", self.routes[other]));
        let cluster = format!(
            "server_name: \"{}\"\n\
             cluster {{ name: theirs, listen: \"127.0.0.1:{}\", no_advertise: {}, routes: [ {} ] }}\n{}",
            Self::name(which),
            self.routes[which],
            !self.advertises,
            routes.collect::<Vec<_>>().join(", "),
            self.more
        );
        self.servers[which].serve(&cluster);
    }

    /// Kills one of them.
    ///
    /// # Panics
    ///
    /// Panics when there is no such server.
    pub fn kill(&mut self, which: usize) {
        self.servers[which].end();
    }

    /// What one of them is called.
    #[must_use]
    pub fn name(which: usize) -> String {
        format!("theirs-{which}")
    }
}

impl Default for ForeignCluster {
    fn default() -> Self {
        Self::new()
    }
}
