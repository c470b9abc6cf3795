//! What a node is given of a replica.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use aigis_proxy::{
    Error, Name, NodeName,
    services::{
        deployments::{Remote, Replica, Restart},
        steps::Limits,
    },
};
use serde_json::json;

use super::{Host, Placements, Source, Sources, Unit, wanted::source};
use crate::manifest::{self, Container, Secret};

/// Replicas in the order in which they begin, each with its node.
pub type Replicas = Vec<(NodeName, Replica)>;

/// What each node is given, where all have their places. Where nothing is known of a node, its platform is that of the first image.
///
/// # Errors
///
/// `unavailable` for a replica without a place, or without an image for it.
pub fn replicas(
    project: &Name,
    units: &[Unit],
    sources: &Sources,
    placements: &Placements,
    hosts: &[Host],
) -> Result<Replicas, Error> {
    let mut all = Replicas::new();
    for unit in units {
        let nowhere =
            || Error::unavailable(format!("{} has no place", unit.name)).hint(format!("see: aish why {project}"));
        let node = &placements.get(&unit.name).ok_or_else(nowhere)?.node;
        let source = source(sources, &unit.package)?;
        let survey = hosts.iter().find(|host| host.name == *node).and_then(|host| host.survey.as_ref().ok());
        let platform = survey.map(|survey| survey.platform.clone());
        let platform = platform.or_else(|| source.platforms(&unit.container).into_iter().next());
        let image = platform.and_then(|platform| source.image(&unit.container, &platform)).ok_or_else(nowhere)?;
        let container = source.container(&unit.container)?;
        let replica = Replica {
            project: project.clone(),
            container: unit.container.clone(),
            name: unit.name.clone(),
            ci_name: unit.ci_name.clone(),
            service: unit.service.clone(),
            package: unit.package,
            image: image.config,
            volumes: container.volumes.clone(),
            publish: published(container)?,
            secret_files: keys(container, |secret| matches!(secret, Secret::File(_))),
            secret_env: keys(container, |secret| matches!(secret, Secret::Environment(_))),
            resources: Limits {
                memory_bytes: container.resources.memory_bytes,
                cpus: container.resources.cpus,
                pids: container.resources.pids,
            },
            restart: match container.restart {
                manifest::Restart::No => Restart::No,
                manifest::Restart::OnFailure => Restart::OnFailure,
                manifest::Restart::Always => Restart::Always,
            },
            grace_s: container.grace_s,
            capabilities: container.ci_capabilities.as_ref().map(|all| {
                let word = |one| serde_json::to_value(one).ok()?.as_str().map(str::to_owned);
                all.iter().filter_map(word).collect()
            }),
            remotes: remotes(container, node, sources, units, placements)?,
            about: about(project, source, unit, image),
            document: source.document.part(unit.container.as_str()).unwrap_or_default(),
        };
        all.push((node.clone(), replica));
    }
    Ok(all)
}

/// Its ports of the host: on loopback unless an address is given.
fn published(container: &Container) -> Result<BTreeMap<u16, SocketAddr>, Error> {
    let mut all = BTreeMap::new();
    for (port, given) in &container.publish {
        let wrong = || Error::invalid(format!("the published port {port}: {given} cannot be used"));
        let at = match given.parse::<SocketAddr>() {
            Ok(at) => at,
            Err(_) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), given.parse().map_err(|_| wrong())?),
        };
        all.insert(port.parse().map_err(|_| wrong())?, at);
    }
    Ok(all)
}

fn keys(container: &Container, is_such: impl Fn(&Secret) -> bool) -> BTreeSet<String> {
    container.secrets.iter().filter(|secret| is_such(secret)).map(|secret| secret.key().to_owned()).collect()
}

