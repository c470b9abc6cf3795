//! What a host asks of its process: to run skills, and to load and end plugins.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::{
    frame::{Control, Header, Kind, Message, Violation},
    invocation::{Answered, Invocation, Items},
    outbox::{Outbox, PART},
    plugin::{Ready, Status},
    table::{First, Guard, Table, ended},
};
use crate::{Code, Error, task};

/// How long a process may take to give up a load.
const YIELDING: Duration = Duration::from_secs(5);
/// How long it may take for what needs no code of a plugin.
const PROMPTLY: Duration = Duration::from_secs(10);
/// How long a plugin's clean-up may take, and what stands around it.
const CLEANING_UP: Duration = Duration::from_secs(8);

/// What is asked of one process.
#[derive(Debug, Clone)]
pub struct Invocations(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    table: Arc<Table>,
    outbox: Outbox,
    _telling: task::Owned,
}

impl Invocations {
    /// Nothing is asked yet; what will be goes to that outbox.
    #[must_use]
    pub fn new(outbox: Outbox) -> Self {
        let table = Arc::<Table>::default();
        let telling = task::Owned::spawn("bridge-notices", tell(table.clone(), outbox.clone()));
        Self(Arc::new(Inner { table, outbox, _telling: telling }))
    }

    /// Asks for a skill to be run. `held` is let go of as soon as nothing more is to be sent of it.
    ///
    /// # Errors
    ///
    /// What the process answers; `unavailable` if it ended, with `data.sent`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or the items that it gives, cancels the invocation.
    pub async fn invoke<H: Send + 'static>(&self, invocation: Invocation, held: H) -> Result<Answered, Error> {
        let (guard, first) = self.0.table.enter(invocation.generation)?;
        let (header, body) = invocation.into_frame(guard.id);
        self.send(header, body, held).await?;
        match first.await.unwrap_or_else(|_| Err(ended(true)))? {
            First::Value(value) => Ok(Answered::Value(value)),
            First::Items(items) => Ok(Answered::Items(Items::new(items, guard))),
        }
    }

    /// Loads a plugin, described by `plugin`, as that generation. A load that takes longer than `within` is given up.
    ///
    /// # Errors
    ///
    /// What is wrong with the plugin, and all is as before; `deadline_exceeded` if it was given up, with `data.stuck` where
    /// the process does not let go of it.
    pub async fn load(&self, generation: u64, plugin: Bytes, within: Duration) -> Result<Ready, Error> {
        let mut pending = self.begin(Control::Load, Some(generation), None, plugin).await?;
        if let Ok(answer) = tokio::time::timeout(within, pending.answer()).await {
            return Ready::read(&answer?);
        }
        pending.cancel();
        let late = format!("the plugin was not loaded within {} s", within.as_secs_f64());
        let late = Error::new(Code::DeadlineExceeded, late).hint("a larger START_TIMEOUT gives it longer");
        match tokio::time::timeout(YIELDING, pending.answer()).await {
            // It came in time to be of use, and not to be waited for any longer.
            Ok(Ok(answer)) => Ready::read(&answer),
            Ok(Err(error)) if error.code == Code::Cancelled => Err(late),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(late.with("stuck", true)),
        }
    }

    /// Has the others in the process reach that generation, in place of a former one of the same plugin.
    ///
    /// # Errors
    ///
    /// There is no such generation, or the process ended or does not answer.
    pub async fn serve(&self, generation: u64) -> Result<(), Error> {
        self.ask(Control::Serve, Some(generation), None, PROMPTLY).await.map(drop)
    }

    /// Ends that generation: once its last call has ended, at most after `grace`, and it has cleaned up.
    ///
    /// # Errors
    ///
    /// As [`Invocations::serve`].
    pub async fn unload(&self, generation: u64, grace: Duration) -> Result<(), Error> {
        self.ask(Control::Unload, Some(generation), Some(grace), grace + CLEANING_UP).await.map(drop)
    }

    /// What the process says of itself.
    ///
    /// # Errors
    ///
    /// The process ended or does not answer.
    pub async fn status(&self) -> Result<Status, Error> {
        read(&self.ask(Control::Status, None, None, PROMPTLY).await?)
    }

    /// Tells the process to end in order.
    pub async fn stop(&self, grace: Duration) {
        let header = Header { grace_ms: Some(milliseconds(grace)), ..Header::new(Kind::Stop, None) };
        // One that is gone has ended already.
        let _ = self.0.outbox.send(header, Bytes::new()).await;
    }

    /// Takes an answer, or a part of one.
    ///
    /// # Errors
    ///
    /// Nobody asked, or it is not due.
    pub fn take(&self, message: Message) -> Result<(), Violation> {
        self.0.table.take(message)
    }

    /// Ends with the process: whoever waits for an answer hears that it is gone, and nothing more is asked.
    pub fn end(&self) {
        self.0.table.lose();
    }

    /// The generations whose code ran when the process ended.
    #[must_use]
    pub fn ran_at_the_end(&self) -> BTreeSet<u64> {
        self.0.table.ran_at_the_end()
    }

    /// How many are under way, with those that were cancelled and have not returned.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.0.table.len()
    }

    async fn ask(
        &self,
        control: Control,
        generation: Option<u64>,
        grace: Option<Duration>,
        within: Duration,
    ) -> Result<Bytes, Error> {
        let mut pending = self.begin(control, generation, grace, Bytes::new()).await?;
        let answer = tokio::time::timeout(within, pending.answer()).await;
        answer.unwrap_or_else(|_| {
            let waited = within.as_secs_f64();
            Err(Error::new(Code::DeadlineExceeded, format!("the process did not answer its host within {waited} s")))
        })
    }

    async fn begin(
        &self,
        control: Control,
        generation: Option<u64>,
        grace: Option<Duration>,
        body: Bytes,
    ) -> Result<Pending, Error> {
        let (guard, first) = self.0.table.enter(generation)?;
        let header = Header {
            control: Some(control),
            generation,
            grace_ms: grace.map(milliseconds),
            ..Header::new(Kind::Invoke, Some(guard.id))
        };
        self.send(header, body, ()).await?;
        Ok(Pending { guard, first })
    }

    /// Sends a frame. One of several parts goes on being sent if this is dropped: half of it would spoil what comes after.
    async fn send<H: Send + 'static>(&self, header: Header, body: Bytes, held: H) -> Result<(), Error> {
        let Some(id) = header.id else { return Ok(()) };
        let (outbox, is_small, is_alone) = (self.0.outbox.clone(), body.len() <= PART, self.under_way() <= 1);
        let mut unsent = Unsent { id, table: Some(self.0.table.clone()) };
        let sending = async move {
            // A process may have run it, and ended, before the next line here does.
            let sent = outbox.send_noting(header, body, is_alone, &mut || unsent.sent()).await;
            drop(held);
            sent.map_err(|_| ended(unsent.table.is_none()))
        };
        if is_small {
            return sending.await;
        }
        task::spawn("bridge-large", sending).await.unwrap_or_else(|_| Err(ended(true)))
    }
}

