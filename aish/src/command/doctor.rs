use std::{
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};

use aigis_node::home::MeshFile;
use aigis_proxy::{
    Bus, Error,
    bus::Version,
    identity::{CaCertificate, Credential},
    kv,
};
use aigis_registry::{Asking, Snapshot, State};
use serde::Serialize;
use serde_json::json;

use crate::{context::Context, exit::Failure, process::Process};

mod copies;
pub(crate) mod isolation;
mod socket;

/// How long before its end a credential is warned of.
const NEAR: Duration = Duration::from_secs(24 * 60 * 60);
/// How far in the future a credential may have been issued before it is said.
const SKEW: Duration = Duration::from_secs(60);
/// How far the clocks of this machine and of the bus may be apart before it is said.
const APART: Duration = Duration::from_secs(2);
/// How long the bus may take to say what time it is.
const ASKING: Duration = Duration::from_secs(2);

/// Check this host's part of the mesh
///
/// Each check passes, warns or fails; the exit code is 1 if any fails.
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Pass,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    outcome: Outcome,
    detail: String,
    hint: Option<String>,
}

impl Check {
    fn pass(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Pass, detail: detail.into(), hint: None }
    }

    fn warn(name: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Warn, detail: detail.into(), hint: Some(hint.into()) }
    }

    fn fail(name: &'static str, failure: Failure) -> Self {
        let Error { message, hint, .. } = failure.into_error();
        Self { name, outcome: Outcome::Fail, detail: message, hint }
    }
}

impl Doctor {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let checks = examine(context).await;
        let well = checks.iter().all(|check| check.outcome != Outcome::Fail);
        if context.output.is_json() {
            context.output.json(&json!({"ok": well, "checks": checks}))?;
        } else {
            for Check { name, outcome, detail, hint } in &checks {
                let word = match outcome {
                    Outcome::Pass => "pass",
                    Outcome::Warn => "warn",
                    Outcome::Fail => "fail",
                };
                context.output.text(&format!("{word}  {name}: {detail}"))?;
                if let Some(hint) = hint {
                    context.output.text(&format!("      hint: {hint}"))?;
                }
            }
        }
        if well { Ok(()) } else { Err(Failure::Said(1)) }
    }
}

/// Checks one thing after another, as far as each rests on the one before.
async fn examine(context: &Context) -> Vec<Check> {
    let mut checks = Vec::new();
    let mesh = match context.mesh_file() {
        Ok(mesh) => mesh,
        Err(failure) => {
            checks.push(Check::fail("mesh", failure));
            return checks;
        }
    };
    checks.push(match &mesh {
        Some(MeshFile { mesh, node: Some(node), .. }) => {
            Check::pass("mesh", format!("\"{mesh}\", this host is its node {node}"))
        }
        Some(MeshFile { mesh, .. }) => Check::pass("mesh", format!("\"{mesh}\", of which this host has no node")),
        None => Check::warn("mesh", "this host runs no node of this mesh", "start one: aish up"),
    });
    if let (Some(MeshFile { mesh, node: Some(node), .. }), Ok(home)) = (&mesh, context.home()) {
        checks.push(process(Process::running(&home)));
        checks.push(socket::check(&home.socket(), mesh, node).await);
    }
    match context.credential() {
        Ok(credential) => checks.push(credential_check(&credential, SystemTime::now())),
        Err(failure) => {
            checks.push(Check::fail("credential", failure));
            return checks;
        }
    }
    let bus = match context.connect().await {
        Ok(bus) => bus,
        Err(failure) => {
            checks.push(Check::fail("bus", failure));
            return checks;
        }
    };
    let url = context.bus_url().unwrap_or_default();
    checks.push(server(&bus.server_version(), &url));
    checks.push(link(&url, context.ca(&url).ok().flatten()));
    checks.push(clock(&bus).await);
    // The option and the environment may name another bus than that of this host's node.
    let own = mesh.as_ref().filter(|mesh| mesh.bus == url);
    let is_own = isolation::is_own(&bus, own).await;
    checks.push(durability(is_own));
    checks.push(isolation::check(&bus, is_own).await);
    checks.extend(copies::check(&bus).await);
    match context.session().await {
        Ok(session) => checks.extend(registry(&session, mesh.as_ref())),
        Err(failure) => checks.push(Check::fail("registry", failure)),
    }
    checks
}

/// Whether this machine's clock is that of the bus.
async fn clock(bus: &Bus) -> Check {
    let (asked, since) = (SystemTime::now(), Instant::now());
    let said = match kv::clock(bus, ASKING).await {
        Ok(said) => SystemTime::from(said),
        Err(error) => return Check::warn("clock", error.message, "see the check of the registry"),
    };
    let own = asked + since.elapsed() / 2;
    let (by, word) = match own.duration_since(said) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let by_seconds = by.as_secs_f64();
    match by > APART {
        false => Check::pass("clock", format!("within {} s of that of the bus", APART.as_secs())),
        true => Check::warn(
            "clock",
            format!("this machine's is {by_seconds:.0} s {word} that of the bus"),
            "set the clock: states and deadlines do not go by it, but credentials and the dates of logs and audit do",
        ),
    }
}

