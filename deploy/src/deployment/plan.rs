//! What has to be done, by what is wanted and what nodes have.

use aigis_proxy::{
    Name, NodeName,
    services::deployments::{Replica, Standing},
};
use serde::{Deserialize, Serialize};

use super::{Host, Replicas};

/// Why a replica is made anew that is as it is wanted, and does not run.
pub(super) const STOPPED: &str = "stopped";

/// What is to become of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    Create,
    /// It is made anew in its place.
    Replace,
    /// It is not touched.
    Keep,
    /// It goes.
    Remove,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Remove => "remove",
        })
    }
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The container of the manifest.
    pub container: Name,
    /// The replica, by its name in the engine.
    pub name: Name,
    /// Where.
    pub node: NodeName,
    /// What is to become of it.
    pub action: Action,
    /// Why: `missing`, `placement`, `stopped`, `image`, `config`, `unchanged`, `unwanted`.
    pub reason: &'static str,
}

/// What has to be done: what is wanted in the order in which it begins, then what goes, in the opposite one.
#[must_use]
pub fn plan(replicas: &Replicas, hosts: &[Host]) -> Vec<Row> {
    let standing = |node: &NodeName| {
        let host = hosts.iter().find(|host| host.name == *node);
        host.and_then(|host| host.survey.as_ref().ok()).map(|survey| survey.containers.as_slice()).unwrap_or_default()
    };
    let mut rows: Vec<Row> = replicas
        .iter()
        .map(|(node, replica)| {
            let found = standing(node).iter().find(|standing| standing.name == replica.name);
            let is_elsewhere =
                || hosts.iter().any(|host| standing(&host.name).iter().any(|other| other.name == replica.name));
            let (action, reason) = match found {
                Some(found) => judged(replica, found),
                None if is_elsewhere() => (Action::Create, "placement"),
                None => (Action::Create, "missing"),
            };
            Row { container: replica.container.clone(), name: replica.name.clone(), node: node.clone(), action, reason }
        })
        .collect();
    let mut gone = Vec::new();
    for host in hosts {
        for found in standing(&host.name) {
            let wanted = replicas.iter().find(|(_, replica)| replica.name == found.name);
            if wanted.is_some_and(|(node, _)| *node == host.name) {
                continue;
            }
            gone.push(Row {
                container: found.container.clone(),
                name: found.name.clone(),
                node: host.name.clone(),
                action: Action::Remove,
                reason: if wanted.is_some() { "placement" } else { "unwanted" },
            });
        }
    }
    gone.sort_by(|a, b| (&b.name, &b.node).cmp(&(&a.name, &a.node)));
    rows.extend(gone);
    rows
}

fn judged(replica: &Replica, found: &Standing) -> (Action, &'static str) {
    match found {
        found if found.image != replica.image => (Action::Replace, "image"),
        found if found.made_from != replica.digest() => (Action::Replace, "config"),
        found if !found.is_running => (Action::Replace, STOPPED),
        _ => (Action::Keep, "unchanged"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SHOP, host, made, names, parts, shop, sources, stands};
    use super::super::{Placements, replicas, wanted};
    use super::*;

    /// The plan for the shop, where these stand.
    fn told(places: &Placements, hosts: &[Host]) -> Vec<String> {
        let (sources, id) = sources(SHOP);
        let units = wanted(&parts(&names(SHOP), id), &sources).unwrap();
        let all = replicas(&shop(), &units, &sources, places, hosts).unwrap();
        plan(&all, hosts).iter().map(|row| format!("{} {}@{} {}", row.action, row.name, row.node, row.reason)).collect()
    }

    #[test]
    fn pkg_65_a_plan_says_what_is_created_replaced_kept_and_removed() {
        let places = stands(&[("db", "alpha"), ("api", "beta")]);
        let (mut alpha, mut beta) = (host("alpha"), host("beta"));
        let both = |alpha: &Host, beta: &Host| [alpha.clone(), beta.clone()];
        assert_eq!(told(&places, &both(&alpha, &beta)), ["create db@alpha missing", "create api@beta missing"]);
        let (db, api) = (made("db", &places), made("api", &places));
        alpha.survey.as_mut().unwrap().containers = vec![db.clone()];
        beta.survey.as_mut().unwrap().containers = vec![api.clone()];
        assert_eq!(told(&places, &both(&alpha, &beta)), ["keep db@alpha unchanged", "keep api@beta unchanged"]);
        // Removed by hand, and something else was left.
        let old =
            Standing { name: Name::parse("worker").unwrap(), container: Name::parse("worker").unwrap(), ..db.clone() };
        alpha.survey.as_mut().unwrap().containers = vec![old];
        assert_eq!(
            told(&places, &both(&alpha, &beta)),
            ["create db@alpha missing", "keep api@beta unchanged", "remove worker@alpha unwanted"]
        );
        let other = crate::Digest::of(b"other");
        for (found, expected) in [
            (Standing { image: other, ..api.clone() }, "replace api@beta image"),
            (Standing { made_from: other, ..api.clone() }, "replace api@beta config"),
            (Standing { is_running: false, ..api.clone() }, "replace api@beta stopped"),
            // The same image in a newer package is no reason.
            (Standing { package: other, ..api.clone() }, "keep api@beta unchanged"),
        ] {
            beta.survey.as_mut().unwrap().containers = vec![found];
            assert_eq!(told(&places, &both(&alpha, &beta))[1], expected);
        }
        // It moves: made there first, and removed here last.
        alpha.survey.as_mut().unwrap().containers = vec![db, api];
        beta.survey.as_mut().unwrap().containers.clear();
        assert_eq!(
            told(&places, &both(&alpha, &beta)),
            ["keep db@alpha unchanged", "create api@beta placement", "remove api@alpha placement"]
        );
    }
}
