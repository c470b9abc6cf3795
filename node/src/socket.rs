//! The node's socket, and what the operating system must give for it.

use std::sync::Arc;

use aigis_proxy::{
    identity::{Issuer, Revocations},
    serve::Server,
    socket::{self, Gate, Limits, Listening, Offers},
};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::watch;

use crate::home::Home;

/// The socket while it is listened to, and what ends its users' connections.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Absent where it could not be made: then calls of this host go over the bus.
    pub(crate) listening: Option<Listening>,
    /// Told of each revocation.
    pub(crate) revoked: watch::Sender<Revocations>,
}

impl Socket {
    /// Listens, if that is possible: the bus is a way for the calls of this host too.
    pub(crate) fn listen(
        home: &Home,
        server: &Server,
        issuer: watch::Receiver<Issuer>,
        revoked: Revocations,
        offers: Arc<dyn Offers>,
    ) -> Self {
        let (revoked, receiver) = watch::channel(revoked);
        let gate = Gate { issuer, revoked: receiver, offers: Some(offers) };
        let limits = Limits { connections: connections(raise()), ..Limits::default() };
        let listening = socket::listen(&home.socket(), server.clone(), gate, limits);
        if let Err(error) = &listening {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%error, cause, "calls of this host go over the bus");
        }
        Self { listening: listening.ok(), revoked }
    }
}

/// Lets the node have as many open files as it may, and says how many that are.
fn raise() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.maximum,
        Err(_) => before,
    }
}

/// How many connections one peer may have: no more than half of the open files, which the engine and the journal need
/// too.
fn connections(files: Option<u64>) -> usize {
    let most = Limits::default().connections;
    files.and_then(|files| usize::try_from(files / 2).ok()).map_or(most, |half| half.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_24_connections_leave_half_of_the_open_files() {
        assert_eq!(connections(None), 1_024);
        assert_eq!(connections(Some(1 << 20)), 1_024);
        assert_eq!(connections(Some(1_024)), 512);
    }
}
