//! Three hosts, and what is killed on them.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use aigis_lab::{Engine, Process};
use aigis_tests::{Fleet, Mesh, docker, until};
use rustix::process::Pid;
use serde_json::Value;

use crate::{
    boundary::Boundary,
    chain::{self, WORKS},
};

/// The hosts of a stage; the first has the mesh's keys and supervises the bus.
const HOSTS: [&str; 3] = ["alpha", "beta", "gamma"];
/// A bound on every wait, far above what is granted.
const LIMIT: Duration = Duration::from_secs(300);
/// A bound on a crowd, which has to wait in line.
const CROWD: Duration = Duration::from_secs(2 * 60 * 60);
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
    /// The engine of the node that runs the step; its containers go on.
    Engine,
    /// Everything on all hosts, as when the power fails: nodes, bus, engines and what they run.
    Lab,
}

/// Whoever can be killed.
pub(crate) const BOUNDARY_VICTIMS: [Victim; 5] =
    [Victim::Coordinator, Victim::Worker, Victim::Bus, Victim::Engine, Victim::Lab];

impl Victim {
    /// Its word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::Bus => "bus",
            Self::Engine => "engine",
            Self::Lab => "lab",
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
            let engine = engine(&fleet, host);
            engine.load("busybox:latest").unwrap_or_else(|error| panic!("{error}"));
            let labelled = fleet.on("alpha").aish(["nodes", "label", host, WORKS]);
            assert_eq!(labelled.code, 0, "{labelled:?}");
        }
        chain::teach(fleet.on("alpha"));
        let id = until("the mesh takes chains", LIMIT, || Some(chain::begin(fleet.on("alpha"), None)));
        let ended = until("the chain ends", LIMIT, || chain::shown(fleet.on("alpha"), &id).filter(is_over));
        let trees = chain::trees(&ended);
        chain::is_whole(&ended, &trees);
        fleet.past_the_guard();
        Self { fleet, trees }
    }

    /// Kills the victim at that boundary, and gives how long it took until the chain went on.
    pub(crate) fn play(&self, victim: Victim, boundary: Boundary) -> Duration {
        let id = chain::begin(self.fleet.on("alpha"), None);
        let before = until(&format!("{boundary}"), LIMIT, || {
            chain::shown(self.fleet.on("alpha"), &id).filter(|chain| boundary.is_reached(chain))
        });
        let killed = Instant::now();
        let host = self.kill(victim, &before);
        let eye = self.witness(&host);
        until("the chain goes on", LIMIT, || {
            let now = chain::shown(eye, &id)?;
            (progress(&now) > progress(&before)).then_some(())
        });
        let recovered = killed.elapsed();
        let ended = until("the chain ends", LIMIT, || chain::shown(eye, &id).filter(is_over));
        chain::is_whole(&ended, &self.trees);
        self.mend(victim, &host);
        self.is_clean(&format!("label=aigis.owner=chain/{id}"));
        recovered
    }

    /// Runs so many chains at once, and gives how they ended, and how long that took.
    pub(crate) fn crowd(&self, chains: u32) -> (Vec<Value>, Duration) {
        let since = Instant::now();
        let begun = AtomicU32::new(0);
        let ids: Mutex<Vec<String>> = Mutex::default();
        // The hosts share the machine's files.
        let creds = self.fleet.on("alpha").user("crowd", "operator");
        // From every host, a few commands at a time: each is a process.
        std::thread::scope(|scope| {
            for host in HOSTS {
                let (mesh, begun, ids, creds) = (self.fleet.on(host), &begun, &ids, creds.as_str());
                scope.spawn(move || {
                    while begun.fetch_add(1, Ordering::Relaxed) < chains {
                        let id = chain::begin(mesh, Some(creds));
                        ids.lock().unwrap_or_else(PoisonError::into_inner).push(id);
                    }
                });
            }
        });
        let ids = ids.into_inner().unwrap_or_else(PoisonError::into_inner);
        let alpha = self.fleet.on("alpha");
        until("all chains end", CROWD, || {
            let listed = alpha.aish(["chains", "list", "--json"]);
            let listed: Vec<Value> = serde_json::from_str(&listed.stdout).ok()?;
            let over = |id: &&String| listed.iter().any(|chain| chain["id"] == **id && is_over(chain));
            (ids.iter().filter(over).count() == ids.len()).then_some(())
        });
        let took = since.elapsed();
        let ended = |id: &String| until("a chain is shown", LIMIT, || chain::shown(alpha, id));
        let ended: Vec<Value> = ids.iter().map(ended).collect();
        self.is_clean("name=aigis-step-");
        (ended, took)
    }

    /// What a chain leaves when nobody disturbs it.
    pub(crate) fn trees(&self) -> &Value {
        &self.trees
    }

    /// Waits until no host has such a container.
    fn is_clean(&self, filter: &str) {
        for host in HOSTS {
            let engine = engine(&self.fleet, host).host();
            until(&format!("no container with {filter} is left on {host}"), LIMIT, || {
                docker(Some(&engine), &["ps", "--all", "--quiet", "--filter", filter]).is_empty().then_some(())
            });
        }
    }

    /// Kills, and tells on which host.
    fn kill(&self, victim: Victim, chain: &Value) -> String {
        let step = chain["steps"].as_array().and_then(|steps| steps.last()).cloned().unwrap_or_default();
        let name = |value: &Value| value.as_str().unwrap_or("alpha").to_owned();
        let host = match victim {
            Victim::Coordinator => name(&chain["holder"]["node"]),
            Victim::Worker | Victim::Engine => name(&step["node"]),
            Victim::Bus | Victim::Lab => "alpha".to_owned(),
        };
        let there = self.fleet.lab().host(&host).unwrap_or_else(|error| panic!("{error}"));
        match victim {
            Victim::Coordinator | Victim::Worker => assert!(there.node().is_some_and(|node| node.kill()), "{host}"),
            Victim::Bus => drop(self.fleet.on("alpha").kill("bus/nats-server.pid")),
            Victim::Engine => {
                there.engine().kill().unwrap_or_else(|error| panic!("{error}"));
                away();
                there.engine().resume().unwrap_or_else(|error| panic!("{error}"));
            }
            Victim::Lab => self.power(),
        }
        host
    }

    /// The power fails, and is back.
    fn power(&self) {
        let engines = HOSTS.map(|host| engine(&self.fleet, host));
        let ran: Vec<Process> = engines.iter().flat_map(containers).collect();
        for (host, engine) in HOSTS.iter().zip(&engines) {
            // First: it must not see how its containers end.
            engine.kill().unwrap_or_else(|error| panic!("{error}"));
            let node = self.fleet.lab().host(host).ok().and_then(|host| host.node());
            assert!(node.is_some_and(|node| node.kill()), "{host}");
        }
        let _bus = self.fleet.on("alpha").kill("bus/nats-server.pid");
        for process in ran {
            let _ = process.kill();
        }
        away();
        for engine in &engines {
            engine.resume().unwrap_or_else(|error| panic!("{error}"));
        }
        HOSTS.iter().for_each(|host| self.fleet.on(host).start());
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
        if matches!(victim, Victim::Bus | Victim::Lab) {
            // Nobody may be called offline for half a minute after a start of the bus.
            let since = Instant::now();
            until("the bus is no longer young", LIMIT, || (since.elapsed() > Duration::from_secs(31)).then_some(()));
        }
    }
}

/// For so long what was killed stays dead.
fn away() {
    let since = Instant::now();
    until("it was away", LIMIT, || (since.elapsed() > AWAY).then_some(()));
}

fn engine(fleet: &Fleet, host: &str) -> Engine {
    fleet.lab().engine(host).unwrap_or_else(|error| panic!("{error}"))
}

/// The first processes of an engine's containers, each after the one that holds it and would tell how it ended.
fn containers(engine: &Engine) -> Vec<Process> {
    let host = engine.host();
    let running = docker(Some(&host), &["ps", "--quiet"]);
    let first = running.lines().map(|id| docker(Some(&host), &["inspect", "--format", "{{.State.Pid}}", id]));
    let pids = first.filter_map(|pid| pid.parse().ok()).flat_map(|pid: i32| [parent(pid), Some(pid)]).flatten();
    pids.filter_map(|pid| Process::open(Pid::from_raw(pid)?)).collect()
}

fn parent(pid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok();
    parent.filter(|parent| *parent > 1)
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
