//! Which host runs a plugin: the one of a name, or of those that bear a label the one with most free memory.

use std::time::Duration;

use aigis_proxy::{Error, Name, NodeName, blob::Digest, rpc};
use aigis_registry::{NodeRecord, Snapshot, State};
use futures::future::join_all;

use super::placement::Parts;

/// How long a host may take to say what it has.
const OFFER: Duration = Duration::from_secs(5);

/// What the `HOST` of a plugin says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// A host of that name.
    Named(NodeName),
    /// Any host with that label.
    Labelled(String, String),
}

impl Host {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// It is no name of a host.
    pub(super) fn read(text: &str) -> Result<Self, Error> {
        match text.split_once('=') {
            Some((key, value)) => Ok(Self::Labelled(key.to_owned(), value.to_owned())),
            None => NodeName::parse(text).map(Self::Named).map_err(|error| {
                Error::invalid(format!("HOST: {error}")).hint("name a node or a plugin host, or a label: KEY=VALUE")
            }),
        }
    }

    /// Whether a plugin may go to another host of the same kind when this one is away.
    pub(super) fn may_move(&self) -> bool {
        matches!(self, Self::Labelled(..))
    }

    fn means(&self, node: &NodeRecord) -> bool {
        match self {
            Self::Named(name) => node.name == *name,
            Self::Labelled(key, value) => {
                !node.cordoned && !node.draining && node.labels.get(key).is_some_and(|own| own == value)
            }
        }
    }

    /// The hosts that could run it now, or why there is none.
    ///
    /// # Errors
    ///
    /// `unavailable`, with the reason.
    pub(super) fn candidates(&self, seen: &Snapshot) -> Result<Vec<NodeName>, Error> {
        let meant: Vec<&NodeName> = seen.nodes().filter(|node| self.means(node)).map(|node| &node.name).collect();
        let state = |name: &NodeName| seen.sight(name.as_str()).state;
        let live: Vec<NodeName> =
            meant.iter().filter(|name| state(name) == State::Live).map(|n| (*n).clone()).collect();
        if !live.is_empty() {
            return Ok(live);
        }
        let message = match (self, meant.first()) {
            (Self::Named(name), None) => format!("it waits for the host {name}, which is none of this mesh"),
            (Self::Named(name), Some(_)) => format!("it waits for the host {name}, which is {}", state(name)),
            (Self::Labelled(key, value), None) => format!("it waits for a host with the label {key}={value}"),
            (Self::Labelled(key, value), Some(_)) => {
                format!("it waits for a host with the label {key}={value}: none of {} is live", meant.len())
            }
        };
        Err(Error::unavailable(message).hint("see which there are: aish nodes").sent(false))
    }
}

/// The host with most free memory among several; the first one if none says.
pub(super) async fn roomiest(parts: &Parts, plugin: &Name, tree: Digest, hosts: Vec<NodeName>) -> Option<NodeName> {
    if hosts.len() <= 1 {
        return hosts.into_iter().next();
    }
    let asked = hosts.iter().map(|host| async move {
        let offer = rpc::answered(parts.asker(host).offer(rpc::within(OFFER), plugin.clone(), tree).await);
        (offer.map_or(0, |offer| offer.free_bytes), host)
    });
    let best = join_all(asked).await.into_iter().max_by_key(|(free, _)| *free);
    best.map(|(_, host)| host.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_a_label() {
        assert_eq!(Host::read("gpu=true").unwrap(), Host::Labelled("gpu".into(), "true".into()));
        assert_eq!(Host::read("beta").unwrap(), Host::Named("beta".parse().unwrap()));
        assert!(Host::read("no such host").unwrap_err().hint.unwrap().contains("KEY=VALUE"));
    }
}
