//! Records for tests.

use aigis_proxy::{Effect, Name, NodeName, SkillPath};

use crate::{
    record::{CiRecord, Container, Kind, SkillNote},
    timestamp::Timestamp,
};

pub(crate) fn ci(name: &str, node: &str, kind: Kind) -> CiRecord {
    let mut record = CiRecord::new(Name::parse(name).unwrap(), NodeName::parse(node).unwrap(), kind);
    record.aliases = vec![Name::parse(&format!("{name}-ci")).unwrap()];
    record.skills = [("restart", Effect::Write), ("status", Effect::Read)]
        .map(|(path, effect)| SkillNote {
            path: SkillPath::parse(path).unwrap(),
            effect,
            stream: false,
            timeout_s: None,
        })
        .into_iter()
        .collect();
    record
}

pub(crate) fn container(name: &str, node: &str) -> CiRecord {
    let container = Container {
        id: "c".repeat(64),
        name: name.to_owned(),
        state: "running".to_owned(),
        health: None,
        exit_code: None,
        image: "nginx:1.27".to_owned(),
        image_id: "sha256:0".to_owned(),
        created_at: Some(Timestamp::now()),
    };
    CiRecord { container: Some(container), ..ci(name, node, Kind::Container) }
}

pub(crate) fn replica(name: &str, node: &str, service: &str) -> CiRecord {
    CiRecord { service: Some(Name::parse(service).unwrap()), ..container(name, node) }
}
