//! Seeing the node from outside: `/metrics`.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use aigis_tests::{Mesh, until};

#[test]
fn metrics_are_served_when_asked_and_count_what_happens() {
    let mesh = Mesh::up();
    let _down = mesh.aish(["down"]).good();
    let up = ["up", "--detach", "--name", "alpha", "--listen", "127.0.0.1:0", "--metrics"];
    let refused = mesh.aish(up.iter().chain(&["0.0.0.0:0"])).failed(2);
    assert!(refused.stderr.contains("127.0.0.1:PORT"), "{refused:?}");
    let _up = mesh.aish(up.iter().chain(&["127.0.0.1:0"])).good();
    let status = mesh.aish(["call", "alpha.status", "--json"]).good().json();
    let address =
        status["metrics"].as_str().unwrap().strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();

    let before = figure(address, "aigis_requests_total");
    let _failed = mesh.aish(["call", "alpha.nosuch"]).failed(65);
    let _status = mesh.aish(["alpha", "status"]).good();
    assert!(figure(address, "aigis_requests_total") >= before + 2);
    assert!(figure(address, "aigis_request_errors_total") >= 1);
    assert_eq!((figure(address, "aigis_engine_reachable"), figure(address, "aigis_bus_connected")), (1, 1));
    // Other tests' containers come and go on the same engine: both are read until nothing came between.
    until("as many are counted as are listed", Duration::from_secs(15), || {
        (u64::try_from(mesh.rows(&[]).len()).unwrap() == figure(address, "aigis_cis")).then_some(())
    });
    assert!(get(address, "/else").starts_with("HTTP/1.1 404"));
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The one figure of that name.
fn figure(address: &str, name: &str) -> u64 {
    let text = get(address, "/metrics");
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("# EOF\n"), "{text}");
    let prefix = format!("{name}{{mesh=\"main\",node=\"alpha\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}