/// An invocation that is not yet in the outbox; dropping this forgets it.
struct Unsent {
    id: u64,
    table: Option<Arc<Table>>,
}

impl Unsent {
    fn sent(&mut self) {
        if let Some(table) = self.table.take() {
            table.sent(self.id);
        }
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        if let Some(table) = &self.table {
            table.unsent(self.id);
        }
    }
}

/// Something that was asked of the process itself.
struct Pending {
    guard: Guard,
    first: oneshot::Receiver<Result<First, Error>>,
}

impl Pending {
    /// The answer; after a [`Pending::cancel`] too.
    async fn answer(&mut self) -> Result<Bytes, Error> {
        match (&mut self.first).await.unwrap_or_else(|_| Err(ended(true)))? {
            First::Value(value) => Ok(value),
            First::Items(_) => Err(Error::internal("the process answered its host with a stream")),
        }
    }

    fn cancel(&self) {
        self.guard.table.cancel(self.guard.id);
    }
}

/// Tells the process of credit and cancels, which never wait for one another's senders.
async fn tell(table: Arc<Table>, outbox: Outbox) {
    loop {
        for (id, notice) in table.notices().await {
            let credit = Header { n: Some(notice.credit), ..Header::new(Kind::Credit, Some(id)) };
            let cancel = Header::new(Kind::Cancel, Some(id));
            let told = [(notice.credit > 0, credit), (notice.cancel, cancel)];
            for (_, header) in told.into_iter().filter(|(is_due, _)| *is_due) {
                if outbox.send(header, Bytes::new()).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| {
        let shown = crate::quoted_within(&error.to_string());
        Error::internal(format!("the process answers its host in a form that cannot be used: {shown}"))
    })
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
