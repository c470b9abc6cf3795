//! On which node each replica comes to stand, and why.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use aigis_proxy::{Error, Name, NodeName, services::deployments::Survey};
use serde_json::json;

use super::{
    Placement, Placements, Sources, Unit,
    wanted::{Source, source},
};
use crate::manifest::Container;

/// How many reasons against nodes a record keeps, of all replicas together: a version of it has to fit into one message.
const REASONS: usize = 1_000;
/// How long one of them is at most, in characters.
const LONGEST: usize = 160;

/// A node of the mesh, as whoever places knows it.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name.
    pub name: NodeName,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it has of the project; or why it says nothing.
    pub survey: Result<Survey, String>,
}

impl Host {
    /// Why a container cannot stand there at all, if so.
    fn unfit(&self, container: &Container, platforms: &[String]) -> Option<String> {
        if let Some(place) = &container.place {
            if let Some(node) = place.node.as_ref().filter(|node| **node != self.name) {
                return Some(format!("is not {node}"));
            }
            let has = |label: &str| {
                label.split_once('=').is_some_and(|(key, value)| self.labels.get(key).is_some_and(|own| own == value))
            };
            if let Some(label) = place.label.as_ref().filter(|label| !has(label)) {
                return Some(format!("has no label {label}"));
            }
        }
        let survey = match &self.survey {
            Ok(survey) => survey,
            Err(why) => return Some(why.clone()),
        };
        if !platforms.contains(&survey.platform) {
            return Some(format!("is {}, and the image is for {}", survey.platform, platforms.join(", ")));
        }
        None
    }

    /// Why it takes nothing new, if so.
    fn refuses(&self, container: &Container) -> Option<String> {
        let survey = self.survey.as_ref().ok()?;
        if let Some(why) = &survey.refuses {
            return Some(why.clone());
        }
        let needs = container.resources.memory_bytes.unwrap_or_default();
        (needs > survey.free_memory_bytes)
            .then(|| format!("has {} bytes of memory free, and {needs} are needed", survey.free_memory_bytes))
    }

    fn holds_volume(&self, container: &Container) -> bool {
        self.survey.as_ref().is_ok_and(|survey| container.volumes.keys().any(|volume| survey.volumes.contains(volume)))
    }
}

/// Places all replicas, in the order in which they begin. What stands somewhere stays there as long as it may.
///
/// # Errors
///
/// `unavailable` for a replica that no node takes, with a reason for each node.
pub fn place(units: &[Unit], sources: &Sources, hosts: &[Host], known: &Placements) -> Result<Placements, Error> {
    let mut placed = Placements::new();
    let most = (REASONS / units.len().max(1)).max(1);
    for unit in units {
        let mut placement = one(unit, source(sources, &unit.package)?, hosts, known, &placed)?;
        placement.shorten(most, LONGEST);
        placed.insert(unit.name.clone(), placement);
    }
    Ok(placed)
}