/// What holds the lock of this host's node.
fn process(running: Result<Option<Process>, Error>) -> Check {
    let name = "process";
    match running {
        Ok(Some(process)) => Check::pass(name, format!("the node runs as process {}", process.pid())),
        Ok(None) => {
            let error = Error::unavailable("the node does not run").hint("start it: aish up --detach");
            Check::fail(name, error.into())
        }
        Err(error) => Check::fail(name, error.into()),
    }
}

fn credential_check(credential: &Credential, now: SystemTime) -> Check {
    let who = format!("{}, {}", credential.name(), credential.role());
    if credential.issued() > now + SKEW {
        let detail = format!("{who}; it was issued in the future of this machine's clock");
        return Check::warn("credential", detail, "set the clock");
    }
    match credential.expires() {
        Some(end) if end < now + NEAR => {
            let minutes = end.duration_since(now).unwrap_or_default().as_secs() / 60;
            Check::warn(
                "credential",
                format!("{who}; it ends in {minutes} minutes"),
                "commands renew it while the issuer answers; when it has ended, ask an admin for a new one",
            )
        }
        _ => Check::pass("credential", who),
    }
}

/// Whether the server has the fixes that the mesh relies on, by its own word.
fn server(version: &str, url: &str) -> Check {
    let detail = format!("nats-server {version} at {url}");
    if version.parse().is_ok_and(Version::is_supported) {
        return Check::pass("bus", detail);
    }
    let detail = format!(
        "{detail} lacks fixes that the mesh relies on: 2.11.16, 2.12.7 or 2.14.0 of its line, or newer, has them"
    );
    Check::fail("bus", Error::precondition(detail).hint("update the server of that bus").into())
}

/// Whether somebody in between could read along, or play the bus.
fn link(url: &str, ca: Option<CaCertificate>) -> Check {
    let name = "link";
    if let Some(ca) = ca {
        return Check::pass(name, format!("TLS; the CA of the mesh is {}", ca.fingerprint()));
    }
    let url = crate::url::first(url);
    let host = url.split_once("://").map_or(url, |(_, place)| place).rsplit_once(':').map_or(url, |(host, _)| host);
    let own = host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    match own {
        true => Check::pass(name, "plain, and it does not leave this host"),
        false => Check::warn(
            name,
            "plain: who stands between this host and the bus can read along, and play the bus",
            "give the bus a certificate, and use tls://HOST:PORT with --ca FILE",
        ),
    }
}

/// Whether the bus flushes first, which is known of one that a node of the mesh runs.
fn durability(is_own: Option<bool>) -> Check {
    let name = "durability";
    match is_own {
        Some(true) => Check::pass(name, "flushed: records reach the disk before they are acknowledged"),
        None => Check::warn(name, isolation::UNSAID, isolation::ASK_THERE),
        Some(false) => Check::warn(
            name,
            "unknown: no node of the mesh runs the bus, and whether it flushes before it acknowledges cannot be seen from here",
            "its configuration should say: jetstream { sync_interval: always }, or keep 3 replicas",
        ),
    }
}

fn registry(session: &Asking, mesh: Option<&MeshFile>) -> Vec<Check> {
    let snapshot = session.snapshot();
    let count = snapshot.cis().filter(|record| !record.is_gone()).count();
    let mut checks = vec![match snapshot.is_whole() {
        true => Check::pass("registry", format!("{} on {}", of(count, "CI"), of(snapshot.nodes().count(), "node"))),
        false => Check::warn("registry", "not all of it could be read: states are unknown", "try again in a moment"),
    }];
    checks.extend(nodes(&snapshot, mesh));
    checks
}

/// A number of things, in words.
fn of(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn nodes(snapshot: &Snapshot, mesh: Option<&MeshFile>) -> Vec<Check> {
    let mut checks = Vec::new();
    for row in snapshot.node_rows() {
        let own = mesh.is_some_and(|mesh| mesh.node.as_ref() == Some(&row.name));
        let name = &row.name;
        checks.push(match row.state {
            State::Live => Check::pass("node", format!("{name} is live")),
            state if own => Check::fail(
                "node",
                Error::unavailable(format!("{name}, this host's node, is {state}"))
                    .hint("start it: aish up --detach")
                    .into(),
            ),
            state => Check::warn("node", format!("{name} is {state}"), "on that host: aish doctor"),
        });
        match row.engine.filter(|_| row.state == State::Live) {
            Some(engine) if engine.reachable => {
                let version = engine.version.unwrap_or_else(|| "of unknown version".to_owned());
                checks.push(Check::pass("engine", format!("Docker {version} on {name}")));
            }
            Some(_) => {
                let detail = format!("the engine of {name} does not answer");
                let hint = format!("start it on that host; why not: aish {name} status");
                checks.push(if own {
                    Check::fail("engine", Error::unavailable(detail).hint(hint).into())
                } else {
                    Check::warn("engine", detail, hint)
                });
            }
            None if row.state == State::Live => checks.push(Check::warn(
                "engine",
                format!("{name} has no engine"),
                "install Docker on that host to see its containers",
            )),
            None => {}
        }
    }
    if checks.is_empty() {
        checks.push(Check::warn("node", "the mesh has no node", "start one: aish up"));
    }
    checks
}
