//! The states of apps. A tree never changes, so that a state which was read is known.

use std::{collections::VecDeque, sync::Mutex};

use aigis_proxy::{
    Error,
    blob::{Blob, Store},
    chain::Tree,
    sync::lock,
};
use aigis_registry::{AppState, tree};

use super::{Core, holding::blocking};

/// How many states are kept, and how many bytes the tree of one may have.
const MOST: usize = 64;
const MOST_BYTES: u64 = 256 * 1024;

/// The states that were read or written last; the newest last.
#[derive(Debug, Default)]
pub(crate) struct States(Mutex<VecDeque<(Blob, AppState)>>);

impl States {
    fn get(&self, blob: &Blob) -> Option<AppState> {
        lock(&self.0).iter().rev().find(|(known, _)| known == blob).map(|(_, state)| state.clone())
    }

    fn keep(&self, tree: &Tree, state: &AppState) {
        let Some(blob) = tree.filter(|blob| blob.size <= MOST_BYTES) else { return };
        let mut known = lock(&self.0);
        known.retain(|(other, _)| *other != blob);
        if known.len() == MOST {
            known.pop_front();
        }
        known.push_back((blob, state.clone()));
    }
}

impl Core {
    /// The state that a tree holds.
    pub(crate) async fn state(&self, tree: &Tree) -> Result<AppState, Error> {
        let Some(blob) = tree else { return Ok(AppState::default()) };
        if let Some(state) = self.states.get(blob) {
            return Ok(state);
        }
        let scratch = self.scratch()?;
        let into = scratch.path().join("state");
        tree::fetch(&Store::new(&self.parts.bus), tree, &into).await?;
        let (state, _) = blocking(move || AppState::read(&into)).await?.map_err(|error| unreadable(&error))?;
        drop(scratch);
        self.states.keep(tree, &state);
        Ok(state)
    }

    /// Stores a state.
    pub(crate) async fn keep_state(&self, state: &AppState) -> Result<Tree, Error> {
        let scratch = self.scratch()?;
        let (written, directory) = (state.clone(), scratch.path().to_owned());
        blocking(move || written.write(&directory)).await?.map_err(|error| unreadable(&error))?;
        let tree = self.keep_tree(scratch.path().to_owned()).await?;
        self.states.keep(&tree, state);
        Ok(tree)
    }
}

fn unreadable(error: &std::io::Error) -> Error {
    Error::unavailable(format!("a state cannot be kept on this disk: {error}"))
}
