//! Where an attempt lies on the disk: `DATA/steps/<chain>/<step>/<attempt>`.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use aigis_proxy::{
    Code, Error,
    chain::Attempt,
    services::steps::{Ended, Order},
    text_file,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::home;

/// The folder of one attempt.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

/// What is noted once the container of an attempt is about to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// How long the log was then: what follows in it is the container's own.
    pub(super) log_from: u64,
    /// When that was, in RFC 3339.
    pub(super) at: String,
    /// The image's id.
    pub(super) image: String,
}

impl Folder {
    pub(super) fn new(root: &Path, attempt: &Attempt) -> Self {
        Self(step(root, attempt).join(attempt.attempt.to_string()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// What the container sees as `/in`.
    pub(super) fn input(&self) -> PathBuf {
        self.0.join("in")
    }

    /// What the container sees as `/out`.
    pub(super) fn output(&self) -> PathBuf {
        self.0.join("out")
    }

    pub(super) fn order(&self) -> Option<Order> {
        self.read("order.json")
    }

    pub(super) fn ended(&self) -> Option<Ended> {
        self.read("ended.json")
    }

    pub(super) fn begun(&self) -> Option<Begun> {
        self.read("begun.json")
    }

    pub(super) fn keep_order(&self, order: &Order) -> Result<(), Error> {
        home::make_directory(&self.0).map_err(|error| full(&error))?;
        self.write("order.json", order)
    }

    pub(super) fn keep_ended(&self, ended: &Ended) -> Result<(), Error> {
        self.write("ended.json", ended)
    }

    pub(super) fn keep_begun(&self, begun: &Begun) -> Result<(), Error> {
        self.write("begun.json", begun)
    }

    /// Makes what the container sees: readable by every user of it, and `/out` writable.
    pub(super) fn make(&self) -> Result<(), Error> {
        let make = || -> io::Result<()> {
            let (input, output) = (self.input(), self.output());
            for (path, mode) in [
                (input.clone(), 0o755),
                (input.join("answer"), 0o755),
                (output.clone(), 0o777),
                (output.join("app"), 0o777),
                (output.join("state"), 0o777),
                (output.join("ask"), 0o777),
            ] {
                fs::create_dir_all(&path)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            }
            Ok(())
        };
        make().map_err(|error| trouble("the directories of a step cannot be made", &error))
    }

    /// Takes away what the container saw: its result is stored, or counts for nothing.
    pub(super) fn clear(&self) {
        for path in [self.input(), self.output(), self.0.join("work")] {
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, path = %path.display(), "what a step left cannot be removed");
                }
                _ => {}
            }
        }
    }

    /// Removes all of it.
    pub(super) fn remove(&self) {
        self.clear();
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "an attempt cannot be removed");
        }
        // The folders above go with the last attempt in them.
        for above in self.0.ancestors().skip(1).take(2) {
            if fs::remove_dir(above).is_err() {
                break;
            }
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        match text_file::read_json(&self.0.join(name)) {
            Ok(value) => Some(value),
            Err(text_file::Error::Missing { .. }) => None,
            Err(error) => {
                tracing::warn!(%error, "a file of a step cannot be read");
                None
            }
        }
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_vec(value).map_err(|error| Error::internal(format!("{name}: {error}")))?;
        home::replace(&self.0.join(name), &text).map_err(|error| full(&error))
    }
}

/// The folder of a step.
fn step(root: &Path, attempt: &Attempt) -> PathBuf {
    root.join(attempt.chain.as_str()).join(attempt.step.to_string())
}

/// All attempts that lie there.
pub(super) fn all(root: &Path) -> Vec<(Attempt, Folder)> {
    let below = |path: &Path| -> Vec<PathBuf> {
        fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let mut found = Vec::new();
    for chain in below(root) {
        let Some(id) = name(&chain).and_then(|name| name.parse().ok()) else { continue };
        for step in below(&chain) {
            let Some(number) = name(&step).and_then(|name| name.parse().ok()) else { continue };
            for path in below(&step) {
                let Some(attempt) = name(&path).and_then(|name| name.parse().ok()) else { continue };
                found.push((
                    Attempt { chain: aigis_proxy::chain::ChainId::clone(&id), step: number, attempt },
                    Folder(path),
                ));
            }
        }
    }
    found
}

/// The disk does not take something: another place may have more room.
fn full(error: &home::Error) -> Error {
    let reason = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    Error::new(Code::Unavailable, format!("{error}{reason}")).hint("look at the disk of the node's data directory")
}

/// This host's file system refuses: the fault of the mesh.
pub(super) fn trouble(what: &str, error: &io::Error) -> Error {
    Error::unavailable(format!("{what}: {error}")).hint("look at the disk of the node's data directory")
}
