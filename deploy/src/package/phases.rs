//! What phases left, by what their results depend on: a phase that is known need not run again.

use std::{fs, path::PathBuf};

use aigis_proxy::Error;

use super::{Blobs, blobs::unwritable};
use crate::Digest;

impl Blobs {
    fn phase_file(&self, key: &Digest) -> PathBuf {
        // Beside the directory of blobs: all that lies in there is a blob.
        let path = self.path(key);
        path.ancestors().nth(3).unwrap_or(&path).join("phases").join(key.hex())
    }

    /// What a phase left, if that is known and still kept.
    #[must_use]
    pub fn phase(&self, key: &Digest) -> Option<Digest> {
        let known: Digest = fs::read_to_string(self.phase_file(key)).ok()?.trim().parse().ok()?;
        self.check(&known).is_ok().then_some(known)
    }

    /// Notes what a phase left.
    ///
    /// # Errors
    ///
    /// As [`Blobs::keep`].
    pub fn note_phase(&self, key: &Digest, left: &Digest) -> Result<(), Error> {
        let path = self.phase_file(key);
        let put = || {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            let part = path.with_extension("part");
            fs::write(&part, left.to_string())?;
            fs::rename(&part, &path)
        };
        put().map_err(|error| unwritable(&path, &error))
    }
}
