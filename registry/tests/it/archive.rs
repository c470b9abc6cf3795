//! Archives: what is taken, what is refused and leaves nothing, and the one form in which a tree is packed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aigis_proxy::Code;
use aigis_registry::archive::{Error, Existing, Limits, Report, unpack};

mod amounts;
mod builder;
mod destination;
mod hostile;
mod packing;
mod random;

/// A directory with a canary beside the destination: whatever is written elsewhere shows.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("outside")).unwrap();
        fs::write(directory.path().join("outside/canary"), "alive").unwrap();
        fs::create_dir(directory.path().join("inside")).unwrap();
        Self { directory }
    }

    fn inside(&self) -> PathBuf {
        self.directory.path().join("inside")
    }

    fn tree(&self) -> PathBuf {
        self.inside().join("tree")
    }

    fn unpack(&self, archive: &[u8]) -> Result<Report, Error> {
        unpack(archive, &self.tree(), Existing::Refuse, &Limits::TREE)
    }

    /// Whether nothing was written beside the destination, and no staging is left.
    fn is_unharmed(&self) -> bool {
        let names = |path: &Path| -> Vec<_> {
            let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        names(self.directory.path()) == ["inside", "outside"]
            && names(&self.directory.path().join("outside")) == ["canary"]
            && fs::read_to_string(self.directory.path().join("outside/canary")).unwrap() == "alive"
            && names(&self.inside()).iter().all(|name| name == "tree")
    }
}

/// Refuses an archive, proves that nothing of it is left, and gives back what the refusal says.
fn refused(archive: &[u8], code: Code) -> String {
    let place = Place::new();
    let error = match place.unpack(archive) {
        Ok(report) => panic!("taken: {report:?}"),
        Err(error) => aigis_proxy::Error::from(error),
    };
    assert_eq!(error.code, code, "{error}");
    assert!(!place.tree().exists() && place.is_unharmed(), "{error}");
    error.message
}

/// As [`refused`], for what is `invalid_argument`, with words that the message has to have.
#[track_caller]
fn invalid(archive: &[u8], words: &[&str]) {
    let message = refused(archive, Code::InvalidArgument);
    for word in words {
        assert!(message.contains(word), "\"{word}\" is missing in: {message}");
    }
}

fn taken(archive: &[u8]) -> (Place, Report) {
    let place = Place::new();
    let report = place.unpack(archive).unwrap();
    assert!(place.is_unharmed());
    (place, report)
}
