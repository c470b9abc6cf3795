//! Whether a replica does well enough for the next to begin.

use std::time::Duration;

use aigis_proxy::{
    Error,
    services::deployments::{Judgement, Restart},
};
use serde_json::json;

use crate::manifest::Health;

/// How long it has to do well, without being started again.
const WELL: Duration = Duration::from_secs(10);
/// Within which time.
const WITHIN: Duration = Duration::from_secs(120);

/// What judges one replica after it was started.
#[derive(Debug)]
pub struct Gate {
    restart: Restart,
    /// From when on doing badly counts, and how long it is borne, by the container's manifest.
    limits: Option<(Duration, Duration)>,
    /// Since when it does well, as which container, started again how often.
    well: Option<(Duration, String, u64)>,
    /// Since when it does badly.
    badly: Option<Duration>,
}

/// What a gate says.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is not said yet.
    Waits,
    /// It passes.
    Passes,
    /// It does not pass.
    Fails,
}

impl Gate {
    /// A gate for a container that is started again so, and whose manifest says so how its health is looked at.
    #[must_use]
    pub fn new(restart: Restart, health: Option<&Health>) -> Self {
        let seconds = |count: u32| Duration::from_secs(count.into());
        let limits = health.map(|said| (seconds(said.start_s), seconds(said.interval_s) * said.retries));
        Self { restart, limits, well: None, badly: None }
    }

    /// Takes a judgement, so long after the gate was opened.
    pub fn see(&mut self, at: Duration, judgement: Option<&Judgement>) -> Verdict {
        let Some(judgement) = judgement else {
            (self.well, self.badly) = (None, None);
            return if at >= WITHIN { Verdict::Fails } else { Verdict::Waits };
        };
        let Judgement { id, verdict, is_running, restarts, silent, .. } = judgement;
        if !is_running && self.restart == Restart::No {
            return Verdict::Fails;
        }
        // Where a port is silent there is something to judge by, though it is too early for a word.
        let is_well = *is_running && (verdict == "healthy" || (verdict == "unknown" && silent.is_empty()));
        let goes_on = self.well.as_ref().is_some_and(|(_, was, often)| was == id && often == restarts);
        match (is_well, goes_on) {
            (false, _) => self.well = None,
            (true, false) => self.well = Some((at, id.clone(), *restarts)),
            (true, true) => {}
        }
        self.badly = if is_well || verdict == "starting" { None } else { self.badly.or(Some(at)) };
        match &self.well {
            Some((since, ..)) if at.saturating_sub(*since) >= WELL => Verdict::Passes,
            _ if at >= WITHIN || self.gives_up(at, judgement) => Verdict::Fails,
            _ => Verdict::Waits,
        }
    }

    /// Whether its own manifest calls it not well: it did badly for as long as so many looks take.
    fn gives_up(&self, at: Duration, judgement: &Judgement) -> bool {
        let Some((start, borne)) = self.limits else { return false };
        // The engine has counted the failures of its own check.
        let is_counted = judgement.is_running && judgement.verdict == "unhealthy";
        is_counted || self.badly.is_some_and(|since| at >= since.max(start) + borne)
    }
}

