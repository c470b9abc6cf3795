//! Waiting for a condition, with a bound.

use std::time::{Duration, Instant};

/// Polls until `condition` gives something, at most for `limit`.
///
/// # Panics
///
/// Panics with `what` when the time is over.
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "a poll, not a runtime thread")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}
