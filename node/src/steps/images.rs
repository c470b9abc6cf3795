//! The images of assistants: built once of a folder, remembered, and removed when nobody used them for a week.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use aigis_proxy::{
    Error,
    blob::Blob,
    chain::Tree,
    services::steps::{AssistantWork, Room},
};
use aigis_registry::{Timestamp, tree};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{attempt::Live, build, place::Place, remembered::Remembered};
use crate::engine::{Error as EngineError, ImageConfig};

/// How long an image is kept that nobody uses.
const KEPT: time::Duration = time::Duration::days(7);
/// How exactly it is remembered when an image was used.
const NOTED: time::Duration = time::Duration::hours(1);

/// An image that was built of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    image: String,
    tag: String,
    /// What it was built on, by name and id: with others it is built anew.
    bases: BTreeMap<String, String>,
    /// In seconds since 1970.
    used_at: i64,
}

/// What is known of the images of assistants, by their folders' digests.
#[derive(Debug)]
pub(super) struct Images {
    known: Remembered<Known>,
    /// Folders that are being built.
    building: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

fn key(folder: &Tree) -> String {
    folder.as_ref().map_or_else(|| "empty".to_owned(), |blob| blob.digest.hex())
}

impl Images {
    pub(super) fn open(file: PathBuf) -> Self {
        Self { known: Remembered::open(file, "the images of assistants"), building: Mutex::default() }
    }

    /// Whether an image of that folder was built here.
    pub(super) fn knows(&self, blob: &Blob) -> bool {
        self.known.known().contains_key(&blob.digest.hex())
    }

    /// The image of an assistant, which is built if need be.
    pub(super) async fn of(&self, place: &Place, live: &Live, work: &AssistantWork) -> Result<ImageConfig, Error> {
        let key = key(&work.folder);
        let turn = self.building.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone();
        let _turn = turn.lock().await;
        if let Some(config) = self.present(place, &key).await? {
            return Ok(config);
        }
        let _room = place.rooms.enter(Room::Build).await;
        live.log.say(&format!("=> build the image of {}", work.assistant));
        let context = live.folder.path().join("work");
        let fetch = async || {
            // What an earlier try left is in the way.
            let _ = fs::remove_dir_all(&context);
            tree::fetch(&place.blobs, &work.folder, &context).await
        };
        place.patiently(fetch).await?;
        let tag = tag(&work.assistant, &key);
        let wanted = build::Wanted { context: &context, dockerfile: None, tag: &tag };
        let built = build::build(place, live, &wanted).await;
        let built = built.map_err(|error| {
            let message = format!("the image of {}: {}", work.assistant, error.message);
            Error { message, ..error }
        })?;
        let mut bases = BTreeMap::new();
        for name in built.bases {
            if let Ok(base) = place.parts.engine.image_config(&name).await {
                bases.insert(name, base.id);
            }
        }
        let used_at = OffsetDateTime::now_utc().unix_timestamp();
        let known = Known { image: built.image.id.clone(), tag, bases, used_at };
        self.known.change(|all| drop(all.insert(key, known)));
        Ok(built.image)
    }

    /// The image that was built before, if the engine still has it and its bases are the same.
    async fn present(&self, place: &Place, key: &str) -> Result<Option<ImageConfig>, Error> {
        let known = self.known.known().get(key).cloned();
        let Some(mut known) = known else { return Ok(None) };
        let engine = &place.parts.engine;
        let config = match engine.image_config(&known.image).await {
            Err(EngineError::NotFound { .. }) => return Ok(None),
            config => config?,
        };
        for (name, id) in &known.bases {
            // A base that is gone says nothing against what was built on it.
            if engine.image_config(name).await.is_ok_and(|base| base.id != *id) {
                return Ok(None);
            }
        }
        let now = OffsetDateTime::now_utc();
        if now.unix_timestamp() - known.used_at >= NOTED.whole_seconds() {
            known.used_at = now.unix_timestamp();
            self.known.change(|all| drop(all.insert(key.to_owned(), known)));
        }
        Ok(Some(config))
    }

    /// Removes what nobody used for a week.
    pub(super) async fn sweep(&self, place: &Place) {
        let long_ago = (Timestamp::now().time() - KEPT).unix_timestamp();
        let old: Vec<(String, Known)> = {
            let known = self.known.known();
            known.iter().filter(|(_, known)| known.used_at < long_ago).map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        for (key, image) in old {
            match place.parts.engine.remove_image(&image.tag).await {
                Ok(()) => self.known.change(|all| drop(all.remove(&key))),
                // A container may use it.
                Err(error) => tracing::debug!(%error, "the image of an assistant stays"),
            }
        }
    }
}

/// What the image of an assistant is called.
fn tag(assistant: &str, key: &str) -> String {
    let (_, name) = assistant.split_once(':').unwrap_or(("", assistant));
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' { c } else { '-' })
        .take(64)
        .collect();
    let plain = plain.trim_matches('-');
    let short = key.get(..12).unwrap_or(key);
    format!("aigis/assistant-{}:{short}", if plain.is_empty() { "unnamed" } else { plain })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_called_after_its_assistant_and_its_folder() {
        assert_eq!(tag("local:cp", "0123456789abcdef"), "aigis/assistant-cp:0123456789ab");
        assert_eq!(tag("local:A b", "empty"), "aigis/assistant-b:empty");
    }
}
