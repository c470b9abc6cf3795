//! Ports of an app on this host, whatever a TCP connection is used for.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use aigis_tests::{Mesh, Running, SPEAKER, SPEAKER_PORTS, forwarded, speak, until};

use super::{LIMIT, Source, interrupted, running::removed};

/// How long a byte may take that is on its way.
const READ: Duration = Duration::from_secs(60);

/// An app that speaks in all ways, of that version.
pub(crate) fn speaker(version: &str) -> Source {
    let source = Source::new(&SPEAKER);
    source.write("version", version);
    source
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
    let local = push.until("another port is named", LIMIT, |line| forwarded(line, &number.to_string()));
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
    interrupted(&mut push);
    assert_eq!(push.end(LIMIT).code, 130);
    // Who spoke with it is on record, once.
    let audit = mesh.audit(&source.name, 2);
    let opened = audit.iter().filter(|line| line["skill"] == "tunnels.open" && line["phase"] == "begin");
    assert_eq!(opened.count(), 1, "{audit:?}");
    removed(&mesh, &source);
}

#[test]
fn chn_39_what_goes_through_a_forward_arrives_as_it_was_sent() {
    let mesh = Mesh::up();
    let (_beta, source) = (mesh.joined("beta"), speaker("1"));
    let id = source.begun(&mesh, &["--on", "beta"]);
    until("its record is there", LIMIT, || (mesh.aish(["apps", "show", &source.name]).code == 0).then_some(()));
    let command = ["apps", "forward", source.name.as_str()];
    let mut forward = Running::new(mesh.spawn([&command[..], &SPEAKER_PORTS].concat()));
    let ports = SPEAKER_PORTS.map(|port| forward.until("the port is here", LIMIT, |line| forwarded(line, port)));
    until("it serves", LIMIT, || {
        let chain = mesh.aish(["chains", "show", &id, "--json"]).good().json();
        assert!(!matches!(chain["status"].as_str(), Some("failed" | "cancelled")), "{chain}");
        (chain["status"] == "serving").then_some(())
    });
    speak(ports);
    drop(forward);
    removed(&mesh, &source);
}
