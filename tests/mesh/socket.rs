//! Calls of the same host: over the node's socket, and over the bus where that is not there.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
};

use aigis_tests::{Container, Mesh, nonce};

const BUSYBOX: &str = "aigis-test/busybox";

/// How many requests the node has had in all, this one included, and how many of them over its socket.
fn requests(mesh: &Mesh) -> (u64, u64) {
    let status = mesh.aish(["alpha", "status", "--json"]).good().json();
    let count = |key: &str| status[key].as_u64().unwrap_or_else(|| panic!("no {key}: {status}"));
    (count("requests"), count("local_requests"))
}

#[test]
fn atk_09_commands_of_this_host_call_over_the_nodes_own_socket() {
    let mesh = Mesh::up();
    let socket = mesh.path().join("node.sock");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    assert_eq!((mode(&socket), mode(&mesh.path())), (0o600, 0o700));
    let name = format!("x-{}", nonce());
    let container = Container::run(&name, &[], BUSYBOX, &["sleep", "1000"]);
    let _row = mesh.live(&name, &container.id);
    let before = requests(&mesh);
    let _status = mesh.aish([name.as_str(), "status"]).good();
    let vera = mesh.user("vera", "viewer");
    let refused = mesh.aish(["--creds", &vera, "call", &format!("{name}.stop")]).failed(77);
    assert!(refused.stderr.contains("viewer"), "{refused:?}");
    let after = requests(&mesh);
    assert_eq!((after.0 - before.0, after.1 - before.1), (3, 3), "all over the socket");
    // Without it everything goes over the bus.
    fs::remove_file(&socket).unwrap();
    let _status = mesh.aish([name.as_str(), "status"]).good();
    let without = requests(&mesh);
    assert_eq!((without.0 - after.0, without.1 - after.1), (2, 0));
}

#[test]
fn the_socket_ends_with_the_node_and_a_stale_one_is_replaced() {
    let mesh = Mesh::up();
    let socket = mesh.path().join("node.sock");
    let node = mesh.pid("node.pid").unwrap();
    let _down = mesh.aish(["down"]);
    assert!(!socket.exists(), "removed at the end of {node:?}");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    mesh.start();
    let (_, local) = requests(&mesh);
    assert_eq!(local, 1);
}
