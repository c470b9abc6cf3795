//! A watch that runs through a fault, and what it has told.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aigis_tests::{Mesh, Running};
use rustix::process::Signal;
use serde_json::Value;

/// How long a watch may take until it has shown what is there.
const SYNCED: Duration = Duration::from_secs(20);

/// A running `aish list --watch --json`.
pub(super) struct Watch {
    stream: Running,
    rows: BTreeMap<(String, String), String>,
    /// The rows that were ever shown as offline or gone.
    dead: Vec<String>,
    /// The rows that were ever shown as unknown.
    unknown: Vec<String>,
    is_cut_off: bool,
}

impl Watch {
    pub(super) fn on(node: &Mesh) -> Self {
        let stream = node.running(["list", "--watch", "--json"]);
        let (rows, dead, unknown) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut watch = Self { stream, rows, dead, unknown, is_cut_off: false };
        let deadline = Instant::now() + SYNCED;
        while watch.next(deadline).unwrap_or_else(|| panic!("not synced within {SYNCED:?}"))["type"] != "synced" {}
        watch
    }

    /// Takes the next line, if one comes before the deadline.
    fn next(&mut self, deadline: Instant) -> Option<Value> {
        let Some(line) = self.stream.next(deadline.saturating_duration_since(Instant::now())) else {
            assert!(Instant::now() >= deadline, "the watch ended: {:#?}", self.stream.seen());
            return None;
        };
        let told: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match told["type"].as_str() {
            Some("row") => {
                let row = &told["row"];
                let state = word(&row["state"]);
                match state.as_str() {
                    "offline" | "gone" => self.dead.push(line.clone()),
                    "unknown" => self.unknown.push(line.clone()),
                    _ => {}
                }
                self.rows.insert((word(&row["name"]), word(&row["node"])), state);
            }
            Some("removed") => _ = self.rows.remove(&(word(&told["name"]), word(&told["node"]))),
            Some("bus") => self.is_cut_off = told["state"] == "lost",
            _ => {}
        }
        Some(told)
    }

    /// Takes all lines that come until then.
    pub(super) fn follow(&mut self, until: Instant) {
        while self.next(until).is_some() {}
    }

    /// Reads on until what it shows is so.
    fn until(&mut self, what: &str, since: Instant, within: Duration, is_so: impl Fn(&Self) -> bool) -> Duration {
        while !is_so(self) {
            let told = self.next(since + within);
            assert!(told.is_some(), "{what}: not within {within:?}: {:#?}", self.rows);
        }
        since.elapsed()
    }

    /// Reads on until every row is in that state, and tells how long it took since `since`.
    pub(super) fn until_all(&mut self, state: &str, since: Instant, within: Duration) -> Duration {
        let all = |watch: &Self| !watch.rows.is_empty() && watch.rows.values().all(|seen| seen == state);
        self.until(&format!("all is {state}"), since, within, all)
    }

    /// Reads on until that CI is live and all others are.
    pub(super) fn until_news(&mut self, name: &str, since: Instant, within: Duration) -> Duration {
        self.until(&format!("{name} and all else is live"), since, within, |watch| {
            let is_there = watch.rows.keys().any(|(shown, _)| shown == name);
            is_there && watch.rows.values().all(|seen| seen == "live")
        })
    }

    /// Reads on until it says that the bus is lost.
    pub(super) fn until_cut_off(&mut self, since: Instant, within: Duration) -> Duration {
        self.until("the watch knows that it is cut off", since, within, |watch| watch.is_cut_off)
    }

    /// Asserts that nobody was called dead.
    pub(super) fn called_nobody_dead(&self) {
        assert!(self.dead.is_empty(), "called dead: {:#?}", self.dead);
    }

    /// Asserts that nobody was even doubted.
    pub(super) fn doubted_nobody(&self) {
        self.called_nobody_dead();
        assert!(self.unknown.is_empty(), "doubted: {:#?}", self.unknown);
    }

    /// Stops it where it stands, or lets it go on.
    pub(super) fn signal(&self, signal: Signal) {
        self.stream.signal(signal);
    }
}