/// What is told of a replica that did not pass.
pub(super) fn failure(what: &str, judgement: Option<&Judgement>) -> Error {
    let Some(judgement) = judgement else {
        return Error::precondition(format!("{what} did not pass: nothing could be learned of it"))
            .hint("see: aish nodes");
    };
    let Judgement { verdict, checks, is_running, restarts, lines, silent, .. } = judgement;
    let state = if *is_running { "runs" } else { "does not run" };
    let mut message = format!("{what} did not pass: it {state}, was started again {restarts} times, and is {verdict}");
    if *is_running && !silent.is_empty() {
        let ports: Vec<String> = silent.iter().map(u16::to_string).collect();
        message = format!("{message}; nothing listens on {}", ports.join(", "));
    }
    Error::precondition(message)
        .hint("its last lines stand above; mend it, and deploy again")
        .with("verdict", verdict.as_str())
        .with("checks", checks.clone())
        .with("restarts", *restarts)
        .with("lines", json!(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(verdict: &str, id: &str, restarts: u64) -> Judgement {
        Judgement {
            id: id.to_owned(),
            verdict: verdict.to_owned(),
            checks: json!([]),
            is_running: verdict != "stopped",
            restarts,
            lines: vec!["last words".to_owned()],
            silent: Vec::new(),
        }
    }

    fn passes(restart: Restart, seen: &[(u64, Judgement)]) -> (Verdict, u64) {
        ends(Gate::new(restart, None), seen)
    }

    /// What a gate says in the end, asked once a second, of what it sees from each of these seconds on; and when.
    fn ends(mut gate: Gate, seen: &[(u64, Judgement)]) -> (Verdict, u64) {
        for second in 0..=200 {
            let judgement = seen.iter().rev().find(|(from, _)| *from <= second).map(|(_, judgement)| judgement);
            match gate.see(Duration::from_secs(second), judgement) {
                Verdict::Waits => {}
                said => return (said, second),
            }
        }
        panic!("it says nothing");
    }

    #[test]
    fn pkg_63_a_gate_is_ten_seconds_well_without_a_restart_within_two_minutes() {
        let well = || judged("healthy", "a", 0);
        let policy = Restart::OnFailure;
        assert_eq!(passes(policy, &[(0, well())]), (Verdict::Passes, 10));
        assert_eq!(passes(policy, &[(0, judged("unknown", "a", 0))]), (Verdict::Passes, 10));
        assert_eq!(passes(policy, &[(0, judged("starting", "a", 0)), (30, well())]), (Verdict::Passes, 40));
        assert_eq!(passes(policy, &[(0, well()), (5, judged("healthy", "a", 1))]), (Verdict::Passes, 15), "restarted");
        assert_eq!(
            passes(policy, &[(0, well()), (5, judged("healthy", "b", 0))]),
            (Verdict::Passes, 15),
            "another one"
        );
        assert_eq!(passes(policy, &[(0, well()), (9, judged("unhealthy", "a", 0))]), (Verdict::Fails, 120));
        assert_eq!(passes(policy, &[(115, well())]), (Verdict::Fails, 120), "too late");
        assert_eq!(passes(policy, &[]), (Verdict::Fails, 120), "nobody can say");
        assert_eq!(passes(Restart::No, &[(3, judged("stopped", "a", 0))]), (Verdict::Fails, 3), "it never comes back");
    }

    #[test]
    fn pkg_63_what_does_not_listen_does_not_pass_before_there_is_a_word_for_it() {
        let silent = |verdict| Judgement { silent: vec![8080], ..judged(verdict, "a", 0) };
        let policy = Restart::OnFailure;
        let never = [(0, silent("unknown")), (30, silent("degraded"))];
        assert_eq!(passes(policy, &never), (Verdict::Fails, 120));
        assert_eq!(passes(policy, &[(0, silent("unknown")), (50, judged("healthy", "a", 0))]), (Verdict::Passes, 60));
        let error = failure("api on beta", Some(&silent("unknown")));
        assert!(error.message.contains("nothing listens on 8080"), "{}", error.message);
    }

    #[test]
    fn pkg_63_what_its_own_manifest_calls_not_well_is_not_waited_for() {
        let health = Health { start_s: 5, interval_s: 2, retries: 3, ..Health::http("/".to_owned()) };
        let ends = |seen: &[_]| ends(Gate::new(Restart::OnFailure, Some(&health)), seen);
        let (well, bad) = (|| judged("healthy", "a", 0), || judged("degraded", "a", 0));
        assert_eq!(ends(&[(0, bad())]), (Verdict::Fails, 11), "three looks after the start");
        assert_eq!(ends(&[(0, bad()), (10, well())]), (Verdict::Passes, 20), "just in time");
        assert_eq!(ends(&[(0, well()), (7, bad())]), (Verdict::Fails, 13));
        assert_eq!(ends(&[(0, well()), (7, bad()), (12, well())]), (Verdict::Passes, 22), "a moment is borne");
        let starting = || judged("starting", "a", 0);
        assert_eq!(ends(&[(0, starting()), (60, well())]), (Verdict::Passes, 70), "the engine counts its own check");
        assert_eq!(ends(&[(0, starting()), (40, judged("unhealthy", "a", 0))]), (Verdict::Fails, 40));
        assert_eq!(ends(&[]), (Verdict::Fails, 120), "who does not answer says nothing of it");
    }

    #[test]
    fn pkg_63_a_failure_tells_verdict_checks_and_lines() {
        let error = failure("api on beta", Some(&judged("unhealthy", "a", 2)));
        assert!(error.message.contains("unhealthy") && error.message.contains("2 times"), "{}", error.message);
        assert_eq!(error.detail("lines"), Some(&json!(["last words"])));
        assert_eq!(error.detail("checks"), Some(&json!([])));
    }
}
