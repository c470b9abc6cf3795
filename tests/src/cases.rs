//! The cases of an acceptance row: counted, timed, and told in one line that `scripts/lib/rows.sh` folds.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// Counts the cases of a row. When it is dropped it prints how many there were, and how long refusals took; in a test that
/// failed it says in which case.
#[derive(Debug)]
pub struct Cases {
    row: String,
    count: usize,
    current: String,
    refusals: Vec<Duration>,
}

impl Cases {
    /// Begins a row, such as `ATK-13`.
    #[must_use]
    pub fn of(row: &str) -> Self {
        Self { row: row.to_owned(), count: 0, current: String::new(), refusals: Vec::new() }
    }

    /// Plays one case.
    pub fn case<T>(&mut self, what: impl Display, play: impl FnOnce() -> T) -> T {
        self.begin(what);
        play()
    }

    /// Plays one case that ends in a refusal, and notes how long that took.
    pub fn refusal<T>(&mut self, what: impl Display, play: impl FnOnce() -> T) -> T {
        self.begin(what);
        let begun = Instant::now();
        let outcome = play();
        self.refusals.push(begun.elapsed());
        outcome
    }

    /// Counts a case that is played by what follows.
    pub fn begin(&mut self, what: impl Display) {
        self.count += 1;
        self.current = what.to_string();
    }

    /// How many there were so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Asserts that of 100 refusals 99 took no longer than that.
    ///
    /// # Panics
    ///
    /// Panics with what they took.
    pub fn within(&self, limit: Duration) {
        let figures = self.figures();
        assert!(figures.is_some_and(|(_, slow)| slow <= limit), "{}: {figures:?}, over {limit:?}", self.row);
    }

    /// The median and the 99th percentile.
    fn figures(&self) -> Option<(Duration, Duration)> {
        let mut times = self.refusals.clone();
        times.sort_unstable();
        let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1))).copied();
        at(50).zip(at(99))
    }
}

impl Drop for Cases {
    #[expect(clippy::print_stdout, reason = "the test runner shows what a test prints when it is asked to")]
    fn drop(&mut self) {
        let Self { row, count, current, .. } = &*self;
        if std::thread::panicking() {
            println!("row {row}: failed in case {count}: {current}");
            return;
        }
        let took = self.figures().map_or_else(String::new, |(median, slow)| {
            let ms = |time: Duration| time.as_secs_f64() * 1000.0;
            format!(", refused in {:.1} ms, p99 {:.1} ms", ms(median), ms(slow))
        });
        println!("row {row}: {count} cases{took}");
    }
}
