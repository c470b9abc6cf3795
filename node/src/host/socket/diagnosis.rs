//! Listening sockets, asked of the kernel itself by `sock_diag` from within a network namespace.
//!
//! The tables of `/proc/PID/net` say the same, but to print those of TCP the kernel walks through the connections of the
//! whole host, which takes it milliseconds. Here it looks only at those that listen.

use std::{
    fs::File,
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use netlink_packet_core::{
    DecodeError, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    Parseable,
};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SOCK_DIAG_BY_FAMILY, SockDiagMessage, TCP_CLOSE, TCP_LISTEN,
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};
use rustix::{
    io::{Errno, retry_on_intr},
    net::{
        self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
        netlink::{self, SocketAddrNetlink},
        sockopt::{Timeout, set_socket_timeout},
    },
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::{Listening, Table};
use crate::services::Protocol;

/// Longest wait for all of one answer. The kernel answers from memory, in much less than a millisecond.
const PATIENCE: Duration = Duration::from_secs(1);
/// Largest part of an answer: the kernel sends at most 32 KiB at once.
const MAX_PART: usize = 64 * 1024;
/// Most bytes of one answer.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// The highest number that the kernel gives an error.
const MAX_ERRNO: i32 = 4095;

/// What the kernel has refused to this process once, it would refuse again; so it is not asked again.
static NO_NAMESPACE: AtomicBool = AtomicBool::new(false);
static NO_TCP: AtomicBool = AtomicBool::new(false);
static NO_UDP: AtomicBool = AtomicBool::new(false);

/// A line to the kernel that speaks of one network namespace.
#[derive(Debug)]
pub(super) struct Diagnosis {
    line: OwnedFd,
}

impl Diagnosis {
    /// Opens a line for the namespace of that process; `None` if that is not permitted, not supported or the process is gone.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let namespace = File::open(format!("/proc/{pid}/ns/net")).ok()?;
        unless(&NO_NAMESPACE, || {
            // A socket stays in the namespace in which it was made. Its maker changes its own, so that is a thread that ends.
            let made = thread::Builder::new().name("namespace".to_owned()).spawn(move || open(&namespace));
            made.ok().and_then(|thread| thread.join().ok()).unwrap_or(Err(Errno::AGAIN))
        })
        .map(|line| Self { line })
    }

    /// What that table would say; `None` if the kernel does not.
    pub(super) fn listening(&self, table: Table) -> Option<Vec<Listening>> {
        let refused = match table.protocol {
            Protocol::Tcp => &NO_TCP,
            Protocol::Udp => &NO_UDP,
        };
        unless(refused, || self.ask(Question(table)))
    }

    fn ask(&self, question: Question) -> Result<Vec<Listening>, Errno> {
        let end = Instant::now() + PATIENCE;
        retry_on_intr(|| net::send(&self.line, &question.bytes(), SendFlags::empty()))?;
        let (mut part, mut found, mut total) = (vec![0; MAX_PART], Vec::new(), 0);
        while total < MAX_ANSWER && Instant::now() < end {
            let (_, length) = retry_on_intr(|| net::recv(&self.line, part.as_mut_slice(), RecvFlags::TRUNC))?;
            let bytes = part.get(..length).filter(|bytes| !bytes.is_empty()).ok_or(Errno::MSGSIZE)?;
            if question.read(bytes, &mut found)? {
                return Ok(found);
            }
            total += length;
        }
        Err(Errno::TIMEDOUT)
    }
}

/// Does it unless it was refused before, and keeps in mind if it is refused now.
fn unless<T>(refused: &AtomicBool, attempt: impl FnOnce() -> Result<T, Errno>) -> Option<T> {
    if refused.load(Ordering::Relaxed) {
        return None;
    }
    let error = match attempt() {
        Ok(done) => return Some(done),
        Err(error) => error,
    };
    let for_good = [
        Errno::PERM,
        Errno::ACCESS,
        Errno::NOSYS,
        Errno::INVAL,
        Errno::NOENT,
        Errno::OPNOTSUPP,
        Errno::AFNOSUPPORT,
        Errno::PROTONOSUPPORT,
    ];
    let lasting = for_good.contains(&error);
    refused.fetch_or(lasting, Ordering::Relaxed);
    tracing::debug!(%error, lasting, "sockets are read from /proc, because the kernel may not be asked");
    None
}

