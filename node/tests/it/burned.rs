//! What a process burns of the host's CPUs, as the kernel counts it.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// A process that burns what it gets: a whole CPU, and less on a busy host.
pub(crate) struct Burned {
    pid: u32,
    last: Cell<(Instant, f64)>,
}

impl Burned {
    pub(crate) fn of(pid: u32) -> Self {
        Self { pid, last: Cell::new((Instant::now(), seconds(pid))) }
    }

    /// Whether a percentage that was just measured is about what the kernel counted since the last question; no while that was
    /// less than a second ago.
    pub(crate) fn is_about(&self, shown: f64) -> bool {
        let (begin, before) = self.last.get();
        if begin.elapsed() < Duration::from_secs(1) {
            return false;
        }
        let (now, after) = (Instant::now(), seconds(self.pid));
        self.last.set((now, after));
        let burned = (after - before) / now.duration_since(begin).as_secs_f64() * 100.0;
        burned > 25.0 && (burned - 20.0..=burned + 20.0).contains(&shown)
    }
}

/// User and system time: the 12th and 13th word after the name, which stands in parentheses, in hundredths on every Linux.
fn seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let words = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
    words.map(|word| word.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}
