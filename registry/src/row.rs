//! What the lists show: one row shape for every kind of CI, and one for nodes.

use std::collections::{BTreeMap, HashMap};

use aigis_proxy::{Effect, Name, NodeName, SkillPath};
use serde::{Deserialize, Serialize};

use crate::{
    record::{Capacity, CiRecord, Container, Engine, Kind, SkillNote, State},
    resolve::Service,
    snapshot::{Sight, Snapshot},
    timestamp::Timestamp,
};

/// A CI, or a service, as `aish list --json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The name.
    pub name: Name,
    /// The address that always means this one.
    pub address: String,
    /// The node; `None` for a service.
    pub node: Option<NodeName>,
    /// The kind.
    pub kind: Kind,
    /// The state.
    pub state: State,
    /// When that state was entered, where it is known.
    pub state_since_at: Option<Timestamp>,
    /// Other names.
    pub aliases: Vec<Name>,
    /// The labels that are kept.
    pub labels: BTreeMap<String, String>,
    /// What it is for.
    pub description: String,
    /// The service that it is a replica of.
    pub service: Option<Name>,
    /// How many replicas it has, if it is a service.
    pub replicas: Option<Replicas>,
    /// What was wrong with its labels.
    pub warnings: Vec<String>,
    /// What can be called.
    pub skills: Vec<SkillPath>,
    /// The container.
    pub container: Option<Container>,
}

/// How many replicas a service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    /// Whose node is there.
    pub live: usize,
    /// That take calls.
    pub running: usize,
    /// In all.
    pub total: usize,
}

/// A node, as `aish nodes --json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    /// The name.
    pub name: NodeName,
    /// The public key.
    pub id: String,
    /// The state.
    pub state: State,
    /// When that state was entered, where it is known.
    pub state_since_at: Option<Timestamp>,
    /// The version of Aigis that it runs.
    pub version: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether nothing new is to be placed on it.
    pub cordoned: bool,
    /// Whether it is being emptied.
    pub draining: bool,
    /// Its engine.
    pub engine: Option<Engine>,
    /// What it has.
    pub capacity: Capacity,
    /// How many CIs it has that are not gone.
    pub cis: usize,
    /// When its lease was renewed last, where it is known.
    pub last_renewed_at: Option<Timestamp>,
}

impl Row {
    /// The order of rows: by name, then node, a service first.
    fn order(&self) -> (&str, Option<&str>) {
        (self.name.as_str(), self.node.as_ref().map(NodeName::as_str))
    }

    /// What a person wants to know besides, in a few words; `None` if there is nothing.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        if let Some(Replicas { running, total, .. }) = self.replicas {
            return Some(format!("{running}/{total} replicas"));
        }
        let container = self.container.as_ref()?;
        Some(match (&container.exit_code, &container.health) {
            (Some(code), _) if container.state == "exited" => format!("exited ({code})"),
            (_, Some(health)) if container.state == "running" => format!("running, {health}"),
            _ => container.state.clone(),
        })
    }
}

