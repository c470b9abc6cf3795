//! How many chunks are under way at once: few over a thin link, where each would wait behind the others and so would
//! everything else, and many where they are answered quickly.

use std::time::Duration;

/// Most chunks under way at once.
const MOST: usize = 16;
/// An answer within this time lets one more be under way.
const QUICK: Duration = Duration::from_millis(400);
/// One that took longer than this halves their number.
const SLOW: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window(usize);

impl Default for Window {
    fn default() -> Self {
        Self(2)
    }
}

impl Window {
    /// Whether one more may be under way beside those.
    pub(super) fn has_room(self, under_way: usize) -> bool {
        under_way < self.0
    }

    /// Takes note of how long an answer took.
    pub(super) fn heard(&mut self, took: Duration) {
        if took <= QUICK {
            self.0 = (self.0 + 1).min(MOST);
        } else if took > SLOW {
            self.0 = (self.0 / 2).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flt_31_a_thin_link_carries_one_chunk_at_a_time() {
        let mut window = Window::default();
        for _ in 0..40 {
            window.heard(Duration::from_millis(10));
        }
        assert!(window.has_room(15) && !window.has_room(16));
        for _ in 0..10 {
            window.heard(Duration::from_secs(2));
        }
        assert!(window.has_room(0) && !window.has_room(1));
        window.heard(Duration::from_millis(600));
        assert!(!window.has_room(1));
    }
}
