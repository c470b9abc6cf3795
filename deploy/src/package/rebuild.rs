//! A package is built again, of what is recorded of it, and held against what it is.

use std::collections::BTreeSet;

use aigis_proxy::{Code, Error, Name};
use aigis_registry::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Build, ImageRecord, Record, Reproducible, Store};
use crate::{
    Digest,
    differ::{self, Difference},
    image::Platform,
    manifest::Lock,
    pack::{self, Assembled, Request},
    phase::Builder,
};

/// Who builds a package again.
#[derive(Debug)]
pub struct Verifier<'a> {
    /// Who asked for it.
    pub by: &'a str,
    /// On which host.
    pub node: Option<&'a str>,
    /// Whether this is a node, which vouches for what it built.
    pub measured: bool,
    /// Who runs phases, if anybody is at hand.
    pub builder: Option<&'a dyn Builder>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which package was built again.
    pub package: Digest,
    /// What the build gave.
    pub output: Digest,
    /// Under what it is on record.
    pub build: String,
    /// On which host it was built.
    pub node: Option<String>,
    /// What is known by now of builds of the same inputs.
    pub reproducible: Reproducible,
    /// In what the package, `a`, differs from what the build gave, `b`: by path.
    pub differences: Vec<Difference>,
}

/// Builds a package again, without any cache, of the sources, the manifest and the lock that are recorded of it, and puts the
/// build on record. This blocks.
///
/// # Errors
///
/// As [`Store::find`] and [`pack::assemble`]; `failed_precondition` for a package that another version made in another way;
/// `data_loss` for one that no engine took part in and that came out otherwise.
pub fn verify(store: &Store, id: &str, verifier: &Verifier<'_>) -> Result<Report, Error> {
    let started_at = Timestamp::now();
    let record = store.find(id)?.record;
    store.bring(&record, |_| true)?;
    let document = store.manifest(&record)?;
    let lock = Lock::read(&store.blobs().document(&record.lock)?)
        .map_err(|error| Error::new(Code::DataLoss, format!("the lock of {}: {error}", record.id)))?;
    let containers = record.images.iter().map(|image| Name::parse(&image.container));
    let containers = containers.collect::<Result<Vec<Name>, _>>().map_err(|error| Error::invalid(error.to_string()))?;
    let platforms: BTreeSet<Platform> = record.images.iter().map(|image| image.platform).collect();
    let request = Request {
        project: std::path::Path::new("."),
        recorded: Some(&record),
        document: &document,
        lock: &lock,
        containers: &containers,
        platforms: &platforms,
        commit_epoch: record.images.first().map(|image| image.epoch),
        by: verifier.by,
        node: verifier.node,
        at: started_at,
        builder: verifier.builder,
        fresh: true,
        locked: true,
    };
    let Assembled { record: made, cache_hits, .. } = pack::assemble(store.blobs(), &request)?;
    if made.inputs != record.inputs {
        let message = format!(
            "the package {} was made of {}, and this version makes it of {}",
            record.id, record.inputs, made.inputs
        );
        return Err(Error::precondition(message).hint("verify it with the version that built it"));
    }
    let build = Build {
        node: verifier.node.map(str::to_owned),
        verify_of: Some(record.id),
        measured: verifier.measured,
        ..Build::of(&made, verifier.by, started_at, cache_hits)
    };
    store.add_build(&build)?;
    Ok(Report {
        package: record.id,
        output: made.id,
        build: build.id,
        node: build.node,
        reproducible: Reproducible::of(&store.builds(&record.inputs)?),
        differences: differences(store, &record, &made)?,
    })
}

/// In what the images of two packages of the same inputs differ.
fn differences(store: &Store, a: &Record, b: &Record) -> Result<Vec<Difference>, Error> {
    let is_same = |a: &ImageRecord, b: &ImageRecord| (&a.container, a.platform) == (&b.container, b.platform);
    let mut all = Vec::new();
    for one in &a.images {
        let other = b.images.iter().find(|other| is_same(one, other) && one.output != other.output);
        if let Some(other) = other {
            all.extend(differ::images(store.blobs(), one, other)?);
        }
    }
    all.sort_by(|a, b| (&a.path, &a.container, a.platform).cmp(&(&b.path, &b.container, b.platform)));
    Ok(all)
}

#[cfg(test)]
mod tests;
