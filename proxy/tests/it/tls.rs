//! Who is taken for the mesh's bus, on a real server with TLS and on one that notes what it is told.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aigis_proxy::{
    Bus, Code, Error, MeshName, Role,
    bus::{ConnectError, Options, Untrusted},
    identity::{CaCertificate, Credential, MeshCa, server::Tls},
    kv,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::bus_server::BusServer;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const HOUR: Duration = Duration::from_secs(3_600);

/// A CA in a directory of its own.
fn ca() -> MeshCa {
    let directory = tempfile::tempdir().unwrap();
    MeshCa::open(directory.path(), &MeshName::parse("main").unwrap()).unwrap()
}

fn soon() -> SystemTime {
    SystemTime::now() + HOUR
}

/// A certificate that vouches for itself.
fn self_signed(files: &Tls) {
    let made = rcgen::generate_simple_self_signed(vec![HERE.to_string()]).unwrap();
    let pem = |label: &str, der: &[u8]| {
        let text = data_encoding::BASE64.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    fs::create_dir_all(files.key.parent().unwrap()).unwrap();
    fs::write(&files.certificate, pem("CERTIFICATE", made.cert.der())).unwrap();
    fs::write(&files.key, pem("PRIVATE KEY", made.signing_key.serialized_der())).unwrap();
}

async fn connect(url: &str, ca: Option<&CaCertificate>, credential: Credential) -> Result<Bus, ConnectError> {
    let credential = Arc::new(credential);
    Bus::connect(Options { url: url.to_owned(), ca: ca.cloned(), credential, label: "test".to_owned() }).await
}

/// Whose certificate was refused: the connection's, and that of the store's set-up.
async fn refused(server: &BusServer, ca: Option<&CaCertificate>) -> Untrusted {
    let ConnectError::Untrusted(untrusted) =
        connect(&server.url(), ca, server.credential("vera", Role::Viewer)).await.unwrap_err()
    else {
        panic!("refused for another reason");
    };
    let login = server.keys.store_credential(HOUR).unwrap();
    let made = kv::create_store(&server.url(), ca, &login, server.keys.mesh(), 1).await;
    assert!(matches!(made, Err(kv::SetupError::Untrusted(error)) if error == untrusted));
    untrusted
}

#[tokio::test]
async fn a_bus_with_a_certificate_of_the_meshs_ca_is_used() {
    let ca = ca();
    let mut server = BusServer::start_with(|files| ca.issue(HERE, soon()).unwrap().write(files).unwrap()).await;
    let own = ca.certificate();
    let login = server.keys.store_credential(HOUR).unwrap();
    kv::create_store(&server.url(), Some(own), &login, server.keys.mesh(), 1).await.unwrap();
    let bus = connect(&server.url(), Some(own), server.credential("vera", Role::Viewer)).await.unwrap();
    bus.echo().await.unwrap();

    // The connection comes back to the server's next certificate, by the same CA.
    server.stop();
    ca.issue(HERE, soon()).unwrap().write(&server.files.tls()).unwrap();
    server.run_again().await;
    let mut link = bus.link();
    tokio::time::timeout(Duration::from_secs(20), link.wait_for(|link| link.up && link.broken_before))
        .await
        .unwrap()
        .unwrap();
    bus.echo().await.unwrap();
}

#[tokio::test]
async fn atk_03_a_bus_of_another_ca_is_refused_with_both_fingerprints() {
    let (own, other) = (ca(), ca());
    let server = BusServer::start_with(|files| other.issue(HERE, soon()).unwrap().write(files).unwrap()).await;
    let untrusted = refused(&server, Some(own.certificate())).await;
    let (found, expected) = (other.certificate().fingerprint(), own.certificate().fingerprint());
    assert!(
        matches!(&untrusted, Untrusted::Certificate { shown, ca, .. } if (*shown, *ca) == (found, expected)),
        "{untrusted:?}"
    );
    let error = Error::from(untrusted);
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&false.into())));
    assert!(error.message.contains(&found.to_string()) && error.message.contains(&expected.to_string()), "{error}");
}

