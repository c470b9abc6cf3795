//! The buckets of the store, and what their keys are called on the bus.

use std::{fmt, time::Duration};

use super::patience::{ATTEMPT, LARGE_ATTEMPT};

/// A bucket of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// What is known of CIs and nodes: on disk, each key confined to its writer.
    Records,
    /// Signs of life: in memory, ending by themselves.
    Leases,
    /// What changes hands: on disk, sixteen versions a key.
    Shared,
    /// Content in chunks, under its digest: on disk.
    Blobs,
}

impl Bucket {
    /// Every bucket.
    pub const ALL: [Self; 4] = [Self::Records, Self::Leases, Self::Shared, Self::Blobs];

    /// The bucket's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Leases => "leases",
            Self::Shared => "shared",
            Self::Blobs => "blobs",
        }
    }

    /// The stream that holds it.
    #[must_use]
    pub const fn stream(self) -> &'static str {
        match self {
            Self::Records => "KV_records",
            Self::Leases => "KV_leases",
            Self::Shared => "KV_shared",
            Self::Blobs => "KV_blobs",
        }
    }

    /// How long one attempt to read or write a value may take.
    pub(super) fn attempt(self) -> Duration {
        if self == Self::Blobs { LARGE_ATTEMPT } else { ATTEMPT }
    }

    /// The subject of a key, or of a filter over keys.
    pub(crate) fn subject(self, key: &str) -> String {
        format!("$KV.{self}.{key}")
    }

    /// The key that a subject of this bucket stands for.
    pub(crate) fn key(self, subject: &str) -> Option<&str> {
        subject.strip_prefix("$KV.")?.strip_prefix(self.as_str())?.strip_prefix('.')
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
