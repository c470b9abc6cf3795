//! Whether every server of a clustered bus has all of the store.

use std::{collections::BTreeSet, time::Duration};

use aigis_proxy::{Bus, Error, kv};

use super::Check;

/// How long the bus may take to say so.
const WITHIN: Duration = Duration::from_secs(5);

/// Looks at the copies; nothing where the bus is one server.
pub(super) async fn check(bus: &Bus) -> Option<Check> {
    let name = "copies";
    let standing = match kv::standing(bus, WITHIN).await {
        Ok(standing) => standing,
        Err(error) => return Some(Check::fail(name, Error::from(error).into())),
    };
    let copied = standing.iter().map(|stream| stream.replicas).max().filter(|replicas| *replicas > 1)?;
    let behind: BTreeSet<&str> = standing.iter().flat_map(kv::Standing::behind).collect();
    let single = standing.iter().filter(|stream| stream.replicas < copied).map(|stream| stream.stream);
    let single: Vec<_> = single.collect();
    let leaderless = standing.iter().any(|stream| stream.leader.is_none());
    Some(match (leaderless, behind.is_empty(), single.is_empty()) {
        (true, ..) => Check::warn(name, "the bus servers choose who leads", "try again in a moment"),
        (_, false, _) => {
            let who: Vec<_> = behind.into_iter().collect();
            let hint = "restart no other bus server until this passes; is it up? on that host: aish doctor";
            Check::warn(name, format!("{} has not caught up", who.join(" and ")), hint)
        }
        (_, _, false) => Check::warn(
            name,
            format!("{} is kept by fewer than {copied} servers", single.join(" and ")),
            "is every bus server up, with room on its disk? the issuer spreads it within a minute",
        ),
        _ => Check::pass(name, format!("whole on {copied} bus servers")),
    })
}
