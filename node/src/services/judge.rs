//! From evidence to the list of services.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    Confidence, DeclaredService, Evidence, EvidenceLine, Port, Process, Protocol, Service, Services, Socket, Source,
    UnknownProcess, program,
    rules::{self, Known, Verdict},
};
use crate::redact;

/// Longest command that evidence shows, in characters.
const MAX_SHOWN: usize = 200;
/// Most details of one service that are shown.
const MAX_DETAILS: usize = 4;

/// Judges which services run.
///
/// Total and deterministic: whatever the evidence is, it is judged, and the same evidence gives the same answer.
#[must_use]
pub fn judge(evidence: &Evidence) -> Services {
    let mut scene = Scene::default();
    scene.take_processes(evidence.processes.as_deref().unwrap_or_default());
    scene.take_sockets(evidence);
    scene.take_image(&evidence.image);
    for declared in &evidence.declared {
        match declared.source {
            Source::Manifest => scene.take_of_manifest(declared, evidence),
            _ => scene.take_declared(declared),
        }
    }
    scene.finish(evidence)
}

type PortKey = (u16, Protocol);

/// The ports of one owner, each with the addresses that it is bound to.
type Ports = BTreeMap<PortKey, BTreeSet<String>>;

#[derive(Debug, Default)]
struct Group {
    role: &'static str,
    details: Vec<String>,
    pids: BTreeSet<u32>,
    ports: Ports,
    evidence: Vec<EvidenceLine>,
    /// Whether a source beside the process agrees.
    agreed: bool,
}

#[derive(Debug, Default)]
struct Stranger {
    pids: BTreeSet<u32>,
    ports: Ports,
    /// The first of its commands, for evidence.
    shown: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Service(String),
    Unknown(String),
    /// A launcher, supervisor or shell: listed only where it alone holds a port.
    PassedOver(String),
}

#[derive(Debug, Default)]
struct Scene {
    services: BTreeMap<String, Group>,
    strangers: BTreeMap<String, Stranger>,
    owners: BTreeMap<u32, Owner>,
    /// Ports that listen and whose owner could not be told.
    ownerless: Ports,
    owners_missing: bool,
}

impl Scene {
    fn take_processes(&mut self, processes: &[Process]) {
        let mut sorted: Vec<&Process> = processes.iter().collect();
        sorted.sort_by_key(|process| process.pid);
        let parents: HashMap<u32, u32> = sorted.iter().map(|process| (process.pid, process.ppid)).collect();
        let mut helpers = Vec::new();
        for process in sorted {
            let Some(program) = program::of(process) else { continue };
            match rules::classify(&program, process.executable.as_deref()) {
                Verdict::PassedOver(name) => {
                    self.owners.insert(process.pid, Owner::PassedOver(name));
                }
                Verdict::Unknown(name) => {
                    let stranger = self.strangers.entry(name.clone()).or_default();
                    if stranger.pids.is_empty() {
                        stranger.shown = shown(process);
                    }
                    stranger.pids.insert(process.pid);
                    self.owners.insert(process.pid, Owner::Unknown(name));
                }
                Verdict::Service(known) => self.take_service(process, known),
                Verdict::Helper(known) => helpers.push((process, known)),
            }
        }
        for (process, known) in helpers {
            match self.ancestor(process.ppid, &parents) {
                Some(name) => {
                    self.owners.insert(process.pid, Owner::Service(name.clone()));
                    if let Some(group) = self.services.get_mut(&name) {
                        group.pids.insert(process.pid);
                    }
                }
                None => self.take_service(process, known),
            }
        }
        for group in self.services.values_mut() {
            if let (Some(line), more @ 1..) = (group.evidence.first_mut(), group.pids.len().saturating_sub(1)) {
                line.detail = format!("{} and {more} more", line.detail);
            }
        }
    }

