//! Where a plugin has its files on this host: `DATA/plugins/NAME`.

use std::{
    io,
    path::{Path, PathBuf},
};

use aigis_proxy::Name;

use crate::home;

/// The folder of one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    name: Name,
    path: PathBuf,
}

impl Folder {
    /// The folder of that plugin below the node's data directory; nothing is made yet.
    #[must_use]
    pub fn new(data: &Path, name: &Name) -> Self {
        Self { name: name.clone(), path: data.join("plugins").join(name.as_str()) }
    }

    /// The plugin's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The runtime copy: what the plugin runs from.
    #[must_use]
    pub fn copy(&self) -> PathBuf {
        self.path.join("source")
    }

    /// The objects of a git source.
    pub(super) fn git(&self) -> PathBuf {
        self.path.join("git")
    }

    /// What was delivered into the runtime copy.
    pub(super) fn delivered(&self) -> PathBuf {
        self.path.join("delivered.json")
    }

    /// What is being delivered; there is one only if that was interrupted.
    pub(super) fn delivering(&self) -> PathBuf {
        self.path.join("delivering.json")
    }

    /// Which secrets were put where.
    pub(super) fn secrets(&self) -> PathBuf {
        self.path.join("secrets.json")
    }

    /// Where its process runs, if that is elsewhere.
    pub(crate) fn place(&self) -> PathBuf {
        self.path.join("place.json")
    }

    /// The environment of that key.
    #[must_use]
    pub fn environment(&self, key: &str) -> PathBuf {
        self.path.join(format!("venv-{key}"))
    }

    /// Makes it, readable by its owner alone, and removes what killed processes left in it.
    pub(super) fn make(&self) -> Result<(), home::Error> {
        home::make_directory(&self.path)?;
        // What stays is swept the next time.
        let _ = aigis_registry::archive::sweep(&self.path);
        Ok(())
    }

    /// Removes all of it.
    ///
    /// # Errors
    ///
    /// The operating system refuses; not if there is none.
    pub fn remove(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}
