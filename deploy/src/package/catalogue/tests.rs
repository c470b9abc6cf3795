//! Many who write at once, over records that refuse whatever follows another version than the newest.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use futures::{FutureExt as _, future::join_all};

use super::*;
use crate::{
    golden,
    package::records::{Asked, At, Turn},
};

#[derive(Debug, Default)]
struct Kept {
    records: BTreeMap<Digest, At<Record>>,
    states: BTreeMap<Digest, At<State>>,
    builds: Vec<Build>,
    revision: u64,
    random: u64,
}

impl Kept {
    fn next(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    /// Nothing is ever there without what it follows.
    fn check(&self) {
        let is_there = |id: &Digest| {
            let is_removed = self.states.get(id).is_some_and(|(state, _)| state.as_ref().is_some_and(|s| s.removed));
            self.records.get(id).is_some_and(|(record, _)| record.is_some()) && !is_removed
        };
        for (id, (record, _)) in &self.records {
            let parents = record.iter().flat_map(|record| &record.parents);
            for parent in parents.filter(|_| is_there(id)) {
                assert!(is_there(parent), "{id} stands without {parent}");
            }
        }
    }
}

/// What several nodes share: each has a turn of its own, so that they get into each other's way.
#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<Kept>>);

impl Memory {
    fn seeded(seed: u64) -> Self {
        let memory = Self::default();
        memory.0.lock().unwrap().random = seed + 1;
        memory
    }

    /// Lets others go first, or not.
    async fn wait(&self) {
        let random = {
            let mut kept = self.0.lock().unwrap();
            kept.random = kept.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            kept.random >> 61
        };
        for _ in 0..random {
            tokio::task::yield_now().await;
        }
    }

    fn asked<'a, T: Send + 'a>(&'a self, of: impl FnOnce(&mut Kept) -> T + Send + 'a) -> Asked<'a, T> {
        async move {
            self.wait().await;
            let said = {
                let mut kept = self.0.lock().unwrap();
                let said = of(&mut kept);
                kept.check();
                said
            };
            self.wait().await;
            Ok(said)
        }
        .boxed()
    }
}

impl Records for Memory {
    fn all(&self) -> Asked<'_, Vec<Known>> {
        self.asked(|kept| {
            let state = |id: &Digest| kept.states.get(id).and_then(|(state, _)| state.clone()).unwrap_or_default();
            let records = kept.records.values().filter_map(|(record, _)| record.clone());
            records.map(|record| Known { state: state(&record.id), record }).collect()
        })
    }

    fn record<'a>(&'a self, id: &'a Digest) -> Asked<'a, At<Record>> {
        self.asked(|kept| kept.records.get(id).cloned().unwrap_or_default())
    }

    fn state<'a>(&'a self, id: &'a Digest) -> Asked<'a, At<State>> {
        self.asked(|kept| kept.states.get(id).cloned().unwrap_or_default())
    }

    fn builds<'a>(&'a self, inputs: &'a Digest) -> Asked<'a, Vec<Build>> {
        self.asked(|kept| kept.builds.iter().filter(|build| build.inputs == *inputs).cloned().collect())
    }

    fn turn(&self) -> Asked<'_, Turn> {
        async { Ok(Box::new(()) as Turn) }.boxed()
    }

    fn create<'a>(&'a self, record: &'a Record, _: &'a Sizes, follows: u64) -> Asked<'a, bool> {
        self.asked(move |kept| {
            let seen = kept.records.get(&record.id).map_or(0, |(_, revision)| *revision);
            let next = kept.next();
            seen == follows
                && kept.records.insert(record.id, (Some(record.clone()), next)).is_none_or(|was| was.0.is_none())
        })
    }

    fn delete<'a>(&'a self, id: &'a Digest, seen: u64) -> Asked<'a, bool> {
        self.asked(move |kept| {
            let stands = kept.records.get(id).map_or(0, |(_, revision)| *revision);
            let next = kept.next();
            if stands == seen {
                kept.records.insert(*id, (None, next));
            }
            stands == seen
        })
    }

    fn set_state<'a>(&'a self, id: &'a Digest, state: &'a State, follows: u64) -> Asked<'a, bool> {
        self.asked(move |kept| {
            let stands = kept.states.get(id).map_or(0, |(_, revision)| *revision);
            let next = kept.next();
            if stands == follows {
                kept.states.insert(*id, (Some(state.clone()), next));
            }
            stands == follows
        })
    }

    fn add_build<'a>(&'a self, build: &'a Build) -> Asked<'a, ()> {
        self.asked(|kept| kept.builds.push(build.clone()))
    }
}

