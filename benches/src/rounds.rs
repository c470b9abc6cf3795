//! Measuring in turns, and what the rounds say together.

use std::time::Duration;

/// What one round of calls showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// The median time of a call.
    pub(crate) p50: Duration,
    /// Calls in a second.
    pub(crate) rate: f64,
}

impl Round {
    /// Sums up a round from the times of its calls.
    pub(crate) fn of(mut times: Vec<Duration>, whole: Duration) -> Self {
        let rate = rate(times.len(), whole);
        times.sort_unstable();
        Self { p50: times.get(times.len() / 2).copied().unwrap_or_default(), rate }
    }
}

/// How many a second.
#[expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^52")]
pub(crate) fn rate(count: usize, whole: Duration) -> f64 {
    count as f64 / whole.as_secs_f64()
}

/// The middle of some figures.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The middle of some times.
pub(crate) fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
