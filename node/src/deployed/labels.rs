//! What stands on the containers of deployments.

use std::collections::{BTreeMap, BTreeSet};

use aigis_proxy::{
    Name,
    services::deployments::{Remote, Replica, Standing},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    engine::{self, State},
    owned::Mark,
};

/// How the owner of a project's network, volumes and passing containers begins.
pub(super) const OWNER: &str = "deployment/";

const CI_NAME: &str = "aigis.ci.name";
const SERVICE: &str = "aigis.service";
const PROJECT: &str = "aigis.deployment";
const PACKAGE: &str = "aigis.package";
const CONTAINER: &str = "aigis.container";
const MADE_FROM: &str = "aigis.made_from";
/// Which skills that depend on capabilities its CI has, with commas between.
pub(crate) const CAPABILITIES: &str = "aigis.ci.capabilities";
/// Where it comes from, as JSON.
pub(crate) const ABOUT: &str = "aigis.about";
/// Its part of the manifest, as JSON.
pub(crate) const DOCUMENT: &str = "aigis.document";
const REMOTES: &str = "aigis.remotes";
const SECRETS: &str = "aigis.secrets";

/// Labels that are notes of this node, and stand in no record: they may be long.
pub(crate) const NOTES: [&str; 4] = [ABOUT, DOCUMENT, REMOTES, SECRETS];

/// What a container was given of its project's secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    /// Of which directory in memory.
    pub(super) directory: String,
    /// As files.
    pub(super) files: BTreeSet<String>,
    /// As variables.
    pub(super) env: BTreeSet<String>,
}

/// The labels of a container.
pub(super) fn of(replica: &Replica, mark: &Mark, given: Option<&Given>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        mark.label(),
        (CI_NAME.to_owned(), replica.ci_name.to_string()),
        (PROJECT.to_owned(), replica.project.to_string()),
        (PACKAGE.to_owned(), replica.package.to_string()),
        (CONTAINER.to_owned(), replica.container.to_string()),
        (MADE_FROM.to_owned(), replica.digest().to_string()),
        (ABOUT.to_owned(), replica.about.to_string()),
        (DOCUMENT.to_owned(), replica.document.to_string()),
    ]);
    labels.extend(replica.service.as_ref().map(|service| (SERVICE.to_owned(), service.to_string())));
    let capabilities = replica.capabilities.iter().map(|names| names.iter().cloned().collect::<Vec<_>>().join(","));
    labels.extend(capabilities.map(|names| (CAPABILITIES.to_owned(), names)));
    labels.extend(notes(replica, given));
    labels
}

/// The labels of a container that only runs a command, beside its owner's.
pub(super) fn passing(
    replica: &Replica,
    given: Option<&Given>,
    owner: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let project = (PROJECT.to_owned(), replica.project.to_string());
    owner.into_iter().chain([project]).chain(notes(replica, given)).collect()
}

/// What it needs of this host.
fn notes(replica: &Replica, given: Option<&Given>) -> impl Iterator<Item = (String, String)> {
    let remotes = (!replica.remotes.is_empty()).then(|| (REMOTES.to_owned(), json!(replica.remotes).to_string()));
    remotes.into_iter().chain(given.map(|given| (SECRETS.to_owned(), json!(given).to_string())))
}

/// The project of a container.
pub(super) fn project(labels: &BTreeMap<String, String>) -> Option<Name> {
    Name::parse(labels.get(PROJECT)?).ok()
}

/// A container as who carries a deployment is told of it; none for one that is being made.
pub(super) fn standing(container: &engine::Container) -> Option<Standing> {
    let read = |key: &str| container.labels.get(key);
    Some(Standing {
        id: container.id.to_string(),
        name: Name::parse(&container.name).ok()?,
        container: Name::parse(read(CONTAINER)?).ok()?,
        package: read(PACKAGE)?.parse().ok()?,
        image: container.image_id.as_ref()?.parse().ok()?,
        made_from: read(MADE_FROM)?.parse().ok()?,
        is_running: container.state == State::Running,
    })
}

/// Whether a container was made from just that.
pub(super) fn is_made_from(labels: &BTreeMap<String, String>, replica: &Replica) -> bool {
    labels.get(MADE_FROM).is_some_and(|digest| *digest == replica.digest().to_string())
}

/// The containers of other nodes that a container reaches.
pub(super) fn remotes(labels: &BTreeMap<String, String>) -> Vec<Remote> {
    read(labels, REMOTES).unwrap_or_default()
}

/// What a container was given of secrets.
pub(super) fn given(labels: &BTreeMap<String, String>) -> Option<Given> {
    read(labels, SECRETS)
}

fn read<T: DeserializeOwned>(labels: &BTreeMap<String, String>, key: &str) -> Option<T> {
    serde_json::from_str(labels.get(key)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkg_60_what_stands_on_a_container_is_read_again() {
        let mark = Mark::new("UKEY");
        let name = |text: &str| Name::parse(text).unwrap();
        let remote = Remote {
            container: name("db"),
            node: aigis_proxy::NodeName::parse("beta").unwrap(),
            name: name("db-1"),
            ports: vec![5432],
        };
        let digest = aigis_proxy::blob::Digest::of(b"x");
        let replica = Replica {
            project: name("shop"),
            container: name("api"),
            name: name("api-1"),
            ci_name: name("api-ci-1"),
            service: Some(name("api-ci")),
            package: digest,
            image: digest,
            volumes: BTreeMap::new(),
            publish: BTreeMap::new(),
            secret_files: BTreeSet::new(),
            secret_env: BTreeSet::new(),
            resources: Default::default(),
            restart: aigis_proxy::services::deployments::Restart::No,
            grace_s: 3,
            capabilities: Some(BTreeSet::new()),
            remotes: vec![remote.clone()],
            about: serde_json::json!({ "project": "shop" }),
            document: serde_json::Value::Null,
        };
        let given = Given { directory: "d".to_owned(), files: ["KEY".to_owned()].into(), env: BTreeSet::new() };
        let labels = of(&replica, &mark, Some(&given));
        assert_eq!(project(&labels), Some(name("shop")));
        assert!(is_made_from(&labels, &replica) && mark.is_of_node(&labels) && !mark.is_on(&labels));
        assert!(!is_made_from(&labels, &Replica { grace_s: 4, ..replica }));
        assert_eq!((remotes(&labels), super::given(&labels)), (vec![remote], Some(given)));
        assert_eq!(labels[CAPABILITIES], "");
    }
}
