//! Whether a container listens, seen from this host: its address in a network, its ports, what it answers.

use std::{net::IpAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::engine::Inspection;

/// The network that every engine has.
pub(crate) const BRIDGE: &str = "bridge";
/// How long a port may take to accept.
const ACCEPT: Duration = Duration::from_secs(1);
/// How many bytes of it are looked at: `HTTP/1.1 200`.
const STATUS: usize = 12;

/// Where the container is in a network.
pub(crate) fn address(seen: &Inspection, network: &str) -> Option<IpAddr> {
    let own = seen.networks.iter().find(|one| one.name == network)?;
    own.ip_address.as_ref().or(own.ipv6_address.as_ref())?.parse().ok()
}

/// Which of the ports do not accept.
pub(crate) async fn silent(address: IpAddr, ports: &[u16]) -> Vec<u16> {
    let tries = ports.iter().map(|port| async move {
        let accepted = timeout(ACCEPT, TcpStream::connect((address, *port))).await;
        (!matches!(accepted, Ok(Ok(_)))).then_some(*port)
    });
    futures::future::join_all(tries).await.into_iter().flatten().collect()
}

/// The status of the answer to a `GET` of that path, which is in the form of a URL; none from what speaks no HTTP, or does not
/// answer in time.
pub(crate) async fn status(address: IpAddr, port: u16, path: &str, within: Duration) -> Option<u16> {
    let asking = async {
        let mut stream = TcpStream::connect((address, port)).await.ok()?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.ok()?;
        let mut head = [0; STATUS];
        stream.read_exact(&mut head).await.ok()?;
        read_status(&head)
    };
    timeout(within, asking).await.ok().flatten()
}

fn read_status(head: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(head).ok()?;
    let (version, status) = text.strip_prefix("HTTP/")?.split_once(' ')?;
    matches!(version, "1.0" | "1.1").then(|| status.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_of_http_alone() {
        assert_eq!(read_status(b"HTTP/1.1 200"), Some(200));
        assert_eq!(read_status(b"HTTP/1.0 503"), Some(503));
        for head in [&b"SSH-2.0-Open"[..], b"HTTP/1.1 2x0", b"HTTP/9.1 200", b"\xff\xfe"] {
            assert_eq!(read_status(head), None);
        }
    }
}
