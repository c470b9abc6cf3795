//! What the tests of several hosts have in common.

use std::time::Duration;

use aigis_tests::{Container, Events, Fleet, Mesh, nonce, until};
use serde_json::Value;

pub(crate) const BUSYBOX: &str = "aigis-test/busybox";
/// Three times what the mesh promises, for a machine that does much else.
pub(crate) const SHOWN: Duration = Duration::from_secs(60);

/// A container that sleeps.
pub(crate) fn idle(fleet: &Fleet, host: &str, name: &str, options: &[&str]) -> Container {
    fleet.container(host, name, options, BUSYBOX, &["sleep", "100000"])
}

/// A credential for a test's own operator. The hosts share the machine's files, so it is good on all of them.
pub(crate) fn operator(fleet: &Fleet) -> String {
    fleet.on("alpha").user(&format!("op-{}", nonce()), "operator")
}

/// A program that tests wrap.
pub(crate) fn script(name: &str) -> String {
    format!("{}/mesh/wrap/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What happens on a host's engine from now on.
pub(crate) fn events(fleet: &Fleet, host: &str) -> Events {
    Events::follow_on(Some(&fleet.lab().engine(host).unwrap().host()))
}

/// Waits until a host lists a CI of that name on that node as live.
pub(crate) fn live(seen_by: &Mesh, name: &str, node: &str) -> Value {
    until(&format!("{name}@{node} is live"), SHOWN, || row(seen_by, name, node).filter(|row| row["state"] == "live"))
}

/// The row of a CI, if it is listed.
pub(crate) fn row(seen_by: &Mesh, name: &str, node: &str) -> Option<Value> {
    seen_by.rows(&["--node", node]).into_iter().find(|row| row["name"] == name)
}

/// A line of JSON.
pub(crate) fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}
