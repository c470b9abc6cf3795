//! What a server says to everybody who connects, before anything is asked of them.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpStream,
};

/// How long it may take.
const WITHIN: Duration = Duration::from_secs(2);
/// More than it ever says.
const LONGEST: u64 = 64 * 1024;

#[derive(Deserialize)]
struct Info {
    server_id: String,
}

/// The id of the server that listens there, if it says one.
pub(super) async fn server_id(address: SocketAddr) -> Option<String> {
    let greeted = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let mut line = String::new();
        BufReader::new(stream).take(LONGEST).read_line(&mut line).await.ok()?;
        parse(&line)
    };
    tokio::time::timeout(WITHIN, greeted).await.ok()?
}

fn parse(line: &str) -> Option<String> {
    let info: Info = serde_json::from_str(line.strip_prefix("INFO ")?).ok()?;
    Some(info.server_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_holds_the_servers_id() {
        assert_eq!(parse("INFO {\"server_id\":\"NABC\",\"port\":1} \r\n").as_deref(), Some("NABC"));
        assert_eq!(parse("-ERR 'maximum connections exceeded'\r\n"), None);
        assert_eq!(parse("INFO {\"server_id\""), None);
    }
}