    /// The service of the nearest ancestor that is one; only helpers, which have no owner yet, are passed.
    fn ancestor(&self, parent: u32, parents: &HashMap<u32, u32>) -> Option<String> {
        let mut pid = parent;
        for _ in 0..parents.len() {
            match self.owners.get(&pid) {
                Some(Owner::Service(name)) => return Some(name.clone()),
                Some(_) => return None,
                None => pid = *parents.get(&pid)?,
            }
        }
        None
    }

    fn take_service(&mut self, process: &Process, known: Known) {
        let Known { name, role, detail } = known;
        let group = self.services.entry(name.clone()).or_default();
        group.role = role;
        if group.pids.is_empty() {
            let detail = format!("{} (pid {})", shown(process), process.pid);
            group.evidence.push(EvidenceLine { source: Source::Process, detail });
        }
        if let Some(path) = process.executable.as_deref()
            && rules::of_executable(path).as_deref() == Some(name.as_str())
        {
            let line = EvidenceLine { source: Source::Executable, detail: path.to_owned() };
            if !group.evidence.contains(&line) && group.evidence.len() <= MAX_DETAILS {
                group.evidence.push(line);
            }
            group.agreed = true;
        }
        if let Some(detail) = detail.map(|detail| cut(&redact::text(&detail)))
            && !group.details.contains(&detail)
        {
            group.details.push(detail);
        }
        group.pids.insert(process.pid);
        self.owners.insert(process.pid, Owner::Service(name));
    }

    fn take_sockets(&mut self, evidence: &Evidence) {
        match &evidence.sockets {
            Some(sockets) => {
                for socket in sockets {
                    self.take_socket(socket, evidence);
                }
            }
            // Nothing proves that these listen: they are given to a service only where there is no other.
            None if !evidence.host_network && self.services.len() == 1 => {
                let published = evidence.published.iter().map(|port| (port.port, port.protocol));
                let ports: Vec<PortKey> = evidence.exposed.iter().copied().chain(published).collect();
                if let Some(group) = self.services.values_mut().next() {
                    for port in ports {
                        group.ports.entry(port).or_default();
                    }
                }
            }
            None => {}
        }
        if self.services.len() == 1
            && let Some(group) = self.services.values_mut().next()
        {
            for (port, addresses) in std::mem::take(&mut self.ownerless) {
                group.ports.entry(port).or_default().extend(addresses);
            }
        }
    }

    fn take_socket(&mut self, socket: &Socket, evidence: &Evidence) {
        let key = (socket.port, socket.protocol);
        if socket.pids.is_empty() || evidence.processes.is_none() {
            if !evidence.host_network {
                self.owners_missing |= socket.pids.is_empty();
                self.ownerless.entry(key).or_default().insert(socket.address.clone());
            }
            return;
        }
        // A holder that is no process here belongs to another container in the same network namespace.
        let owners: BTreeSet<Owner> = socket.pids.iter().filter_map(|pid| self.owners.get(pid).cloned()).collect();
        let holder = |owner: &Owner| socket.pids.iter().copied().find(|pid| self.owners.get(pid) == Some(owner));
        let held: Vec<(Owner, Option<u32>)> = owners.iter().map(|owner| (owner.clone(), holder(owner))).collect();
        let served = owners.iter().any(|owner| matches!(owner, Owner::Service(_)));
        let known = owners.iter().any(|owner| matches!(owner, Owner::Unknown(_)));
        for (owner, pid) in held {
            match owner {
                Owner::Service(name) => {
                    if let Some(group) = self.services.get_mut(&name) {
                        group.take_socket(socket, pid);
                    }
                }
                Owner::Unknown(name) if !served => self.stranger_port(name, key, socket, None),
                Owner::PassedOver(name) if !served && !known => self.stranger_port(name, key, socket, pid),
                Owner::Unknown(_) | Owner::PassedOver(_) => {}
            }
        }
    }

    fn stranger_port(&mut self, name: String, key: PortKey, socket: &Socket, pid: Option<u32>) {
        let stranger = self.strangers.entry(name).or_default();
        stranger.pids.extend(pid);
        stranger.ports.entry(key).or_default().insert(socket.address.clone());
    }

