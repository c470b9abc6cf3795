//! What phases left, by what their results depend on: a phase that is known need not run again.

use std::{
    collections::HashSet,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use aigis_proxy::Error;

use super::{
    Blobs,
    blobs::{PART, unless_gone, unwritable},
};
use crate::Digest;

/// Most bytes that are kept of what phases left; what was not used for longest goes first. What a node keeps of downloads makes
/// it 20 GiB.
const MOST: u64 = 16 * 1024 * 1024 * 1024;
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
        let known = noted(&file)?;
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
        let (directory, path) = (self.phases(), self.phases().join(key.hex()));
        let put = || {
            fs::create_dir_all(&directory)?;
            // Several programs may write the same at once.
            let mut part = tempfile::Builder::new().prefix(PART).tempfile_in(&directory)?;
            part.write_all(left.to_string().as_bytes())?;
            part.persist(&path).map(drop).map_err(|error| error.error)
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
        // Others may write, and take away, at the same time.
        for entry in entries {
            let entry = entry?;
            let file = entry.path();
            let Some(about) = unless_gone(entry.metadata())? else { continue };
            let used = about.modified()?;
            if entry.file_name().to_string_lossy().starts_with(PART) {
                if !is_recent(used, in_use) {
                    unless_gone(fs::remove_file(file))?;
                }
                continue;
            }
            let Some(left) = noted(&file) else { continue };
            let size = fs::metadata(self.path(&left)).map_or(0, |blob| blob.len());
            all.push(Known { used, size, file, left });
        }
        all.sort_by_key(|known| std::cmp::Reverse(known.used));
        let (mut kept, mut total) = (HashSet::new(), 0);
        for Known { used, size, file, left } in all {
            total += size;
            if total <= most || is_recent(used, in_use) || kept.contains(&left.hex()) {
                kept.insert(left.hex());
                continue;
            }
            unless_gone(fs::remove_file(file))?;
            unless_gone(fs::remove_file(self.path(&left)))?;
        }
        Ok(kept)
    }
}

/// What a file says that a phase left.
fn noted(file: &Path) -> Option<Digest> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn is_recent(used: SystemTime, within: Duration) -> bool {
    used.elapsed().is_ok_and(|elapsed| elapsed < within)
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

    #[test]
    fn pkg_55_many_note_the_same_phase_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let (key, left) = (Digest::of(b"a"), store.blobs().put(b"left").unwrap());
        std::thread::scope(|scope| {
            let notes = || (0..200).try_for_each(|_| store.blobs().note_phase(&key, &left));
            let all: Vec<_> = (0..8).map(|_| scope.spawn(notes)).collect();
            all.into_iter().for_each(|one| one.join().unwrap().unwrap());
        });
        assert_eq!(store.blobs().phase(&key), Some(left));
        assert_eq!(fs::read_dir(store.blobs().phases()).unwrap().count(), 1);
    }

    #[test]
    fn pkg_53_what_a_killed_build_left_half_written_goes() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let blobs = store.blobs();
        let left = blobs.put(b"left").unwrap();
        blobs.note_phase(&Digest::of(b"a"), &left).unwrap();
        let part = blobs.phases().join(format!("{PART}1"));
        fs::write(&part, "").unwrap();
        assert_eq!(blobs.bound_phases(MOST, IN_USE).unwrap().len(), 1);
        assert!(part.exists(), "it may be written just now");
        assert_eq!(blobs.bound_phases(MOST, Duration::ZERO).unwrap().len(), 1);
        assert!(!part.exists());
    }
}
