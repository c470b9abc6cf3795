//! A directory of our own that goes with its value.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// A directory that nobody else reads, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one below `parent`, with a name that nothing else has.
    ///
    /// # Errors
    ///
    /// That it cannot be made.
    pub(crate) fn below(parent: &Path) -> io::Result<Self> {
        let path = parent.join(name());
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Makes one where temporary files go.
    ///
    /// # Errors
    ///
    /// As [`Scratch::below`].
    pub(crate) fn temporary() -> io::Result<Self> {
        Self::below(&std::env::temp_dir())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// How its name begins.
const PREFIX: &str = ".aigis-part-";

/// A name that nothing else has, for what is not yet what it is to be.
pub(crate) fn name() -> String {
    format!("{PREFIX}{}", uuid::Uuid::now_v7().simple())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is named so that everyone can see what it was.
        let _ = fs::remove_dir_all(&self.0);
    }
}
