//! What was measured, a line each, and how much of it is as it should be.

use crate::say;

/// The figures so far.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// What all lines begin with.
    size: String,
    passed: usize,
    failed: usize,
}

impl Figures {
    /// Begins with the figures of another size.
    pub(crate) fn of(&mut self, nodes: usize, cis: usize) {
        self.size = format!("{nodes:>5} nodes {:>7} CIs", nodes * cis);
    }

    /// A figure without a goal.
    pub(crate) fn shown(&mut self, what: &str, value: f64, unit: &str) {
        say(&format!("{}  -       {what}: {} {unit}", self.size, short(value)));
    }

    /// A figure that must not be larger.
    pub(crate) fn at_most(&mut self, goal: f64, what: &str, value: f64, unit: &str) {
        let held = value <= goal;
        *(if held { &mut self.passed } else { &mut self.failed }) += 1;
        let how = if held { "passed" } else { "FAILED" };
        say(&format!("{}  {how}  {what}: {} {unit} (at most {})", self.size, short(value), short(goal)));
    }

    /// Says how many were as they should be; whether all were.
    pub(crate) fn close(&self) -> bool {
        say(&format!("{} passed, {} failed", self.passed, self.failed));
        self.failed == 0
    }
}

/// A number with as many digits as mean something.
fn short(value: f64) -> String {
    if value.fract() == 0.0 || value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}

/// The value that so many of a hundred of them do not exceed.
pub(crate) fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = values.len().saturating_sub(1) * percent / 100;
    values.get(place).copied().unwrap_or_default()
}
