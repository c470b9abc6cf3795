//! What is told of containers that a later package kept: an engine's labels stay as they were when a container was made.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use aigis_proxy::{Error, blob::Digest, services::deployments::Replica};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{engine::ContainerId, home};

/// The directory of the notes, in that of the node.
const DIRECTORY: &str = "notes";

/// Where a container comes from now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// The package.
    pub package: Digest,
    /// What its CI says of that.
    pub about: Value,
    /// Its part of the manifest.
    pub document: Value,
}

impl From<&Replica> for Note {
    fn from(replica: &Replica) -> Self {
        Self { package: replica.package, about: replica.about.clone(), document: replica.document.clone() }
    }
}

/// Notes on containers, one file each, by their ids.
#[derive(Debug)]
pub struct Notes {
    directory: PathBuf,
}

impl Notes {
    /// The notes in that directory of a node.
    pub(super) fn of(data: &Path) -> Self {
        Self { directory: data.join(DIRECTORY) }
    }

    fn file(&self, id: &ContainerId) -> PathBuf {
        self.directory.join(id.to_string())
    }

    /// The note on a container, if there is one that can be read.
    #[must_use]
    pub fn get(&self, id: &ContainerId) -> Option<Note> {
        let file = self.file(id);
        let bytes = fs::read(&file).ok()?;
        let read = serde_json::from_slice(&bytes);
        read.inspect_err(|error| tracing::warn!(%error, file = %file.display(), "a note cannot be read")).ok()
    }

    /// Notes where a container comes from now.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn put(&self, id: &ContainerId, note: &Note) -> Result<(), Error> {
        let unwritable = |why: String| {
            Error::unavailable(format!("what is told of a container cannot be kept: {why}"))
                .hint("see that the data directory of the node can be written and is not full")
        };
        home::make_directory(&self.directory).map_err(|error| unwritable(aigis_proxy::with_causes(&error)))?;
        let bytes = serde_json::to_vec(note).map_err(|error| unwritable(error.to_string()))?;
        home::write_whole(&self.file(id), &bytes).map_err(|error: io::Error| unwritable(error.to_string()))
    }

    /// Forgets what was noted on others than these.
    pub(crate) fn retain(&self, known: &BTreeSet<String>) {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            if !known.contains(&*entry.file_name().to_string_lossy()) {
                // What stays is found again by the next sweep.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
