//! How a deployment is written down: a part that many containers and releases share stands there once. A version of the record has
//! to fit into one message, and each part bears a signature.

use std::collections::BTreeMap;

use aigis_proxy::{Error, Name, UserName};
use aigis_registry::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Deployment, Event, Outcome, Part, Parts, Placements, Release, Task};
use crate::Digest;

/// By container: which of all parts it is.
type Places = BTreeMap<Name, usize>;

/// A [`Deployment`], as its record holds it.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    project: Name,
    /// All parts of `wanted`, `stable` and `releases`.
    parts: Vec<Part>,
    wanted: Places,
    stable: Option<Places>,
    placements: Placements,
    releases: Vec<Kept>,
    task: Option<Task>,
    trouble: Option<Error>,
    events: Vec<Event>,
    epoch: u64,
    updated_at: Timestamp,
}

/// A [`Release`], as its record holds it.
#[derive(Serialize, Deserialize)]
struct Kept {
    n: u32,
    package: Digest,
    parts: Places,
    at: Timestamp,
    by: UserName,
    outcome: Outcome,
    reason: Option<String>,
    error: Option<Error>,
}

/// The record names a part that it does not hold.
#[derive(Debug, thiserror::Error)]
#[error("the container {0} is of a part that the record does not hold")]
pub(super) struct Missing(Name);

/// Where each of those parts stands among all; one that is not there yet is added.
fn placed(parts: Parts, all: &mut Vec<Part>) -> Places {
    let mut place = |part: Part| {
        all.iter().position(|other| *other == part).unwrap_or_else(|| {
            all.push(part);
            all.len() - 1
        })
    };
    parts.into_iter().map(|(container, part)| (container, place(part))).collect()
}

fn found(places: Places, all: &[Part]) -> Result<Parts, Missing> {
    let one = |(container, place)| match all.get::<usize>(place) {
        Some(part) => Ok((container, part.clone())),
        None => Err(Missing(container)),
    };
    places.into_iter().map(one).collect()
}

impl From<Deployment> for Stored {
    fn from(deployment: Deployment) -> Self {
        let mut parts = Vec::new();
        let Deployment { project, wanted, stable, placements, releases, task, trouble, events, epoch, updated_at } =
            deployment;
        let wanted = placed(wanted, &mut parts);
        let stable = stable.map(|stable| placed(stable, &mut parts));
        let releases = releases.into_iter().map(|release| {
            let Release { n, package, parts: of, at, by, outcome, reason, error } = release;
            Kept { n, package, parts: placed(of, &mut parts), at, by, outcome, reason, error }
        });
        let releases = releases.collect();
        Self { project, parts, wanted, stable, placements, releases, task, trouble, events, epoch, updated_at }
    }
}

impl TryFrom<Stored> for Deployment {
    type Error = Missing;

    fn try_from(stored: Stored) -> Result<Self, Missing> {
        let Stored { project, parts, wanted, stable, placements, releases, task, trouble, events, epoch, updated_at } =
            stored;
        let releases = releases.into_iter().map(|kept| {
            let Kept { n, package, parts: of, at, by, outcome, reason, error } = kept;
            Ok(Release { n, package, parts: found(of, &parts)?, at, by, outcome, reason, error })
        });
        Ok(Self {
            project,
            wanted: found(wanted, &parts)?,
            stable: stable.map(|stable| found(stable, &parts)).transpose()?,
            placements,
            releases: releases.collect::<Result<_, _>>()?,
            task,
            trouble,
            events,
            epoch,
            updated_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use aigis_proxy::kv::MAX_VALUE;
    use serde_json::json;

    use super::super::testing::{shop, task};
    use super::*;

    /// How many containers a project may have whose deployment is recorded.
    const CONTAINERS: usize = 64;
    /// What stands in a record beside releases and their parts: places, events, and what is under way.
    const REST: usize = 128 * 1024;

    fn part(number: usize) -> Part {
        let wish = json!({"by": "somebody.with-a-long-name", "mesh": "production", "app": "shop", "tree": Digest::of(b"tree")});
        let mandate = json!({"wish": wish.to_string(), "signature": "s".repeat(86)});
        let package = Digest::of(number.to_string().as_bytes());
        Part { package, mandate: serde_json::from_value(mandate).unwrap() }
    }

    fn container(number: usize) -> Name {
        Name::parse(&format!("a-service-with-a-long-name-{number}")).unwrap()
    }

    #[test]
    fn pkg_69_ten_releases_of_many_containers_fit_into_a_record_that_reads_back() {
        let mut record = Deployment::new(shop(), Timestamp::now());
        let mut parts: Parts = (0..CONTAINERS).map(|number| (container(number), part(number))).collect();
        // One container after the other was released, each of a package of its own.
        for release in 0..12 {
            let next = part(CONTAINERS + release);
            parts.insert(container(release), next.clone());
            record.release(next.package, parts.clone(), Placements::new(), task());
            record.end_release(Outcome::Deployed, None);
            // The next one did not pass, and told a lot of it.
            record.release(next.package, parts.clone(), Placements::new(), task());
            let error = Error::precondition("it did not pass").with("lines", vec!["x".repeat(2_000); 20]);
            record.turn_back(error.clone());
            record.end_release(Outcome::RolledBack, Some(error));
        }
        assert_eq!(record.releases.len(), 10);
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.len() < MAX_VALUE - REST, "{} bytes", text.len());
        assert_eq!(serde_json::from_str::<Deployment>(&text).unwrap(), record);
        // Every release that is kept can be gone back to, and says why it ended so.
        for release in &record.releases {
            assert_eq!(release.parts.len(), CONTAINERS);
            assert_eq!(release.reason.is_some(), release.outcome == Outcome::RolledBack);
        }
    }

    #[test]
    fn pkg_69_a_record_that_lacks_a_part_is_refused() {
        let mut record = Deployment::new(shop(), Timestamp::now());
        record.wanted = Parts::from([(container(1), part(1))]);
        let mut value = serde_json::to_value(&record).unwrap();
        value["parts"] = json!([]);
        let error = serde_json::from_value::<Deployment>(value).unwrap_err();
        assert!(error.to_string().contains("a-service-with-a-long-name-1"), "{error}");
    }
}
