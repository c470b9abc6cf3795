//! A mesh over three hosts: everything is seen and reached from everywhere.

use std::time::Duration;

use aigis_tests::{Fleet, Mesh, nonce, until};
use serde_json::Value;

use crate::crew::{BUSYBOX, events, idle, live};

#[test]
fn three_hosts_two_containers_each() {
    let fleet = Fleet::shared();
    let mark = nonce();
    let mut containers = Vec::new();
    for (host, _) in fleet.nodes() {
        for which in ["one", "two"] {
            let name = format!("{which}-{host}-{mark}");
            containers.push(fleet.container(host, &name, &[], BUSYBOX, &["sleep", "1000"]));
        }
    }
    assert_eq!(containers.len(), 6);
    for (host, node) in fleet.nodes() {
        let shown = until(&format!("{host} shows all"), Duration::from_secs(60), || {
            let live: Vec<_> = node.rows(&[]).into_iter().filter(|row| row["state"] == "live").collect();
            let named = |row: &serde_json::Value| containers.iter().any(|container| row["name"] == container.name);
            (live.iter().filter(|row| named(row)).count() == 6).then_some(live)
        });
        let nodes: Vec<_> = shown.iter().filter(|row| row["kind"] == "node").map(|row| row["name"].clone()).collect();
        assert_eq!(nodes, ["alpha", "beta", "gamma"], "on {host}");
        for container in &containers {
            let status = node.aish([&container.name, "status", "--json"]).good().json();
            assert_eq!(status["container_id"], container.id.as_str(), "from {host}: {status}");
            assert_eq!(status["state"], "running", "from {host}: {status}");
        }
    }
}

#[test]
fn a_joined_host_reads_the_mesh_with_its_nodes_credential_and_changes_nothing() {
    let fleet = Fleet::shared();
    let (alpha, beta) = (fleet.on("alpha"), fleet.on("beta"));
    let name = format!("x-{}", nonce());
    let container = idle(&fleet, "alpha", &name, &[]);
    let _row = live(beta, &name, "alpha");
    for command in [&["nodes"][..], &["list"], &["users", "list"], &["doctor"], &["describe", &name]] {
        assert_eq!(beta.aish(command).code, 0, "{command:?}");
    }
    let named = |mesh: &Mesh| -> Vec<(Value, Value)> {
        let nodes = mesh.aish(["nodes", "--json"]).good().json();
        nodes.as_array().unwrap().iter().map(|node| (node["name"].clone(), node["state"].clone())).collect()
    };
    assert_eq!(named(beta), named(alpha));
    let mut happens = events(&fleet, "alpha");
    let _denied = beta.aish([name.as_str(), "restart", "--yes"]).failed(77);
    let _denied = beta.aish(["tokens", "create", "--role", "node"]).failed(77);
    let _denied = beta.aish(["nodes", "cordon", "alpha"]).failed(77);
    assert_eq!(happens.of(&container), [""; 0]);
}
