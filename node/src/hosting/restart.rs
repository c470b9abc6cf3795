//! Whether a program that ended is started again, and when: a count, a back-off, and a verdict on those that do nothing but
//! end.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use aigis_proxy::subject::Token;

use crate::plugins::manifest::{Restart, RestartOn};

/// The first back-off, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How much of a back-off is left to chance.
const JITTER: f64 = 0.2;
/// A run of this length gives the whole budget back.
const SETTLED: Duration = Duration::from_secs(10 * 60);
/// A run that is shorter is no success.
const SHORT: Duration = Duration::from_secs(60);
/// So many short runs within that time are a crash loop, which is looked at again after the last figure.
const LOOP: (usize, Duration, Duration) = (5, Duration::from_secs(10 * 60), Duration::from_secs(5 * 60));

/// What follows an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is started again.
    Again(Duration),
    /// It ends again and again, and is started once more after a long while.
    Looping(Duration),
    /// Nothing: it did what it was for.
    Done,
    /// Nothing: it failed, and has been started as often as it may.
    Failed,
}

/// The runs of one program.
#[derive(Debug)]
pub(crate) struct Restarts {
    limit: Restart,
    on: RestartOn,
    used: u32,
    back_off: Duration,
    short: VecDeque<Instant>,
}

impl Restarts {
    /// Those of a program that was never run.
    #[must_use]
    pub(crate) fn new(limit: Restart, on: RestartOn) -> Self {
        Self { limit, on, used: 0, back_off: BACK_OFF.0, short: VecDeque::new() }
    }

    /// Judges the end of a run that nobody asked for.
    pub(crate) fn ended(&mut self, ran: Duration, is_success: bool, now: Instant) -> Next {
        if ran >= SETTLED {
            (self.used, self.back_off) = (0, BACK_OFF.0);
        }
        let (most, within, pause) = LOOP;
        self.short.retain(|end| now.saturating_duration_since(*end) < within);
        if ran < SHORT {
            self.short.push_back(now);
        }
        let is_spent = match self.limit {
            Restart::Times(times) => self.used >= times,
            Restart::Always => false,
        };
        if is_spent || (is_success && self.on == RestartOn::Failure) {
            return if is_success { Next::Done } else { Next::Failed };
        }
        self.used = self.used.saturating_add(1);
        if self.short.len() >= most {
            return Next::Looping(pause);
        }
        let pause = self.back_off;
        self.back_off = (pause * 2).min(BACK_OFF.1);
        Next::Again(pause.mul_f64(1.0 - JITTER * chance()))
    }
}

/// A number from 0 to 1 by chance.
fn chance() -> f64 {
    let sum =
        Token::random().as_str().bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    f64::from(sum) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(10);

    fn runs(limit: Restart, on: RestartOn, is_success: bool) -> (usize, Next) {
        let (mut restarts, start) = (Restarts::new(limit, on), Instant::now());
        for run in 1..100_u32 {
            // Far enough apart that no loop is seen.
            let now = start + LOOP.1 * run;
            match restarts.ended(MOMENT, is_success, now) {
                Next::Again(_) => {}
                next => return (run as usize, next),
            }
        }
        (100, Next::Again(MOMENT))
    }

    #[test]
    fn plg_56_so_many_runs_as_were_asked_for() {
        assert_eq!(runs(Restart::Times(2), RestartOn::Exit, true), (3, Next::Done));
        assert_eq!(runs(Restart::Times(0), RestartOn::Exit, true), (1, Next::Done));
        assert_eq!(runs(Restart::Times(1), RestartOn::Exit, false), (2, Next::Failed));
        assert_eq!(runs(Restart::Always, RestartOn::Failure, true), (1, Next::Done));
        assert_eq!(runs(Restart::Always, RestartOn::Failure, false).0, 100);
    }

    #[test]
    fn plg_57_what_ends_at_once_again_and_again_is_a_crash_loop() {
        let (mut restarts, mut now, mut waits) =
            (Restarts::new(Restart::Always, RestartOn::Exit), Instant::now(), vec![]);
        let pause = loop {
            now += MOMENT;
            match restarts.ended(MOMENT, false, now) {
                Next::Again(wait) => waits.push(wait),
                Next::Looping(wait) => break wait,
                next => panic!("{next:?}"),
            }
            now += waits[waits.len() - 1];
            assert!(waits.len() < 7);
        };
        assert_eq!((waits.len(), pause), (4, Duration::from_secs(300)));
        for (wait, most) in waits.iter().zip([1.0, 2.0, 4.0, 8.0]) {
            assert!((most * 0.79..=most).contains(&wait.as_secs_f64()), "{waits:?}");
        }
        // It goes on doing so.
        assert_eq!(restarts.ended(MOMENT, false, now + pause), Next::Looping(pause));
    }

    #[test]
    fn a_long_run_gives_the_budget_back() {
        let (mut restarts, now) = (Restarts::new(Restart::Times(1), RestartOn::Exit), Instant::now());
        assert!(matches!(restarts.ended(MOMENT, false, now), Next::Again(_)));
        assert!(matches!(restarts.ended(SETTLED, false, now + SETTLED), Next::Again(wait) if wait <= BACK_OFF.0));
        assert_eq!(restarts.ended(MOMENT, false, now + SETTLED), Next::Failed);
    }
}
