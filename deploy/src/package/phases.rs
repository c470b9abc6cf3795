//! What phases left, by what their results depend on: a phase that is known need not run again.

use std::{
    collections::HashSet,
    fs, io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use aigis_proxy::Error;

use super::{Blobs, blobs::unwritable};
use crate::Digest;

/// Most bytes that are kept of what phases left; what was not used for longest goes first.
const MOST: u64 = 20 * 1024 * 1024 * 1024;
/// What was used within this time stays in any case: a build may be reading it.
const IN_USE: Duration = Duration::from_secs(60 * 60);

/// What a phase left, as it is kept.
struct Known {
    used: SystemTime,
    size: u64,
    file: PathBuf,
    left: Digest,
}

impl Blobs {
    fn phases(&self) -> PathBuf {
        // Beside the directory of blobs: all that lies in there is a blob.
        let path = self.path(&Digest::of(b""));
        path.ancestors().nth(3).unwrap_or(&path).join("phases")
    }

    /// What a phase left, if that is known and still kept.
    #[must_use]
    pub fn phase(&self, key: &Digest) -> Option<Digest> {
        let file = self.phases().join(key.hex());
        let known: Digest = fs::read_to_string(&file).ok()?.trim().parse().ok()?;
        self.check(&known).ok()?;
        // When it was used last; where that cannot be noted it goes the sooner.
        drop(fs::File::open(&file).and_then(|file| file.set_modified(SystemTime::now())));
        Some(known)
    }

    /// Notes what a phase left.
    ///
    /// # Errors
    ///
    /// As [`Blobs::keep`].
    pub fn note_phase(&self, key: &Digest, left: &Digest) -> Result<(), Error> {
        let path = self.phases().join(key.hex());
        let put = || {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            let part = path.with_extension("part");
            fs::write(&part, left.to_string())?;
            fs::rename(&part, &path)
        };
        put().and_then(|()| self.bound_phases(MOST, IN_USE)).map(drop).map_err(|error| unwritable(&path, &error))
    }

    /// The digits of what is kept of phases.
    pub(super) fn kept_phases(&self) -> io::Result<HashSet<String>> {
        self.bound_phases(MOST, IN_USE)
    }

    /// Forgets what was not used for longest, until no more than `most` bytes are kept; gives the digits of the rest.
    fn bound_phases(&self, most: u64, in_use: Duration) -> io::Result<HashSet<String>> {
        let entries = match fs::read_dir(self.phases()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
            entries => entries?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let (entry, file) = entry.map(|entry| (entry.metadata(), entry.path()))?;
            let left = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<Digest>().ok());
            let Some(left) = left else { continue };
            let size = fs::metadata(self.path(&left)).map_or(0, |blob| blob.len());
            all.push(Known { used: entry?.modified()?, size, file, left });
        }
        all.sort_by_key(|known| std::cmp::Reverse(known.used));
        let (mut kept, mut total) = (HashSet::new(), 0);
        for Known { used, size, file, left } in all {
            total += size;
            let is_used = used.elapsed().is_ok_and(|elapsed| elapsed < in_use);
            if total <= most || is_used || kept.contains(&left.hex()) {
                kept.insert(left.hex());
                continue;
            }
            fs::remove_file(file)?;
            fs::remove_file(self.path(&left))?;
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Store;

    #[test]
    fn pkg_44_of_what_phases_left_the_longest_unused_goes_first() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let blobs = store.blobs();
        let keys = [b"a", b"b", b"c"].map(|key| Digest::of(key));
        for (age, key) in (1..).zip(keys) {
            let left = blobs.put(&[age; 10]).unwrap();
            blobs.note_phase(&key, &left).unwrap();
            let file = fs::File::open(blobs.phases().join(key.hex())).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(7200 * u64::from(age))).unwrap();
        }
        // Used again, the oldest is the newest.
        let oldest = blobs.phase(&keys[2]).unwrap();
        let kept = blobs.bound_phases(20, IN_USE).unwrap();
        assert_eq!(kept.len(), 2);
        assert!(kept.contains(&oldest.hex()) && blobs.phase(&keys[0]).is_some() && blobs.phase(&keys[1]).is_none());
        assert_eq!(blobs.bound_phases(0, IN_USE).unwrap().len(), 2, "both were used just now");
        assert_eq!(blobs.bound_phases(0, Duration::ZERO).unwrap().len(), 0);
        assert!(!blobs.has(&oldest) && blobs.phase(&keys[2]).is_none());
    }
}
