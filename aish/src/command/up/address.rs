//! Where a node, its metrics and its gateway listen, as it is written.

use std::net::{IpAddr, SocketAddr};

use aigis_node::mesh::DEFAULT_PORT;

use crate::config;

/// Where the gateway listens if no port is named.
const GATEWAY_PORT: u16 = 8080;

/// Reads one address of this host.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let address = socket(text, DEFAULT_PORT)?;
    config::named(address.ip()).map(|_| address)
}

/// Reads `IP`, at the usual port, or `IP:PORT`.
fn socket(text: &str, usual: u16) -> Result<SocketAddr, String> {
    let alone = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, usual));
    text.parse().or_else(|_| alone()).map_err(|_| format!("write IP or IP:PORT, such as 127.0.0.1:{usual}"))
}

/// Reads where the gateway listens.
pub(super) fn gateway(text: &str) -> Result<SocketAddr, String> {
    socket(text, GATEWAY_PORT)
}

/// Reads `IP` or `IP:PORT` of this host alone.
pub(crate) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address = socket(text, config::METRICS_PORT)?;
    let own = || "metrics are served to this host alone: write 127.0.0.1:PORT".to_owned();
    address.ip().is_loopback().then_some(address).ok_or_else(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on() {
        assert_eq!(listen("127.0.0.1").unwrap().port(), 4222);
        assert_eq!(listen("127.0.0.1:0").unwrap().port(), 0);
        assert_eq!(listen("[::1]:7").unwrap().port(), 7);
        assert!(listen("localhost").is_err() && listen(":4222").is_err());
        assert!(listen("0.0.0.0").unwrap_err().contains("every container") && listen("[::]:4222").is_err());
    }
}
