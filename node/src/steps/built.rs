//! The images of apps that were built here, and their end: an image goes a day after it was built if nothing names it any
//! more. The engine's build cache is its own to bound.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use aigis_proxy::Name;
use aigis_registry::{
    Shared,
    shared::{AppRecord, Key},
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{place::Place, remembered::Remembered};

/// How long an image is kept that nothing names: its chain may not have come to run it yet, or be tried again.
const KEPT: time::Duration = time::Duration::days(1);
/// Most images that are remembered; the engine keeps what is forgotten.
const MOST: usize = 10_000;

/// What is remembered of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    app: Name,
    /// In seconds since 1970.
    built_at: i64,
}

/// The images that were built here, by their ids.
#[derive(Debug)]
pub(super) struct Built(Remembered<Note>);

impl Built {
    pub(super) fn open(file: PathBuf) -> Self {
        Self(Remembered::open(file, "the images of apps that were built here"))
    }

    /// Notes that an image was built, again perhaps.
    pub(super) fn note(&self, image: &str, app: &Name) {
        let built_at = OffsetDateTime::now_utc().unix_timestamp();
        self.0.change(|known| {
            if known.len() < MOST {
                known.insert(image.to_owned(), Note { app: app.clone(), built_at });
            }
        });
    }

    /// Removes what nothing names any more. While the records cannot be read, nothing goes.
    pub(super) async fn sweep(&self, place: &Place, shared: &Shared) {
        let Ok(apps) = shared.list::<AppRecord>(Key::APPS).await else { return };
        let apps: Vec<AppRecord> = apps.into_iter().map(|(_, version)| version.content).collect();
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let due = due(&self.0.known(), &apps, now);
        for image in due {
            match place.parts.engine.remove_image(&image).await {
                Ok(()) => {
                    tracing::info!(%image, "an image of an app is removed: nothing names it any more");
                    self.0.change(|known| drop(known.remove(&image)));
                }
                // A container uses it, or somebody gave it a name.
                Err(error) => tracing::debug!(%error, "the image of an app stays"),
            }
        }
    }
}

/// The images that may go: built long ago, named by no instance, and not the newest of an app that is there.
fn due(known: &BTreeMap<String, Note>, apps: &[AppRecord], now: i64) -> Vec<String> {
    let instances = apps.iter().flat_map(|app| app.instance.iter().chain(&app.candidate));
    let mut kept: BTreeSet<&str> = instances.map(|instance| instance.image.as_str()).collect();
    for app in apps {
        let of_app = known.iter().filter(|(_, note)| note.app == app.name);
        kept.extend(of_app.max_by_key(|(_, note)| note.built_at).map(|(image, _)| image.as_str()));
    }
    let is_due =
        |(image, note): &(&String, &Note)| note.built_at < now - KEPT.whole_seconds() && !kept.contains(image.as_str());
    known.iter().filter(is_due).map(|(image, _)| image.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_goes_once_nothing_names_it_and_a_day_has_passed() {
        let day = KEPT.whole_seconds();
        let note = |app: &str, built_at| Note { app: app.parse().unwrap(), built_at };
        let known = [
            ("sha256:1", note("web", 0)),
            ("sha256:2", note("web", 1)),
            ("sha256:3", note("gone", 0)),
            ("sha256:4", note("gone", day * 2)),
            ("sha256:5", note("web", 0)),
        ];
        let known: BTreeMap<String, Note> = known.into_iter().map(|(id, note)| (id.to_owned(), note)).collect();
        let app: AppRecord = serde_json::from_value(serde_json::json!({
            "name": "web", "project": "p", "pushed_by": "olga", "pushed_at": "2026-11-22T12:00:00Z",
            "chain": aigis_proxy::chain::ChainId::new(), "source": { "tree": null, "from": "alpha:/web" },
            "instance": {
                "id": { "chain": aigis_proxy::chain::ChainId::new(), "step": 2, "epoch": 1 }, "node": "alpha",
                "image": "sha256:5", "restart": "no", "ready_timeout_s": 60,
                "mandate": { "wish": "", "signature": "" }, "since": "2026-11-22T12:00:00Z",
            },
        }))
        .unwrap();
        assert_eq!(due(&known, std::slice::from_ref(&app), day * 2), ["sha256:1", "sha256:3"]);
        assert_eq!(due(&known, &[app], day), [""; 0], "not on the day itself");
        assert_eq!(due(&known, &[], day * 4).len(), 5);
    }
}
