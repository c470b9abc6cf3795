//! Rates out of two samples, kept within what is possible.

use std::time::Duration;

use tokio::time::Instant;

use super::files::{self, Counters};
use crate::host::cgroup::Place;

/// What only grows, and when it was read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    pub(super) moment: Instant,
    pub(super) counters: Counters,
}

impl Sample {
    /// Reads the files now.
    pub(super) fn take(place: &Place) -> Option<Self> {
        let counters = files::counters(place)?;
        Some(Self { moment: Instant::now(), counters })
    }
}

/// The newest sample that is at least `apart` older than `moment`, and not from long ago.
pub(super) fn before<'a>(
    samples: impl DoubleEndedIterator<Item = &'a Sample>,
    moment: Instant,
    apart: Duration,
) -> Option<&'a Sample> {
    let old = |sample: &&Sample| moment.saturating_duration_since(sample.moment) >= apart;
    samples.rev().find(old).filter(|sample| moment.saturating_duration_since(sample.moment) <= apart * 10)
}

/// CPU use in percent of one CPU; never over 100 for each CPU of the host.
pub(super) fn cpu_percent(before: &Sample, now: &Sample, online: Option<u32>) -> Option<f64> {
    let used = now.counters.cpu_nanos?.checked_sub(before.counters.cpu_nanos?)?;
    let passed = now.moment.checked_duration_since(before.moment)?.as_nanos();
    if passed == 0 {
        return None;
    }
    let percent = used as f64 * 100.0 / passed as f64;
    percent.is_finite().then(|| percent.clamp(0.0, 100.0 * f64::from(online.unwrap_or(u32::MAX))))
}

/// Which part of the periods ended with the container held back; `None` without a limit.
pub(super) fn throttled_percent(before: &Sample, now: &Sample) -> Option<f64> {
    let periods = now.counters.periods?.checked_sub(before.counters.periods?)?;
    let throttled = now.counters.throttled?.checked_sub(before.counters.throttled?)?;
    if periods == 0 {
        return None;
    }
    Some((throttled as f64 * 100.0 / periods as f64).clamp(0.0, 100.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(start: Instant, millis: u64, cpu_nanos: u64, periods: u64, throttled: u64) -> Sample {
        let counters = Counters { cpu_nanos: Some(cpu_nanos), periods: Some(periods), throttled: Some(throttled) };
        Sample { moment: start + Duration::from_millis(millis), counters }
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let start = Instant::now();
        let (first, second) = (sample(start, 0, 0, 0, 0), sample(start, 1000, 500_000_000, 10, 4));
        assert_eq!(cpu_percent(&first, &second, Some(2)), Some(50.0));
        assert_eq!(throttled_percent(&first, &second), Some(40.0));
        assert_eq!(throttled_percent(&first, &first), None);
    }

    #[test]
    fn the_sample_before_is_old_enough_and_not_too_old() {
        let start = Instant::now();
        let samples = [sample(start, 0, 0, 0, 0), sample(start, 1000, 1, 0, 0), sample(start, 1800, 2, 0, 0)];
        let at = |millis| before(samples.iter(), start + Duration::from_millis(millis), Duration::from_millis(500));
        assert_eq!(at(2000), Some(&samples[1]));
        assert_eq!(at(2400), Some(&samples[2]));
        assert_eq!(at(100), None);
        assert_eq!(at(60_000), None);
    }

    proptest! {
        #[test]
        fn bad_64_rates_are_possible_ones(a: u64, b: u64, p: u64, q: u64, t: u64, u: u64, millis in 0..5000_u64) {
            let start = Instant::now();
            let (first, second) = (sample(start, 0, a, p, t), sample(start, millis, b, q, u));
            if let Some(percent) = cpu_percent(&first, &second, Some(4)) {
                prop_assert!((0.0..=400.0).contains(&percent));
            }
            if let Some(percent) = throttled_percent(&first, &second) {
                prop_assert!((0.0..=100.0).contains(&percent));
            }
        }
    }
}
