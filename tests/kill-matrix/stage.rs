//! Three hosts, and what is killed on them.

use std::{
    fmt,
    time::{Duration, Instant},
};

use aigis_tests::{Fleet, Mesh, until};
use serde_json::Value;

use crate::{
    boundary::Boundary,
    chain::{self, WORKS},
};

const HOSTS: [&str; 3] = ["alpha", "beta", "gamma"];
/// A bound on every wait, far above what is granted.
const LIMIT: Duration = Duration::from_secs(300);
/// How long an engine stays dead.
const AWAY: Duration = Duration::from_secs(3);

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    /// The node whose coordinator holds the chain.
    Coordinator,
    /// The node that runs the step.
    Worker,
    /// The bus server.
    Bus,
    /// The engine of the node that runs the step.
    Engine,
}

impl Victim {
    pub(crate) const ALL: [Self; 4] = [Self::Coordinator, Self::Worker, Self::Bus, Self::Engine];

    /// Its word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::Bus => "bus",
            Self::Engine => "engine",
        }
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The mesh, and what a chain leaves when nobody disturbs it.
pub(crate) struct Stage {
    fleet: Fleet,
    trees: Value,
}

impl Stage {
    pub(crate) fn up() -> Self {
        let fleet = Fleet::up(&HOSTS);
        for host in HOSTS {
            let engine = fleet.lab().engine(host).unwrap_or_else(|error| panic!("{error}"));
            engine.load("busybox:latest").unwrap_or_else(|error| panic!("{error}"));
            let labelled = fleet.on("alpha").aish(["nodes", "label", host, WORKS]);
            assert_eq!(labelled.code, 0, "{labelled:?}");
        }
        chain::teach(fleet.on("alpha"));
        let id = until("the mesh takes chains", LIMIT, || Some(chain::begin(fleet.on("alpha"))));
        let ended = until("the chain ends", LIMIT, || chain::shown(fleet.on("alpha"), &id).filter(is_over));
        let trees = chain::trees(&ended);
        chain::is_whole(&ended, &trees);
        fleet.past_the_guard();
        Self { fleet, trees }
    }

    /// Kills the victim at that boundary, and gives how long it took until the chain went on.
    pub(crate) fn play(&self, victim: Victim, boundary: Boundary) -> Duration {
        let id = chain::begin(self.fleet.on("alpha"));
        let before = until(&format!("{boundary}"), LIMIT, || {
            chain::shown(self.fleet.on("alpha"), &id).filter(|chain| boundary.is_reached(chain))
        });
        let host = self.kill(victim, &before);
        let killed = Instant::now();
        let eye = self.witness(&host);
        until("the chain goes on", LIMIT, || {
            let now = chain::shown(eye, &id)?;
            (progress(&now) > progress(&before)).then_some(())
        });
        let recovered = killed.elapsed();
        let ended = until("the chain ends", LIMIT, || chain::shown(eye, &id).filter(is_over));
        chain::is_whole(&ended, &self.trees);
        self.mend(victim, &host);
        recovered
    }

    /// Kills, and tells on which host.
    fn kill(&self, victim: Victim, chain: &Value) -> String {
        let step = chain["steps"].as_array().and_then(|steps| steps.last()).cloned().unwrap_or_default();
        let name = |value: &Value| value.as_str().unwrap_or("alpha").to_owned();
        let host = match victim {
            Victim::Coordinator => name(&chain["holder"]["node"]),
            Victim::Worker | Victim::Engine => name(&step["node"]),
            Victim::Bus => "alpha".to_owned(),
        };
        let there = self.fleet.lab().host(&host).unwrap_or_else(|error| panic!("{error}"));
        match victim {
            Victim::Coordinator | Victim::Worker => assert!(there.node().is_some_and(|node| node.kill()), "{host}"),
            Victim::Bus => drop(self.fleet.on("alpha").kill("bus/nats-server.pid")),
            Victim::Engine => {
                there.engine().kill().unwrap_or_else(|error| panic!("{error}"));
                let since = Instant::now();
                until("the engine was away", LIMIT, || (since.elapsed() > AWAY).then_some(()));
                there.engine().resume().unwrap_or_else(|error| panic!("{error}"));
            }
        }
        host
    }

    /// A host that lives.
    fn witness(&self, dead: &str) -> &Mesh {
        self.fleet.on(if dead == "alpha" { "beta" } else { "alpha" })
    }

    /// Starts what was killed, and waits until the mesh is as it was.
    fn mend(&self, victim: Victim, host: &str) {
        if matches!(victim, Victim::Coordinator | Victim::Worker) {
            self.fleet.on(host).start();
        }
        for (name, node) in self.fleet.nodes() {
            until(&format!("{name} sees all nodes live"), LIMIT, || {
                let rows = node.rows(&["--kind", "node"]);
                (rows.len() == HOSTS.len() && rows.iter().all(|row| row["state"] == "live")).then_some(())
            });
        }
        if victim == Victim::Bus {
            // Nobody may be called offline for half a minute after a start of the bus.
            let since = Instant::now();
            until("the bus is no longer young", LIMIT, || (since.elapsed() > Duration::from_secs(31)).then_some(()));
        }
    }
}

fn is_over(chain: &Value) -> bool {
    matches!(chain["status"].as_str(), Some("done" | "failed" | "cancelled"))
}

/// How far a chain is: its commits, and the attempts at its steps.
fn progress(chain: &Value) -> (u64, u64, bool) {
    let steps = chain["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let attempts = steps.iter().filter_map(|step| step["attempt"].as_u64()).sum();
    (chain["step"].as_u64().unwrap_or_default(), attempts, is_over(chain))
}
