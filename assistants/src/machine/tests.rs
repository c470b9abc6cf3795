use std::collections::BTreeMap;

use aigis_proxy::{
    Code, Error, NodeName, UserName,
    chain::ChainId,
    services::{
        chains::{Control, PushOptions},
        steps::{Ended, Finished},
    },
};
use aigis_registry::shared::{Budget, PlacementNote, Source};
use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Timestamp {
    let start: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    (start.time() + Duration::from_secs(seconds)).into()
}

fn olga() -> UserName {
    UserName::parse("olga").unwrap()
}

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

pub(crate) fn record(max_steps: u32) -> ChainRecord {
    let options = PushOptions::default();
    ChainRecord {
        id: ChainId::new(),
        app: "web".parse().unwrap(),
        created_at: at(0),
        created_by: olga(),
        mandate: serde_json::from_str(r#"{"wish":"","signature":""}"#).unwrap(),
        source: Source { tree: None, from: "alpha:/web".to_owned() },
        status: Status::Queued,
        status_reason: String::new(),
        step: 1,
        next: Some("local:self".to_owned()),
        app_tree: None,
        state_tree: None,
        budget: Budget { max_steps, max_time_s: options.max_time_s, used_steps: 0, used_time_s: 0 },
        on: Vec::new(),
        options,
        queued_behind: None,
        assistants: Default::default(),
        hold: None,
        question: None,
        answers: BTreeMap::new(),
        holder: None,
        epoch: 0,
        cancelled_by: None,
        error: None,
        ended_at: None,
        updated_at: at(0),
    }
}

/// A chain, its journals, and what somebody would see of them.
struct World {
    record: ChainRecord,
    steps: BTreeMap<u32, StepRecord>,
    place_is_offline: bool,
    now: u64,
    /// How often each step was committed.
    commits: BTreeMap<u32, usize>,
    /// How many attempts began after the chain was cancelled.
    begun_after_cancel: usize,
}

/// What happens to a chain.
#[derive(Debug, Clone)]
enum Happens {
    Decide,
    Succeeds { goes_on: bool },
    Fails,
    MeshFails,
    PlaceDies,
    PlaceReturns,
    HolderDies,
    Cancel,
    Hold { now: bool },
    Resume,
    Time(u64),
}

impl World {
    fn new(max_steps: u32) -> Self {
        let (steps, commits) = Default::default();
        let record = claimed(&record(max_steps), &node("alpha"), at(0));
        Self { record, steps, place_is_offline: false, now: 0, commits, begun_after_cancel: 0 }
    }

    fn journal(&self) -> Option<StepRecord> {
        self.steps.get(&self.record.step).cloned()
    }

    fn put(&mut self, journal: StepRecord) {
        self.steps.insert(journal.n, journal);
    }

    fn decide(&mut self) {
        if self.record.holder.is_none() && !self.record.status.is_over() {
            self.record = claimed(&self.record, &node("beta"), at(self.now));
        }
        let facts = Facts {
            now: at(self.now),
            place_is_offline: self.place_is_offline,
            is_its_turn: true,
            revoked: None,
            me: node("alpha").user(),
        };
        let journal = self.journal();
        let steps: Vec<StepRecord> = self.steps.values().cloned().collect();
        match decide(&self.record, journal.as_ref(), &steps, &facts) {
            Next::Release => self.record = released(&self.record, at(self.now)),
            Next::Write(becomes) => self.record = *becomes,
            Next::Begin(attempt) => {
                self.begun_after_cancel += usize::from(self.record.cancelled_by.is_some());
                let note = PlacementNote { chosen: Some(node("gamma")), ..PlacementNote::default() };
                let assistant = (self.record.next.clone().unwrap(), None);
                let begun = begun(&self.record, journal.as_ref(), assistant, note, at(self.now));
                assert_eq!(begun.attempt, attempt);
                self.put(begun);
            }
            Next::Attach => {}
            Next::Commit => {
                *self.commits.entry(self.record.step).or_default() += 1;
                self.record = committed(&self.record, &journal.unwrap(), at(self.now));
            }
            Next::End => {
                let journal = journal.unwrap();
                self.put(StepRecord { status: StepStatus::Cancelled, ..journal });
            }
            Next::Lost => {
                let (lost, _) = lost(&journal.unwrap(), at(self.now));
                self.place_is_offline = false;
                self.put(lost);
            }
        }
    }

    fn ends(&mut self, result: Result<Finished, Error>) {
        let Some(journal) = self.journal().filter(|journal| journal.status == StepStatus::Running) else { return };
        let mesh = result.as_ref().err().filter(|error| error.code == Code::Unavailable).cloned();
        let ended = Ended {
            result,
            remains: Finished::default(),
            started_at: String::new(),
            ended_at: String::new(),
            log: None,
            log_dropped: 0,
        };
        let becomes = match mesh {
            Some(error) => failed_by_mesh(&journal, &error, at(self.now)).0,
            None => super::ended(&journal, &ended, at(self.now)),
        };
        self.put(becomes);
    }

    fn control(&mut self, asked: &Control) {
        let steps: Vec<StepRecord> = self.steps.values().cloned().collect();
        if let Ok(Some(becomes)) = control(&self.record, &steps, asked, &olga(), at(self.now)) {
            self.record = becomes;
        }
    }

    fn happens(&mut self, what: &Happens) {
        match what {
            Happens::Decide => self.decide(),
            Happens::Succeeds { goes_on } => {
                let next = goes_on.then(|| "local:self".to_owned());
                self.ends(Ok(Finished { next, ..Finished::default() }));
            }
            Happens::Fails => self.ends(Err(Error::precondition("it exited with 3"))),
            Happens::MeshFails => self.ends(Err(Error::unavailable("the engine is lost"))),
            Happens::PlaceDies => self.place_is_offline = true,
            Happens::PlaceReturns => self.place_is_offline = false,
            Happens::HolderDies => {
                if self.record.holder.is_some() {
                    self.record = claimed(&self.record, &node("beta"), at(self.now));
                }
            }
            Happens::Cancel => self.control(&Control::Cancel),
            Happens::Hold { now } => {
                self.control(&Control::Hold { why: "maintenance".to_owned(), until: None, now: *now });
            }
            Happens::Resume => self.control(&Control::Resume),
            Happens::Time(seconds) => self.now += seconds,
        }
    }
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => Just(Happens::Decide),
        3 => any::<bool>().prop_map(|goes_on| Happens::Succeeds { goes_on }),
        1 => Just(Happens::Fails),
        1 => Just(Happens::MeshFails),
        1 => Just(Happens::PlaceDies),
        1 => Just(Happens::PlaceReturns),
        1 => Just(Happens::HolderDies),
        1 => Just(Happens::Cancel),
        1 => any::<bool>().prop_map(|now| Happens::Hold { now }),
        1 => Just(Happens::Resume),
        1 => (0_u64..4_000).prop_map(Happens::Time),
    ]
}

