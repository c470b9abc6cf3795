//! Results of assistants that give the same for the same: kept here, so that they need not run again.

use std::{fs, path::PathBuf};

use aigis_proxy::{
    blob::{Digest, Life},
    services::steps::{AssistantWork, Finished},
    text_file,
};

use super::{attempt::Live, place::Place};
use crate::home;

/// Most results that are kept; the oldest go.
const MOST: usize = 1_000;

fn file(place: &Place, image: &str, work: &AssistantWork) -> PathBuf {
    let inputs = serde_json::json!([image, work.app_tree, work.state_tree, work.network, work.assistant]);
    let name = Digest::of(inputs.to_string().as_bytes()).hex();
    place.parts.home.root().join("step-results").join(format!("{name}.json"))
}

/// The result of the same inputs, if it is known and the mesh still has its trees.
pub(super) async fn find(place: &Place, image: &str, work: &AssistantWork) -> Option<Finished> {
    let known: Finished = text_file::read_json(&file(place, image, work)).ok()?;
    let trees = [known.app_tree, known.state_tree].into_iter().flatten().flatten();
    let opened = trees.map(async |blob| place.blobs.open(Life::Kept, &blob).await.map(drop));
    futures::future::try_join_all(opened).await.ok()?;
    Some(Finished { cached: true, ..known })
}

/// Remembers a result.
pub(super) fn keep(place: &Place, live: &Live, work: &AssistantWork, finished: &Finished) {
    let Some(begun) = live.folder.begun() else { return };
    let path = file(place, &begun.image, work);
    let Some(folder) = path.parent() else { return };
    let text = serde_json::to_vec(finished).unwrap_or_default();
    let kept = home::make_directory(folder).and_then(|()| home::replace(&path, &text));
    if let Err(error) = kept {
        // It runs again, then.
        tracing::debug!(%error, "a result is not remembered");
    }
    let mut known: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    known.sort();
    for (_, path) in known.iter().take(known.len().saturating_sub(MOST)) {
        // What stays is room that is taken.
        let _ = fs::remove_file(path);
    }
}
