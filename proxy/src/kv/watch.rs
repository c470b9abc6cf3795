//! A watch over a bucket that heals itself: whenever it may have missed something it says so, and reads all again.

use std::{
    fmt,
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};

use super::{
    Bucket, Entry, Error,
    consumer::{Consumer, Delivered, From, Place, Selection},
    entry::{empties, follows, operation},
    jitter,
};
use crate::bus::{Bus, Link, Message};

/// How long one attempt to begin may take.
const BEGIN: Duration = Duration::from_secs(3);

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// What was told before may be out of date: all entries follow anew, then [`Event::Synced`].
    Resync,
    /// An entry, as it is or as it was changed.
    Entry {
        /// The entry.
        entry: Entry,
        /// How long ago the store took it, by the store's clock.
        age: Duration,
    },
    /// All that stood in the bucket has been told; what follows are changes.
    Synced,
}

enum State {
    Waiting(Option<Instant>),
    Beginning(BoxFuture<'static, Result<Consumer, Error>>),
    Reading(Consumer),
}

/// A watch over the keys of a bucket that match a filter. It never ends; keep asking.
pub struct Watch {
    bus: Bus,
    bucket: Bucket,
    selection: Selection,
    state: State,
    link: tokio::sync::watch::Receiver<Link>,
    round: u32,
    announced: bool,
    /// Whether nothing more waits at the store.
    drained: bool,
    synced: bool,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("bucket", &self.bucket).field("synced", &self.synced).finish_non_exhaustive()
    }
}

impl Watch {
    /// Makes a watch over the keys that match `filter`; nothing is asked before [`Watch::next`].
    #[must_use]
    pub fn new(bus: &Bus, bucket: Bucket, filter: &str) -> Self {
        Self::of_any(bus, bucket, &[filter])
    }

    /// As [`Watch::new`], over the keys that match any of the filters, of which no two may match the same key.
    #[must_use]
    pub fn of_any(bus: &Bus, bucket: Bucket, filters: &[impl AsRef<str>]) -> Self {
        Self {
            selection: Selection {
                stream: bucket.stream(),
                filters: filters.iter().map(|filter| bucket.subject(filter.as_ref())).collect(),
                from: From::LastOfEach,
                headers_only: false,
            },
            bucket,
            link: bus.link(),
            bus: bus.clone(),
            state: State::Waiting(None),
            round: 0,
            announced: true,
            drained: false,
            synced: false,
        }
    }

    /// Reads all again: for who knows that it slept.
    pub fn resync(&mut self) {
        self.state = State::Waiting(None);
        self.announced = false;
        self.drained = false;
        self.synced = false;
    }

    /// The next event.
    ///
    /// # Errors
    ///
    /// Why a beginning failed; the watch goes on trying when it is asked again.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if !self.announced {
                self.announced = true;
                return Ok(Event::Resync);
            }
            match &mut self.state {
                State::Waiting(until) => {
                    if let Some(until) = *until {
                        tokio::time::sleep_until(until.into()).await;
                    }
                    if self.link.wait_for(|link| link.up).await.is_err() {
                        // The connection is closed for good, with all clones of the bus but this one.
                        std::future::pending::<()>().await;
                    }
                    let (bus, selection) = (self.bus.clone(), self.selection.clone());
                    let begin = async move { Consumer::create(&bus, &selection, BEGIN).await };
                    self.state = State::Beginning(begin.boxed());
                }
                State::Beginning(begin) => match begin.await {
                    Ok(consumer) => {
                        self.round = 0;
                        self.drained = consumer.pending == 0;
                        self.state = State::Reading(consumer);
                    }
                    Err(error) => {
                        self.state = State::Waiting(Some(Instant::now() + jitter(self.round)));
                        self.round = self.round.saturating_add(1);
                        return Err(error);
                    }
                },
                State::Reading(consumer) => {
                    if !self.synced && self.drained {
                        self.synced = true;
                        return Ok(Event::Synced);
                    }
                    let delivered = tokio::select! {
                        biased;
                        _ = self.link.changed() => None,
                        delivered = consumer.next() => delivered,
                    };
                    match delivered {
                        Some(Delivered::Idle) => self.drained = true,
                        Some(Delivered::Message { message, place }) => {
                            self.drained = place.pending == 0;
                            let subject = message.subject.clone();
                            let Some(key) = self.bucket.key(&subject) else { continue };
                            if empties(message.headers.as_ref()) {
                                tracing::warn!(
                                    key,
                                    "this write emptied its bucket; revoke its writer: aish users revoke"
                                );
                            }
                            let entry = entry(key, *message, place);
                            let age = consumer.age(entry.created);
                            return Ok(Event::Entry { entry, age });
                        }
                        None => self.resync(),
                    }
                }
            }
        }
    }

    /// The next event, if there is one at once.
    pub fn next_ready(&mut self) -> Option<Result<Event, Error>> {
        self.next().now_or_never()
    }
}

/// What was delivered, as an entry.
pub(super) fn entry(key: &str, message: Message, place: Place) -> Entry {
    Entry {
        key: key.to_owned(),
        operation: operation(message.headers.as_ref()),
        follows: follows(message.headers.as_ref()),
        revision: place.stream_sequence,
        created: place.published,
        value: message.payload,
    }
}

/// Reads all entries of a bucket that match any of the filters, of which no two may match the same key, within `within`.
///
/// # Errors
///
/// What forbids it, or [`Error::Unavailable`] when the time is over.
pub async fn list(
    bus: &Bus,
    bucket: Bucket,
    filters: &[impl AsRef<str>],
    within: Duration,
) -> Result<Vec<Entry>, Error> {
    let mut watch = Watch::of_any(bus, bucket, filters);
    let mut entries = Vec::new();
    let mut last = None;
    let read = async {
        loop {
            match watch.next().await {
                Ok(Event::Synced) => return,
                Ok(Event::Resync) => entries.clear(),
                Ok(Event::Entry { entry, .. }) => entries.push(entry),
                Err(error @ (Error::Denied { .. } | Error::OtherStore { found: Some(_), .. })) => {
                    return last = Some(error);
                }
                Err(error) => last = Some(error),
            }
        }
    };
    match tokio::time::timeout(within, read).await {
        Ok(()) => match last {
            Some(error @ (Error::Denied { .. } | Error::OtherStore { found: Some(_), .. })) => Err(error),
            _ => Ok(entries),
        },
        Err(_) => Err(last.unwrap_or(Error::Unavailable {
            reason: format!("the bucket \"{bucket}\" was not read in time"),
            sent: false,
        })),
    }
}
