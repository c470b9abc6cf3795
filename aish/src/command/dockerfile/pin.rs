//! The digests of base images, as registries say them now.

use std::collections::BTreeMap;

use aigis_deploy::{
    dockerfile::Proposal,
    package::{Remote, reference},
    settings::Settings,
};
use aigis_proxy::Error;

use super::settings;
use crate::{command::packages::registry::remote, context::Context, exit::Failure};

/// What each base of a proposal that stands there without a digest is now: by its reference, the digest.
///
/// # Errors
///
/// Why nobody says what one of them is.
pub(super) async fn resolved(context: &Context, proposal: &Proposal) -> Result<BTreeMap<String, String>, Failure> {
    let settings = settings()?;
    let bases = settings.bases();
    let plan = &proposal.plan;
    let stages = plan.stages.iter().chain([&plan.image.from]);
    let mut wanted: Vec<String> = Vec::new();
    for stage in stages {
        let reference = bases.reference(&stage.base).map_err(|error| Error::new(error.code(), error.to_string()))?;
        let is_pinned = |reference: &str| {
            let pinned = format!("{reference}@");
            reference.contains('@') || proposal.files.iter().any(|file| file.content.contains(&pinned))
        };
        if !wanted.contains(&reference) && !is_pinned(&reference) {
            wanted.push(reference);
        }
    }
    let mut digests = BTreeMap::new();
    for name in wanted {
        context.output.note(&format!("asking what {name} is"));
        let places = places(&settings, &name)?;
        let digest = tokio::task::spawn_blocking(move || first(&places)).await;
        let digest = digest.map_err(|_| Error::internal("a question to a registry was given up"))??;
        digests.insert(name, digest);
    }
    Ok(digests)
}

/// Where an image may be: at the mirrors of its registry, in their order, then there.
fn places(settings: &Settings, name: &str) -> Result<Vec<Remote>, Failure> {
    let own = reference(name)?;
    let tag = own.tag().unwrap_or("latest");
    let mirrors = settings.mirrors.get(own.registry()).into_iter().flatten();
    let mirrored = mirrors.map(|mirror| remote(&format!("{mirror}/{}:{tag}", own.repository())));
    mirrored.chain([remote(name)]).collect()
}

/// What the first says that knows it.
fn first(places: &[Remote]) -> Result<String, Error> {
    let mut last = Error::unavailable("no registry is known");
    for place in places {
        match place.resolve() {
            Ok(digest) => return Ok(digest.to_string()),
            Err(error) => last = error,
        }
    }
    Err(last.hint("without --pin it is proposed with the tag alone"))
}
