//! Whether those who are waited for are still there. The bus tells at once when nobody hears a message, but not when
//! whoever heard it dies: so it is asked again for as long as somebody waits.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    Link,
    inbox::{Pending, Table, To},
    lane::Lane,
};
use crate::{
    error::Error,
    name::UserName,
    subject::{Caller, Control, Subjects, Token},
    sync::lock,
};

/// How often it is asked: twice in vain within the second in which a death is to be noticed, and a connection that was
/// made anew meanwhile is no death.
const TURN: Duration = Duration::from_millis(300);
/// For how many turns an answer of the bus may be under way.
const MEMORY: u64 = 20;

/// Somebody who is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Awaited {
    /// The server of calls and streams.
    Server(UserName),
    /// The owner of an inbox, who reads streams.
    Reader(Arc<str>),
}

/// A question that the bus answers only if nobody hears it.
#[derive(Debug)]
struct Asked {
    who: Awaited,
    turn: u64,
    /// Whether the question before it was heard by nobody.
    again: bool,
}

/// What is known of those who are waited for.
#[derive(Debug, Default)]
pub(super) struct Vigil {
    turn: AtomicU64,
    asked: Mutex<HashMap<Token, Asked>>,
    missed: Mutex<HashSet<Awaited>>,
    readers: Mutex<HashMap<Arc<str>, (usize, CancellationToken)>>,
}

impl Vigil {
    /// When something that begins to wait now does so.
    pub(super) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// Takes the bus's word that nobody heard a question. Gives the server that is gone, and before which turn a call
    /// must have begun to be lost with it.
    pub(super) fn unheard(&self, token: &Token) -> Option<(UserName, u64)> {
        let Asked { who, turn, again } = lock(&self.asked).remove(token)?;
        if !again {
            lock(&self.missed).insert(who);
            return None;
        }
        match who {
            Awaited::Server(server) => Some((server, turn)),
            Awaited::Reader(inbox) => {
                if let Some((_, gone)) = lock(&self.readers).get(&inbox) {
                    gone.cancel();
                }
                None
            }
        }
    }

    /// The questions of one turn.
    fn ask(&self, waiting: impl Fn(u64) -> HashSet<UserName>) -> Vec<(Token, Awaited)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) + 1;
        let missed = std::mem::take(&mut *lock(&self.missed));
        let readers = lock(&self.readers).keys().cloned().map(Awaited::Reader).collect::<Vec<_>>();
        let mut asked = lock(&self.asked);
        asked.retain(|_, asked| asked.turn + MEMORY > turn);
        let awaited = waiting(turn - 1).into_iter().map(Awaited::Server).chain(readers);
        awaited
            .map(|who| {
                let token = Token::random();
                asked.insert(token.clone(), Asked { who: who.clone(), turn, again: missed.contains(&who) });
                (token, who)
            })
            .collect()
    }
}

/// The servers of what has waited since before that turn.
fn servers(table: &Table, turn: u64) -> HashSet<UserName> {
    let of = |pending: &Pending| match &pending.to {
        To::Skill(target) if pending.turn < turn => Some(target.server.clone()),
        _ => None,
    };
    table.lock().values().filter_map(of).collect()
}

/// Asks, for as long as the connection lives.
pub(super) async fn run(
    lane: Arc<Lane>,
    table: Arc<Table>,
    subjects: Subjects,
    caller: Caller,
    inbox: String,
    link: watch::Receiver<Link>,
) {
    let mut tick = interval(TURN);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if !lane.is_up(link.borrow().up) {
            continue;
        }
        lane.look();
        let client = lane.client();
        for (token, who) in table.vigil.ask(|turn| servers(&table, turn)) {
            // To its hearer this is credit for a stream, or a reply to a call, that it does not know.
            let subject = match &who {
                Awaited::Server(server) => subjects.control(server, &caller, Control::Credit, &token),
                Awaited::Reader(inbox) => format!("{inbox}.{}", token.as_str()),
            };
            let reply = format!("{inbox}.{}", token.as_str());
            if let Err(error) = client.publish_with_reply(subject, reply, Bytes::new()).await {
                tracing::debug!(%error, "it is not known who is still there");
            }
        }
    }
}

/// The owner of an inbox, watched until this is dropped.
pub(crate) struct Reader {
    table: Arc<Table>,
    inbox: Arc<str>,
    gone: CancellationToken,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("inbox", &self.inbox).finish_non_exhaustive()
    }
}

impl Reader {
    /// Watches the owner of that inbox.
    pub(super) fn watch(table: Arc<Table>, inbox: Arc<str>) -> Self {
        let gone = {
            let mut readers = lock(&table.vigil.readers);
            let (count, gone) = readers.entry(inbox.clone()).or_default();
            *count += 1;
            gone.clone()
        };
        Self { table, inbox, gone }
    }

    /// Resolves once nobody hears that inbox any more, which may be never.
    pub(crate) async fn gone(&self) {
        self.gone.cancelled().await;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut readers = lock(&self.table.vigil.readers);
        if let Some((count, _)) = readers.get_mut(&self.inbox) {
            *count -= 1;
            if *count == 0 {
                readers.remove(&self.inbox);
            }
        }
    }
}

/// What those learn who wait for a server that is gone.
pub(super) fn lost(server: &UserName) -> Error {
    Error::unavailable(format!("its server \"{server}\" left the bus before it answered"))
        .hint("see: aish nodes")
        .sent(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(vigil: &Vigil, name: &str) -> Token {
        let asked = vigil.ask(|_| HashSet::from([UserName::parse(name).unwrap()]));
        asked.into_iter().next().unwrap().0
    }

    #[test]
    fn flt_03_who_is_missed_twice_in_a_row_is_gone() {
        let vigil = Vigil::default();
        assert_eq!(vigil.unheard(&ask(&vigil, "alpha")), None, "it may be connecting anew");
        let (server, turn) = vigil.unheard(&ask(&vigil, "alpha")).unwrap();
        assert_eq!((server.as_str(), turn), ("alpha", 2));
        assert_eq!(vigil.unheard(&ask(&vigil, "alpha")), None, "a death is told once");
    }

    #[test]
    fn flt_28_who_is_heard_in_between_is_there() {
        let vigil = Vigil::default();
        for _ in 0..10 {
            assert_eq!(vigil.unheard(&ask(&vigil, "alpha")), None);
            let _heard = ask(&vigil, "alpha");
        }
    }

    #[test]
    fn flt_30_a_late_word_counts_and_an_old_one_does_not() {
        let vigil = Vigil::default();
        let (first, old) = (ask(&vigil, "alpha"), ask(&vigil, "alpha"));
        assert_eq!(vigil.unheard(&first), None);
        assert!(vigil.unheard(&ask(&vigil, "alpha")).is_some(), "it came two turns later");
        for _ in 0..MEMORY {
            let _asked = ask(&vigil, "alpha");
        }
        assert_eq!(vigil.unheard(&old), None);
        assert!(lock(&vigil.asked).len() <= usize::try_from(MEMORY).unwrap());
    }
}
