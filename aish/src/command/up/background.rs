//! A node in the background: the same command again, awaited until it answers.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use aigis_node::{Home, gateway::Domain};
use aigis_proxy::{Code, Error, NodeName, with_causes};
use tokio::time::{Instant, interval};

use super::{Nodes, Up, announce, keep};
use crate::{context::Context, exit::Failure, process::Process};

/// How long a node may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the bus is asked beside that.
const BESIDE: Duration = Duration::from_secs(1);
/// How much of its log is shown when it does not come up.
const SHOWN: u64 = 4 * 1024;

impl Up {
    /// Starts this host's node in the background, unless it runs, and tells of it once it answers.
    ///
    /// # Errors
    ///
    /// Why it does not run.
    pub(crate) async fn background(
        context: &Context,
        home: &Home,
        name: NodeName,
        label: Vec<(String, String)>,
        metrics: Option<SocketAddr>,
    ) -> Result<(), Failure> {
        if let Some(process) = Process::running(home)? {
            return announce(context, home, process.pid(), "is up already").await;
        }
        let up = Self {
            listen: None,
            bus_cluster: None,
            bus_site: Vec::new(),
            end_bus_site: Vec::new(),
            name: None,
            label,
            metrics,
            gateway: None,
            domain: Domain::default(),
            config: None,
            node_config: None,
            new_store: false,
            detach: true,
            keep: false,
            background: false,
            detached: false,
        };
        let _ = std::fs::remove_file(home.ready_file());
        up.detach(context, home, &name, None).await
    }

    pub(super) async fn detach(
        &self,
        context: &Context,
        home: &Home,
        name: &NodeName,
        bus: Option<&str>,
    ) -> Result<(), Failure> {
        home.create().map_err(|error| Error::precondition(with_causes(&error)))?;
        let path = home.log_file();
        let failed = |what: &str, error: std::io::Error| Error::precondition(format!("{what}: {error}"));
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let log = opened.map_err(|error| failed(&path.display().to_string(), error))?;
        let begin = log.metadata().map_or(0, |metadata| metadata.len());
        let started = self
            .command(context, home, name, bus, true)
            .and_then(|mut command| command.stdout(log.try_clone()?).stderr(log).spawn());
        let mut child = started.map_err(|error| failed("the node cannot be started", error))?;
        context.output.progress("waiting for the node to answer");
        let pid = i32::try_from(child.id()).unwrap_or_default();
        let deadline = Instant::now() + context.global.timeout.unwrap_or(PATIENCE);
        // A kept node is not the process that was started, but that one's child.
        let expected = (!self.keep).then_some(pid);
        let ended = tokio::select! {
            (node, is_trusted) = async { tokio::join!(ready(home, expected), is_trusted(context)) } => {
                announce(context, home, node, "is up").await?;
                self.tell_sites(context, home);
                if !is_trusted {
                    doubt(context).await;
                }
                return Ok(());
            }
            code = ended(&mut child) => Some(code),
            () = tokio::time::sleep_until(deadline) => None,
        };
        let said = tail(&path, begin);
        if let Some(code) = ended {
            context.output.aside(said.trim_end());
            return Err(Failure::Said(code));
        }
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let message = "the node did not answer in time, and was told to end";
        Err(Error::new(Code::DeadlineExceeded, message).hint(format!("its log says why: {}", path.display())).into())
    }

    /// The same command again, in the foreground of a session of its own. A store is accepted once, by the first one, and a site ended.
    pub(super) fn command(
        &self,
        context: &Context,
        home: &Home,
        name: &NodeName,
        bus: Option<&str>,
        is_first: bool,
    ) -> std::io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("up");
        if self.detach && self.keep {
            command.args(["--keep", "--background"]);
        } else {
            command.arg("--detached");
        }
        command.args(["--name", name.as_str(), "--mesh", home.mesh().as_str(), "--data"]);
        command.arg(std::path::absolute(home.data())?);
        for (flag, file) in [("--config", &self.config), ("--node-config", &self.node_config)] {
            if let Some(file) = file {
                command.arg(flag).arg(std::path::absolute(file)?);
            }
        }
        if let Some(listen) = self.listen {
            command.args(["--listen", &listen.to_string()]);
        }
        match &self.bus_cluster {
            Some(Some(Nodes(nodes))) => {
                let nodes: Vec<_> = nodes.iter().map(NodeName::as_str).collect();
                command.arg(format!("--bus-cluster={}", nodes.join(",")));
            }
            Some(None) => {
                command.arg("--bus-cluster");
            }
            None => {}
        }
        for site in &self.bus_site {
            command.args(["--bus-site", site.as_str()]);
        }
        for site in self.end_bus_site.iter().filter(|_| is_first) {
            command.args(["--end-bus-site", site.as_str()]);
        }
        if let Some(bus) = bus {
            command.args(["--bus", bus]);
        }
        if let Some(ca) = &context.global.ca {
            command.arg("--ca").arg(std::path::absolute(ca)?);
        }
        if let Some(metrics) = self.metrics {
            command.args(["--metrics", &metrics.to_string()]);
        }
        if let Some(gateway) = self.gateway {
            command.args(["--gateway", &gateway.to_string(), "--domain", &self.domain.to_string()]);
        }
        for (key, value) in &self.label {
            command.args(["--label", &format!("{key}={value}")]);
        }
        if self.new_store && is_first {
            command.arg("--new-store");
        }
        command.current_dir("/").stdin(Stdio::null());
        Ok(command)
    }

    /// Says where what a new site's server is given stands.
    fn tell_sites(&self, context: &Context, home: &Home) {
        for site in &self.bus_site {
            let directory = home.site(site);
            context
                .output
                .note(&format!("the server of the site {site} is given the files in {}", directory.display()));
        }
    }
}

/// Whether the credential that commands use here is known to be good. A bus that others run is asked while the node starts;
/// one that comes with the node cannot be.
async fn is_trusted(context: &Context) -> bool {
    let is_of_others = matches!(context.mesh_file(), Ok(Some(mesh)) if !mesh.supervised);
    is_of_others && tokio::time::timeout(BESIDE, context.connect()).await.is_ok_and(|connected| connected.is_ok())
}

/// Says so if the credential that commands use here is refused: a node that is up does not mean that its admin is one.
async fn doubt(context: &Context) {
    if let Err(Failure::Call(error)) = context.connect().await
        && error.code == Code::PermissionDenied
    {
        let hint = error.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        context.output.note(&format!("{}{hint}", error.message));
    }
}

/// Resolves once the node answers, with its process id; only the one that is expected, if one is.
pub(super) async fn ready(home: &Home, expected: Option<i32>) -> i32 {
    let file = home.ready_file();
    let mut tick = interval(Duration::from_millis(2));
    loop {
        tick.tick().await;
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let found = text.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
        if let Some(pid) = found.filter(|pid| expected.is_none_or(|expected| expected == *pid)) {
            return pid;
        }
    }
}

/// Resolves once the process has ended, with its exit code.
async fn ended(child: &mut Child) -> u8 {
    let code = status(child).await.and_then(|status| status.code());
    code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code > 0).unwrap_or(70)
}

/// Resolves once the process has ended, with how it did.
pub(super) async fn status(child: &mut Child) -> keep::Ended {
    let mut tick = interval(Duration::from_millis(50));
    loop {
        tick.tick().await;
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => return Some(status),
            Err(_) => return None,
        }
    }
}

/// The end of what was logged since `begin`.
fn tail(path: &Path, begin: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(begin.max(end.saturating_sub(SHOWN))))?;
        let mut text = Vec::new();
        file.take(SHOWN).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    read().unwrap_or_default()
}
