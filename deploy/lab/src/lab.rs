//! The lab: its namespaces, its switch, its hosts.

use std::{
    env, fs, io,
    net::Ipv4Addr,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use crate::{
    Engine, Error, Host, Namespace,
    program::{self, find, missing},
    remove,
    state::{BUS, FILE, State},
};

/// What the directory of a lab that ends with its owner is called, in the system's directory for such.
const PREFIX: &str = "aigis-lab-";
/// The bridge in the switch's namespace.
pub(crate) const BRIDGE: &str = "switch";

/// Several hosts on one machine.
#[derive(Debug)]
pub struct Lab {
    directory: PathBuf,
    state: State,
    /// Removes the lab when its standard input ends, as it does with this process.
    reaper: Option<Child>,
}

impl Lab {
    /// Makes a lab that ends with this value, and with this process at the latest. Engines are not started.
    ///
    /// # Errors
    ///
    /// Without root, without the programs that it needs, or when the machine refuses.
    pub fn start(hosts: &[impl AsRef<str>]) -> Result<Self, Error> {
        // Not removed with its handle: whatever runs in it has to end first.
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir();
        let place = made.map_err(|source| Error::Io { path: env::temp_dir(), source })?.keep();
        let lab = Self::describe(place.clone(), hosts).and_then(|mut lab| {
            lab.reaper = Some(reaper(&lab.directory)?);
            Ok(lab)
        });
        match lab {
            Ok(lab) => lab.build().map(|()| lab),
            Err(error) => {
                // Nothing but the file was made yet; the first error is the one to tell.
                let _ = fs::remove_dir_all(place);
                Err(error)
            }
        }
    }

    /// Makes a lab in a directory, that stays until [`Lab::down`].
    ///
    /// # Errors
    ///
    /// As [`Lab::start`], and when there is a lab already.
    pub fn create(directory: &Path, hosts: &[impl AsRef<str>]) -> Result<Self, Error> {
        if directory.join(FILE).exists() {
            return Err(Error::Exists(directory.to_owned()));
        }
        fs::create_dir_all(directory).map_err(|source| Error::Io { path: directory.to_owned(), source })?;
        let place = directory.canonicalize().map_err(|source| Error::Io { path: directory.to_owned(), source })?;
        let lab = Self::describe(place, hosts)?;
        if let Err(error) = lab.build() {
            // The first error is the one to tell.
            let _ = remove(directory);
            return Err(error);
        }
        Ok(lab)
    }

    /// The lab that is in a directory.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let state = State::read(directory)?;
        let place = directory.canonicalize().map_err(|source| Error::Io { path: directory.to_owned(), source })?;
        Ok(Self { directory: place, state, reaper: None })
    }

    /// Ends everything that runs in the lab, and removes it.
    ///
    /// # Errors
    ///
    /// Something is left.
    pub fn down(mut self) -> Result<(), Error> {
        match self.reaper.take() {
            Some(reaper) => end(reaper, &self.directory),
            None => remove(&self.directory),
        }
    }

    fn describe(directory: PathBuf, hosts: &[impl AsRef<str>]) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        for needed in ["ip", "nsenter", "setsid"] {
            find(needed)?;
        }
        let state = State::choose(hosts)?;
        // First of all: by this file everything else is found and removed.
        state.write(&directory)?;
        Ok(Self { directory, state, reaper: None })
    }

    fn build(&self) -> Result<(), Error> {
        let switch = self.state.switch();
        switch.create()?;
        switch.ip(&format!("link add {BRIDGE} type bridge"))?;
        switch.ip(&format!("link set {BRIDGE} up"))?;
        for station in [BUS].into_iter().chain(self.names()) {
            let (namespace, port) = (self.state.namespace(station), self.state.port(station)?);
            namespace.create()?;
            switch.ip(&format!("link add port{port} type veth peer name eth0 netns {}", namespace.name()))?;
            switch.ip(&format!("link set port{port} master {BRIDGE} up"))?;
            namespace.ip(&format!("address add {}/24 dev eth0", self.state.address(port)))?;
            namespace.ip("link set eth0 up")?;
        }
        for host in self.hosts() {
            let path = host.data();
            fs::create_dir_all(&path).map_err(|source| Error::Io { path, source })?;
        }
        self.write_bus_program()
    }

    fn write_bus_program(&self) -> Result<(), Error> {
        let Some(server) = bus_server() else { return Ok(()) };
        let path = self.bus_server_program();
        let namespace = self.state.namespace(BUS).path();
        let script =
            format!("#!/bin/sh\nexec nsenter --net={} -- '{}' \"$@\"\n", namespace.display(), server.display());
        let written =
            fs::write(&path, script).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
        written.map_err(|source| Error::Io { path, source })
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The names of its hosts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.state.hosts.iter().map(String::as_str)
    }

    /// Its hosts.
    pub fn hosts(&self) -> impl Iterator<Item = Host> {
        self.names().filter_map(|name| self.host(name).ok())
    }

    /// The host of that name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn host(&self, name: &str) -> Result<Host, Error> {
        let port = self.state.port(name)?;
        if port == 0 {
            return Err(Error::NoHost { name: name.to_owned(), known: self.state.hosts.join(", ") });
        }
        Ok(Host::new(self, name, port))
    }

    /// The engine of a host, started if it was not running.
    ///
    /// # Errors
    ///
    /// No such host, or its engine does not start.
    pub fn engine(&self, host: &str) -> Result<Engine, Error> {
        let engine = self.host(host)?.engine();
        engine.start()?;
        Ok(engine)
    }

    /// Starts the engines of all hosts at once, since each takes seconds.
    ///
    /// # Errors
    ///
    /// One does not start.
    pub fn start_engines(&self) -> Result<(), Error> {
        let engines: Vec<_> = self.hosts().map(|host| host.engine()).collect();
        thread::scope(|scope| {
            let starts: Vec<_> = engines.iter().map(|engine| scope.spawn(|| engine.start())).collect();
            let ended =
                starts.into_iter().map(|start| start.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            ended.collect()
        })
    }

    /// The address of the bus.
    #[must_use]
    pub fn bus_address(&self) -> Ipv4Addr {
        self.state.address(0)
    }

    /// The namespace of the bus.
    #[must_use]
    pub fn bus_namespace(&self) -> Namespace {
        self.state.namespace(BUS)
    }

    /// What `AIGIS_NATS_SERVER` is to name, so that the bus runs at an address of its own, apart from the host whose
    /// node supervises it. [`Host::command`] sets it.
    #[must_use]
    pub fn bus_server_program(&self) -> PathBuf {
        self.directory.join("nats-server")
    }

    /// The bus server's own program, for a host that runs one in its own network.
    #[must_use]
    pub fn nats_server(&self) -> Option<PathBuf> {
        bus_server()
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(reaper) = self.reaper.take() {
            // Nobody is left to be told; what is left of the lab, `lab down --all` finds.
            let _ = end(reaper, &self.directory);
        }
    }
}

