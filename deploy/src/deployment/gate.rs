//! Whether a replica does well enough for the next to begin.

use std::time::Duration;

use aigis_proxy::{
    Error,
    services::deployments::{Judgement, Restart},
};
use serde_json::json;

/// How long it has to do well, without being started again.
const WELL: Duration = Duration::from_secs(10);
/// Within which time.
const WITHIN: Duration = Duration::from_secs(120);

/// What judges one replica after it was started.
#[derive(Debug)]
pub struct Gate {
    restart: Restart,
    /// Since when it does well, as which container, started again how often.
    well: Option<(Duration, String, u64)>,
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
    /// A gate for a container that is started again so.
    #[must_use]
    pub fn new(restart: Restart) -> Self {
        Self { restart, well: None }
    }

    /// Takes a judgement, so long after the gate was opened.
    pub fn see(&mut self, at: Duration, judgement: Option<&Judgement>) -> Verdict {
        if let Some(Judgement { id, verdict, is_running, restarts, .. }) = judgement {
            if !is_running && self.restart == Restart::No {
                return Verdict::Fails;
            }
            let is_well = *is_running && matches!(verdict.as_str(), "healthy" | "unknown");
            let goes_on = self.well.as_ref().is_some_and(|(_, was, often)| was == id && often == restarts);
            match (is_well, goes_on) {
                (false, _) => self.well = None,
                (true, false) => self.well = Some((at, id.clone(), *restarts)),
                (true, true) => {}
            }
        }
        if judgement.is_none() {
            self.well = None;
        }
        match &self.well {
            Some((since, ..)) if at.saturating_sub(*since) >= WELL => Verdict::Passes,
            _ if at >= WITHIN => Verdict::Fails,
            _ => Verdict::Waits,
        }
    }
}

/// What is told of a replica that did not pass.
pub(super) fn failure(what: &str, judgement: Option<&Judgement>) -> Error {
    let Some(judgement) = judgement else {
        return Error::precondition(format!("{what} did not pass: nothing could be learned of it"))
            .hint("see: aish nodes");
    };
    let Judgement { verdict, checks, is_running, restarts, lines, .. } = judgement;
    let state = if *is_running { "runs" } else { "does not run" };
    let message = format!("{what} did not pass: it {state}, was started again {restarts} times, and is {verdict}");
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
        }
    }

    /// What a gate says in the end, asked once a second, of what it sees from each of these seconds on; and when.
    fn passes(restart: Restart, seen: &[(u64, Judgement)]) -> (Verdict, u64) {
        let mut gate = Gate::new(restart);
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
    fn pkg_63_a_failure_tells_verdict_checks_and_lines() {
        let error = failure("api on beta", Some(&judged("unhealthy", "a", 2)));
        assert!(error.message.contains("unhealthy") && error.message.contains("2 times"), "{}", error.message);
        assert_eq!(error.detail("lines"), Some(&json!(["last words"])));
        assert_eq!(error.detail("checks"), Some(&json!([])));
    }
}
