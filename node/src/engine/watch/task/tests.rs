use std::collections::BTreeMap;

use super::*;
use crate::engine::{Container, State};

fn id(digit: char) -> ContainerId {
    digit.to_string().repeat(64).parse().unwrap()
}

/// A list that has these containers, each as it is.
fn listing(containers: &[(char, State)]) -> Listing {
    let row = |&(digit, state): &(char, State)| {
        let container = Container {
            id: id(digit),
            name: digit.to_string(),
            labels: BTreeMap::new(),
            state,
            exit_code: None,
            image: "busybox".to_owned(),
            image_id: None,
            created_at: None,
            health: None,
        };
        (id(digit), Arc::new(container))
    };
    Listing { containers: containers.iter().map(row).collect(), warnings: Vec::new() }
}

fn some(digits: &str) -> Scope {
    Scope::Some(digits.chars().map(id).collect())
}

/// A task that has been told everything so far, and what it publishes.
fn task() -> (Task, watch::Receiver<Observation>) {
    let (publish, observed) = watch::channel(Observation::empty());
    let engine = Engine::at(std::path::Path::new("/nowhere/docker.sock"));
    let mut task = Task::new(engine, publish, broadcast::channel(16).0, Histories::default());
    task.all = false;
    (task, observed)
}

impl Task {
    fn hears(&mut self, digit: char, action: &str) {
        let attributes = BTreeMap::new();
        self.take(Event {
            at: OffsetDateTime::now_utc(),
            id: id(digit),
            action: action.to_owned(),
            detail: None,
            attributes,
        });
    }

    /// Takes a list in as [`Task::follow`] does; says whether it is to be read again.
    fn reads(&mut self, scope: Scope, found: Listing) -> bool {
        self.went.clear();
        self.changed.clear();
        let [version, api_version, negotiated, platform] = ["27.0", "1.46", "1.46", "linux/amd64"].map(str::to_owned);
        let version = Version { version, api_version, negotiated, platform };
        let again = self.dies(&scope, &found);
        self.apply(&version, scope, found);
        again
    }
}

#[test]
fn one_that_died_is_read_again_until_the_list_shows_it() {
    let (mut task, observed) = task();
    let state = |digit| observed.borrow().containers.get(&id(digit)).map(|container| container.state);
    assert!(!task.reads(Scope::All, listing(&[('a', State::Running), ('b', State::Running)])));
    task.hears('a', "die");
    // The engine tells of the death before it notes it.
    assert!(task.reads(some("a"), listing(&[('a', State::Running)])));
    assert_eq!((state('a'), &task.changed), (Some(State::Running), &BTreeSet::from([id('a')])));
    assert!(task.reads(Scope::All, listing(&[('a', State::Running), ('b', State::Running)])));
    assert!(task.reads(some("b"), listing(&[('b', State::Running)])), "nobody asked for it");
    assert!(!task.reads(some("a"), listing(&[('a', State::Exited)])));
    assert_eq!((state('a'), state('b')), (Some(State::Exited), Some(State::Running)));
    assert!(task.changed.is_empty());
}

#[test]
fn one_that_died_is_no_longer_awaited_when_it_started_again_or_went_or_stays_listed_as_running() {
    let (mut task, _observed) = task();
    let running = || listing(&[('a', State::Running)]);
    for action in ["start", "destroy"] {
        task.hears('a', "die");
        assert!(task.reads(Scope::All, running()));
        task.hears('a', action);
        assert!(!task.reads(Scope::All, running()), "{action}");
    }
    task.hears('a', "die");
    assert!(task.reads(Scope::All, running()));
    task.dying.insert(id('a'), Instant::now());
    assert!(!task.reads(Scope::All, running()), "the time is over");
    task.hears('a', "die");
    assert!(!task.reads(Scope::All, listing(&[])), "it is gone");
}
