//! The way from a process to an app: a tunnel over the bus, or none at all where both are in one network of one host.

use std::{
    fs, io,
    net::SocketAddr,
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};

use super::{Tunnel, splice};
use crate::error::Error;

/// How long an app may take to take a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// In which network of which host a process is: two that are in the same one reach the same addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Which start of which system.
    boot: String,
    /// Which of its network namespaces.
    namespace: String,
}

impl Network {
    /// That of this process; `None` if the system does not say.
    #[must_use]
    pub fn own() -> Option<Self> {
        static OWN: OnceLock<Option<Network>> = OnceLock::new();
        OWN.get_or_init(|| {
            let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
            let namespace = fs::read_link("/proc/self/ns/net").ok()?.to_str()?.to_owned();
            (!boot.is_empty()).then_some(Self { boot, namespace })
        })
        .clone()
    }
}

/// A connection to an app, whichever way it goes.
#[derive(Debug)]
pub enum Connection {
    /// Over the bus.
    Tunnel(Tunnel),
    /// From here, in the network of its place.
    Direct(TcpStream),
}

impl Connection {
    /// Joins it with a TCP connection, and returns when both directions have ended. The end of one direction, and a reset, are
    /// told on.
    pub async fn join(self, tcp: TcpStream) {
        let app = match self {
            Self::Tunnel(tunnel) => return tunnel.join(tcp).await,
            Self::Direct(app) => app,
        };
        if let Err(error) = splice::join(&app, &tcp).await {
            tracing::debug!(%error, "a connection to an app broke");
            // Whoever is at either end learns that it broke, and did not end.
            let _ = (app.set_zero_linger(), tcp.set_zero_linger());
        }
    }
}

/// Connects to a port of an app or container, which messages call `what`.
///
/// # Errors
///
/// `unavailable` if it does not take the connection in time.
pub(super) async fn to(what: &str, port: u16, address: SocketAddr) -> Result<TcpStream, Error> {
    let away = |why: &str| Error::unavailable(format!("{what} does not take connections: {why}")).sent(false);
    match timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(tcp)) => {
            // What is small is for somebody who waits for it.
            let _ = tcp.set_nodelay(true);
            Ok(tcp)
        }
        Ok(Err(error)) => Err(away(&format!("port {port}: {error}"))),
        Err(_) => Err(away(&format!("port {port}: no answer within {} s", CONNECT.as_secs()))),
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(tunnel) => Pin::new(tunnel).poll_read(cx, buffer),
            Self::Direct(tcp) => Pin::new(tcp).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tunnel(tunnel) => Pin::new(tunnel).poll_write(cx, bytes),
            Self::Direct(tcp) => Pin::new(tcp).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(tunnel) => Pin::new(tunnel).poll_flush(cx),
            Self::Direct(tcp) => Pin::new(tcp).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(tunnel) => Pin::new(tunnel).poll_shutdown(cx),
            Self::Direct(tcp) => Pin::new(tcp).poll_shutdown(cx),
        }
    }
}