fn one(
    unit: &Unit,
    source: &Source,
    hosts: &[Host],
    known: &Placements,
    placed: &Placements,
) -> Result<Placement, Error> {
    let container = source.container(&unit.container)?;
    let platforms = source.platforms(&unit.container);
    let mut others: BTreeMap<NodeName, String> = BTreeMap::new();
    let mut fitting = Vec::new();
    for host in hosts {
        match host.unfit(container, &platforms) {
            Some(why) => drop(others.insert(host.name.clone(), why)),
            None => fitting.push(host),
        }
    }
    let placement = |node: &NodeName, reason: &str, others: BTreeMap<NodeName, String>| Placement {
        container: unit.container.clone(),
        node: node.clone(),
        reason: reason.to_owned(),
        others,
        unnamed: 0,
    };
    let stands = standing(unit, hosts, known);
    if let Some(at) = &stands {
        if let Some(Err(why)) = hosts.iter().find(|host| host.name == *at).map(|host| &host.survey) {
            // Elsewhere it would run twice once that node is back.
            return Err(Error::unavailable(format!("{} stands on {at}, which {why}", unit.name))
                .hint(format!("bring it back, or remove it from the mesh: aish nodes remove {at}"))
                .with("nodes", json!(others)));
        }
        if let Some(host) = fitting.iter().find(|host| host.name == *at)
            && stays(host, unit, source, container)
            && !is_taken(host, unit, container, placed)
        {
            fitting.retain(|other| other.name != *at);
            others.extend(fitting.iter().map(|other| (other.name.clone(), format!("it stands on {at}"))));
            return Ok(placement(at, "it stands there", others));
        }
    }
    // A volume is where it is.
    let is_bound = !container.volumes.is_empty() && fitting.iter().any(|host| host.holds_volume(container));
    fitting.retain(|host| {
        let why = match host.refuses(container) {
            Some(why) => Some(why),
            None if is_bound && !host.holds_volume(container) => Some("has not its volume".to_owned()),
            None if is_taken(host, unit, container, placed) => {
                Some("has another replica with its port or volume".to_owned())
            }
            None => None,
        };
        why.map(|why| others.insert(host.name.clone(), why)).is_none()
    });
    let like = |host: &Host| beside(host, placed).filter(|other| other.container == unit.container).count();
    let needs = |host: &Host| {
        let there: BTreeSet<&Name> = beside(host, placed).map(|other| &other.container).collect();
        container.depends_on.iter().filter(|need| there.contains(need)).count()
    };
    let memory = |host: &Host| host.survey.as_ref().map_or(0, |survey| survey.free_memory_bytes);
    fitting.sort_by_key(|host| (like(host), Reverse(needs(host)), Reverse(memory(host)), host.name.clone()));
    let Some((best, rest)) = fitting.split_first() else {
        return Err(nowhere(unit, &others));
    };
    let reason = match rest.first() {
        None => "the only one that takes it",
        Some(next) if like(next) > like(best) => "has fewest of its replicas",
        Some(next) if needs(next) < needs(best) => "has what it depends on",
        Some(next) if memory(next) < memory(best) => "has most free memory",
        Some(_) => "the first by name",
    };
    others.extend(rest.iter().map(|host| (host.name.clone(), "would do, and is not the best".to_owned())));
    Ok(placement(&best.name, reason, others))
}

fn beside<'a>(host: &'a Host, placed: &'a Placements) -> impl Iterator<Item = &'a Placement> {
    placed.values().filter(|other| other.node == host.name)
}

/// Where a replica stands: as it is recorded, or, where nothing is recorded of it, as a node says.
fn standing(unit: &Unit, hosts: &[Host], known: &Placements) -> Option<NodeName> {
    let has = |host: &&Host| {
        let survey = host.survey.as_ref();
        survey.is_ok_and(|survey| survey.containers.iter().any(|standing| standing.name == unit.name))
    };
    let recorded = known.get(&unit.name).map(|placement| placement.node.clone());
    // A node that was removed from the mesh has nothing of it any more.
    let recorded = recorded.filter(|node| hosts.iter().any(|host| host.name == *node));
    recorded.or_else(|| hosts.iter().find(has).map(|host| host.name.clone()))
}

/// Whether a replica may stay: its node takes new ones, or the replica need not be made anew there, or cannot be elsewhere.
fn stays(host: &Host, unit: &Unit, source: &Source, container: &Container) -> bool {
    let Ok(survey) = &host.survey else { return false };
    let Some(standing) = survey.containers.iter().find(|standing| standing.name == unit.name) else {
        // What is gone is made anew, and needs room.
        return host.refuses(container).is_none();
    };
    let image = source.image(&unit.container, &survey.platform).map(|image| image.config);
    survey.refuses.is_none() || image == Some(standing.image) || host.holds_volume(container)
}

/// Whether another replica of its container stands there with which it cannot share.
fn is_taken(host: &Host, unit: &Unit, container: &Container, placed: &Placements) -> bool {
    let cannot_share = !container.publish.is_empty() || !container.volumes.is_empty();
    cannot_share && placed.values().any(|other| other.node == host.name && other.container == unit.container)
}

