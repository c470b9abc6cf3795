//! What a place remembers of an instance over a restart of its node: what became of it, and what it has still to tell.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use aigis_proxy::{Name, services::chains::Reported, sync::lock, text_file};
use aigis_registry::shared::Instance;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::home;

/// What is remembered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) app: Name,
    pub(super) instance: Instance,
    /// Whether its container was started by this place once.
    pub(super) started: bool,
    /// Whether it has listened on all its ports.
    pub(super) ready: bool,
    /// Whether somebody stopped its container, and may start it again.
    pub(super) held: bool,
    /// Who ended it, if somebody did.
    pub(super) by: Option<String>,
    /// Whether it has ended, and is not started again.
    pub(super) ended: bool,
    /// How often it was started again.
    pub(super) restarts: u32,
    /// What is to be told, the oldest first.
    pub(super) untold: Vec<Reported>,
}

/// The note of one instance, on the disk at each change.
#[derive(Debug)]
pub(super) struct Note {
    file: PathBuf,
    content: Mutex<Content>,
    changed: watch::Sender<()>,
}

impl Note {
    /// A note of that instance, as it stands on the disk if it does.
    pub(super) fn open(directory: &Path, name: &str, app: &Name, instance: &Instance) -> Self {
        let file = directory.join(format!("{name}.json"));
        let known: Option<Content> = text_file::read_json(&file).ok();
        let content = known.unwrap_or_else(|| Content {
            app: app.clone(),
            instance: instance.clone(),
            started: false,
            ready: instance.ready,
            held: false,
            by: None,
            ended: false,
            restarts: 0,
            untold: Vec::new(),
        });
        Self { file, content: Mutex::new(content), changed: watch::Sender::new(()) }
    }

    /// All notes on the disk.
    pub(super) fn all(directory: &Path) -> Vec<Content> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| text_file::read_json(&entry.path()).ok()).collect()
    }

    pub(super) fn get(&self) -> Content {
        lock(&self.content).clone()
    }

    /// Changes it. What the disk does not take is remembered until the node ends.
    pub(super) fn change(&self, change: impl FnOnce(&mut Content)) {
        let mut content = lock(&self.content);
        change(&mut content);
        let text = serde_json::to_vec_pretty(&*content).unwrap_or_default();
        if let Err(error) = home::replace(&self.file, &text) {
            tracing::error!(%error, "a restart of this node may start an app again, or not tell what became of it");
        }
        drop(content);
        self.changed.send_replace(());
    }

    /// Tells of each change.
    pub(super) fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Takes it off the disk.
    pub(super) fn remove(&self) {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the note of an ended app stays on the disk");
            }
            _ => {}
        }
    }
}
