//! A place without an engine: what its assistants do stands here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use aigis_proxy::{
    Bus, Code, Error, NodeName,
    blob::{Blob, Content},
    chain::{Attempt, ChainId},
    dispatch::NoJournal,
    rpc,
    services::steps::{Ask, Bid, Ended, Finished, Known, News, Order, Question, STEPS, Steps, Wanted, Work},
    task,
};
use futures::FutureExt;
use tarpc::{context::Context, server::Serve};
use tokio::{sync::watch, time::timeout};

/// What a place was asked, and what it has.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The attempts in the order in which they began: one that is known is not begun again.
    pub(crate) begun: Vec<Attempt>,
    /// By the attempt: the assistant, and how it ended.
    attempts: BTreeMap<Attempt, (Order, Option<Ended>)>,
    answers: BTreeMap<Attempt, String>,
    pub(crate) forgotten: BTreeSet<(ChainId, u32)>,
    pub(crate) ended: Vec<Attempt>,
    /// Whether `local:slow` may end.
    is_released: bool,
}

#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) told: Mutex<Told>,
    changed: watch::Sender<u64>,
    /// What it says to whoever asks for a bid, if it has no room.
    pub(crate) refusal: Mutex<Option<Error>>,
}

#[derive(Clone)]
struct Desk(Arc<Place>);

impl Place {
    pub(crate) async fn serve(bus: &Bus, node: &NodeName) -> (Arc<Self>, task::Owned) {
        let (told, refusal) = Default::default();
        let place = Arc::new(Self { told, changed: watch::Sender::new(0), refusal });
        let desk = Desk(place.clone());
        let serving = rpc::serve(bus, node.as_str(), STEPS, Arc::new(NoJournal), move |_, context, request| {
            desk.clone().serve().serve(context, request).boxed()
        });
        (place, serving.await.unwrap())
    }

    /// Lets what is slow end.
    pub(crate) fn release(&self) {
        self.told.lock().unwrap().is_released = true;
        self.changed.send_modify(|changes| *changes += 1);
    }

    pub(crate) fn begun(&self) -> Vec<(u32, u32)> {
        self.told.lock().unwrap().begun.iter().map(|attempt| (attempt.step, attempt.attempt)).collect()
    }

    fn end_of(told: &Told, attempt: &Attempt) -> Option<Ended> {
        let (order, ended) = told.attempts.get(attempt)?;
        if ended.is_some() {
            return ended.clone();
        }
        let Work::Assistant(work) = &order.work else { return Some(over(Err(Error::internal("no such work")))) };
        let next = |next: Option<&str>| {
            Ok(Finished {
                exit_code: Some(0),
                app_tree: Some(work.app_tree),
                state_tree: Some(work.state_tree),
                next: next.map(str::to_owned),
                ..Finished::default()
            })
        };
        let mut remains = Finished::default();
        let result = match work.assistant.as_str() {
            "local:cp" => next(None),
            "local:first" => next(Some("slow")),
            "local:self" => next(Some("local:self")),
            "local:nowhere" => next(Some("local:nosuch")),
            "local:slow" if told.is_released => next(None),
            "local:ask" => match told.answers.get(attempt) {
                Some(answer) => next((answer == "more").then_some("local:cp")),
                None => return None,
            },
            "local:fail3" => {
                remains.exit_code = Some(3);
                remains.state_tree = Some(work.state_tree);
                Err(Error::precondition("fail3 exited with 3"))
            }
            "local:flaky" if attempt.attempt == 1 => Err(Error::unavailable("the engine is lost")),
            "local:flaky" => next(None),
            _ => return None,
        };
        let mut ended = over(result);
        ended.remains = remains;
        Some(ended)
    }
}

fn over(result: Result<Finished, Error>) -> Ended {
    let at = "2026-11-22T12:00:00.000Z".to_owned();
    let log: Option<Blob> = None;
    Ended { result, remains: Finished::default(), started_at: at.clone(), ended_at: at, log, log_dropped: 0 }
}

impl Steps for Desk {
    async fn bid(self, _: Context, wanted: Wanted) -> Result<Bid, Error> {
        if let Some(refusal) = self.0.refusal.lock().unwrap().clone() {
            return Err(refusal);
        }
        Ok(Bid {
            id: format!("bid-{}", wanted.step),
            free_cpus: 2.0,
            free_memory_bytes: 1,
            free_disk_bytes: 1,
            platform: "linux/amd64".to_owned(),
            blobs: 0,
            images: 0,
            running: 0,
        })
    }

    async fn decline(self, _: Context, _: ChainId) -> Result<(), Error> {
        Ok(())
    }

    async fn run(self, _: Context, order: Order) -> Result<(), Error> {
        let mut told = self.0.told.lock().unwrap();
        let attempt = order.attempt.clone();
        if !told.attempts.contains_key(&attempt) {
            told.begun.push(attempt.clone());
            told.attempts.insert(attempt, (order, None));
        }
        Ok(())
    }

    async fn follow(self, _: Context, attempt: Attempt, known: Known) -> Result<News, Error> {
        let mut changed = self.0.changed.subscribe();
        for _ in 0..2 {
            changed.borrow_and_update();
            let news = {
                let told = self.0.told.lock().unwrap();
                if !told.attempts.contains_key(&attempt) {
                    return Err(Error::new(Code::NotFound, format!("{attempt} is not known here")));
                }
                let ended = Place::end_of(&told, &attempt);
                let asks = told.attempts.get(&attempt).is_some_and(
                    |(order, _)| matches!(&order.work, Work::Assistant(work) if work.assistant == "local:ask"),
                );
                let question = Question {
                    id: "q".to_owned(),
                    ask: "more?".to_owned(),
                    kind: Ask::Text,
                    choices: Vec::new(),
                    default: None,
                    until: "2026-11-22T13:00:00.000Z".to_owned(),
                };
                let questions = if asks && ended.is_none() { vec![question] } else { Vec::new() };
                let log = if known.log == 0 { b"a line\n".to_vec() } else { Vec::new() };
                let version = 1 + u64::from(ended.is_some());
                let is_new = version != known.version || !log.is_empty();
                let log_from = known.log;
                let ended = ended.map(Box::new);
                let log = Content(log.into());
                (is_new, News { version, log, log_from, questions, progress: None, ended })
            };
            if news.0 {
                return Ok(news.1);
            }
            if timeout(Duration::from_secs(1), changed.changed()).await.is_err() {
                return Ok(news.1);
            }
        }
        Err(Error::unavailable("ask again"))
    }

    async fn answer(self, _: Context, attempt: Attempt, id: String, value: String) -> Result<(), Error> {
        assert_eq!(id, "q");
        self.0.told.lock().unwrap().answers.insert(attempt, value);
        self.0.changed.send_modify(|changes| *changes += 1);
        Ok(())
    }

    async fn end(self, _: Context, attempt: Attempt, _: u64) -> Result<(), Error> {
        let mut told = self.0.told.lock().unwrap();
        let cancelled = over(Err(Error::new(Code::Cancelled, "it was ended")));
        if let Some((_, ended)) = told.attempts.get_mut(&attempt) {
            ended.get_or_insert(cancelled);
        }
        told.ended.push(attempt);
        drop(told);
        self.0.changed.send_modify(|changes| *changes += 1);
        Ok(())
    }

    async fn forget(self, _: Context, chain: ChainId, step: u32, _: u64) -> Result<(), Error> {
        self.0.told.lock().unwrap().forgotten.insert((chain, step));
        Ok(())
    }
}