fn package(name: &str) -> Record {
    let digest = Digest::of(name.as_bytes());
    Record {
        id: digest,
        project: "p".to_owned(),
        version: None,
        spec: digest,
        inputs: digest,
        output: digest,
        images: Vec::new(),
        trees: BTreeMap::new(),
        lock: digest,
        locked: BTreeMap::new(),
        parents: Vec::new(),
        created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        created_by: "ann".to_owned(),
        node: None,
        rules_version: 1,
    }
}

fn registration(name: &str, build: usize, parents: Parents) -> Registration {
    let record = package(name);
    let build = golden::build(format!("bld_{build}"), &record);
    let tags = [format!("t{name}")].into();
    let labels = [(build.id.clone(), "yes".to_owned())].into();
    Registration { record, build: Some(build), tags, labels, description: Some("a p".to_owned()), parents }
}

async fn registered(memory: &Memory, name: &str, build: usize, parents: Parents) -> Result<Registered, Error> {
    register(memory, registration(name, build, parents), &Sizes::new()).await
}

#[tokio::test]
async fn pkg_55_twenty_builds_at_once_are_one_package() {
    for seed in 0..50 {
        let memory = Memory::seeded(seed);
        registered(&memory, "first", 100, Parents::Newest).await.unwrap();
        let all = join_all((0..20).map(|build| registered(&memory, "x", build, Parents::Newest))).await;
        let all: Vec<Registered> = all.into_iter().map(Result::unwrap).collect();
        assert_eq!(all.iter().filter(|registered| registered.created).count(), 1, "seed {seed}");
        assert!(all.iter().all(|registered| registered.record == all[0].record), "seed {seed}");
        let listed = list(&memory).await.unwrap();
        let ids: Vec<Digest> = listed.iter().map(|known| known.record.id).collect();
        assert_eq!(ids, [package("first").id, package("x").id], "seed {seed}");
        assert_eq!((listed[1].state.labels.len(), listed[1].state.tags.len()), (20, 1), "seed {seed}");
        assert_eq!(listed[1].state.description.as_deref(), Some("a p"), "seed {seed}");
        assert_eq!(listed[0].state.children, [package("x").id].into(), "seed {seed}");
        assert_eq!(memory.builds(&package("x").inputs).await.unwrap().len(), 20, "seed {seed}");
    }
}

#[tokio::test]
async fn pkg_56_a_child_never_stands_without_its_parent() {
    let (mut born, mut gone) = (0, 0);
    for seed in 0..500 {
        let memory = Memory::seeded(seed);
        let parent = registered(&memory, "a", 1, Parents::Newest).await.unwrap().record.id;
        let (one, two, removed) = futures::join!(
            registered(&memory, "b", 2, Parents::Named(parent)),
            registered(&memory, "c", 3, Parents::Newest),
            async {
                // Now sooner, now later than the children.
                for _ in 0..seed % 100 {
                    memory.wait().await;
                }
                remove(&memory, &parent).await
            },
        );
        if let Err(error) = &one {
            assert_eq!((error.code, removed.is_ok()), (Code::FailedPrecondition, true), "seed {seed}: {error}");
            gone += 1;
        }
        if let Err(error) = removed {
            assert_eq!(error.code, Code::FailedPrecondition, "seed {seed}: {error}");
            born += 1;
        }
        // Whoever wants to follow the newest follows whichever that is.
        two.unwrap();
    }
    assert!(born > 20 && gone > 20, "{born} were born, of {gone} the parent was gone");
}

#[tokio::test]
async fn pkg_56_what_was_removed_comes_back_as_it_is_then() {
    for seed in 0..100 {
        let memory = Memory::seeded(seed);
        registered(&memory, "a", 1, Parents::Newest).await.unwrap();
        let id = registered(&memory, "b", 2, Parents::Newest).await.unwrap().record.id;
        let (again, removed) = futures::join!(registered(&memory, "b", 3, Parents::Newest), remove(&memory, &id));
        removed.unwrap();
        let listed = list(&memory).await.unwrap();
        match again.unwrap().created {
            true => assert_eq!(listed[1].state.tags, ["tb".to_owned()].into(), "seed {seed}"),
            false => assert_eq!((listed.len(), &listed[0].state.children), (1, &BTreeSet::new()), "seed {seed}"),
        }
    }
}

#[tokio::test]
async fn no_package_is_made_before_what_it_follows() {
    let memory = Memory::default();
    for name in ["a", "b", "c"] {
        registered(&memory, name, 1, Parents::Newest).await.unwrap();
    }
    let line = lineage(&memory, package("c").id).await.unwrap();
    assert_eq!(line.iter().map(|one| one.id).collect::<Vec<_>>(), ["c", "b", "a"].map(|name| package(name).id));
    let itself = package("d").id;
    let refused = registered(&memory, "d", 1, Parents::Named(itself)).await.unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
}
