//! An app that speaks in each way in which a TCP connection can be used, and whoever speaks with it.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use aigis_proxy::blob::Digest;

/// How long a byte may take that is on its way.
const READ: Duration = Duration::from_secs(60);
/// How many downloads there are at once, and how many bytes each has.
const DOWNLOADS: usize = 100;
const BYTES: usize = 1024 * 1024;

/// The files of the app; `version` is one more, of whoever pushes it.
pub const SPEAKER: [(&str, &str); 2] = [
    ("Dockerfile", include_str!("../fixtures/apps/ports/Dockerfile")),
    ("server.py", include_str!("../fixtures/apps/ports/server.py")),
];
/// Its ports: one that speaks first, one that says back, one that does so after five seconds only, and HTTP.
pub const SPEAKER_PORTS: [&str; 4] = ["7001", "7002", "7003", "8080"];

/// The bytes that the app has under that seed.
#[must_use]
pub fn noise(count: usize, seed: usize) -> Vec<u8> {
    let block: Vec<u8> = (0..2048)
        .flat_map(|n| {
            let hex = Digest::of(format!("{seed}.{n}").as_bytes()).hex();
            let digits = hex.as_bytes().to_vec();
            (0..32).map(move |byte| {
                let digit = |at: usize| char::from(digits[at]).to_digit(16).unwrap_or_default();
                u8::try_from(digit(2 * byte) * 16 + digit(2 * byte + 1)).unwrap_or_default()
            })
        })
        .collect();
    block.into_iter().cycle().take(count).collect()
}

/// The port of this host that a line of `aish apps forward` or `aish push` names for that one of the app.
#[must_use]
pub fn forwarded(line: &str, of: &str) -> Option<u16> {
    let (url, app) = line.split_once(" -> ")?;
    app.trim().ends_with(&format!(":{of}")).then(|| url.rsplit(':').next()?.trim().parse().ok())?
}

/// Speaks with the app in all ways, at the ports of this host that stand for [`SPEAKER_PORTS`], and looks at what arrives.
///
/// # Panics
///
/// Panics when it is not what was sent.
pub fn speak([first, echo, late, web]: [u16; 4]) {
    // Its process has just begun: what does not listen yet is waited for.
    assert_eq!(said_back(late, b"who is late"), b"who is late");
    let mut greeting = Vec::new();
    read(&mut connect(first), &mut greeting);
    assert_eq!(greeting, b"220 hello\r\n");
    let words = noise(3 * BYTES + 7, 0);
    assert!(said_back(echo, &words) == words, "the echo is another");
    assert_eq!(said_back(echo, b""), b"");
    thread::scope(|scope| {
        for seed in 0..DOWNLOADS {
            scope.spawn(move || {
                let mut stream = connect(web);
                let head = format!("GET /bytes/{BYTES}/{seed} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                stream.write_all(head.as_bytes()).unwrap_or_else(|error| panic!("download {seed}: {error}"));
                let mut answer = Vec::new();
                read(&mut stream, &mut answer);
                let body = &answer[answer.len().saturating_sub(BYTES)..];
                assert_eq!(Digest::of(body), Digest::of(&noise(BYTES, seed)), "download {seed}");
            });
        }
    });
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap_or_else(|error| panic!("port {port}: {error}"));
    stream.set_read_timeout(Some(READ)).unwrap_or_else(|error| panic!("{error}"));
    stream
}

fn read(stream: &mut TcpStream, into: &mut Vec<u8>) {
    stream.read_to_end(into).unwrap_or_else(|error| panic!("after {} bytes: {error}", into.len()));
}

/// Says all of it, ends its own direction, and hears the rest.
fn said_back(port: u16, words: &[u8]) -> Vec<u8> {
    let mut stream = connect(port);
    let mut writer = stream.try_clone().unwrap_or_else(|error| panic!("{error}"));
    let mut back = Vec::new();
    thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(words).unwrap_or_else(|error| panic!("{error}"));
            writer.shutdown(Shutdown::Write).unwrap_or_else(|error| panic!("{error}"));
        });
        read(&mut stream, &mut back);
    });
    back
}
