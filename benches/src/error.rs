//! What can go wrong with a measurement.

use std::io;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The arguments make no sense.
    #[error(
        "usage: aigis-bench [--quick] [SUBJECT…], with calls, local, streams, bodies, gather, names, timeouts, mesh and chains for subjects"
    )]
    Usage,
    /// Something of the system failed.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What it met.
        #[source]
        source: io::Error,
    },
    /// A part that stands around the measurement failed.
    #[error("cannot {what}: {reason}")]
    Part {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        reason: String,
    },
}

/// Makes an error of what the system met.
pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::System { what, source }
}

/// Makes an error of anything that can be shown.
pub(crate) fn part<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Error {
    move |reason| Error::Part { what, reason: reason.to_string() }
}
