//! Which services run in a container: judged from evidence alone, and never by running anything in it.
//!
//! [`judge`] is a pure function of what was seen. A service is said to run only where a process says so, and every
//! answer carries the [`EvidenceLine`]s that led to it; what no rule knows is listed as unknown, not guessed at.

mod judge;
mod program;
mod rules;

use std::fmt::{self, Write};

use aigis_proxy::quoted;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use judge::judge;

/// A process of the container, as the engine's `top` or the host's process table shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// Its id, in the namespace that the engine's `top` uses.
    pub pid: u32,
    /// Its parent's id, in the same namespace.
    pub ppid: u32,
    /// The user that it runs as.
    pub user: String,
    /// Its arguments; where only a title is known, that title split at spaces.
    pub args: Vec<String>,
    /// Whether `args` are its arguments exactly.
    pub exact_argv: bool,
    /// The path of its executable, where it can be read.
    pub executable: Option<String>,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A listening socket in the container's network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// The port that it listens on.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The address that it is bound to, such as `0.0.0.0` or `::`.
    pub address: String,
    /// The processes that hold it; none where owners could not be read.
    pub pids: Vec<u32>,
}

/// A port that the engine publishes on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The port in the container.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// Where it is reached, such as `0.0.0.0:8080`.
    pub host: String,
}

/// Where a piece of evidence comes from, in the order in which sources are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The process table.
    Process,
    /// The path of a process's executable.
    Executable,
    /// A listening socket that a process of the service holds.
    Socket,
    /// The image's name.
    Image,
    /// The label `aigis.services`.
    Label,
    /// The app's manifest.
    Manifest,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Process => "process",
            Self::Executable => "executable",
            Self::Socket => "socket",
            Self::Image => "image",
            Self::Label => "label",
            Self::Manifest => "manifest",
        })
    }
}

/// A service that the container's owner says runs in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredService {
    /// Its name.
    pub name: String,
    /// The port that it listens on, if that was said.
    pub port: Option<u16>,
    /// The protocol of that port.
    pub protocol: Protocol,
    /// Where it is declared: [`Source::Label`] or [`Source::Manifest`].
    pub source: Source,
}

/// All that was seen of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Its processes; absent if they could not be read.
    pub processes: Option<Vec<Process>>,
    /// The listening sockets of its network namespace; absent if they could not be read.
    pub sockets: Option<Vec<Socket>>,
    /// The ports that image or container expose.
    pub exposed: Vec<(u16, Protocol)>,
    /// The ports that the engine publishes.
    pub published: Vec<Published>,
    /// The image's reference.
    pub image: String,
    /// What the owner declared.
    pub declared: Vec<DeclaredService>,
    /// Whether the container has the host's network namespace.
    pub host_network: bool,
}

/// How sure it is that a service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// A process and at least one more source agree.
    Certain,
    /// A process says so, and nothing else.
    Likely,
    /// The owner declared it, and no process was seen.
    Declared,
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
            Self::Declared => "declared",
        })
    }
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Port {
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The widest address that it is bound to; absent if no socket could be read.
    pub address: Option<String>,
    /// Where the engine publishes it, sorted.
    pub published: Vec<String>,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

/// One reason for what is said of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceLine {
    /// Where it comes from.
    pub source: Source,
    /// What was seen, with secrets masked.
    pub detail: String,
}

/// A service, running or declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    /// Its name, such as `nginx`.
    pub name: String,
    /// What it is for: `web`, `proxy`, `app`, `worker`, `runtime`, `database`, `cache`, `queue`, `metrics` or `unknown`.
    pub role: String,
    /// Which program of its kind it is, such as a script's name.
    pub detail: Option<String>,
    /// Whether a process of it was seen.
    pub running: bool,
    /// How sure that is.
    pub confidence: Confidence,
    /// Its processes, sorted.
    pub pids: Vec<u32>,
    /// The ports that it listens on, sorted.
    pub ports: Vec<Port>,
    /// Why it is listed.
    pub evidence: Vec<EvidenceLine>,
}

/// Processes that no rule knows, or ports whose owner could not be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnknownProcess {
    /// The base name of the program; absent where only ports are known.
    pub command: Option<String>,
    /// Its processes, sorted.
    pub pids: Vec<u32>,
    /// The ports that it listens on, sorted.
    pub ports: Vec<Port>,
}

/// The services of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Services {
    /// Services that run or are declared, sorted by name.
    pub services: Vec<Service>,
    /// What no rule knows, sorted by command, ownerless ports last.
    pub unknown: Vec<UnknownProcess>,
    /// Whether processes and sockets could be read, so that nothing that runs is missing here.
    pub complete: bool,
    /// Why something may be missing.
    pub notes: Vec<String>,
}

/// Writes services, and processes that no rule knows, as text: a line each, without a newline at the end.
#[must_use]
pub fn text(services: &[Service], unknown: &[UnknownProcess], container_running: bool) -> String {
    let mut lines: Vec<String> = services.iter().map(service_line).collect();
    lines.extend(unknown.iter().map(unknown_line));
    if lines.is_empty() {
        lines.push(if container_running { "no known service" } else { "no process" }.to_owned());
    }
    lines.join("\n")
}

/// Writes services, by their names and ports, for one line of a status, such as
/// `nginx (80/tcp -> 0.0.0.0:8080), redis (6379/tcp)`; absent where there are none.
#[must_use]
pub fn summary<'a>(services: impl IntoIterator<Item = (&'a str, &'a [Port])>) -> Option<String> {
    let shown: Vec<String> = services
        .into_iter()
        .map(|(name, ports)| {
            let ports: Vec<String> = ports
                .iter()
                .map(|port| match port.published.as_slice() {
                    [] => port.to_string(),
                    published => format!("{port} -> {}", published.join(" ")),
                })
                .collect();
            let name = quoted(name);
            if ports.is_empty() { name } else { format!("{name} ({})", ports.join(", ")) }
        })
        .collect();
    (!shown.is_empty()).then(|| shown.join(", "))
}

fn service_line(service: &Service) -> String {
    let mut line = format!("{} {}", quoted(&service.name), service.role);
    for port in &service.ports {
        let _ = write!(line, " {port}");
    }
    let mut sources: Vec<Source> = service.evidence.iter().map(|line| line.source).collect();
    sources.sort_unstable();
    sources.dedup();
    let sources: Vec<String> = sources.iter().map(Source::to_string).collect();
    let state = if service.running { "" } else { ", not running" };
    let _ = write!(line, " {}{state} ({})", service.confidence, sources.join(", "));
    line
}

fn unknown_line(unknown: &UnknownProcess) -> String {
    let mut parts = Vec::new();
    match unknown.pids.as_slice() {
        [] => {}
        [pid] => parts.push(format!("pid {pid}")),
        pids => parts.push(format!("pids {}", pids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))),
    }
    parts.extend(unknown.ports.iter().map(Port::to_string));
    let name = unknown.command.as_deref().map_or_else(|| "owner not readable".to_owned(), quoted);
    format!("unknown: {name} ({})", parts.join(", "))
}

#[cfg(test)]
mod tests;
