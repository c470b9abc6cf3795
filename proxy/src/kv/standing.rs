//! Where each stream of the store is kept, and whether every copy is whole: what may be restarted without loss.

use std::time::Duration;

use serde::Deserialize;

use super::{
    Bucket, Error, Log,
    answer::stream_info,
    patience::{ATTEMPT, patiently},
};
use crate::{Role, bus::Bus};

/// One stream of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The stream.
    pub stream: &'static str,
    /// How many servers are to keep it.
    pub replicas: usize,
    /// The server that leads it; none while they choose one, and none where the bus is one server.
    pub leader: Option<String>,
    /// The others, and whether each has all of it.
    pub followers: Vec<(String, bool)>,
}

impl Standing {
    /// Whether the stream stays whole, and can be written, without that server.
    #[must_use]
    pub fn can_spare(&self, server: &str) -> bool {
        let whole = self.followers.iter().filter(|(name, whole)| *whole && name != server).count();
        let leads = self.leader.as_deref().is_some_and(|leader| leader != server);
        self.replicas < 2 || whole + usize::from(leads) > self.replicas / 2
    }

    /// The servers that have not all of it.
    pub fn behind(&self) -> impl Iterator<Item = &str> {
        self.followers.iter().filter(|(_, whole)| !whole).map(|(name, _)| name.as_str())
    }
}

#[derive(Deserialize)]
struct Info {
    config: Config,
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
struct Config {
    num_replicas: usize,
}

#[derive(Deserialize)]
struct Cluster {
    leader: Option<String>,
    #[serde(default)]
    replicas: Vec<Peer>,
}

#[derive(Deserialize)]
struct Peer {
    name: String,
    #[serde(default)]
    current: bool,
    #[serde(default)]
    offline: bool,
}

/// Asks how the streams stand that the user may read.
///
/// # Errors
///
/// What the store says.
pub async fn standing(bus: &Bus, within: Duration) -> Result<Vec<Standing>, Error> {
    let mut streams = Bucket::ALL.map(Bucket::stream).to_vec();
    if matches!(bus.role(), Role::Operator | Role::Admin | Role::Node) {
        streams.extend([Log::Audit.stream(), Log::Lines.stream()]);
    }
    let mut found = Vec::new();
    for stream in streams {
        let Info { config, cluster }: Info =
            patiently(bus, within, ATTEMPT, |attempt| stream_info(bus, stream, attempt)).await?;
        let (leader, peers) = cluster.map_or((None, Vec::new()), |cluster| (cluster.leader, cluster.replicas));
        let followers = peers.into_iter().map(|peer| (peer.name, peer.current && !peer.offline)).collect();
        found.push(Standing { stream, replicas: config.num_replicas, leader, followers });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flt_26_a_server_is_spared_only_while_the_others_are_whole() {
        let standing = |b: bool, c: bool| Standing {
            stream: "KV_records",
            replicas: 3,
            leader: Some("a".to_owned()),
            followers: vec![("b".to_owned(), b), ("c".to_owned(), c)],
        };
        assert!(standing(true, true).can_spare("a") && standing(true, true).can_spare("b"));
        assert!(!standing(true, false).can_spare("a") && !standing(true, false).can_spare("b"));
        assert!(standing(true, false).can_spare("c"), "what is not whole yet is missed by nobody");
        assert_eq!(standing(true, false).behind().collect::<Vec<_>>(), ["c"]);
        let alone = Standing { replicas: 1, leader: None, followers: Vec::new(), ..standing(true, true) };
        assert!(alone.can_spare("a"), "there is no other");
    }
}
