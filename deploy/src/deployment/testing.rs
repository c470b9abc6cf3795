//! What tests of deployments are made of: a shop, its packages, and nodes.

use std::collections::{BTreeMap, BTreeSet};

use aigis_proxy::{
    Name, NodeName, UserName,
    identity::Mandate,
    services::deployments::{Standing, Survey},
};
use aigis_registry::{Timestamp, shared::Holder};

use super::{Direction, Host, Kind, Part, Parts, Placement, Placements, Source, Sources, Task, replicas, wanted};
use crate::{
    Digest,
    manifest::{self, Found, Platform},
    package::{ImageRecord, RULES_VERSION, Record, Reproducible},
};

/// Containers by name, with what their manifest says beside the base image.
pub(super) const SHOP: &[(&str, &str)] =
    &[("api", r#""depends_on": ["db"], "ports": [8080], "publish": {"8080": "18080"}"#), ("db", r#""ports": [5432]"#)];

pub(super) fn names<'a>(given: &[(&'a str, &str)]) -> Vec<&'a str> {
    given.iter().map(|(name, _)| *name).collect()
}

pub(super) fn shop() -> Name {
    Name::parse("shop").unwrap()
}

pub(super) fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

/// A package of these containers, and its id.
pub(super) fn sources(given: &[(&str, &str)]) -> (Sources, Digest) {
    let containers: Vec<String> = given
        .iter()
        .map(|(name, keys)| {
            let comma = if keys.is_empty() { "" } else { ", " };
            format!(r#""{name}": {{"base_image": "scratch", "applications": ["app"]{comma}{keys}}}"#)
        })
        .collect();
    let text = format!(
        r#"{{"manifest_version": "1.0", "project": {{"name": "shop"}},
            "applications": {{"app": {{"type": "files", "run_command": ["/run"]}}}}, "containers": {{{}}}}}"#,
        containers.join(", ")
    );
    let checked = manifest::check(text.as_bytes(), &|_: &str| Found::File);
    let document = checked.document.unwrap_or_else(|| panic!("{:?}", checked.problems));
    let id = Digest::of(names(given).join(" ").as_bytes());
    let image = |name: &str| ImageRecord {
        container: name.to_owned(),
        platform: Platform::Amd64,
        tier: 0,
        spec: Digest::of(b"spec"),
        inputs: Digest::of(b"inputs"),
        output: Digest::of(b"output"),
        config: Digest::of(format!("image of {name}").as_bytes()),
        layers: Vec::new(),
        bases: BTreeMap::new(),
        builder: String::new(),
        epoch: 0,
        system_packages: BTreeMap::new(),
        dockerfile: None,
        applications: vec!["app".to_owned()],
    };
    let record = Record {
        id,
        project: "shop".to_owned(),
        version: None,
        spec: document.spec(),
        inputs: Digest::of(b"inputs"),
        output: id,
        images: given.iter().map(|(name, _)| image(name)).collect(),
        trees: BTreeMap::new(),
        lock: Digest::of(b"lock"),
        locked: BTreeMap::new(),
        parents: Vec::new(),
        created_at: Timestamp::now(),
        created_by: "ops".to_owned(),
        node: None,
        rules_version: RULES_VERSION,
    };
    (Sources::from([(id, Source { record, document, reproducible: Reproducible::Unchecked })]), id)
}

fn mandate() -> Mandate {
    serde_json::from_value(serde_json::json!({"wish": "", "signature": ""})).unwrap()
}

pub(super) fn parts(containers: &[&str], package: Digest) -> Parts {
    let part = |name: &&str| (Name::parse(name).unwrap(), Part { package, mandate: mandate() });
    containers.iter().map(part).collect()
}

pub(super) fn host(name: &str) -> Host {
    let survey = Survey {
        platform: "linux/amd64".to_owned(),
        refuses: None,
        free_memory_bytes: 1_000_000_000,
        containers: Vec::new(),
        volumes: BTreeSet::new(),
        foreign: BTreeSet::new(),
    };
    Host { name: node(name), labels: BTreeMap::new(), survey: Ok(survey) }
}

/// Where replicas stand.
pub(super) fn stands(all: &[(&str, &str)]) -> Placements {
    let placement = |name: &str, at: &str| Placement {
        container: Name::parse(name).unwrap(),
        node: node(at),
        reason: String::new(),
        others: BTreeMap::new(),
        unnamed: 0,
    };
    all.iter().map(|(name, at)| (Name::parse(name).unwrap(), placement(name, at))).collect()
}

/// A container that runs the image of that package.
pub(super) fn container(source: &Source, name: &str) -> Standing {
    let name = Name::parse(name).unwrap();
    Standing {
        id: format!("id of {name}"),
        container: name.clone(),
        package: source.record.id,
        image: source.image(&name, "linux/amd64").unwrap().config,
        made_from: Digest::of(b""),
        is_running: true,
        name,
    }
}

/// A container of the shop as it is made where all stand there.
pub(super) fn made(name: &str, places: &Placements) -> Standing {
    let (sources, id) = sources(SHOP);
    let units = wanted(&parts(&names(SHOP), id), &sources).unwrap();
    let hosts = [host("alpha"), host("beta")];
    let all = replicas(&shop(), &units, &sources, places, &hosts).unwrap();
    let (_, replica) = all.iter().find(|(_, replica)| replica.name.as_str() == name).unwrap();
    Standing { made_from: replica.digest(), ..container(&sources[&id], name) }
}

pub(super) fn task() -> Task {
    Task {
        kind: Kind::Release,
        mandate: mandate(),
        by: UserName::parse("ops").unwrap(),
        at: Timestamp::now(),
        holder: Holder { node: node("alpha"), epoch: 1 },
        direction: Direction::Forward,
        failure: None,
        before: Placements::new(),
        prepared: BTreeSet::new(),
        begun: BTreeSet::new(),
        passed: BTreeSet::new(),
    }
}