/// The labs whose owner and whose reaper ended before they were removed, as in a crash of the machine.
#[must_use]
pub fn abandoned() -> Vec<PathBuf> {
    let entries = fs::read_dir(env::temp_dir()).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    let labs = named.map(|entry| entry.path()).filter(|path| path.join(FILE).exists());
    labs.filter(|path| !remove::is_watched(path)).collect()
}

/// Starts the process that removes the lab in the end.
fn reaper(directory: &Path) -> Result<Child, Error> {
    let mut command = Command::new(program::own()?);
    command.arg("reap").arg(directory);
    // A group of its own: what ends this process's group, as a Ctrl-C or a test runner does, must leave it.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().map_err(|source| missing(&command, source))?;
    // It says when it watches; before that, nobody would see this process end.
    let mut ready = [0; 1];
    let said = child.stdout.take().map(|mut pipe| io::Read::read_exact(&mut pipe, &mut ready));
    match said {
        Some(Ok(())) => Ok(child),
        _ => Err(Error::NotRunning("the lab's reaper".to_owned())),
    }
}

fn end(mut reaper: Child, directory: &Path) -> Result<(), Error> {
    drop(reaper.stdin.take());
    let status = reaper.wait().map_err(|source| Error::Io { path: directory.to_owned(), source })?;
    // It has nobody to tell what went wrong: a second try does.
    if status.success() { Ok(()) } else { remove(directory) }
}

/// The bus server's program, found as a node finds it; none where the lab is for something else.
fn bus_server() -> Option<PathBuf> {
    let named = env::var_os("AIGIS_NATS_SERVER").filter(|value| !value.is_empty()).map(PathBuf::from);
    named.or_else(|| find("nats-server").ok())
}
