//! What nodes have of a project, and what packages say, as whoever may read asks for it.

use std::{collections::BTreeSet, time::Duration};

use aigis_proxy::{
    Bus, Error, Name, NodeName,
    rpc::{self, Asker},
    services::deployments::{DEPLOYMENTS, DeploymentsClient, DeploymentsRequest, DeploymentsResponse},
};
use aigis_registry::{Snapshot, State};
use futures::{StreamExt as _, stream};

use super::{Host, Source, Sources};
use crate::{
    Digest,
    package::{Reproducible, Store},
};

/// How long a node may take to say what it has.
const SURVEYED: Duration = Duration::from_secs(20);
/// How many nodes are asked at once.
const AT_ONCE: usize = 32;

/// A node, as it is asked.
pub(super) type Node = DeploymentsClient<Asker<DeploymentsRequest, DeploymentsResponse>>;

pub(super) fn node(bus: &Bus, name: &NodeName) -> Node {
    DeploymentsClient::from(Asker::new(bus, name.as_str(), DEPLOYMENTS))
}

/// The nodes of the mesh, and what each has of a project; `names` are looked for among the containers of others.
pub async fn hosts(bus: &Bus, snapshot: &Snapshot, project: &Name, names: &BTreeSet<Name>) -> Vec<Host> {
    let known = snapshot.nodes().filter(|record| snapshot.removal(&record.name).is_none());
    let known: Vec<_> = known.map(|record| (record.clone(), snapshot.sight(record.name.as_str()).state)).collect();
    let asked = known.into_iter().map(|(record, state)| async move {
        let survey = match (&record.engine, state) {
            (None, _) => Err("has no engine".to_owned()),
            (_, State::Offline | State::Gone) => Err(format!("is {state}")),
            _ => {
                let node = node(bus, &record.name);
                let said = node.survey(rpc::within(SURVEYED), project.clone(), names.clone()).await;
                rpc::answered(said).map_err(|error| format!("does not answer: {}", error.message))
            }
        };
        Host { name: record.name.clone(), labels: record.labels.clone(), survey }
    });
    let mut hosts: Vec<Host> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    hosts
}

/// What these packages say. This blocks.
///
/// # Errors
///
/// `failed_precondition` for one that is not known; what the store says.
pub fn sources(store: &Store, packages: &BTreeSet<Digest>) -> Result<Sources, Error> {
    let mut all = Sources::new();
    for id in packages {
        let record = store.record(id)?.filter(|record| record.id == *id && record.is_sound());
        let record = record.ok_or_else(|| super::wanted::unknown(id))?;
        let document = store.manifest(&record)?;
        let reproducible = Reproducible::of(&store.builds(&record.inputs)?);
        all.insert(*id, Source { record, document, reproducible });
    }
    Ok(all)
}
