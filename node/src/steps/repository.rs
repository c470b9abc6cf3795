//! The tree of a git repository, by the rules of plugins' sources.

use aigis_proxy::{
    Code, Error, Name,
    services::steps::{Finished, GitWork},
    with_causes,
};
use aigis_registry::{archive, tree};

use super::{attempt::Live, place::Place};
use crate::plugins::{
    Folder,
    source::{self, Location, Occasion, Reference, Source, Update},
};

/// Brings a repository's tree, and stores it without `.git`.
pub(super) async fn run(place: &Place, live: &Live, work: &GitWork) -> Result<Finished, Error> {
    let wrong = |what: String| Error::invalid(format!("the repository cannot be taken: {what}"));
    let location = Location::parse(&work.url, live.folder.path()).map_err(|error| wrong(error.to_string()))?;
    if !matches!(location, Location::Git(_)) {
        return Err(wrong("it is a path of the pusher's host".to_owned()).hint("push that directory: aish push PATH"));
    }
    let reference = work.reference.as_deref().map(Reference::parse).transpose();
    let reference = reference.map_err(|what| wrong(what.to_owned()))?;
    live.log.say(&format!("=> git fetch {location}"));
    let source = Source { location, reference, subdir: None, update: Update::Start };
    let work = live.folder.path().join("work");
    let name = Name::parse("repository").map_err(|error| Error::internal(error.to_string()))?;
    let folder = Folder::new(&work, &name);
    let fetched = source::fetch(&folder, &source, Occasion::Fresh).await;
    let fetched = fetched.map_err(|error| {
        // A repository that cannot be had is not the mesh's failure: nobody tries it elsewhere.
        let code = if error.code() == Code::Unavailable { Code::FailedPrecondition } else { error.code() };
        Error::new(code, with_causes(&error))
    })?;
    let fetched = fetched.fetched.ok_or_else(|| Error::internal("a repository was fetched and is not there"))?;
    live.log.say(&format!("=> {}", fetched.revision().unwrap_or("no commit")));
    let top = fetched.tree();
    let keep = |path: &str, _| path.split('/').next_back() != Some(".git");
    let kept = place.patiently(async || tree::store(&place.blobs, &top, keep, archive::Limits::TREE).await).await?;
    let mut warnings = Vec::new();
    if top.join(".gitmodules").is_file() {
        warnings.push("the repository has submodules, which are not brought: their directories are empty".to_owned());
    }
    Ok(Finished { app_tree: Some(kept.tree), warnings, ..Finished::default() })
}
