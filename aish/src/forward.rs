//! A port of an app as a port of this host: each connection that is taken there goes through a tunnel to wherever the app runs.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use aigis_proxy::{Error, Name, task};
use aigis_registry::Reach;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// How long a port that does not listen yet is tried.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many connections there are at once; more wait in the system's queue.
const AT_ONCE: usize = 1_000;
/// How many other ports are tried.
const TRIES: u16 = 1_000;
/// From here on ports are free to take for everyone.
const FREE: u16 = 1_024;
/// Where ports below that are looked for first: 80 becomes 8080.
const MOVED: u16 = 8_000;
/// How soon it is listened again when this host has no room for another connection.
const ROOM: Duration = Duration::from_millis(100);

/// A listener on this host, until dropped; the connections that it took end with it.
#[derive(Debug)]
pub(crate) struct Forward {
    /// Where it listens.
    pub(crate) local: SocketAddr,
    /// The app's port.
    pub(crate) port: u16,
    _task: task::Owned,
}

impl Forward {
    /// Listens for a port of an app: at `local` and nowhere else if that is said, else at the same number or the next free one.
    ///
    /// # Errors
    ///
    /// `failed_precondition` that names the port that cannot be had.
    pub(crate) async fn listen(reach: &Reach, app: &Name, local: Option<u16>, port: u16) -> Result<Self, Error> {
        let refused = |number: u16, error: &io::Error| {
            Error::precondition(format!("the port {number} of this host cannot be had: {error}"))
                .hint(format!("name another one, such as {}:{port}", moved(number)))
        };
        let listener = match local {
            Some(local) => bind(local).await.map_err(|error| refused(local, &error))?,
            None => next_free(port).await.map_err(|error| refused(port, &error))?,
        };
        let address = listener.local_addr().map_err(|error| Error::internal(error.to_string()))?;
        let taking = take(listener, reach.clone(), app.clone(), port);
        Ok(Self { local: address, port, _task: task::Owned::spawn("forward", taking) })
    }

    /// What a person is told of it: `http://localhost:8080 -> hello:80`.
    pub(crate) fn words(&self, app: &Name) -> String {
        format!("{} -> {app}:{}", self.url(), self.port)
    }

    /// Where it is, for a browser.
    pub(crate) fn url(&self) -> String {
        format!("http://localhost:{}", self.local.port())
    }
}

async fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).await
}

/// Where a port is looked for that cannot be had itself.
fn moved(port: u16) -> u16 {
    if port < FREE { MOVED + port } else { port.checked_add(1).unwrap_or(FREE) }
}

async fn next_free(port: u16) -> io::Result<TcpListener> {
    let first = match bind(port).await {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
    };
    if !matches!(first.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) {
        return Err(first);
    }
    let mut candidate = moved(port);
    for _ in 0..TRIES {
        if let Ok(listener) = bind(candidate).await {
            return Ok(listener);
        }
        candidate = moved(candidate);
    }
    Err(first)
}

async fn take(listener: TcpListener, reach: Reach, app: Name, port: u16) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut carried = tokio::task::JoinSet::new();
    loop {
        // Never closed.
        let Ok(turn) = room.clone().acquire_owned().await else { return };
        while carried.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((tcp, _)) => {
                let (reach, app) = (reach.clone(), app.clone());
                carried.spawn(async move {
                    carry(tcp, &reach, &app, port).await;
                    drop(turn);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection was not taken");
                tokio::time::sleep(ROOM).await;
            }
        }
    }
}

async fn carry(tcp: TcpStream, reach: &Reach, app: &Name, port: u16) {
    let _ = tcp.set_nodelay(true);
    match reach.dial(app, port, PATIENCE).await {
        Ok((app, _)) => app.join(tcp).await,
        Err(error) => {
            tracing::warn!(%app, port, %error, "a connection found no app");
            // Nothing was said to it, so that it is not to look like an end in order.
            let _ = tcp.set_zero_linger();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chn_38_ports_move_to_where_everyone_may_listen() {
        assert_eq!((moved(80), moved(443), moved(5000), moved(u16::MAX)), (8080, 8443, 5001, FREE));
    }

    #[tokio::test]
    async fn chn_38_a_taken_port_becomes_the_next_free_one() {
        let taken = bind(0).await.unwrap();
        let number = taken.local_addr().unwrap().port();
        let other = next_free(number).await.unwrap();
        assert_ne!(other.local_addr().unwrap().port(), number);
    }
}
