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

/// What the rounds of one measurement showed, from the least to the most.
#[derive(Debug, Clone)]
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    /// Each of them times that.
    pub(crate) fn times(&self, factor: f64) -> Self {
        self.0.iter().map(|figure| figure * factor).collect()
    }

    /// The least.
    pub(crate) fn least(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    /// The middle one.
    pub(crate) fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The most.
    pub(crate) fn most(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<f64> for Figures {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }
}

/// The middle of some figures.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    figures.into_iter().collect::<Figures>().median()
}

/// Measures two things in turns, each once more than counts: the first turn warms everything up. Gives what each turn
/// showed.
pub(crate) fn turns<T, E>(rounds: usize, mut turn: impl FnMut() -> Result<T, E>) -> Result<Vec<T>, E> {
    drop(turn()?);
    (0..rounds).map(|_| turn()).collect()
}
