//! Where a server says that it listens: in a file of its own, named after its process.

use std::{fs, net::SocketAddr, path::Path};

use rustix::process::Pid;
use serde::Deserialize;

/// Most entries of the directory in which it says so.
const MAX_ENTRIES: usize = 1000;

/// What a server writes of itself, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Ports {
    nats: Vec<String>,
}

/// Where the server of that process id says that it listens; `None` until its file is there and whole.
pub(super) fn said(directory: &Path, pid: Pid) -> Option<Vec<SocketAddr>> {
    let ending = format!("_{}.ports", pid.as_raw_nonzero());
    let entries = fs::read_dir(directory).ok()?.take(MAX_ENTRIES).flatten();
    let file = entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().ends_with(&ending))?;
    let ports: Ports = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let addresses = ports.nats.iter().filter_map(|url| url.split_once("://")?.1.parse().ok());
    Some(addresses.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_file_of_that_process_says_where_it_listens() {
        let directory = tempfile::tempdir().unwrap();
        let pid = Pid::from_raw(77).unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("nats-server_7.ports", r#"{"nats":["nats://127.0.0.1:1"]}"#);
        write("nats-server_177.ports", r#"{"nats":["nats://127.0.0.1:2"]}"#);
        assert_eq!(said(directory.path(), pid), None);
        write("nats-server_77.ports", r#"{"nats":["nats://127.0.0.1:"#);
        assert_eq!(said(directory.path(), pid), None, "half written");
        write("nats-server_77.ports", r#"{"nats":["nats://127.0.0.1:3","nats://[::1]:4"],"monitoring":[]}"#);
        let addresses = ["127.0.0.1:3".parse().unwrap(), "[::1]:4".parse().unwrap()];
        assert_eq!(said(directory.path(), pid), Some(addresses.to_vec()));
    }
}
