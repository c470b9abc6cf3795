//! Blobs: content under its digest, in chunks, in a bucket of the bus.
//!
//! They live beside the calls, because what is too large for a message travels as one: see `docs/specs/blobs.md`.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

mod cutter;
mod digest;
mod index;
mod keeper;
mod reading;
mod store;
mod sweep;
mod window;

pub use digest::{Digest, Hasher};
pub use index::{Index, Part};
pub use keeper::{Content, serve};
pub use reading::Reading;
pub use store::{Store, Stored};
pub use sweep::{Pace, Sweeper, Swept};

/// Largest chunk, in bytes: as much as a value of a bucket holds.
pub const MAX_CHUNK: usize = crate::kv::MAX_VALUE;
/// How long a passing blob is kept.
pub const PASSING: Duration = Duration::from_secs(10 * 60);

/// How long the mark of something that was removed stays.
const MARKED: Duration = Duration::from_secs(60 * 60);
/// How long a chunk may take on its way: a thin link needs seconds, and the store may have no leader for some.
const WITHIN: Duration = Duration::from_secs(120);
/// How long the store may take to acknowledge something of a blob. Who waits for it may hold a container meanwhile.
const TAKEN: Duration = Duration::from_secs(45);

/// A blob: what it is, and how much of it there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Blob {
    /// The digest of its content.
    pub digest: Digest,
    /// The size of its content in bytes.
    pub size: u64,
}

impl fmt::Display for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digest.fmt(f)
    }
}

/// How long a blob is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// As long as something names it. Chunks that the mesh has already are not sent again.
    Kept,
    /// For [`PASSING`]: what a call carries. Each is stored anew.
    Passing,
}

impl Life {
    /// Both, the longer one first.
    pub const ALL: [Self; 2] = [Self::Kept, Self::Passing];

    /// The first token of its keys.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Passing => "passing",
        }
    }

    /// The key of a chunk.
    pub(crate) fn chunk(self, digest: &Digest) -> String {
        format!("{self}.chunk.{}", digest.hex())
    }

    /// The key of a blob's index.
    pub(crate) fn index(self, digest: &Digest) -> String {
        format!("{self}.index.{}", digest.hex())
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
