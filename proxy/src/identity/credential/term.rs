//! When a credential ends, in words.

use std::fmt;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Seconds since 1970, shown as an RFC 3339 instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub(super) i64);

impl From<OffsetDateTime> for Instant {
    fn from(instant: OffsetDateTime) -> Self {
        Self(instant.unix_timestamp())
    }
}

/// When a credential ends, and what time it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// When it ends.
    pub ends: Instant,
    /// This machine's time.
    pub now: Instant,
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ends, now } = self;
        let how = if ends > now { "holds until" } else { "ended at" };
        write!(f, "it {how} {ends}, and this machine's clock says {now}")
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match OffsetDateTime::from_unix_timestamp(self.0).ok().and_then(|instant| instant.format(&Rfc3339).ok()) {
            Some(text) => f.pad(&text),
            None => write!(f, "{} s after 1970", self.0),
        }
    }
}
