//! Why there is no supervised server.

use std::{io, net::SocketAddr, path::PathBuf};

use aigis_proxy::identity::ca;

use super::supervisor::READY;

/// Why there is no supervised server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None was found.
    #[error("no nats-server was found in AIGIS_NATS_SERVER, PATH or {}", .data.display())]
    NotFound {
        /// The data directory's `bin`.
        data: PathBuf,
    },
    /// What was named cannot be run.
    #[error("{named}{} cannot be run as a nats-server: {reason}", .path.display())]
    NotUsable {
        /// The variable that names it, as the message's beginning; nothing if it was found.
        named: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// It is older than the versions with the fixes that the mesh relies on.
    #[error("{named}{} is nats-server {found}; 2.11.16, 2.12.7 or 2.14.0 of its line, or newer, is required", .path.display())]
    TooOld {
        /// The variable that names it, as the message's beginning; nothing if it was found.
        named: &'static str,
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// Its certificate.
    #[error("the bus server's certificate cannot be made")]
    Certificate(#[from] ca::Error),
    /// Its files cannot be written.
    #[error("the bus server's files cannot be written")]
    Files(#[from] aigis_proxy::identity::server::Error),
    /// It ended right after its start.
    #[error("the bus server ended before it listened at {listen}; its log says why: {}", .log.display())]
    Ended {
        /// Where it was to listen.
        listen: SocketAddr,
        /// Its log.
        log: PathBuf,
    },
    /// It ended right after its start, and somebody else listens there.
    #[error(
        "the bus server ended before it listened at {listen}: the port {} may be taken by another program; end that \
         program, or choose another port with --listen",
        .listen.port()
    )]
    Taken {
        /// Where it was to listen.
        listen: SocketAddr,
    },
    /// It did not answer.
    #[error("the bus server did not listen at {listen} within {} s; its log is {}", READY.as_secs(), .log.display())]
    NotReady {
        /// Where it was to listen.
        listen: SocketAddr,
        /// Its log.
        log: PathBuf,
    },
    /// The one that was running listens somewhere else.
    #[error(
        "the bus server that runs already, process {pid}, listens at {found}, not at {asked}; \
         leave --listen away, or end that process first"
    )]
    Elsewhere {
        /// Its process id.
        pid: i32,
        /// Where it listens.
        found: String,
        /// Where it was to listen.
        asked: SocketAddr,
    },
    /// The operating system refused.
    #[error("the bus server cannot be started")]
    Start(#[source] io::Error),
}
