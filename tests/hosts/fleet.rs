//! A mesh over three hosts: everything is seen and reached from everywhere.

use std::time::Duration;

use aigis_tests::{Fleet, nonce, until};

const BUSYBOX: &str = "aigis-test/busybox";

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
        let shown = until(&format!("{host} shows all"), Duration::from_secs(15), || {
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
fn a_cut_host_is_noticed_and_comes_back() {
    let fleet = Fleet::alone();
    let state = || {
        let rows = fleet.on("alpha").rows(&[]);
        rows.into_iter().find(|row| row["name"] == "beta" && row["kind"] == "node").map(|row| row["state"].clone())
    };
    until("beta is live", Duration::from_secs(15), || state().filter(|state| state == "live"));
    fleet.lab().cut("beta").unwrap();
    until("beta is offline", Duration::from_secs(17), || state().filter(|state| state == "offline"));
    fleet.lab().heal("beta").unwrap();
    until("beta is live again", Duration::from_secs(15), || state().filter(|state| state == "live"));
}
