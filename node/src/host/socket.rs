//! Listening sockets of a network namespace, from the kernel itself or else from `/proc/PID/net`, and who holds them, from
//! `/proc/PID/fd`.

mod diagnosis;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

use self::diagnosis::Diagnosis;
use super::read_table;
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

/// One of the kernel's tables of sockets.
#[derive(Debug, Clone, Copy)]
struct Table {
    protocol: Protocol,
    v6: bool,
}

impl Table {
    const ALL: [Self; 4] = [
        Self { protocol: Protocol::Tcp, v6: false },
        Self { protocol: Protocol::Tcp, v6: true },
        Self { protocol: Protocol::Udp, v6: false },
        Self { protocol: Protocol::Udp, v6: true },
    ];

    /// Reads it as the kernel prints it for that process; `None` if that cannot be read. A kernel without IPv6 prints none
    /// for it.
    fn printed(self, pid: u32) -> Option<Vec<Listening>> {
        let (protocol, six) = (self.protocol, if self.v6 { "6" } else { "" });
        let text = read_table(Path::new(&format!("/proc/{pid}/net/{protocol}{six}")), MAX_TABLE).ok()?;
        Some(text.lines().skip(1).filter_map(|line| read_line(line, protocol)).collect())
    }
}

/// The sockets that listen in the namespace of that process; `None` if they cannot be read.
///
/// The kernel is asked; what it does not say is read from the tables that it prints, which takes much longer.
pub(super) fn listening(pid: u32) -> Option<Vec<Listening>> {
    let kernel = Diagnosis::of(pid);
    let told = |table: Table| kernel.as_ref()?.listening(table);
    let tables: Vec<_> = Table::ALL.iter().filter_map(|table| told(*table).or_else(|| table.printed(pid))).collect();
    (!tables.is_empty()).then(|| tables.concat())
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
    // A container in which nothing listens has open files all the same, and often many.
    let asked = if wanted.is_empty() { &[] } else { pids };
    for pid in asked {
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
    use std::net::{TcpListener, UdpSocket};

    use proptest::prelude::*;
    use rustix::thread::{CapabilitySet, capabilities};

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

    #[test]
    fn ci_10_the_kernel_and_its_tables_say_the_same() {
        let _tcp = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("0.0.0.0:0").unwrap()];
        let _tcp6 = [TcpListener::bind("[::1]:0").ok(), TcpListener::bind("[::]:0").ok()];
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect("127.0.0.1:9").unwrap();
        let _udp = [UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("0.0.0.0:0").unwrap()];
        let _udp6 = UdpSocket::bind("[::1]:0").ok();
        let own = std::process::id();
        let may = capabilities(None).unwrap().effective.contains(CapabilitySet::SYS_ADMIN);
        let kernel = Diagnosis::of(own);
        assert_eq!(kernel.is_some(), may, "who may change its namespace asks the kernel");
        let Some(kernel) = kernel else { return };
        for table in Table::ALL {
            // Others of this host open and close sockets meanwhile: only what this process holds is compared.
            let ours = |found: Option<Vec<Listening>>| {
                let found = found.unwrap();
                let (owners, _) = owners(&[own], &found.iter().map(|socket| socket.inode).collect());
                let mut ours: Vec<_> = found.into_iter().filter(|socket| owners.contains_key(&socket.inode)).collect();
                ours.sort_unstable_by_key(|socket| socket.inode);
                ours
            };
            let (told, printed) = (ours(kernel.listening(table)), ours(table.printed(own)));
            assert_eq!(told, printed);
            assert!(table.v6 || told.len() >= 2, "{told:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "\\PC{0,200}", hex in "[0-9A-Fé]{0,40}") {
            let _ = read_line(&line, Protocol::Tcp);
            let _ = read_address(&hex);
        }
    }
}
