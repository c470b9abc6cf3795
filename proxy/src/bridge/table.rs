//! The invocations that are under way at a process, and what is still to be told it of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    FIRST_CREDIT, MOST_CREDIT,
    frame::{Kind, Message, Violation},
};
use crate::{Code, Error, sync::lock};

/// How many invocations one process may have under way, with those that were cancelled and have not returned.
pub const MAX_INVOCATIONS: usize = 8_192;
/// How many items may wait for their reader: what there can be credit for, and the last word.
const ROOM: usize = MOST_CREDIT as usize + 2;

/// The first word of an answer.
pub(super) enum First {
    /// All of it.
    Value(Bytes),
    /// Items follow.
    Items(mpsc::Receiver<Result<Bytes, Error>>),
}

/// What is still to be told of an invocation.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Notice {
    pub(super) credit: u32,
    pub(super) cancel: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Table {
    state: Mutex<State>,
    /// Told when there is something to tell.
    noticed: Notify,
}

#[derive(Default)]
struct State {
    last: u64,
    running: HashMap<u64, Running>,
    /// At most one for each that runs.
    notices: BTreeMap<u64, Notice>,
    /// Whose code ran when the process ended.
    lost: Option<BTreeSet<u64>>,
}

struct Running {
    generation: Option<u64>,
    /// Whether all of it stands in the outbox.
    sent: bool,
    stage: Stage,
}

enum Stage {
    Waiting(oneshot::Sender<Result<First, Error>>),
    Streaming { items: mpsc::Sender<Result<Bytes, Error>>, granted: u64, received: u64 },
    GivenUp,
}

/// An invocation whose answer somebody waits for; dropping this cancels it.
pub(super) struct Guard {
    pub(super) id: u64,
    pub(super) table: Arc<Table>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.table.give_up(self.id);
    }
}

impl Table {
    /// Notes a new one.
    pub(super) fn enter(
        self: &Arc<Self>,
        generation: Option<u64>,
    ) -> Result<(Guard, oneshot::Receiver<Result<First, Error>>), Error> {
        let mut state = lock(&self.state);
        if state.lost.is_some() {
            return Err(ended(false));
        }
        if state.running.len() >= MAX_INVOCATIONS {
            let error = format!("{MAX_INVOCATIONS} calls of this process are under way");
            return Err(Error::new(Code::ResourceExhausted, error).hint("wait for some of them to end").sent(false));
        }
        state.last += 1;
        let id = state.last;
        let (answer, first) = oneshot::channel();
        state.running.insert(id, Running { generation, sent: false, stage: Stage::Waiting(answer) });
        Ok((Guard { id, table: self.clone() }, first))
    }

    /// Notes that all of it is on its way.
    pub(super) fn sent(&self, id: u64) {
        let mut state = lock(&self.state);
        let Some(running) = state.running.get_mut(&id) else { return };
        running.sent = true;
        if matches!(running.stage, Stage::GivenUp) {
            state.notices.entry(id).or_default().cancel = true;
            drop(state);
            self.noticed.notify_one();
        }
    }

    /// Notes that it will not be sent: the process never heard of it.
    pub(super) fn unsent(&self, id: u64) {
        lock(&self.state).running.remove(&id);
    }

    /// Notes that nobody waits for the answer. The process says one all the same, and by that its thread is free.
    fn give_up(&self, id: u64) {
        let mut state = lock(&self.state);
        let Some(running) = state.running.get_mut(&id) else { return };
        running.stage = Stage::GivenUp;
        if running.sent {
            state.notices.entry(id).or_default().cancel = true;
            drop(state);
            self.noticed.notify_one();
        }
    }

    /// Cancels one whose answer is still waited for.
    pub(super) fn cancel(&self, id: u64) {
        let mut state = lock(&self.state);
        if state.running.contains_key(&id) {
            state.notices.entry(id).or_default().cancel = true;
            drop(state);
            self.noticed.notify_one();
        }
    }

    /// Adds credit to a stream of which so many items were read.
    pub(super) fn grant(&self, id: u64, items: u32, taken: u64) {
        let mut state = lock(&self.state);
        let Some(Running { stage: Stage::Streaming { granted, .. }, .. }) = state.running.get_mut(&id) else { return };
        let room = u64::from(MOST_CREDIT).saturating_sub(granted.saturating_sub(taken));
        let credit = items.min(u32::try_from(room).unwrap_or(u32::MAX));
        if credit == 0 {
            return;
        }
        *granted += u64::from(credit);
        let notice = state.notices.entry(id).or_default();
        notice.credit = notice.credit.saturating_add(credit);
        drop(state);
        self.noticed.notify_one();
    }