/// What it depends on that does not stand on its node: the first replica of each.
fn remotes(
    container: &Container,
    node: &NodeName,
    sources: &Sources,
    units: &[Unit],
    placements: &Placements,
) -> Result<Vec<Remote>, Error> {
    let mut all = Vec::new();
    for need in &container.depends_on {
        let stands = |unit: &Unit| placements.get(&unit.name).map(|placement| placement.node.clone());
        let mut like = units.iter().filter(|unit| unit.container == *need);
        if like.clone().any(|unit| stands(unit).as_ref() == Some(node)) {
            continue;
        }
        let Some((unit, at)) = like.find_map(|unit| Some((unit, stands(unit)?))) else { continue };
        let ports = source(sources, &unit.package)?.container(need)?.ports.clone();
        all.push(Remote { container: need.clone(), node: at, name: unit.name.clone(), ports });
    }
    all.sort_by(|a, b| a.container.cmp(&b.container));
    Ok(all)
}

/// What its CI says of where it comes from.
fn about(project: &Name, source: &Source, unit: &Unit, image: &crate::package::ImageRecord) -> serde_json::Value {
    let manifest = &source.document.manifest;
    let container = manifest.containers.get(&unit.container);
    let named = container.map(|container| container.applications.as_slice()).unwrap_or_default();
    let applications: Vec<serde_json::Value> = named
        .iter()
        .filter_map(|name| Some(json!({"name": name, "type": manifest.applications.get(name)?.kind})))
        .collect();
    json!({
        "project": project, "container": unit.container, "package": source.record.id, "spec": image.spec,
        "inputs": image.inputs, "output": image.output, "reproducible": source.reproducible, "tier": image.tier,
        "applications": applications, "ports": container.map(|container| &container.ports),
        "health": container.and_then(|container| container.health.as_ref()),
        "depends_on": container.map(|container| &container.depends_on),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SHOP, host, names, node, parts, sources, stands};
    use super::super::wanted;
    use super::*;

    #[test]
    fn pkg_60_a_replica_knows_what_it_needs_elsewhere() {
        let (sources, id) = sources(SHOP);
        let units = wanted(&parts(&names(SHOP), id), &sources).unwrap();
        let hosts = [host("alpha"), host("beta")];
        let shop = Name::parse("shop").unwrap();
        let apart = stands(&[("db", "alpha"), ("api", "beta")]);
        let all = replicas(&shop, &units, &sources, &apart, &hosts).unwrap();
        let (at, api) = &all[1];
        assert_eq!((at, api.name.as_str()), (&node("beta"), "api"));
        assert_eq!(api.remotes.len(), 1);
        assert_eq!((api.remotes[0].node.as_str(), &api.remotes[0].ports), ("alpha", &vec![5432]));
        assert_eq!(api.publish[&8080], "127.0.0.1:18080".parse().unwrap());
        assert_eq!(api.about["package"], json!(id));
        assert_eq!(api.about["applications"], json!([{"name": "app", "type": "files"}]));
        assert_eq!(api.document["containers"]["api"]["depends_on"], json!(["db"]));
        let together = stands(&[("db", "alpha"), ("api", "alpha")]);
        let all = replicas(&shop, &units, &sources, &together, &hosts).unwrap();
        assert!(all[1].1.remotes.is_empty(), "they share a network");
        assert_ne!(all[1].1.digest(), api.digest());
        assert!(replicas(&shop, &units, &sources, &stands(&[("db", "alpha")]), &hosts).is_err());
    }

    #[test]
    fn pkg_65_the_number_of_replicas_does_not_change_a_replica() {
        let of = |count: &str| {
            let keys = format!("\"replicas\": {count}");
            let given = [("api", keys.as_str())];
            let (sources, id) = sources(&given);
            let units = wanted(&parts(&["api"], id), &sources).unwrap();
            let places = stands(&[("api-1", "alpha"), ("api-2", "alpha"), ("api-3", "alpha")]);
            replicas(&Name::parse("shop").unwrap(), &units, &sources, &places, &[host("alpha")]).unwrap()[0].1.digest()
        };
        assert_eq!(of("2"), of("3"));
    }
}