proptest! {
    #[test]
    fn chn_47_any_interleaving_ends_with_one_commit_a_step(
        all in prop::collection::vec(happens(), 0..80),
        max_steps in 1_u32..6,
    ) {
        let mut world = World::new(max_steps);
        for what in &all {
            let before = (world.record.step, world.record.epoch, world.record.status);
            world.happens(what);
            prop_assert!(world.record.step >= before.0 && world.record.epoch >= before.1);
            if before.2.is_over() {
                prop_assert_eq!(world.record.status, before.2, "what is over stays so");
            }
            prop_assert!(world.record.budget.used_steps <= max_steps);
        }
        // From here on nobody interferes, and every attempt goes well and wants another one.
        for _ in 0..100 {
            world.happens(&Happens::Resume);
            world.happens(&Happens::Decide);
            world.happens(&Happens::Succeeds { goes_on: true });
        }
        prop_assert!(world.record.status.is_over(), "{:?}", world.record);
        prop_assert!(world.commits.values().all(|commits| *commits == 1), "{:?}", world.commits);
        prop_assert!(world.record.budget.used_steps <= max_steps);
        prop_assert_eq!(world.begun_after_cancel, 0);
    }
}

/// Runs a chain whose every step goes well, until it is over.
fn run(mut world: World, goes_on: bool) -> World {
    for _ in 0..100 {
        world.decide();
        world.happens(&Happens::Succeeds { goes_on });
    }
    world
}

#[test]
fn chn_26_a_chain_ends_after_its_steps() {
    let world = run(World::new(5), true);
    assert_eq!((world.record.status, world.commits.len()), (Status::Failed, 5));
    let error = world.record.error.unwrap();
    assert_eq!(error.code, Code::ResourceExhausted);
    assert!(error.message.contains("5 steps, of at most 5") && error.message.contains("5 local:self"), "{error:?}");
}

