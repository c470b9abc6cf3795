//! What happened to one container.

use std::{collections::VecDeque, sync::Arc};

use time::{Duration, OffsetDateTime};

use crate::engine::Event;

/// Most events that are kept of a container.
const KEPT: usize = 200;
/// Most instants of one kind that are kept: one every half minute for a day.
const KEPT_INSTANTS: usize = 2880;
const DAY: Duration = Duration::hours(24);

/// The events of one container, and when it was killed for memory or started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Since when its events were seen. What came before is known only in part.
    pub watched_since_at: OffsetDateTime,
    /// The last 200 events, oldest first, without those that say that nothing changed.
    pub events: VecDeque<Arc<Event>>,
    /// When the kernel killed one of its processes for memory, oldest first, at most 24 h back.
    pub oom_kills: VecDeque<OffsetDateTime>,
    /// When it was started after it had ended, oldest first, at most 24 h back.
    pub restarts: VecDeque<OffsetDateTime>,
    ended: bool,
}

impl History {
    /// An empty history.
    #[must_use]
    pub(super) fn new(since: OffsetDateTime) -> Self {
        Self {
            watched_since_at: since,
            events: VecDeque::new(),
            oom_kills: VecDeque::new(),
            restarts: VecDeque::new(),
            ended: false,
        }
    }

    /// How often it was killed for memory within that time before now.
    #[must_use]
    pub fn oom_kills_within(&self, window: Duration) -> usize {
        within(&self.oom_kills, window)
    }

    /// How often it was started again within that time before now.
    #[must_use]
    pub fn restarts_within(&self, window: Duration) -> usize {
        within(&self.restarts, window)
    }

    /// Takes an event in; answers whether it was new.
    pub(super) fn add(&mut self, event: &Arc<Event>) -> bool {
        if self.events.iter().rev().any(|known| **known == **event) {
            return false;
        }
        match event.action.as_str() {
            "oom" => note(&mut self.oom_kills, event.at),
            "die" => self.ended = true,
            "start" if std::mem::take(&mut self.ended) => note(&mut self.restarts, event.at),
            _ => {}
        }
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        // Events of one moment may come in another order after a reconnect.
        let place = self.events.iter().rposition(|known| known.at <= event.at).map_or(0, |at| at + 1);
        self.events.insert(place, Arc::clone(event));
        true
    }
}

fn note(instants: &mut VecDeque<OffsetDateTime>, at: OffsetDateTime) {
    instants.push_back(at);
    let oldest = at - DAY;
    while instants.len() > KEPT_INSTANTS || instants.front().is_some_and(|first| *first < oldest) {
        instants.pop_front();
    }
}

fn within(instants: &VecDeque<OffsetDateTime>, window: Duration) -> usize {
    let oldest = OffsetDateTime::now_utc() - window.min(DAY);
    instants.iter().filter(|at| **at >= oldest).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: OffsetDateTime, action: &str) -> Arc<Event> {
        let id = "0".repeat(64).parse().unwrap();
        Arc::new(Event { at, id, action: action.to_owned(), detail: None, attributes: Default::default() })
    }

    #[test]
    fn a_start_after_an_end_is_a_restart() {
        let now = OffsetDateTime::now_utc();
        let mut history = History::new(now);
        for (back, action) in [(50, "start"), (40, "die"), (39, "start"), (30, "oom"), (30, "die"), (29, "start")] {
            assert!(history.add(&event(now - Duration::minutes(back), action)));
        }
        assert_eq!(history.restarts_within(Duration::hours(24)), 2);
        assert_eq!(history.restarts_within(Duration::minutes(35)), 1);
        assert_eq!(history.oom_kills_within(Duration::minutes(35)), 1);
    }

    #[test]
    fn bad_65_doubled_and_disordered_events_are_sorted_out() {
        let now = OffsetDateTime::now_utc();
        let mut history = History::new(now);
        let (first, second) = (event(now, "die"), event(now + Duration::seconds(1), "start"));
        assert!(history.add(&second));
        assert!(history.add(&first));
        assert!(!history.add(&second));
        assert_eq!(history.events, [first, second]);
    }

    #[test]
    fn a_history_is_bounded() {
        let now = OffsetDateTime::now_utc();
        let mut history = History::new(now);
        for second in 0..5000 {
            history.add(&event(now + Duration::seconds(second), "oom"));
        }
        assert_eq!((history.events.len(), history.oom_kills.len()), (KEPT, KEPT_INSTANTS));
    }
}
