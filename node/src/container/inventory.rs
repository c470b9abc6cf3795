//! `services`: which services run in the container, by evidence.

use std::sync::Arc;

use aigis_proxy::{
    Effect, Error,
    skill::{Call, Nothing, Table},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Container, Reply, examination::Examination, examination::examine};
use crate::{
    engine::{Inspection, Port as EnginePort, State},
    host::Seen,
    services::{DeclaredService, Evidence, Protocol, Published, Service, Socket, UnknownProcess},
};

/// Puts together what was seen of a container.
pub(crate) fn evidence(inspection: &Inspection, declared: &[DeclaredService], seen: Seen) -> Evidence {
    Evidence {
        processes: seen.processes,
        sockets: seen.sockets,
        exposed: inspection.exposed.iter().filter_map(|port| Some((port.port, protocol(port)?))).collect(),
        published: published(inspection),
        image: inspection.image.clone().unwrap_or_default(),
        declared: declared.to_vec(),
        host_network: inspection.on_host_network(),
    }
}

fn protocol(port: &EnginePort) -> Option<Protocol> {
    match port.protocol.as_str() {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        _ => None,
    }
}

fn published(inspection: &Inspection) -> Vec<Published> {
    let all = &inspection.published;
    // The engine publishes on both families at once; the second says nothing new.
    let doubled = |one: &crate::engine::Published| {
        one.host_address == "::"
            && all.iter().any(|other| {
                other.host_address == "0.0.0.0" && other.host_port == one.host_port && other.port == one.port
            })
    };
    let shown = all.iter().filter(|one| !doubled(one));
    shown
        .filter_map(|one| {
            let address = &one.host_address;
            let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
            let host = format!("{host}:{}", one.host_port);
            Some(Published { port: one.port.port, protocol: protocol(&one.port)?, host })
        })
        .collect()
}

/// The TCP ports on which something is expected to listen, sorted.
pub(crate) fn expected_ports(evidence: &Evidence) -> Vec<u16> {
    let exposed = evidence.exposed.iter().filter(|(_, protocol)| *protocol == Protocol::Tcp).map(|(port, _)| *port);
    let published = evidence.published.iter().filter(|one| one.protocol == Protocol::Tcp).map(|one| one.port);
    let mut ports: Vec<u16> = exposed.chain(published).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The TCP ports on which something listens.
pub(crate) fn listening_ports(sockets: &[Socket]) -> Vec<u16> {
    sockets.iter().filter(|socket| socket.protocol == Protocol::Tcp).map(|socket| socket.port).collect()
}

/// What `services` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Inventory {
    /// Services that run or are declared, sorted by name.
    pub(crate) services: Vec<Service>,
    /// What no rule knows.
    pub(crate) unknown: Vec<UnknownProcess>,
    /// Whether nothing that runs can be missing here.
    pub(crate) complete: bool,
    /// What the container is doing.
    #[schemars(with = "String")]
    pub(crate) state: State,
}

impl Inventory {
    pub(crate) fn of(seen: &Examination) -> Self {
        Self {
            services: seen.services.services.clone(),
            unknown: seen.services.unknown.clone(),
            complete: seen.services.complete,
            state: seen.inspection.state,
        }
    }
}

pub(super) fn add(table: &mut Table<Container>) {
    table.value(
        "services",
        Effect::Read,
        "Lists the services that run in the container, each with the evidence for it.",
        services,
    );
}

async fn services(container: Arc<Container>, call: Call, _: Nothing) -> Result<Reply<Inventory>, Error> {
    let read = |look| async move {
        let seen = examine(&look).await?;
        Ok((Inventory::of(&seen), seen.notes))
    };
    container.read(&call, read).await
}
