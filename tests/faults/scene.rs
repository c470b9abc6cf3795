//! The mesh that is broken: three hosts, two containers each, and what must be true of it before and after each row.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus, bus,
    identity::{CaCertificate, Credential},
};
use aigis_tests::{Container, Fleet, Mesh, inside, until};
use serde_json::Value;

pub(crate) const BUSYBOX: &str = "aigis-test/busybox";
pub(crate) const HOSTS: [&str; 3] = ["alpha", "beta", "gamma"];
/// How long after a start of the bus nobody is called offline.
const YOUNG: Duration = Duration::from_secs(31);

/// The mesh, and its containers `one-HOST` and `two-HOST`.
pub(crate) struct Scene {
    pub(crate) containers: Vec<Container>,
    pub(crate) fleet: Fleet,
    /// Whether its bus has three servers, one on each host.
    pub(crate) clustered: bool,
    bus_since: Instant,
}

impl Scene {
    pub(crate) fn up() -> Self {
        Self::over(Fleet::up(&HOSTS), false)
    }

    /// The same mesh over a bus of three servers.
    pub(crate) fn clustered() -> Self {
        Self::over(Fleet::clustered(HOSTS), true)
    }

    fn over(fleet: Fleet, clustered: bool) -> Self {
        let bus_since = Instant::now();
        let mut containers = Vec::new();
        for host in HOSTS {
            for which in ["one", "two"] {
                let name = format!("{which}-{host}");
                containers.push(fleet.container(host, &name, &[], BUSYBOX, &["sleep", "100000"]));
            }
        }
        Self { containers, fleet, clustered, bus_since }
    }

    /// A host's node.
    pub(crate) fn on(&self, host: &str) -> &Mesh {
        self.fleet.on(host)
    }

    /// That container.
    pub(crate) fn container(&self, name: &str) -> &Container {
        let found = self.containers.iter().find(|container| container.name == name);
        found.unwrap_or_else(|| panic!("no container {name}"))
    }

    /// Removes that container and runs another of its name, as a deployment does.
    pub(crate) fn replace(&mut self, name: &str) {
        let found = self.containers.iter().position(|container| container.name == name);
        drop(self.containers.swap_remove(found.unwrap_or_else(|| panic!("no container {name}"))));
        let host = name.rsplit('-').next().unwrap_or_default();
        self.containers.push(self.fleet.container(host, name, &[], BUSYBOX, &["sleep", "100000"]));
    }

    /// Does something over a connection of its own, as the user of that credential, from alpha's network.
    pub(crate) fn over_the_bus<T: Send>(&self, credential: &str, work: impl AsyncFnOnce(Bus) -> T + Send) -> T {
        let alpha = self.on("alpha");
        let credential = Credential::read(credential.as_ref(), None).unwrap_or_else(|error| panic!("{error}"));
        let ca = CaCertificate::read(&alpha.path().join("ca.pem")).unwrap_or_else(|error| panic!("{error}"));
        let (url, label) = (alpha.bus(), format!("faults {}", credential.name()));
        let options = bus::Options { url, ca: Some(ca), credential: Arc::new(credential), label };
        let host = self.fleet.lab().host("alpha").unwrap_or_else(|error| panic!("{error}"));
        inside(host.namespace(), || {
            // On the one thread that is in that network: also what connects again later.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime
                .unwrap_or_else(|error| panic!("{error}"))
                .block_on(async { work(Bus::connect(options).await.unwrap_or_else(|error| panic!("{error}"))).await })
        })
    }

    /// Notes that the bus server has just started.
    pub(crate) fn bus_started(&mut self) {
        self.bus_since = Instant::now();
    }

    /// Waits until the bus is old enough for anyone to be called offline, and all is live.
    pub(crate) fn settle(&mut self) {
        self.is_whole();
        let since = self.bus_since;
        until("the bus is old enough", 2 * YOUNG, || (since.elapsed() >= YOUNG).then_some(()));
    }

    /// Asserts that every host lists all containers and nodes once, live, as the engines have them.
    pub(crate) fn is_whole(&self) {
        for (host, node) in self.fleet.nodes() {
            until(&format!("{host} lists all as live"), Duration::from_secs(30), || self.is_right(node).then_some(()));
        }
    }

    /// Whether that host's list is right.
    pub(crate) fn is_right(&self, node: &Mesh) -> bool {
        let rows = node.rows(&[]);
        let ids = rows.iter().filter_map(|row| row["container"]["id"].as_str());
        let mut listed: Vec<&str> = ids.collect();
        let mut there: Vec<&str> = self.containers.iter().map(|container| container.id.as_str()).collect();
        listed.sort_unstable();
        there.sort_unstable();
        listed == there && rows.len() == there.len() + HOSTS.len() && rows.iter().all(|row| row["state"] == "live")
    }

    /// The states in which a host sees the CIs of another, its node among them; none while it sees nothing.
    pub(crate) fn states(&self, seen_by: &str, of: &str) -> Vec<String> {
        let rows = self.on(seen_by).rows(&[]);
        let of = rows.iter().filter(|row| row["node"] == of);
        of.filter_map(|row| row["state"].as_str().map(str::to_owned)).collect()
    }

    /// Waits until all CIs of a host are seen in that state, and tells how long it took since `since`.
    pub(crate) fn until_all(&self, seen_by: &str, of: &str, state: &str, since: Instant, within: Duration) -> Duration {
        let left = within.saturating_sub(since.elapsed());
        until(&format!("{of} is {state} on {seen_by}"), left, || {
            let states = self.states(seen_by, of);
            (!states.is_empty() && states.iter().all(|seen| seen == state)).then_some(())
        });
        since.elapsed()
    }

    /// The rows that a host calls offline, or gone though they are there.
    pub(crate) fn dead(&self, seen_by: &str) -> Vec<Value> {
        let mut dead = self.on(seen_by).rows(&["--state", "offline", "--state", "gone"]);
        dead.retain(|row| {
            row["state"] == "offline" || self.containers.iter().any(|it| row["name"] == it.name.as_str())
        });
        dead
    }
}
