//! Ports of an app on other hosts: whatever a TCP connection can be used for arrives.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use aigis_proxy::blob::Digest;
use aigis_tests::{Mesh, Running, until};

use super::{LIMIT, Source, running::removed};

/// How long a byte may take that is on its way.
const READ: Duration = Duration::from_secs(60);
/// How many downloads there are at once, and how many bytes each has.
const DOWNLOADS: usize = 100;
const BYTES: usize = 1024 * 1024;

/// An app that speaks in all ways, of that version.
pub(crate) fn speaker(version: &str) -> Source {
    let source = Source::new(&[("version", version)]);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/apps/ports");
    for file in ["Dockerfile", "server.py"] {
        fs::copy(from.join(file), source.path().join(file)).unwrap();
    }
    source
}

/// The bytes that the app has under that seed.
pub(crate) fn noise(count: usize, seed: usize) -> Vec<u8> {
    let digests = (0..2048).flat_map(|n| {
        let hex = Digest::of(format!("{seed}.{n}").as_bytes()).hex();
        (0..32).map(move |byte| u8::from_str_radix(&hex[2 * byte..2 * byte + 2], 16).unwrap())
    });
    digests.collect::<Vec<u8>>().into_iter().cycle().take(count).collect()
}

/// A port that something listens on: of a `push` or a `forward` that goes on.
fn port(line: &str, of: &str) -> Option<u16> {
    let (url, app) = line.split_once(" -> ")?;
    app.trim().ends_with(of).then(|| url.rsplit(':').next()?.trim().parse().ok())?
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(READ)).unwrap();
    stream
}

/// Says all of it, ends its own direction, and hears the rest.
fn said_back(port: u16, words: &[u8]) -> Vec<u8> {
    let mut stream = connect(port);
    let (mut back, mut writer) = (Vec::new(), stream.try_clone().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(words).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        stream.read_to_end(&mut back).unwrap();
    });
    back
}

#[test]
fn chn_38_a_port_that_is_taken_here_moves_and_one_that_is_asked_for_is_refused() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("index.html", "moved")]));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = taken.local_addr().unwrap().port();
    let dockerfile = format!(
        "FROM busybox\nCOPY index.html /www/\nEXPOSE {number}\nCMD [\"httpd\", \"-f\", \"-p\", \"{number}\", \"-h\", \"/www\"]\n"
    );
    source.write("Dockerfile", &dockerfile);
    let refused = source.push(&mesh, &["--port", &format!("{number}:{number}")]).failed(1);
    assert!(refused.stderr.contains(&number.to_string()), "{refused:?}");
    assert_eq!(mesh.aish(["chains", "list", "--json"]).good().stdout.trim(), "[]", "before upload");
    let path = source.path();
    let mut push = Running::of_stderr(mesh.spawn(["push", path.to_str().unwrap()]));
    let of = format!("{}:{number}", source.name);
    let local = push.until("another port is named", LIMIT, |line| port(line, &of));
    assert_ne!(local, number);
    let body = until("it answers", LIMIT, || {
        let mut stream = TcpStream::connect(("127.0.0.1", local)).ok()?;
        stream.set_read_timeout(Some(READ)).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        (!answer.is_empty()).then_some(answer)
    });
    assert!(body.ends_with("moved"), "{body}");
    push.signal(rustix::process::Signal::INT);
    assert_eq!(push.end(LIMIT).code, 130);
    removed(&mesh, &source);
}

#[test]
fn chn_39_what_goes_through_a_forward_arrives_as_it_was_sent() {
    let mesh = Mesh::up();
    let (_beta, source) = (mesh.joined("beta"), speaker("1"));
    let id = source.begun(&mesh, &["--on", "beta"]);
    let mut forward = until("its record is there", LIMIT, || {
        let known = mesh.aish(["apps", "show", &source.name, "--json"]);
        (known.code == 0)
            .then(|| Running::new(mesh.spawn(["apps", "forward", &source.name, "7001", "7002", "7003", "8080"])))
    });
    let ports = ["7001", "7002", "7003", "8080"]
        .map(|number| forward.until("the port is here", LIMIT, |line| port(line, &format!(":{number}"))));
    let [first, echo, late, web] = ports;
    until("it serves", LIMIT, || {
        let chain = mesh.aish(["chains", "show", &id, "--json"]).good().json();
        assert!(!matches!(chain["status"].as_str(), Some("failed" | "cancelled")), "{chain}");
        (chain["status"] == "serving").then_some(())
    });
    // Its process has just begun: what does not listen yet is waited for.
    assert_eq!(said_back(late, b"who is late"), b"who is late");
    let mut greeting = String::new();
    connect(first).read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "220 hello\r\n");
    let words = noise(3 * BYTES + 7, 0);
    assert!(said_back(echo, &words) == words, "the echo is another");
    assert_eq!(said_back(echo, b""), b"");
    std::thread::scope(|scope| {
        for seed in 0..DOWNLOADS {
            scope.spawn(move || {
                let mut stream = connect(web);
                write!(stream, "GET /bytes/{BYTES}/{seed} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                let body = &answer[answer.len().saturating_sub(BYTES)..];
                assert_eq!(Digest::of(body), Digest::of(&noise(BYTES, seed)), "download {seed}");
            });
        }
    });
    drop(forward);
    removed(&mesh, &source);
}
