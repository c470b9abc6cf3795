//! Links do what they are told, and as much of it as was asked.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use aigis_lab::{Direction, Host, Lab, Link, Share};
use aigis_tests::{inside, until};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

const PATIENCE: Duration = Duration::from_secs(60);

fn two() -> (Lab, Host, Host) {
    let lab = Lab::start(&["alpha", "beta"]).unwrap();
    let (alpha, beta) = (lab.host("alpha").unwrap(), lab.host("beta").unwrap());
    (lab, alpha, beta)
}

/// Both ends of a connection: at `from`, and at `to`.
fn connection(from: &Host, to: &Host) -> (TcpStream, TcpStream) {
    let listener = inside(to.namespace(), || TcpListener::bind((to.address(), 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let near = inside(from.namespace(), || TcpStream::connect_timeout(&address, PATIENCE)).unwrap();
    near.set_nodelay(true).unwrap();
    (near, listener.accept().unwrap().0)
}

fn socket(host: &Host) -> (UdpSocket, SocketAddr) {
    let socket = inside(host.namespace(), || UdpSocket::bind((host.address(), 0))).unwrap();
    // Room for all, also while a busy machine lets nobody read: what is missing was lost on the way.
    set_socket_recv_buffer_size_force(&socket, 16 * 1024 * 1024).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Round trips of one byte: the least and the longest.
fn round_trips(near: &mut TcpStream, far: TcpStream, count: usize) -> (Duration, Duration) {
    far.set_nodelay(true).unwrap();
    let echo = thread::spawn(move || {
        let (mut reader, mut writer) = (&far, &far);
        std::io::copy(&mut reader, &mut writer).unwrap();
    });
    let mut times: Vec<_> = (0..count)
        .map(|_| {
            let started = Instant::now();
            near.write_all(b"x").unwrap();
            near.read_exact(&mut [0]).unwrap();
            started.elapsed()
        })
        .collect();
    near.shutdown(std::net::Shutdown::Write).unwrap();
    echo.join().unwrap();
    times.sort();
    (times[0], times[count - 1])
}

/// How many of `count` datagrams arrive, and how many of them twice.
fn datagrams(from: &Host, to: &Host, count: u32) -> (usize, usize) {
    let ((out, _), (into, address)) = (socket(from), socket(to));
    into.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let reader = thread::spawn(move || {
        let (mut seen, mut twice) = (std::collections::BTreeSet::new(), 0);
        let mut buffer = [0; 4];
        while into.recv(&mut buffer).is_ok() {
            twice += usize::from(!seen.insert(buffer));
        }
        (seen.len(), twice)
    });
    for number in 0..count {
        // In portions that no queue overflows by, though whoever reads has to wait for a processor now and then.
        if number % 50 == 0 {
            thread::park_timeout(Duration::from_millis(10));
        }
        out.send_to(&number.to_be_bytes(), address).unwrap();
    }
    reader.join().unwrap()
}

#[test]
fn a_link_is_quick_until_it_is_slowed_and_again_when_it_is_cleared() {
    let (lab, alpha, beta) = two();
    let (mut near, far) = connection(&alpha, &beta);
    let (least, _) = round_trips(&mut near, far, 20);
    assert!(least < Duration::from_millis(5), "{least:?}");

    let link = Link { delay: Duration::from_millis(60), jitter: Duration::from_millis(20), ..Link::default() };
    lab.slow("beta", &link).unwrap();
    assert_eq!(lab.faults("beta").unwrap(), ["slow"]);
    let (mut near, far) = connection(&alpha, &beta);
    let (least, longest) = round_trips(&mut near, far, 20);
    // 40 to 80 ms each way; a busy machine adds to it.
    assert!(least >= Duration::from_millis(80) && longest < Duration::from_secs(1), "{least:?} {longest:?}");

    lab.clear("beta").unwrap();
    assert_eq!(lab.faults("beta").unwrap(), [""; 0]);
    let (mut near, far) = connection(&alpha, &beta);
    let (least, _) = round_trips(&mut near, far, 20);
    assert!(least < Duration::from_millis(5), "{least:?}");
}

#[test]
fn a_bad_link_loses_and_doubles_its_share_and_tcp_gets_through() {
    let (lab, alpha, beta) = two();
    let (arrived, twice) = datagrams(&alpha, &beta, 2_000);
    assert_eq!((arrived, twice), (2_000, 0), "a good link");

    let ten = Share::of_hundred(10.0);
    let link = Link { delay: Duration::from_millis(5), loss: ten, duplicate: ten, reorder: ten, ..Link::default() };
    lab.slow("beta", &link).unwrap();
    let (arrived, twice) = datagrams(&alpha, &beta, 2_000);
    assert!((1_720..=1_880).contains(&arrived), "{arrived} of 2,000 arrived");
    assert!((110..=250).contains(&twice), "{twice} came twice");

    let (near, mut far) = connection(&alpha, &beta);
    let body: Vec<u8> = (0..300_000_u32).map(|place| (place % 251) as u8).collect();
    let sent = body.clone();
    let writer = thread::spawn(move || (&near).write_all(&sent).unwrap());
    let mut read = Vec::new();
    far.read_to_end(&mut read).unwrap();
    writer.join().unwrap();
    assert!(read == body, "{} bytes came", read.len());
}

#[test]
fn a_thin_link_carries_its_rate() {
    let (lab, alpha, beta) = two();
    lab.slow("beta", &Link { rate: Some(4_000_000), ..Link::default() }).unwrap();
    let (near, mut far) = connection(&alpha, &beta);
    let started = Instant::now();
    // 500 kB are a second, and headers a little more.
    let writer = thread::spawn(move || (&near).write_all(&vec![0; 1_000_000]).unwrap());
    let mut read = Vec::new();
    far.read_to_end(&mut read).unwrap();
    writer.join().unwrap();
    let took = started.elapsed();
    assert!(took > Duration::from_millis(1_700) && took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn a_cut_link_carries_nothing_and_its_connections_outlive_it() {
    let (lab, alpha, beta) = two();
    let (mut near, mut far) = connection(&alpha, &beta);
    lab.cut("beta").unwrap();
    assert_eq!(lab.faults("beta").unwrap(), ["cut"]);
    near.write_all(b"x").unwrap();
    far.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert_eq!(far.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    lab.heal("beta").unwrap();
    far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(far.read(&mut [0]).unwrap(), 1);
}

#[test]
fn packets_are_dropped_in_the_direction_that_was_named() {
    let (lab, alpha, beta) = two();
    for (direction, to_beta, from_beta) in [(Direction::In, 0, 20), (Direction::Out, 20, 0), (Direction::Both, 0, 0)] {
        lab.drop_packets("beta", direction).unwrap();
        assert_eq!(datagrams(&alpha, &beta, 20).0, to_beta, "{direction}: to beta");
        assert_eq!(received_from(&beta, &alpha), from_beta, "{direction}: from beta");
    }
    assert_eq!(lab.faults("beta").unwrap(), ["drops in", "drops out"]);
    lab.clear("beta").unwrap();
    assert_eq!(datagrams(&alpha, &beta, 20).0, 20);
    assert_eq!(received_from(&beta, &alpha), 20);
}

/// As [`datagrams`], from a host whose own packets may be dropped under its hands, which its kernel reports.
fn received_from(from: &Host, to: &Host) -> usize {
    let ((out, _), (into, address)) = (socket(from), socket(to));
    into.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    for number in 0..20_u32 {
        let _ = out.send_to(&number.to_be_bytes(), address);
    }
    let mut count = 0;
    while into.recv(&mut [0; 4]).is_ok() {
        count += 1;
    }
    count
}

#[test]
fn two_labs_stand_side_by_side_and_are_apart() {
    let ((one, alpha, _), (other, _, beta)) = (two(), two());
    let address: Ipv4Addr = beta.address();
    let listener = inside(beta.namespace(), || TcpListener::bind((address, 0))).unwrap().local_addr().unwrap();
    let reached = inside(alpha.namespace(), || TcpStream::connect_timeout(&listener, Duration::from_millis(500)));
    assert!(reached.is_err(), "{reached:?}");
    let place = other.directory().to_owned();
    other.down().unwrap();
    assert!(!place.exists());
    let (_near, _far) = connection(&alpha, &one.host("beta").unwrap());
    until("the other's namespaces are gone", PATIENCE, || (!beta.namespace().path().exists()).then_some(()));
}
