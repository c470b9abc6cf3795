//! What a row is, and what it reports.

use std::time::Duration;

use crate::scene::Scene;

/// How thorough a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// As many rounds and as long waits as the row says.
    Full,
    /// Enough to see that it holds.
    Brief,
}

/// A row of the table of faults.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// Its number, such as `FLT-02`.
    pub(crate) id: &'static str,
    /// What breaks.
    pub(crate) what: &'static str,
    /// Breaks it, and panics where a promise is not kept.
    pub(crate) play: fn(&mut Scene, &mut Run),
}

/// One run of a row: how much is asked of it, and what it measured.
#[derive(Debug)]
pub(crate) struct Run {
    depth: Depth,
    figures: Vec<(&'static str, Vec<f64>)>,
}

impl Run {
    pub(crate) fn new(depth: Depth) -> Self {
        Self { depth, figures: Vec::new() }
    }

    /// One number or the other, by how thorough the run is.
    pub(crate) fn of<T>(&self, full: T, brief: T) -> T {
        if self.depth == Depth::Full { full } else { brief }
    }

    /// Notes how long something took.
    pub(crate) fn took(&mut self, what: &'static str, time: Duration) {
        let seconds = time.as_secs_f64();
        match self.figures.iter_mut().find(|(name, _)| *name == what) {
            Some((_, times)) => times.push(seconds),
            None => self.figures.push((what, vec![seconds])),
        }
    }

    /// What was measured: a time, or of several the median and the longest.
    pub(crate) fn figures(&self) -> String {
        let shown = self.figures.iter().map(|(what, times)| {
            let mut times = times.clone();
            times.sort_by(f64::total_cmp);
            let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
            match times.len() {
                1 => format!("{what} {longest:.1} s"),
                count => format!("{what} {median:.1} s, at most {longest:.1} s of {count}"),
            }
        });
        shown.collect::<Vec<_>>().join("; ")
    }
}

/// What a thread gives, or its panic.
pub(crate) fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