    fn take_image(&mut self, image: &str) {
        let last = base_image(image);
        for (name, group) in &mut self.services {
            if name == last || image_alias(last) == Some(name.as_str()) {
                group.evidence.push(EvidenceLine { source: Source::Image, detail: cut(image) });
                group.agreed = true;
            }
        }
    }

    /// Joins a port of the manifest to whatever listens there. Only where all that listens could be seen is it known that nothing
    /// does.
    fn take_of_manifest(&mut self, declared: &DeclaredService, evidence: &Evidence) {
        let key = declared.port.map(|port| (port, declared.protocol));
        let holds = |group: &&mut Group| key.is_some_and(|key| group.ports.contains_key(&key));
        if let Some(holder) = self.services.values_mut().find(holds) {
            return holder.take_line(declared);
        }
        let is_seen = evidence.processes.is_some() && evidence.sockets.is_some();
        if is_seen && !key.is_some_and(|key| self.ownerless.contains_key(&key)) {
            self.take_declared(declared);
        }
    }

    /// Joins a declaration to what was seen: by the service's name, the program's name, or the port.
    fn take_declared(&mut self, declared: &DeclaredService) {
        let name = &declared.name;
        if !self.services.contains_key(name) {
            let group = self.seen_as(declared).unwrap_or_default();
            self.services.insert(name.clone(), group);
        }
        let Some(group) = self.services.get_mut(name) else { return };
        if group.role.is_empty() {
            group.role = rules::role_of(name);
        }
        group.take_line(declared);
    }

    fn seen_as(&mut self, declared: &DeclaredService) -> Option<Group> {
        let key = declared.port.map(|port| (port, declared.protocol));
        let by_port = |ports: &Ports| key.is_some_and(|key| ports.contains_key(&key));
        let found = self
            .strangers
            .iter()
            .filter(|(_, stranger)| !stranger.pids.is_empty())
            .find(|(command, stranger)| **command == declared.name || by_port(&stranger.ports))
            .map(|(command, _)| command.clone());
        if let Some(command) = found {
            let Stranger { pids, ports, shown } = self.strangers.remove(&command)?;
            let pid = pids.first().copied().unwrap_or_default();
            for pid in &pids {
                self.owners.insert(*pid, Owner::Service(declared.name.clone()));
            }
            let shown = if shown.is_empty() { command.clone() } else { shown };
            let mut evidence = vec![EvidenceLine { source: Source::Process, detail: format!("{shown} (pid {pid})") }];
            evidence.extend(ports.iter().map(|(key, addresses)| socket_line(*key, addresses)));
            let details = if command == declared.name { Vec::new() } else { vec![command] };
            return Some(Group { details, pids, ports, evidence, ..Group::default() });
        }
        let key = key?;
        let other = self.services.values().find(|group| !group.pids.is_empty() && group.ports.contains_key(&key))?;
        let addresses = other.ports.get(&key)?.clone();
        if addresses.is_empty() {
            return None;
        }
        let mut evidence: Vec<EvidenceLine> =
            other.evidence.iter().filter(|line| line.source == Source::Process).cloned().collect();
        evidence.push(socket_line(key, &addresses));
        Some(Group {
            role: other.role,
            details: other.details.clone(),
            pids: other.pids.clone(),
            ports: Ports::from([(key, addresses)]),
            evidence,
            agreed: true,
        })
    }

    fn finish(self, evidence: &Evidence) -> Services {
        let services = self.services.into_iter().map(|(name, group)| group.finish(name, evidence)).collect();
        let mut unknown: Vec<UnknownProcess> = self
            .strangers
            .into_iter()
            .map(|(command, stranger)| UnknownProcess {
                command: Some(command),
                pids: stranger.pids.into_iter().collect(),
                ports: ports(stranger.ports, evidence),
            })
            .collect();
        if !self.ownerless.is_empty() {
            unknown.push(UnknownProcess { command: None, pids: Vec::new(), ports: ports(self.ownerless, evidence) });
        }
        let mut notes = Vec::new();
        if evidence.processes.is_none() {
            notes.push("services: the processes could not be read, so none is known to run".to_owned());
        }
        if evidence.sockets.is_none() {
            notes.push("services: the listening sockets could not be read, so ports may be missing".to_owned());
        }
        if self.owners_missing {
            notes.push("services: the owners of some listening sockets could not be read".to_owned());
        }
        Services { services, unknown, complete: notes.is_empty(), notes }
    }
}