#[tokio::test]
async fn atk_03_expired_foreign_and_self_signed_certificates_are_refused() {
    let own = ca();
    let yesterday = SystemTime::now() - 24 * HOUR;
    let expired = BusServer::start_with(|files| own.issue(HERE, yesterday).unwrap().write(files).unwrap()).await;
    let elsewhere: IpAddr = "192.0.2.7".parse().unwrap();
    let foreign = BusServer::start_with(|files| own.issue(elsewhere, soon()).unwrap().write(files).unwrap()).await;
    let alone = BusServer::start_with(self_signed).await;
    for (server, word) in [(expired, "expired"), (foreign, "another address"), (alone, "not signed by the mesh's CA")] {
        let untrusted = refused(&server, Some(own.certificate())).await;
        let Untrusted::Certificate { reason, ca, .. } = &untrusted else { panic!("{word}: {untrusted:?}") };
        assert!(reason.contains(word) && *ca == own.certificate().fingerprint(), "{word}: {untrusted}");
    }
}

#[tokio::test]
async fn atk_03_plain_and_unknown_servers_are_refused() {
    let own = ca();
    let plain = BusServer::start().await;
    let untrusted = refused(&plain, Some(own.certificate())).await;
    assert!(matches!(untrusted, Untrusted::Plain { .. }), "{untrusted:?}");
    let server = BusServer::start_with(|files| own.issue(HERE, soon()).unwrap().write(files).unwrap()).await;
    let untrusted = refused(&server, None).await;
    assert!(matches!(untrusted, Untrusted::UnknownCa { .. }), "{untrusted:?}");
    assert!(Error::from(untrusted).hint.unwrap().contains("--ca FILE"));
}

/// Plays the bus with the certificate of these files: greets, and gives what one client said to it.
fn listen(files: &Tls) -> (String, std::thread::JoinHandle<String>) {
    let chain = CertificateDer::pem_file_iter(&files.certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    let url = format!("tls://{}", listener.local_addr().unwrap());
    let listening = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let info = r#"{"server_id":"x","version":"2.15.1","max_payload":1048576,"tls_required":true,"nonce":"abc"}"#;
        write!(stream, "INFO {info}\r\n").unwrap();
        let mut heard = Vec::new();
        let mut secured = rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream);
        let mut part = [0; 1024];
        while !heard.windows(6).any(|word| word == b"PING\r\n") {
            match secured.read(&mut part) {
                Ok(0) => break,
                Ok(length) => heard.extend_from_slice(&part[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        String::from_utf8_lossy(&heard).into_owned()
    });
    (url, listening)
}

#[tokio::test]
async fn atk_03_who_plays_the_bus_hears_no_credential() {
    let (own, other) = (ca(), ca());
    let directory = tempfile::tempdir().unwrap();
    let files = |name: &str| Tls {
        certificate: directory.path().join(name).join("server.pem"),
        key: directory.path().join(name).join("server.key"),
    };
    let issue = |ca: &MeshCa, expires, name: &str| {
        ca.issue(HERE, expires).unwrap().write(&files(name)).unwrap();
        files(name)
    };
    let keys = BusServer::start().await;
    let heard = async |files: &Tls| {
        let (url, listening) = listen(files);
        let outcome = connect(&url, Some(own.certificate()), keys.credential("vera", Role::Viewer)).await;
        (outcome.unwrap_err(), listening.join().unwrap())
    };

    let (_, told) = heard(&issue(&own, soon(), "good")).await;
    assert!(told.contains("CONNECT") && told.contains("eyJ"), "the mesh's own hears it: {told}");
    self_signed(&files("alone"));
    let yesterday = SystemTime::now() - 24 * HOUR;
    for bad in [issue(&other, soon(), "other"), issue(&own, yesterday, "expired"), files("alone")] {
        let (error, told) = heard(&bad).await;
        assert!(matches!(error, ConnectError::Untrusted(_)), "{error:?}");
        assert_eq!(told, "", "{}", shown(&bad.certificate));
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
