//! What this place remembers by name over its restarts: a small map in a file.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aigis_proxy::text_file;
use serde::{Serialize, de::DeserializeOwned};

use crate::home;

/// A map that is remembered. What cannot be read or written is told and does not stop anybody: it is made anew.
#[derive(Debug)]
pub(super) struct Remembered<T> {
    file: PathBuf,
    /// What it is a map of, for who reads the log.
    what: &'static str,
    known: Mutex<BTreeMap<String, T>>,
}

impl<T: Serialize + DeserializeOwned> Remembered<T> {
    pub(super) fn open(file: PathBuf, what: &'static str) -> Self {
        let known = match text_file::read_json(&file) {
            Ok(known) => known,
            Err(text_file::Error::Missing { .. }) => BTreeMap::new(),
            Err(error) => {
                tracing::warn!(%error, "{what} are forgotten");
                BTreeMap::new()
            }
        };
        Self { file, what, known: Mutex::new(known) }
    }

    pub(super) fn known(&self) -> MutexGuard<'_, BTreeMap<String, T>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut BTreeMap<String, T>)) {
        let mut known = self.known();
        change(&mut known);
        let text = serde_json::to_vec_pretty(&*known).unwrap_or_default();
        if let Err(error) = home::replace(&self.file, &text) {
            tracing::warn!(%error, "{} are not remembered", self.what);
        }
    }
}
