//! The gateway: HTTP for the apps of the mesh, each by a name below one domain, wherever it runs.
//!
//! HTTP itself is hyper's on both sides. A request goes to its app over a tunnel; one that can be repeated may go over the tunnel of
//! an earlier one, if that leads to the instance which serves now. Upgrades, such as WebSockets, stay joined until one side ends.

mod kept;
mod passing;
mod route;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use aigis_proxy::task;
use aigis_registry::{Reach, record};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, task::JoinSet};

use kept::Kept;
use passing::Passing;
pub use route::{Domain, InvalidDomain};

/// Connections at a time; a further one waits.
const CONNECTIONS: usize = 1_024;
/// How long who connected may take to say what it wants, each time.
const HEAD_WITHIN: Duration = Duration::from_secs(60);

/// Where a gateway listens, and below which domain the apps' names stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The address.
    pub address: SocketAddr,
    /// The domain.
    pub domain: Domain,
}

/// A gateway that has its address.
#[derive(Debug)]
pub(crate) struct Gateway {
    domain: Domain,
    listener: TcpListener,
}

impl Gateway {
    /// Takes the address.
    ///
    /// # Errors
    ///
    /// Says why it cannot be had.
    pub(crate) async fn bind(options: Options) -> io::Result<Self> {
        Ok(Self { domain: options.domain, listener: TcpListener::bind(options.address).await? })
    }

    /// Where an app is served, with `APP` in place of its name.
    pub(crate) fn url(&self) -> String {
        let port = self.listener.local_addr().map(|address| address.port()).unwrap_or_default();
        format!("http://APP.{}:{port}", self.domain)
    }

    /// What the node's record tells of it.
    pub(crate) fn note(&self) -> record::Gateway {
        let is_local = self.listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        record::Gateway { url: self.url(), is_local }
    }

    /// Serves the apps until the task is dropped.
    pub(crate) fn serve(self, reach: Reach) -> task::Owned {
        tracing::info!(url = self.url(), "the gateway serves");
        let passing = Arc::new(Passing { domain: self.domain, reach, kept: Kept::default() });
        task::Owned::spawn("gateway", accept(self.listener, passing))
    }
}

async fn accept(listener: TcpListener, passing: Arc<Passing>) {
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= CONNECTIONS {
            let _ = connections.join_next().await;
        }
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most likely out of descriptors: a pause instead of a spin.
                tracing::warn!(%error, "a connection to the gateway was not taken");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let passing = passing.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let passing = passing.clone();
                async move { Ok::<_, std::convert::Infallible>(Box::pin(passing.answer(request, from)).await) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
            // Who breaks off has had enough.
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await {
                tracing::debug!(%error, "a connection to the gateway ended early");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