#[test]
fn chn_26_the_third_same_input_is_no_progress() {
    let world = run(World::new(9), true);
    let likeness = likeness(&None, &aigis_registry::AppState::default());
    let like = |n| StepRecord { likeness: Some(likeness), ..world.steps[&n].clone() };
    let third = ChainRecord { step: 3, ..record(9) };
    assert!(stuck(&third, &[like(1)], "local:self", likeness).is_none());
    let error = stuck(&third, &[like(1), like(2)], "local:self", likeness).unwrap();
    assert_eq!(error.code, Code::ResourceExhausted);
    assert!(stuck(&third, &[like(1), like(2)], "local:other", likeness).is_none());
}

#[test]
fn chn_26_log_exit_and_version_are_no_progress() {
    let mut state = aigis_registry::AppState::default();
    let before = likeness(&None, &state);
    for file in ["log", "exit", "version", "next"] {
        state.set(file, "1");
    }
    assert_eq!(likeness(&None, &state), before);
    state.set("mykey", "1");
    assert_ne!(likeness(&None, &state), before);
}

#[test]
fn chn_51_a_hold_ends_by_itself_and_now_runs_the_step_again() {
    let mut world = World::new(5);
    world.decide();
    let until = at(20).to_string();
    world.control(&Control::Hold { why: "maintenance".to_owned(), until: Some(until), now: true });
    assert_eq!((world.record.status, world.record.status_reason.as_str()), (Status::Held, "held by olga: maintenance"));
    world.decide();
    assert_eq!(world.steps[&1].status, StepStatus::Cancelled);
    world.decide();
    assert_eq!((world.record.status, &world.record.holder), (Status::Held, &None));
    world.now = 21;
    world.decide();
    world.decide();
    assert_eq!((world.record.status, world.steps[&1].attempt), (Status::Running, 2));
}

#[test]
fn chn_52_a_failed_chain_goes_on_from_its_failed_step_or_another() {
    let mut world = World::new(5);
    world.decide();
    world.happens(&Happens::Succeeds { goes_on: true });
    world.decide();
    world.decide();
    world.happens(&Happens::Fails);
    world.decide();
    assert_eq!((world.record.status, world.record.step), (Status::Failed, 2));
    for (from, step) in [(None, 2), (Some(1), 1)] {
        let steps: Vec<StepRecord> = world.steps.values().cloned().collect();
        let again = control(&world.record, &steps, &Control::Retry { from }, &olga(), at(9)).unwrap().unwrap();
        assert_eq!((again.step, again.status, again.error), (step, Status::Queued, None));
        assert_eq!(rewound(&steps, step).len(), usize::try_from(3 - step).unwrap());
    }
    let steps: Vec<StepRecord> = world.steps.values().cloned().collect();
    let none = control(&world.record, &steps, &Control::Retry { from: Some(7) }, &olga(), at(9));
    assert_eq!(none.unwrap_err().code, Code::InvalidArgument);
    let done = run(World::new(5), false);
    assert_eq!(done.record.status, Status::Done);
    let refused = control(&done.record, &[], &Control::Retry { from: None }, &olga(), at(9)).unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
}

#[test]
fn chn_48_what_the_mesh_failed_is_tried_three_times_elsewhere() {
    let mut world = World::new(5);
    let mut pauses = Vec::new();
    for _ in 0..4 {
        world.decide();
        let journal = world.journal().unwrap();
        let (failed, pause) = failed_by_mesh(&journal, &Error::unavailable("gamma is offline"), at(0));
        pauses.push(pause.map(|pause| pause.as_secs()));
        world.put(failed);
    }
    assert_eq!(pauses, [Some(2), Some(8), Some(30), None]);
    let journal = world.journal().unwrap();
    assert_eq!((journal.status, journal.attempt), (StepStatus::Failed, 4));
    assert_eq!(failed_places(&journal.earlier), vec![node("gamma"); 4]);
    world.decide();
    assert_eq!(world.record.error.unwrap().code, Code::Unavailable);
}

#[test]
fn flt_28_the_chain_of_a_revoked_person_pauses() {
    let facts = Facts {
        now: at(0),
        place_is_offline: false,
        is_its_turn: true,
        revoked: Some("olga was revoked".to_owned()),
        me: node("alpha").user(),
    };
    let record = World::new(5).record;
    let Next::Write(held) = decide(&record, None, &[], &facts) else { panic!("it goes on") };
    assert_eq!((held.status, held.hold.unwrap().by.as_str()), (Status::Held, "alpha"));
}