impl Snapshot {
    /// Every CI and service, sorted by name and node; those that are gone among them.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let services = self.services.iter().filter_map(|(name, _)| self.service(name));
        let mut rows: Vec<Row> = self.cis().map(|record| self.row(record)).collect();
        rows.extend(services.map(|service| self.service_row(&service)));
        rows.sort_by(|a, b| a.order().cmp(&b.order()));
        rows
    }

    /// The row of a CI.
    #[must_use]
    pub fn row(&self, record: &CiRecord) -> Row {
        let Sight { state, since } = self.sight_of(record);
        Row {
            name: record.name.clone(),
            address: format!("{}@{}", record.name, record.node),
            node: Some(record.node.clone()),
            kind: record.kind,
            state,
            state_since_at: since,
            aliases: record.aliases.clone(),
            labels: record.labels.clone(),
            description: record.description.clone(),
            service: record.service.clone(),
            replicas: None,
            warnings: record.warnings.clone(),
            skills: record.skills.iter().map(|skill| skill.path.clone()).collect(),
            container: record.container.clone(),
        }
    }

    /// The row of a service, made from its replicas; it has what all of them can read.
    #[must_use]
    pub fn service_row(&self, service: &Service) -> Row {
        let state = service.state();
        let sights = service.replicas.iter().map(|found| self.sight_of(&found.record));
        let since = sights.filter(|sight| sight.state == state).filter_map(|sight| sight.since).min();
        let skills = |index: usize| service.replicas.get(index).map(|found| &*found.record.skills);
        let shared = skills(0).unwrap_or_default().iter().filter(|skill| {
            let same = |own: &SkillNote| own.path == skill.path && own.effect == skill.effect;
            skill.effect == Effect::Read && service.replicas.iter().all(|found| found.record.skills.iter().any(same))
        });
        Row {
            name: service.name.clone(),
            address: service.name.to_string(),
            node: None,
            kind: Kind::Container,
            state,
            state_since_at: since,
            aliases: Vec::new(),
            labels: BTreeMap::new(),
            description: String::new(),
            service: None,
            replicas: Some(Replicas {
                live: service.replicas.iter().filter(|found| found.state == State::Live).count(),
                running: service.running().count(),
                total: service.replicas.len(),
            }),
            warnings: Vec::new(),
            skills: shared.map(|skill| skill.path.clone()).collect(),
            container: None,
        }
    }

    /// Every node, sorted by name.
    #[must_use]
    pub fn node_rows(&self) -> Vec<NodeRow> {
        let mut counts: HashMap<&NodeName, usize> = HashMap::new();
        for record in self.cis().filter(|record| !record.is_gone()) {
            *counts.entry(&record.node).or_default() += 1;
        }
        let row = |(name, record): (&NodeName, &std::sync::Arc<crate::record::NodeRecord>)| {
            let Sight { state, since } = self.sight(name.as_str());
            NodeRow {
                name: name.clone(),
                id: record.id.clone(),
                state,
                state_since_at: since,
                version: record.version.clone(),
                labels: record.labels.clone(),
                cordoned: record.cordoned,
                draining: record.draining,
                engine: record.engine.clone(),
                capacity: record.capacity.clone(),
                cis: counts.get(name).copied().unwrap_or_default(),
                last_renewed_at: self.seen.get(name.as_str()).map(|seen| seen.at),
            }
        };
        self.nodes.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        snapshot::of,
        testing::{ci, container, replica},
    };

    #[test]
    fn ci_27_rows_are_sorted_by_name_then_node_and_a_service_comes_first() {
        let snapshot = of([
            replica("web", "beta", "web"),
            replica("web", "alpha", "web"),
            container("a_b", "beta"),
            container("a-b", "gamma"),
            ci("alpha", "alpha", Kind::Node),
        ]);
        let addresses: Vec<String> = snapshot.rows().into_iter().map(|row| row.address).collect();
        assert_eq!(addresses, ["a-b@gamma", "a_b@beta", "alpha@alpha", "web", "web@alpha", "web@beta"]);
    }

    #[test]
    fn every_row_has_the_same_keys_in_the_same_order() {
        let snapshot = of([replica("web", "alpha", "svc"), ci("alpha", "alpha", Kind::Node)]);
        let keys = [
            "name",
            "address",
            "node",
            "kind",
            "state",
            "state_since_at",
            "aliases",
            "labels",
            "description",
            "service",
            "replicas",
            "warnings",
            "skills",
            "container",
        ];
        for row in snapshot.rows() {
            let row = serde_json::to_value(row).unwrap();
            assert_eq!(row.as_object().unwrap().keys().collect::<Vec<_>>(), keys);
        }
        let service = serde_json::to_value(&snapshot.rows()[1]).unwrap();
        assert_eq!(service["node"], json!(null));
        assert_eq!(service["kind"], json!("container"));
        assert_eq!(service["replicas"], json!({"live": 1, "running": 1, "total": 1}));
        assert_eq!(service["skills"], json!(["status"]));
    }

    #[test]
    fn details_tell_what_matters() {
        let detail = |state: &str, code: Option<i64>, health: Option<&str>| {
            let mut record = container("web", "alpha");
            let place = record.container.as_mut().unwrap();
            (place.state, place.exit_code, place.health) = (state.to_owned(), code, health.map(str::to_owned));
            of([record]).rows()[0].detail().unwrap()
        };
        assert_eq!(detail("running", None, Some("healthy")), "running, healthy");
        assert_eq!(detail("running", None, None), "running");
        assert_eq!(detail("exited", Some(137), Some("unhealthy")), "exited (137)");
        assert_eq!(detail("paused", None, Some("healthy")), "paused");
    }

    #[test]
    fn ci_75_a_node_without_its_engine_is_live_and_its_containers_are_unknown() {
        let mut snapshot = of([container("web", "alpha"), ci("alpha", "alpha", Kind::Node)]);
        let now = Timestamp::now();
        let node = crate::record::NodeRecord {
            name: NodeName::parse("alpha").unwrap(),
            id: "U".to_owned(),
            version: "0.1.0".to_owned(),
            labels: BTreeMap::new(),
            cordoned: false,
            draining: false,
            engine: Some(Engine { reachable: false, version: None, api_version: None }),
            engine_since_at: Some(now),
            capacity: Capacity::default(),
            sealing: None,
            gateway: None,
            started_at: now,
            updated_at: now,
        };
        snapshot.nodes = std::sync::Arc::new([(node.name.clone(), node.into())].into());
        let rows = snapshot.rows();
        assert_eq!((rows[0].state, rows[1].state), (State::Live, State::Unknown));
        assert_eq!(rows[1].state_since_at, Some(now));
        assert_eq!(snapshot.node_rows()[0].cis, 2);
    }
}
