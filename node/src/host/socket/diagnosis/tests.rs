use std::net::{Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{DoneMessage, ErrorMessage, NetlinkSerializable};
use netlink_packet_sock_diag::{TCP_ESTABLISHED, inet::InetResponse};
use proptest::prelude::*;

use super::*;

const TCP: Question = Question(Table { protocol: Protocol::Tcp, v6: false });
const TCP6: Question = Question(Table { protocol: Protocol::Tcp, v6: true });

fn packed<T: NetlinkSerializable>(question: Question, payload: NetlinkPayload<T>) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.sequence_number = question.number();
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn told(question: Question, address: IpAddr, port: u16, state: u8) -> Vec<u8> {
    let socket_id = SocketId { source_port: port, source_address: address, ..SocketId::new_v4() };
    let family = question.family();
    let header = InetResponseHeader {
        family,
        state,
        timer: None,
        socket_id,
        recv_queue: 0,
        send_queue: 128,
        uid: 1000,
        inode: 34567,
    };
    let response = InetResponse { header, nlas: Default::default() };
    packed(question, SockDiagMessage::InetResponse(Box::new(response)).into())
}

fn done() -> NetlinkPayload<SockDiagMessage> {
    NetlinkPayload::Done(DoneMessage::default())
}

fn failed(code: i32) -> NetlinkPayload<SockDiagMessage> {
    let mut error = ErrorMessage::default();
    error.code = std::num::NonZeroI32::new(code);
    NetlinkPayload::Error(error)
}

#[test]
fn answers_are_read() {
    let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    let mut part = told(TCP, any, 8080, TCP_LISTEN);
    part.extend(told(TCP, any, 8081, TCP_ESTABLISHED));
    part.extend(told(TCP, any, 0, TCP_LISTEN));
    let mut found = Vec::new();
    assert_eq!(TCP.read(&part, &mut found), Ok(false));
    assert_eq!(TCP.read(&packed(TCP, done()), &mut found), Ok(true));
    let expected = Listening { port: 8080, protocol: Protocol::Tcp, address: "0.0.0.0".to_owned(), inode: 34567 };
    assert_eq!(found, [expected]);
    found.clear();
    assert_eq!(TCP6.read(&told(TCP6, Ipv6Addr::LOCALHOST.into(), 80, TCP_LISTEN), &mut found), Ok(false));
    assert_eq!((found[0].port, found[0].address.as_str()), (80, "::1"));
}

#[test]
fn what_was_not_asked_is_not_heard() {
    let mut found = Vec::new();
    let mut part = told(TCP, Ipv4Addr::LOCALHOST.into(), 8080, TCP_LISTEN);
    part.extend(packed(TCP, done()));
    part.extend(packed(TCP, failed(-1)));
    assert_eq!(TCP6.read(&part, &mut found), Ok(false));
    assert!(found.is_empty());
}

#[test]
fn a_failure_and_a_broken_answer_are_told() {
    let mut found = Vec::new();
    assert_eq!(TCP.read(&packed(TCP, failed(-2)), &mut found), Err(Errno::NOENT));
    for impossible in [1, -5000, i32::MIN] {
        assert_eq!(TCP.read(&packed(TCP, failed(impossible)), &mut found), Err(Errno::BADMSG));
    }
    let mut end = DoneMessage::default();
    end.code = -1;
    let end = packed(TCP, NetlinkPayload::<SockDiagMessage>::Done(end));
    assert_eq!(TCP.read(&end, &mut found), Err(Errno::PERM));
    let whole = told(TCP, Ipv4Addr::LOCALHOST.into(), 8080, TCP_LISTEN);
    assert_eq!(TCP.read(&whole[..whole.len() - 1], &mut found), Err(Errno::BADMSG));
    assert!(found.is_empty());
}

#[test]
fn a_refusal_is_kept_in_mind_and_a_passing_failure_is_not() {
    let refused = AtomicBool::new(false);
    assert_eq!(unless(&refused, || Err::<(), _>(Errno::TIMEDOUT)), None);
    assert_eq!(unless(&refused, || Ok(7)), Some(7));
    assert_eq!(unless(&refused, || Err::<(), _>(Errno::PERM)), None);
    assert_eq!(unless(&refused, || -> Result<(), Errno> { panic!("it was asked again") }), None);
}

#[test]
fn no_namespace_without_a_process() {
    assert!(Diagnosis::of(u32::MAX).is_none());
}

proptest! {
    #[test]
    fn bad_65_no_answer_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0_u16..24) {
        let mut found = Vec::new();
        let _ = TCP.read(&bytes, &mut found);
        // With a header that is right, so that what follows it is reached.
        if let (Ok(length), true) = (u32::try_from(bytes.len()), bytes.len() >= 16) {
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[8..12].copy_from_slice(&TCP.number().to_ne_bytes());
            let _ = TCP.read(&bytes, &mut found);
        }
    }
}