    /// Awaits what is to be told.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(super) async fn notices(&self) -> BTreeMap<u64, Notice> {
        loop {
            let notices = std::mem::take(&mut lock(&self.state).notices);
            if !notices.is_empty() {
                return notices;
            }
            self.noticed.notified().await;
        }
    }

    /// Takes an answer, or a part of one: `reply`, `ready`, `error`, `item` or `end`.
    pub(super) fn take(&self, message: Message) -> Result<(), Violation> {
        let Message { header, body } = message;
        let id = header.id()?;
        let mut state = lock(&self.state);
        let running = state.running.get_mut(&id);
        let running = running.ok_or_else(|| Violation::new(format!("an answer to {id}, which nobody asked")))?;
        match (header.t, &mut running.stage) {
            (Kind::Reply, Stage::Waiting(_)) if header.stream => {
                let (items, receiver) = mpsc::channel(ROOM);
                let streaming = Stage::Streaming { items, granted: FIRST_CREDIT.into(), received: 0 };
                if let Stage::Waiting(answer) = std::mem::replace(&mut running.stage, streaming) {
                    // Who has left meanwhile cancels it.
                    let _ = answer.send(Ok(First::Items(receiver)));
                }
                Ok(())
            }
            (Kind::Item, Stage::Streaming { items, granted, received }) => {
                *received += 1;
                if received > granted {
                    return Err(Violation::new(format!("more items of {id} than it may")));
                }
                // A reader who has left cancels it; of room there is as much as of credit.
                let _ = items.try_send(body.ok_or_else(too_much));
                Ok(())
            }
            (Kind::Reply, Stage::GivenUp) if header.stream => Ok(()),
            (Kind::Item, Stage::GivenUp) => Ok(()),
            (Kind::Reply | Kind::Ready, Stage::Waiting(_)) | (Kind::End, Stage::Streaming { .. }) => {
                if let Some(Stage::Waiting(answer)) = state.end(id) {
                    let _ = answer.send(body.ok_or_else(too_much).map(First::Value));
                }
                Ok(())
            }
            (Kind::Reply | Kind::Ready | Kind::End | Kind::Error, Stage::GivenUp) => {
                state.end(id);
                Ok(())
            }
            (Kind::Error, Stage::Waiting(_) | Stage::Streaming { .. }) => {
                let code = header.code.ok_or_else(|| Violation::new("an error without a code"))?;
                let error = read_error(code, body.as_deref());
                match state.end(id) {
                    Some(Stage::Waiting(answer)) => drop(answer.send(Err(error))),
                    Some(Stage::Streaming { items, .. }) => drop(items.try_send(Err(error))),
                    _ => {}
                }
                Ok(())
            }
            (kind, _) => Err(Violation::new(format!("{kind:?} of {id} when that was not due"))),
        }
    }

    /// Ends all: the process is gone. What it had begun may have been done.
    pub(super) fn lose(&self) {
        let mut state = lock(&self.state);
        let running = std::mem::take(&mut state.running);
        let ran = running.values().filter(|running| running.sent).filter_map(|running| running.generation);
        state.lost.get_or_insert_default().extend(ran);
        state.notices.clear();
        drop(state);
        for Running { sent, stage, .. } in running.into_values() {
            match stage {
                Stage::Waiting(answer) => drop(answer.send(Err(ended(sent)))),
                Stage::Streaming { items, .. } => drop(items.try_send(Err(ended(true)))),
                Stage::GivenUp => {}
            }
        }
    }

    /// Whose code ran when the process ended; none before that.
    pub(super) fn ran_at_the_end(&self) -> BTreeSet<u64> {
        lock(&self.state).lost.clone().unwrap_or_default()
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        lock(&self.state).running.len()
    }
}

impl State {
    fn end(&mut self, id: u64) -> Option<Stage> {
        self.notices.remove(&id);
        self.running.remove(&id).map(|running| running.stage)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("running", &self.len()).finish_non_exhaustive()
    }
}

/// The error of a call whose process is gone.
pub(super) fn ended(sent: bool) -> Error {
    Error::unavailable("the process that was to answer has ended").hint("try again in a moment").sent(sent)
}

fn too_much() -> Error {
    Error::new(Code::ResourceExhausted, "the results of this process are more at once than its host can hold")
        .hint("ask for large results one after another")
}

/// An error as a process tells it.
pub(super) fn read_error(code: Code, body: Option<&[u8]>) -> Error {
    let told = body.and_then(|body| serde_json::from_slice::<Error>(body).ok());
    match told {
        Some(error) => Error { code, ..error },
        None => Error::new(code, "the process answered with an error that cannot be read"),
    }
}
