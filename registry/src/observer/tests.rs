use proptest::prelude::*;

use super::*;
use crate::timestamp::Timestamp;

const BUS: &str = "NSERVER";

fn user(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

fn lease(counter: u64) -> Lease {
    Lease { boot: "b".to_owned(), counter, since_at: Timestamp::now(), goodbye: false }
}

/// A clock that the test moves, and an observer that ticks with it.
struct World {
    observer: Observer,
    now: Instant,
    counter: u64,
    /// Whether packets are dropped, which the link does not know yet.
    deaf: bool,
}

impl World {
    /// An observer that has read all, at a bus that has been up for ten minutes.
    fn new() -> Self {
        // The far past must exist on this clock too.
        let now = Instant::now() + Duration::from_secs(3600);
        let mut world = Self { observer: Observer::new(now), now, counter: 0, deaf: false };
        world.observer.link(true, BUS);
        world.observer.birth(now, BUS, Duration::from_secs(600));
        world.observer.healed(now);
        world
    }

    fn renew(&mut self, age: f64) {
        self.counter += 1;
        self.observer.lease(self.now, &user("beta"), &lease(self.counter), Duration::from_secs_f64(age));
    }

    /// Lets time pass in ticks and returns each state that showed.
    fn pass(&mut self, seconds: f64) -> Vec<State> {
        let mut seen = Vec::new();
        for _ in 0..(seconds / 0.25) as u32 {
            self.now += Duration::from_millis(250);
            assert!(!self.observer.tick(self.now));
            if !self.deaf && self.observer.doubts(self.now) {
                self.observer.heard(self.now);
            }
            let state = self.state();
            if seen.last() != Some(&state) {
                seen.push(state);
            }
        }
        seen
    }

    fn state(&self) -> State {
        self.observer.judge(self.now, &user("beta"))
    }
}

#[test]
fn ci_71_a_silent_node_is_unknown_after_ten_and_offline_after_fifteen_seconds() {
    let mut world = World::new();
    world.renew(0.0);
    assert_eq!(world.pass(10.0), [State::Live]);
    assert_eq!(world.pass(5.0), [State::Unknown]);
    assert_eq!(world.pass(1.0), [State::Offline]);
    world.renew(0.0);
    assert_eq!(world.state(), State::Live);
}

#[test]
fn a_cold_process_judges_by_the_stores_clock() {
    for (age, expected) in [(1.0, State::Live), (11.0, State::Unknown), (16.0, State::Offline), (1e6, State::Offline)] {
        let mut world = World::new();
        world.renew(age);
        assert_eq!(world.state(), expected, "{age}");
    }
    assert_eq!(World::new().state(), State::Offline, "no lease at all");
}

#[test]
fn flt_20_one_of_several_servers_that_tells_of_nobody_is_not_believed_before_a_lease_was_watched() {
    let cold = |age: f64, other: Option<f64>| {
        let mut world = World::new();
        world.observer.several(true);
        world.renew(age);
        if let Some(other) = other {
            let age = Duration::from_secs_f64(other);
            world.observer.lease(world.now, &user("gamma"), &lease(1), age);
        }
        world
    };
    for age in [16.0, 1e6] {
        assert_eq!(cold(age, None).state(), State::Unknown, "{age}");
        assert_eq!(cold(age, Some(16.0)).state(), State::Unknown, "{age}");
        assert_eq!(cold(age, Some(4.0)).state(), State::Offline, "others are there");
        assert_eq!(cold(age, None).pass(15.5), [State::Unknown, State::Offline], "it was watched");
    }
}

#[test]
fn r_04_an_immortal_key_keeps_no_dead_node_alive_and_an_emptied_bucket_kills_no_living_one() {
    let mut world = World::new();
    world.renew(0.0);
    for _ in 0..20 {
        world.pass(1.0);
        // The key is read again and again and never moves.
        world.observer.lease(world.now, &user("beta"), &lease(1), Duration::ZERO);
    }
    assert_eq!(world.state(), State::Offline);
    world.renew(0.0);
    world.observer.broken();
    world.observer.healed(world.now);
    assert_eq!(world.state(), State::Live, "nothing was said of beta, and that says nothing");
}

#[test]
fn flt_28_who_does_not_know_yet_that_it_is_cut_off_calls_nobody_offline() {
    let mut world = World::new();
    world.renew(5.0);
    world.deaf = true;
    assert_eq!(world.pass(20.0), [State::Live, State::Unknown]);
    world.deaf = false;
    assert_eq!(world.pass(1.0), [State::Offline]);
}

#[test]
fn ci_72_whoever_is_cut_off_calls_nobody_offline() {
    let mut world = World::new();
    world.renew(0.0);
    world.pass(1.0);
    world.observer.link(false, BUS);
    assert_eq!(world.pass(60.0), [State::Unknown]);
    world.observer.link(true, BUS);
    assert_eq!(world.pass(1.0), [State::Unknown], "not read again yet");
    world.observer.healed(world.now);
    assert_eq!(world.pass(14.5), [State::Unknown]);
    assert_eq!(world.pass(2.0), [State::Unknown, State::Offline]);
}

#[test]
fn ci_74_nothing_is_offline_for_thirty_seconds_after_a_start_of_the_bus() {
    // Old process: its link broke, the new server has another id, and memory is empty.
    let mut old = World::new();
    old.renew(0.0);
    old.observer.link(false, BUS);
    old.pass(20.0);
    old.observer.link(true, "NNEW");
    old.observer.healed(old.now);
    assert_eq!(old.pass(20.0), [State::Unknown], "no birth is recorded");
    old.observer.birth(old.now, "NNEW", Duration::from_secs(20));
    assert_eq!(old.pass(9.5), [State::Unknown]);
    assert_eq!(old.pass(1.0), [State::Unknown, State::Offline]);
    // New process: nothing but the birth tells it.
    for (age, expected) in [(29, State::Unknown), (31, State::Offline)] {
        let mut new = World::new();
        new.observer.link(true, "NNEW");
        assert_eq!(new.state(), State::Unknown);
        new.observer.birth(new.now, "NNEW", Duration::from_secs(age));
        assert_eq!(new.state(), expected);
    }
}

#[test]
fn ci_74_the_first_of_several_births_counts() {
    let mut world = World::new();
    world.observer.link(true, "NNEW");
    world.observer.birth(world.now, "NNEW", Duration::from_secs(40));
    world.observer.birth(world.now, "NNEW", Duration::ZERO);
    assert_eq!(world.state(), State::Offline);
}

#[test]
fn ci_78_a_process_that_slept_says_unknown_until_it_has_read_all_again() {
    let mut world = World::new();
    world.renew(0.0);
    world.pass(1.0);
    world.now += Duration::from_secs(30);
    assert_eq!(world.state(), State::Unknown, "judged before the tick");
    assert!(world.observer.tick(world.now));
    assert_eq!(world.state(), State::Unknown);
    world.pass(1.0);
    world.observer.healed(world.now);
    assert_eq!(world.pass(14.0), [State::Unknown]);
    world.renew(2.0);
    assert_eq!(world.state(), State::Live);
}

#[test]
fn ci_80_a_goodbye_is_believed_at_once_and_ended_by_the_next_start() {
    let mut world = World::new();
    world.renew(0.0);
    let farewell = Lease { goodbye: true, ..lease(2) };
    world.observer.lease(world.now, &user("beta"), &farewell, Duration::ZERO);
    assert_eq!(world.state(), State::Offline);
    let again = Lease { boot: "c".to_owned(), ..lease(1) };
    world.observer.lease(world.now, &user("beta"), &again, Duration::ZERO);
    assert_eq!(world.state(), State::Live);
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u16),
    Sleep(u8),
    Renew,
    Down,
    Up,
    Restart,
    Born,
    Broken,
    Healed,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u16..40).prop_map(Step::Pass),
        1 => (3_u8..60).prop_map(Step::Sleep),
        4 => Just(Step::Renew),
        1 => Just(Step::Down),
        2 => Just(Step::Up),
        1 => Just(Step::Restart),
        1 => Just(Step::Born),
        1 => Just(Step::Broken),
        3 => Just(Step::Healed),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_offline_means_a_silence_that_was_watched(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        let (mut moved, mut up, mut whole, mut break_end) = (None, true, true, None);
        let (mut server, mut born) = (0, world.now.checked_sub(Duration::from_secs(600)));
        for step in steps {
            match step {
                Step::Pass(quarters) => for _ in 0..quarters {
                    world.now += Duration::from_millis(250);
                    world.observer.tick(world.now);
                    let silent = moved.map(|moved| world.now - moved);
                    let state = world.state();
                    if state == State::Offline {
                        prop_assert!(up && whole);
                        prop_assert!(silent.is_none_or(|silent| silent > LEASE));
                        prop_assert!(break_end.is_none_or(|end| world.now - end >= LEASE));
                        prop_assert!(born.is_some_and(|born| world.now - born >= GRACE));
                    }
                    if state == State::Live {
                        prop_assert!(up && whole && silent.is_some_and(|silent| silent <= LATE));
                    }
                },
                Step::Sleep(seconds) => {
                    world.now += Duration::from_secs(seconds.into());
                    prop_assert!(world.observer.tick(world.now));
                    whole = false;
                }
                Step::Renew if up => {
                    world.renew(0.0);
                    moved = Some(world.now);
                }
                Step::Renew => {}
                Step::Down => {
                    world.observer.link(false, "");
                    (up, whole) = (false, false);
                }
                Step::Up | Step::Restart => {
                    if matches!(step, Step::Restart) {
                        (server, born) = (server + 1, None);
                        world.observer.broken();
                        whole = false;
                    }
                    let id = if server == 0 { BUS.to_owned() } else { server.to_string() };
                    world.observer.link(true, &id);
                    up = true;
                }
                Step::Born if server > 0 && born.is_none() => {
                    born = Some(world.now);
                    world.observer.birth(world.now, &server.to_string(), Duration::ZERO);
                }
                Step::Born => {}
                Step::Broken => {
                    world.observer.broken();
                    whole = false;
                }
                Step::Healed => {
                    if !whole {
                        break_end = Some(world.now);
                    }
                    world.observer.healed(world.now);
                    whole = true;
                }
            }
        }
    }
}