impl Group {
    fn take_line(&mut self, declared: &DeclaredService) {
        let DeclaredService { name, port, protocol, source } = declared;
        let detail = match port {
            Some(port) => format!("{name}:{port}/{protocol}"),
            None => name.clone(),
        };
        let line = EvidenceLine { source: *source, detail };
        if !self.evidence.contains(&line) {
            self.evidence.push(line);
        }
        self.agreed = true;
    }

    fn take_socket(&mut self, socket: &Socket, pid: Option<u32>) {
        let key = (socket.port, socket.protocol);
        let held = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
        if self.ports.entry(key).or_default().insert(socket.address.clone()) {
            let detail = format!("{}/{} on {}{held}", socket.port, socket.protocol, socket.address);
            self.evidence.push(EvidenceLine { source: Source::Socket, detail });
        }
        self.agreed = true;
    }

    fn finish(mut self, name: String, evidence: &Evidence) -> Service {
        let running = !self.pids.is_empty();
        let confidence = match (running, self.agreed) {
            (true, true) => Confidence::Certain,
            (true, false) => Confidence::Likely,
            (false, _) => Confidence::Declared,
        };
        self.evidence.sort_by_key(|line| line.source);
        self.details.truncate(MAX_DETAILS);
        Service {
            name,
            role: self.role.to_owned(),
            detail: (!self.details.is_empty()).then(|| self.details.join(", ")),
            running,
            confidence,
            pids: self.pids.into_iter().collect(),
            ports: ports(self.ports, evidence),
            evidence: self.evidence,
        }
    }
}

fn socket_line((port, protocol): PortKey, addresses: &BTreeSet<String>) -> EvidenceLine {
    let on: Vec<&str> = addresses.iter().map(String::as_str).collect();
    EvidenceLine { source: Source::Socket, detail: format!("{port}/{protocol} on {}", on.join(", ")) }
}

fn ports(ports: Ports, evidence: &Evidence) -> Vec<Port> {
    ports
        .into_iter()
        .map(|((port, protocol), addresses)| {
            let published: BTreeSet<String> = evidence
                .published
                .iter()
                .filter(|published| (published.port, published.protocol) == (port, protocol))
                .map(|published| published.host.clone())
                .collect();
            Port { port, protocol, address: widest(addresses), published: published.into_iter().collect() }
        })
        .collect()
}

/// Of several addresses of one port, the one that reaches furthest.
fn widest(addresses: BTreeSet<String>) -> Option<String> {
    let reach = |address: &str| match address {
        "0.0.0.0" => 0,
        "::" => 1,
        "::1" => 4,
        loopback if loopback.starts_with("127.") => 3,
        _ => 2,
    };
    addresses.into_iter().min_by_key(|address| reach(address))
}

/// The last part of an image's repository: `nginx` for `docker.io/library/nginx:1.27@sha256:…`.
fn base_image(image: &str) -> &str {
    let repository = image.split('@').next().unwrap_or_default();
    let last = repository.rsplit('/').next().unwrap_or_default();
    last.split(':').next().unwrap_or_default()
}

/// The service of an image whose usual name is another.
fn image_alias(image: &str) -> Option<&'static str> {
    match image {
        "httpd" => Some("apache"),
        "mongo" => Some("mongodb"),
        "postgresql" => Some("postgres"),
        _ => None,
    }
}

fn shown(process: &Process) -> String {
    let command = redact::argv(&process.args).join(" ");
    let command = if command.trim().is_empty() { process.executable.clone().unwrap_or_default() } else { command };
    cut(&command)
}

fn cut(text: &str) -> String {
    let mut out: String = text.chars().take(MAX_SHOWN).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        out.push('…');
    }
    out
}