fn nowhere(unit: &Unit, others: &BTreeMap<NodeName, String>) -> Error {
    let told: Vec<String> = others.iter().map(|(node, why)| format!("{node} {why}")).collect();
    let told = if told.is_empty() { "the mesh has no node".to_owned() } else { told.join("; ") };
    Error::unavailable(format!("no node takes {}: {told}", unit.name))
        .hint("see: aish nodes; a node needs a Docker engine")
        .with("nodes", json!(others))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{
        Deployment, Task,
        testing::{container, host, node, parts, sources, stands, task},
        wanted,
    };
    use super::*;

    fn survey(host: &mut Host) -> &mut Survey {
        host.survey.as_mut().unwrap()
    }

    /// Where the replicas of these containers come to stand.
    fn places(given: &[(&str, &str)], hosts: &[Host], known: &Placements) -> Result<Vec<(String, String)>, Error> {
        let (sources, id) = sources(given);
        let names: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
        let units = wanted(&parts(&names, id), &sources).unwrap();
        let placed = place(&units, &sources, hosts, known)?;
        Ok(placed.into_iter().map(|(name, at)| (name.to_string(), at.node.to_string())).collect())
    }

    fn at(given: &[(&str, &str)], hosts: &[Host], known: &Placements) -> String {
        let all = places(given, hosts, known).unwrap_or_else(|error| panic!("{error}"));
        all.iter().map(|(name, node)| format!("{name}@{node}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn pkg_60_a_replica_stands_where_it_may_and_fits_best() {
        let none = Placements::new();
        let mut beta = host("beta");
        survey(&mut beta).free_memory_bytes *= 2;
        beta.labels.insert("zone".to_owned(), "x".to_owned());
        let hosts = [host("alpha"), beta, host("gamma")];
        assert_eq!(at(&[("api", "")], &hosts, &none), "api@beta", "most free memory");
        assert_eq!(at(&[("api", "")], &[host("beta"), host("alpha")], &none), "api@alpha", "the first by name");
        assert_eq!(at(&[("api", r#""place": {"node": "gamma"}"#)], &hosts, &none), "api@gamma");
        assert_eq!(at(&[("api", r#""place": {"label": "zone=x"}"#)], &hosts, &none), "api@beta");
        assert_eq!(
            at(&[("api", r#""replicas": 3"#)], &hosts, &none),
            "api-1@beta api-2@alpha api-3@gamma",
            "they spread"
        );
        let pair = [("db", r#""place": {"node": "alpha"}"#), ("api", r#""depends_on": ["db"]"#)];
        assert_eq!(at(&pair, &hosts, &none), "api@alpha db@alpha", "together with what it depends on");
        assert_eq!(at(&[("api", "")], &hosts, &stands(&[("api", "gamma")])), "api@gamma", "it stands there");
        assert_eq!(at(&[("api", "")], &hosts, &stands(&[("api", "delta")])), "api@beta", "its node left the mesh");
    }

    #[test]
    fn pkg_60_what_a_node_has_or_refuses_decides() {
        let none = Placements::new();
        let volume = [("db", r#""volumes": {"data": "/data"}"#)];
        let (mut alpha, mut beta) = (host("alpha"), host("beta"));
        survey(&mut beta).volumes.insert(Name::parse("data").unwrap());
        assert_eq!(at(&volume, &[alpha.clone(), beta.clone()], &none), "db@beta", "a volume binds");
        survey(&mut beta).refuses = Some("is cordoned".to_owned());
        assert_eq!(at(&[("api", "")], &[alpha.clone(), beta.clone()], &none), "api@alpha");
        let error = places(&[("api", "")], &[beta.clone()], &none).unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (aigis_proxy::Code::Unavailable, "no node takes api: beta is cordoned")
        );
        let error =
            places(&[("api", r#""resources": {"memory_bytes": 8000000000}"#)], &[alpha.clone(), beta.clone()], &none);
        let message = error.unwrap_err().message;
        assert!(message.contains("alpha has 1000000000 bytes") && message.contains("beta is cordoned"), "{message}");
        survey(&mut alpha).platform = "linux/arm64".to_owned();
        let error = places(&[("api", "")], &[alpha], &none).unwrap_err();
        assert!(error.message.contains("alpha is linux/arm64, and the image is for linux/amd64"), "{}", error.message);
        // What runs on a cordoned node stays, what has to be made anew moves.
        let (sources, id) = sources(&[("api", "")]);
        survey(&mut beta).containers.push(container(&sources[&id], "api"));
        let both = [host("alpha"), beta.clone()];
        assert_eq!(at(&[("api", "")], &both, &stands(&[("api", "beta")])), "api@beta");
        survey(&mut beta).containers[0].image = crate::Digest::of(b"older");
        let both = [host("alpha"), beta.clone()];
        assert_eq!(at(&[("api", "")], &both, &stands(&[("api", "beta")])), "api@alpha");
        // What cannot be seen is not made a second time.
        beta.survey = Err("does not answer".to_owned());
        let error = places(&[("api", "")], &[host("alpha"), beta], &stands(&[("api", "beta")])).unwrap_err();
        assert!(error.message.contains("stands on beta, which does not answer"), "{}", error.message);
        let ports = [("api", r#""replicas": 2, "ports": [80], "publish": {"80": "8080"}"#)];
        assert!(places(&ports, &[host("alpha")], &none).is_err(), "one port of a host, two replicas");
        assert_eq!(at(&ports, &[host("alpha"), host("beta")], &none), "api-1@alpha api-2@beta");
    }

    #[test]
    fn pkg_60_a_hundred_replicas_on_a_hundred_nodes_fit_into_one_message() {
        let mut hosts: Vec<Host> = (10..110).map(|number| host(&format!("node-{number}"))).collect();
        hosts[99].survey = Err(format!("does not answer: {}", "x".repeat(10_000)));
        let given = [("api", "\"replicas\": 100")];
        let (sources, id) = sources(&given);
        let parts = parts(&["api"], id);
        let units = wanted(&parts, &sources).unwrap();
        let placed = place(&units, &sources, &hosts, &Placements::new()).unwrap();
        for at in placed.values() {
            assert_eq!((at.others.len(), at.unnamed), (10, 89));
        }
        let few = place(&units[..1], &sources, &hosts, &Placements::new()).unwrap();
        let lone = few.values().next().unwrap();
        assert_eq!((lone.others.len(), lone.unnamed), (99, 0));
        assert!(lone.others[&node("node-109")].chars().count() <= LONGEST);
        let mut record = Deployment::new(Name::parse("shop").unwrap(), aigis_registry::Timestamp::now());
        record.release(id, parts, placed.clone(), Task { before: placed, ..task() });
        let bytes = serde_json::to_vec(&record).unwrap().len();
        assert!(bytes < 512 * 1024, "{bytes}");
    }

    proptest! {
        #[test]
        fn pkg_60_replicas_spread_evenly_and_stay_where_they_are(nodes in 1_usize..6, replicas in 2_u32..20) {
            let hosts: Vec<Host> = (0..nodes).map(|number| host(&format!("n{number}"))).collect();
            let keys = format!("\"replicas\": {replicas}");
            let given = [("api", keys.as_str())];
            let (sources, id) = sources(&given);
            let units = wanted(&parts(&["api"], id), &sources).unwrap();
            let placed = place(&units, &sources, &hosts, &Placements::new()).unwrap();
            let count = |host: &Host| placed.values().filter(|at| at.node == host.name).count();
            let counts: Vec<usize> = hosts.iter().map(count).collect();
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
            let again = place(&units, &sources, &hosts, &placed).unwrap();
            prop_assert!(placed.iter().all(|(name, at)| again[name].node == at.node));
            prop_assert!(placed.values().all(|at| at.others.len() == nodes - 1 && !at.others.contains_key(&at.node)));
            prop_assert!(placed.values().all(|at| at.node != node("other")));
        }
    }
}
