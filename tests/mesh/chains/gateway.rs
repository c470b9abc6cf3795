//! The gateway: HTTP for every app of the mesh at any node's address.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use aigis_proxy::blob::Digest;
use aigis_tests::{Mesh, noise, until};
use serde_json::Value;

use super::{LIMIT, ended, ports::speaker, running::removed};

/// How long a byte may take that is on its way.
const READ: Duration = Duration::from_secs(60);
/// How often a request is made while a new version comes: 20 a second.
const PACE: Duration = Duration::from_millis(50);

/// Asks a gateway: head and body of the answer.
fn asked(gateway: u16, host: &str, head: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", gateway)).unwrap();
    stream.set_read_timeout(Some(READ)).unwrap();
    write!(stream, "{head} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len())
        .unwrap();
    stream.write_all(b"X-Forwarded-For: 192.0.2.1\r\n\r\n").unwrap();
    // One that answers before it has read all ends the connection.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(&answer)));
    (String::from_utf8_lossy(&answer[..end]).into_owned(), answer[end + 4..].to_vec())
}

fn get(gateway: u16, host: &str, path: &str) -> (String, String) {
    let (head, body) = asked(gateway, host, &format!("GET {path}"), b"");
    (head, String::from_utf8_lossy(&body).into_owned())
}

/// The port at which this node's gateway serves.
fn gateway(mesh: &Mesh) -> u16 {
    until("the gateway's address is in the log", LIMIT, || {
        let log = mesh.log();
        let line = log.lines().rfind(|line| line.contains("the gateway serves"))?;
        line.split("APP.")
            .nth(1)?
            .split(':')
            .nth(1)?
            .chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .ok()
    })
}

#[test]
fn chn_40_a_gateway_elsewhere_serves_every_app() {
    let mesh = Mesh::up();
    let gamma = mesh.joined("gamma");
    let _down = gamma.aish(["down"]);
    let up = ["up", "--detach", "--name", "gamma", "--gateway", "127.0.0.1:0", "--domain", "Apps.Example.org"];
    assert_eq!(gamma.aish(up).code, 0, "{}", gamma.log());
    let (port, source) = (gateway(&gamma), speaker("one"));
    let _pushed = ended(source.push(&mesh, &["--on", "alpha", "--until", "ready"]), 0);
    let host = format!("{}.apps.example.org", source.name);
    let (head, body) = get(port, &host, "/");
    assert!(head.starts_with("HTTP/1.1 200") && body == "one", "{head}\n{body}");
    // Another port of it, and no port of it.
    let other = format!("{}-8080.apps.example.org:{port}", source.name);
    assert!(get(port, &other, "/").0.starts_with("HTTP/1.1 200"));
    assert!(get(port, &format!("{}-9.apps.example.org", source.name), "/").0.starts_with("HTTP/1.1 502"));
    for unknown in ["nosuch.apps.example.org", &format!("{}.localhost", source.name), "apps.example.org"] {
        let (head, body) = get(port, unknown, "/");
        assert!(head.starts_with("HTTP/1.1 404") && body.contains(unknown), "{head}\n{body}");
    }
    // What the app learns of who asked.
    let (_, headers) = get(port, &other, "/headers");
    let headers: Value = serde_json::from_str(&headers).unwrap();
    assert_eq!(headers["x-forwarded-for"], "192.0.2.1, 127.0.0.1", "{headers}");
    assert_eq!((&headers["x-forwarded-proto"], &headers["x-forwarded-host"]), (&"http".into(), &other.into()));
    assert_eq!(headers.get("connection"), None, "{headers}");
    // Bodies both ways, larger than any message of the bus.
    let words = noise(20_000_003, 5);
    let (head, said) = asked(port, &host, "POST /", &words);
    let expected = format!("{} {}", words.len(), Digest::of(&words).hex());
    assert!(head.starts_with("HTTP/1.1 200") && String::from_utf8_lossy(&said) == expected, "{head}\n{said:?}");
    let (_, bytes) = asked(port, &host, "GET /bytes/20000003/5", b"");
    assert!(bytes == words, "{} bytes came", bytes.len());
    websocket(port, &host);
    let _stopped = mesh.aish(["apps", "stop", &source.name]);
    let (head, body) = until("it is stopped", LIMIT, || {
        Some(get(port, &host, "/")).filter(|(head, _)| !head.starts_with("HTTP/1.1 200"))
    });
    assert!(head.starts_with("HTTP/1.1 503") && head.to_lowercase().contains("retry-after"), "{head}");
    assert!(body.contains("stopped"), "{body}");
    removed(&mesh, &source);
}

/// A key that every WebSocket client may use, and what its server proves by.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn websocket(port: u16, host: &str) {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(READ)).unwrap();
    let (mut writer, mut reader) = (stream.try_clone().unwrap(), BufReader::new(stream));
    write!(writer, "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n").unwrap();
    write!(writer, "Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n").unwrap();
    let head: Vec<String> = reader.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
    assert!(head[0].starts_with("HTTP/1.1 101") && head.iter().any(|line| line.ends_with(ACCEPT)), "{head:?}");
    for text in ["hello", "", "again"] {
        let mask = [1, 2, 3, 4];
        let masked = text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let frame: Vec<u8> = [0x81, 0x80 | text.len() as u8].into_iter().chain(mask).chain(masked).collect();
        writer.write_all(&frame).unwrap();
        let mut back = vec![0; 2 + text.len()];
        reader.read_exact(&mut back).unwrap();
        assert_eq!((back[0], &back[2..]), (0x81, text.as_bytes()));
    }
    writer.write_all(&[0x88, 0x80, 0, 0, 0, 0]).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [0x88, 0]);
}

#[test]
fn chn_41_no_request_fails_while_a_new_version_comes() {
    let mesh = Mesh::up_with(&["--gateway", "127.0.0.1:0"]);
    let (port, source) = (gateway(&mesh), speaker("one"));
    let _pushed = ended(source.push(&mesh, &["--until", "ready"]), 0);
    let (host, over) = (format!("{}.localhost", source.name), AtomicBool::new(false));
    let answers = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut answers, mut after) = (Vec::new(), 0);
            // Some more once the new version serves, so that what the old one's end does is seen too.
            while after < 60 {
                after += usize::from(over.load(Ordering::Acquire));
                let begun = std::time::Instant::now();
                let (head, body) = match answers.len() % 2 {
                    0 => get(port, &host, "/"),
                    _ => {
                        let (head, _) = asked(port, &host, "POST /", b"x");
                        (head, String::new())
                    }
                };
                assert!(head.starts_with("HTTP/1.1 200"), "after {} answers: {head}\n{body}", answers.len());
                answers.push(body);
                std::thread::park_timeout(PACE.saturating_sub(begun.elapsed()));
            }
            answers
        });
        source.write("version", "two");
        let pushed = source.push(&mesh, &["--until", "ready"]);
        over.store(true, Ordering::Release);
        let _pushed = ended(pushed, 0);
        asking.join().unwrap()
    });
    let mut seen: Vec<String> = answers.into_iter().filter(|body| !body.is_empty()).collect();
    seen.dedup();
    assert_eq!(seen, ["one", "two"], "they switch once");
    removed(&mesh, &source);
}