fn open(namespace: &File) -> Result<OwnedFd, Errno> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    let flags = SocketFlags::CLOEXEC;
    let line = net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))?;
    // Connected, it hears nobody but the kernel.
    net::connect(&line, &SocketAddrNetlink::new(0, 0))?;
    set_socket_timeout(&line, Timeout::Recv, Some(PATIENCE))?;
    Ok(line)
}

/// Asks for what is in one table.
#[derive(Debug, Clone, Copy)]
struct Question(Table);

impl Question {
    fn number(self) -> u32 {
        u32::from(self.family()) << 8 | u32::from(self.state())
    }

    fn family(self) -> u8 {
        if self.0.v6 { AF_INET6 } else { AF_INET }
    }

    /// The state of a socket that listens; one of UDP has none, so it counts as closed as long as it is not connected.
    fn state(self) -> u8 {
        match self.0.protocol {
            Protocol::Tcp => TCP_LISTEN,
            Protocol::Udp => TCP_CLOSE,
        }
    }

    fn bytes(self) -> Vec<u8> {
        let (protocol, states) = match self.0.protocol {
            Protocol::Tcp => (IPPROTO_TCP, StateFlags::LISTEN),
            Protocol::Udp => (IPPROTO_UDP, StateFlags::CLOSE),
        };
        let (family, extensions, socket_id) = (self.family(), ExtensionFlags::empty(), SocketId::new_v4());
        let request = InetRequest { family, protocol, extensions, states, socket_id };
        let mut header = NetlinkHeader::default();
        (header.flags, header.sequence_number) = (NLM_F_REQUEST | NLM_F_DUMP, self.number());
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    /// Reads a part of the answer; answers whether it was the last.
    fn read(self, mut bytes: &[u8], found: &mut Vec<Listening>) -> Result<bool, Errno> {
        while !bytes.is_empty() {
            let message = NetlinkMessage::<Answer>::deserialize(bytes).map_err(|_| Errno::BADMSG)?;
            let length = usize::try_from(message.header.length).map_err(|_| Errno::BADMSG)?;
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
            // The rest of an answer that was given up.
            if message.header.sequence_number != self.number() {
                continue;
            }
            match message.payload {
                NetlinkPayload::InnerMessage(Answer(header)) => found.extend(self.listening(&header)),
                NetlinkPayload::Done(end) if end.code < 0 => return Err(errno(end.code)),
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) if error.raw_code() != 0 => return Err(errno(error.raw_code())),
                NetlinkPayload::Overrun(_) => return Err(Errno::OVERFLOW),
                _ => {}
            }
        }
        Ok(false)
    }

    fn listening(self, header: &InetResponseHeader) -> Option<Listening> {
        let SocketId { source_port: port, destination_port, source_address, .. } = header.socket_id;
        let wanted =
            header.family == self.family() && header.state == self.state() && destination_port == 0 && port > 0;
        let address = match source_address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => address.to_string(),
        };
        wanted.then(|| Listening { port, protocol: self.0.protocol, address, inode: header.inode.into() })
    }
}

/// Reads a failure as netlink tells it: the number of an error, below zero.
fn errno(code: i32) -> Errno {
    let number = code.checked_neg().filter(|number| (1..=MAX_ERRNO).contains(number));
    number.map_or(Errno::BADMSG, Errno::from_raw_os_error)
}

/// What the kernel says of one socket. The attributes that it adds are not read: they differ from kernel to kernel.
#[derive(Debug)]
struct Answer(InetResponseHeader);

impl NetlinkDeserializable for Answer {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        if header.message_type != SOCK_DIAG_BY_FAMILY {
            return Err(format!("the kernel answered with a message of type {}", header.message_type).into());
        }
        InetResponseHeader::parse(payload).map(Self)
    }
}

#[cfg(test)]
mod tests;
