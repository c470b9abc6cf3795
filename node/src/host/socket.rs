//! Listening sockets of a network namespace, from `/proc/PID/net`, and who holds them, from `/proc/PID/fd`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

use super::read_text;
use crate::services::{Protocol, Socket};

const MAX_TABLE: u64 = 8 * 1024 * 1024;
/// Most open files of one process that are looked at.
const MAX_FILES: usize = 65_536;
const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";

/// One line of a socket table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listening {
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    pub(super) address: String,
    pub(super) inode: u64,
}

/// The sockets that listen in the namespace of that process; `None` if the tables cannot be read.
pub(super) fn listening(pid: u32) -> Option<Vec<Listening>> {
    let mut found = Vec::new();
    let mut read_one = false;
    for (table, protocol) in
        [("tcp", Protocol::Tcp), ("tcp6", Protocol::Tcp), ("udp", Protocol::Udp), ("udp6", Protocol::Udp)]
    {
        // A kernel without IPv6 has no second table.
        if let Ok(text) = read_text(Path::new(&format!("/proc/{pid}/net/{table}")), MAX_TABLE) {
            read_one = true;
            found.extend(text.lines().skip(1).filter_map(|line| read_line(line, protocol)));
        }
    }
    read_one.then_some(found)
}

fn read_line(line: &str, protocol: Protocol) -> Option<Listening> {
    let mut fields = line.split_whitespace();
    let (local, remote, state) = (fields.nth(1)?, fields.next()?, fields.next()?);
    let inode: u64 = fields.nth(5)?.parse().ok()?;
    let wanted = match protocol {
        Protocol::Tcp => state == TCP_LISTEN,
        Protocol::Udp => state == UDP_UNCONNECTED && remote.ends_with(":0000"),
    };
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok().filter(|port| *port > 0)?;
    if !wanted {
        return None;
    }
    Some(Listening { port, protocol, address: read_address(address)?, inode })
}

/// Reads an address as the kernel prints it: words of 32 bits in the host's byte order.
fn read_address(hex: &str) -> Option<String> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).to_string()),
        32 => {
            let mut bytes = [0_u8; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).to_string())
        }
        _ => None,
    }
}

/// Which of the processes hold which of the sockets, and whether the open files of all could be read.
pub(super) fn owners(pids: &[u32], wanted: &HashSet<u64>) -> (HashMap<u64, Vec<u32>>, bool) {
    let mut owners: HashMap<u64, Vec<u32>> = HashMap::new();
    let mut all_read = true;
    for pid in pids {
        match fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(files) => {
                for file in files.take(MAX_FILES).flatten() {
                    let Ok(target) = fs::read_link(file.path()) else { continue };
                    let Some(inode) = target.to_str().and_then(socket_inode) else { continue };
                    if wanted.contains(&inode) {
                        owners.entry(inode).or_default().push(*pid);
                    }
                }
            }
            // One that has ended meanwhile holds nothing.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => all_read = false,
        }
    }
    (owners, all_read)
}

fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Joins sockets of the same address (one for each worker, say) with all who hold them, sorted.
pub(super) fn join(listening: Vec<Listening>, owners: &HashMap<u64, Vec<u32>>) -> Vec<Socket> {
    let mut joined: BTreeMap<(u16, Protocol, String), Vec<u32>> = BTreeMap::new();
    for Listening { port, protocol, address, inode } in listening {
        let pids = joined.entry((port, protocol, address)).or_default();
        pids.extend(owners.get(&inode).into_iter().flatten());
    }
    joined
        .into_iter()
        .map(|((port, protocol, address), mut pids)| {
            pids.sort_unstable();
            pids.dedup();
            Socket { port, protocol, address, pids }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LISTENS: &str = "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 34567 1 0 100 0 0 10 0";
    const CONNECTED: &str = "   1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 34568 1 0 20 4 30 10 -1";

    #[test]
    fn tables_are_read() {
        let socket = read_line(LISTENS, Protocol::Tcp).unwrap();
        assert_eq!((socket.port, socket.address.as_str(), socket.inode), (8080, "0.0.0.0", 34567));
        assert_eq!(read_line(CONNECTED, Protocol::Tcp), None);
        assert_eq!(read_line("", Protocol::Tcp), None);
        let udp = LISTENS.replace(" 0A ", " 07 ");
        assert_eq!(read_line(&udp, Protocol::Udp).unwrap().port, 8080);
        assert_eq!(read_line(&udp.replace("00000000:0000 07", "0100007F:0035 07"), Protocol::Udp), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_are_read() {
        assert_eq!(read_address("0B00007F").as_deref(), Some("127.0.0.11"));
        assert_eq!(read_address(&"0".repeat(32)).as_deref(), Some("::"));
        assert_eq!(read_address("00000000000000000000000001000000").as_deref(), Some("::1"));
        assert_eq!(read_address("xyz"), None);
    }

    #[test]
    fn workers_share_one_socket() {
        let one = Listening { port: 80, protocol: Protocol::Tcp, address: "0.0.0.0".to_owned(), inode: 1 };
        let owners = HashMap::from([(1, vec![9, 7]), (2, vec![7])]);
        let joined = join(vec![one.clone(), Listening { inode: 2, ..one }], &owners);
        assert_eq!(joined.len(), 1);
        assert_eq!(joined[0].pids, [7, 9]);
    }

    #[test]
    fn a_socket_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = std::process::id();
        let found = listening(own).unwrap();
        let inodes = found.iter().map(|socket| socket.inode).collect();
        let (owners, all_read) = owners(&[own], &inodes);
        assert!(all_read);
        let socket = join(found, &owners).into_iter().find(|socket| socket.port == port).unwrap();
        assert_eq!((socket.pids, socket.address.as_str()), (vec![own], "127.0.0.1"));
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "\\PC{0,200}", hex in "[0-9A-Fé]{0,40}") {
            let _ = read_line(&line, Protocol::Tcp);
            let _ = read_address(&hex);
        }
    }
}
