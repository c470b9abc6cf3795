//! The doors of a host that has one of three bus servers, as another host finds them.

use std::{
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use aigis_tests::{Cases, Fleet, inside};

const HOSTS: [&str; 3] = ["alpha", "beta", "gamma"];
/// Where each server listens for clients, and for the two others.
const PORTS: [u16; 2] = [4222, 6222];
/// How long a door that is nobody's may take to say so.
const CLOSED: Duration = Duration::from_secs(2);
/// How many look for doors at once.
const SCANNERS: u16 = 8;

/// The ports of that address that take a connection, as seen from a host.
fn doors(fleet: &Fleet, from: &str, address: Ipv4Addr) -> Vec<u16> {
    let lab = fleet.lab().host(from).unwrap_or_else(|error| panic!("{error}"));
    let mut open: Vec<u16> = std::thread::scope(|scope| {
        let scanners: Vec<_> = (0..SCANNERS)
            .map(|scanner| {
                let namespace = lab.namespace();
                let scan = move || {
                    let is_open = |port: &u16| {
                        let door = SocketAddr::from((address, *port));
                        *port != 0 && TcpStream::connect_timeout(&door, CLOSED).is_ok()
                    };
                    (scanner..=u16::MAX).step_by(SCANNERS.into()).filter(is_open).collect::<Vec<_>>()
                };
                scope.spawn(move || inside(namespace, scan))
            })
            .collect();
        scanners.into_iter().flat_map(|scanner| scanner.join().unwrap_or_else(|_| panic!("a scanner"))).collect()
    });
    open.sort_unstable();
    open
}

/// A client of TLS that is not ours, with that certificate and key, if any; what it was told.
fn shown(fleet: &Fleet, door: &str, papers: Option<(&Path, &Path)>) -> String {
    let host = fleet.lab().host("alpha").unwrap_or_else(|error| panic!("{error}"));
    let mut command = host.command("timeout");
    command.args(["10", "openssl", "s_client", "-connect", door, "-ign_eof"]);
    if let Some((certificate, key)) = papers {
        command.arg("-cert").arg(certificate).arg("-key").arg(key);
    }
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("openssl: {error}"));
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn atk_05_a_server_of_three_has_one_door_more_for_the_others_alone() {
    let fleet = Fleet::clustered(HOSTS);
    let mut cases = Cases::of("ATK-05");
    for host in HOSTS {
        let address = fleet.lab().host(host).unwrap_or_else(|error| panic!("{error}")).address();
        let from = if host == "alpha" { "beta" } else { "alpha" };
        let found = cases.case(format!("every port of {host}"), || doors(&fleet, from, address));
        assert_eq!(found, PORTS, "{host}: one port for clients, one for the other servers");
    }
    let beta = fleet.lab().host("beta").unwrap_or_else(|error| panic!("{error}")).address();
    let door = format!("{beta}:{}", PORTS[1]);
    // Whoever a server takes for another one is told what it is: so this would be seen.
    let server = fleet.on("alpha").path().join("bus");
    let (certificate, key) = (server.join("server.pem"), server.join("server.key"));
    let said = cases.case("a server of this bus", || shown(&fleet, &door, Some((&certificate, &key))));
    assert!(said.contains("INFO {"), "{said}");

    let told = |what: &str, said: &str| assert!(!said.contains("INFO"), "{what} was told what the server is: {said}");
    cases.case("a client without TLS", || {
        let alpha = fleet.lab().host("alpha").unwrap_or_else(|error| panic!("{error}"));
        let said = inside(alpha.namespace(), || {
            let mut stream = TcpStream::connect((beta, PORTS[1])).unwrap_or_else(|error| panic!("{error}"));
            let spoken =
                std::io::Write::write_all(&mut stream, b"INFO {\"server_id\":\"NX\"}\r\nCONNECT {}\r\nPING\r\n");
            spoken.unwrap_or_else(|error| panic!("{error}"));
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap_or_else(|error| panic!("{error}"));
            let mut said = Vec::new();
            // It may be reset: what counts is what came before.
            let ended = stream.read_to_end(&mut said);
            let still_open = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
            assert!(!still_open, "the connection still stands");
            String::from_utf8_lossy(&said).into_owned()
        });
        told("a client without TLS", &said);
    });
    let said = cases.case("a client without a certificate", || shown(&fleet, &door, None));
    assert!(said.contains("certificate required"), "{said}");
    told("a client without a certificate", &said);

    // Names itself as the server does, and signs that itself.
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let (own, own_key) = (directory.path().join("own.pem"), directory.path().join("own.key"));
    let mut made = Command::new("openssl");
    made.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    made.args(["-subj", "/CN=main-alpha"]).arg("-keyout").arg(&own_key).arg("-out").arg(&own);
    let made = made.output().unwrap_or_else(|error| panic!("openssl: {error}"));
    assert!(made.status.success(), "{made:?}");
    let said = cases.case("a client of another CA", || shown(&fleet, &door, Some((&own, &own_key))));
    assert!(said.contains("alert"), "{said}");
    told("a client of another CA", &said);
    // The cluster stands as before.
    assert!(fleet.is_grown());
}
