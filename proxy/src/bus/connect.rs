//! How a connection comes about, and how it moves on to another one when the credential was renewed.

use std::{
    sync::{Arc, Mutex, OnceLock, Weak},
    time::{Duration, Instant},
};

use async_nats::Event;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Bus, ConnectError, Inner, Link,
    dial::{Dial, Order},
    events::Heard,
    home::{Home, Stay},
    inbox::{self, Table},
    lane::{Lane, Move},
    outbox::{self, Outbox},
    pack,
    trust::Trust,
    version, vigil,
};
use crate::{
    identity::{CaCertificate, Credential},
    kv,
    subject::{self, Caller, Subjects, Token},
    task,
};

/// How far apart connections are made, so that a link that comes and goes makes no storm of them.
const APART: Duration = Duration::from_secs(1);

/// How to reach a bus, and as whom.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its address, `nats://HOST:PORT` or `tls://HOST:PORT`, without a password; of a cluster one address for each
    /// server, with commas between.
    pub url: String,
    /// The CA of its mesh. With it TLS is required, and this CA alone is trusted; a `tls://` address needs it.
    pub ca: Option<CaCertificate>,
    /// Whose credential to log in with.
    pub credential: Arc<Credential>,
    /// What the connection is called in the server's own lists.
    pub label: String,
}

impl Bus {
    /// Connects, and returns once an own message has come back through the inbox.
    ///
    /// # Errors
    ///
    /// Nothing there, a server that is not the mesh's, a refused credential, a server that is too old.
    pub async fn connect(options: Options) -> Result<Self, ConnectError> {
        Self::connect_to(options, Order::Any).await
    }

    /// Connects as [`Bus::connect`] does, of several servers to the first that answers in the order of their addresses, then
    /// and whenever the connection is made again: for a host that has a server of its own, whose name stands first.
    ///
    /// # Errors
    ///
    /// As [`Bus::connect`].
    pub async fn connect_in_order(options: Options) -> Result<Self, ConnectError> {
        Self::connect_to(options, Order::Given).await
    }

    async fn connect_to(options: Options, order: Order) -> Result<Self, ConnectError> {
        let url = options.url.clone();
        let lost = |reason: std::io::Error| ConnectError::Unreachable {
            url: url.clone(),
            source: async_nats::ConnectError::with_source(async_nats::ConnectErrorKind::Io, reason),
        };
        let (home, stay) = Home::make().map_err(lost)?;
        let connecting = Self::connect_at(options, order, home.clone(), stay);
        task::spawn_on(home.handle(), "bus-connect", connecting)
            .await
            .map_err(|error| lost(std::io::Error::other(error)))?
    }

    async fn connect_at(options: Options, order: Order, home: Home, stay: Stay) -> Result<Self, ConnectError> {
        let Options { url, ca, credential, label } = options;
        let trust = Trust::new(&url, ca.as_ref())?;
        let user = credential.name().clone();
        let caller = Caller { role: credential.role(), name: user.clone() };
        let mesh = credential.mesh().clone();
        let subjects = Subjects::new(&mesh);
        let inbox = format!("{}.{}", subject::inbox(&user), Token::random().as_str());
        let table: Arc<Table> = Arc::default();
        let now = Instant::now();
        let (link_sender, link) =
            watch::channel(Link { up: false, server: String::new(), since: now, connected: now, broken_before: false });
        let link_sender = Arc::new(link_sender);
        let (denied_sender, denied) = watch::channel(Vec::new());
        let (over_sender, over) = watch::channel(None);
        let client_slot: Arc<OnceLock<async_nats::Client>> = Arc::default();
        let lane_slot: Arc<OnceLock<Weak<Lane>>> = Arc::default();
        let dial = Arc::new(Dial::new(url.clone(), order, label, credential, trust)?);
        let heard = Arc::new(Heard {
            table: table.clone(),
            subjects: subjects.clone(),
            caller: caller.clone(),
            denied: denied_sender,
            over: over_sender,
        });
        let on_event = {
            let (slot, lane) = (client_slot.clone(), lane_slot.clone());
            let (heard, link_sender) = (heard.clone(), link_sender.clone());
            move |event: Event, over| {
                if let Some(error) = over {
                    return heard.end(error);
                }
                let carries = lane.get().and_then(Weak::upgrade).is_none_or(|lane| lane.number() == 0);
                heard.first(&event, &link_sender, carries, slot.get());
            }
        };
        let (connected, known) = (client_slot.clone(), link_sender.clone());
        let wait = move |attempts| {
            // The client asks before its first attempt too, when there is no burst to be spread.
            if connected.get().is_none() {
                return Duration::ZERO;
            }
            reconnect_delay(attempts).max(APART.saturating_sub(known.borrow().connected.elapsed()))
        };
        let client = dial.connect(on_event, wait).await?;
        // Only a client that was made can hear events that matter; the slot is filled once.
        let _ = client_slot.set(client.clone());
        // The first event may have come before the client was there to be asked.
        link_sender.send_modify(|link| {
            link.up = client.connection_state() == async_nats::connection::State::Connected;
            link.server = client.server_info().server_id;
        });
        let found = client.server_info().version;
        if let Err(floor) = version::check(&found) {
            return Err(ConnectError::TooOld { url, found, floor });
        }
        let unreachable = |source: async_nats::SubscribeError| ConnectError::Unreachable {
            url: url.clone(),
            source: async_nats::ConnectError::with_source(async_nats::ConnectErrorKind::Io, source),
        };
        let replies = client.subscribe(format!("{inbox}.>")).await.map_err(unreachable)?;
        let lane = Arc::new(Lane::new(client.clone()));
        let _ = lane_slot.set(Arc::downgrade(&lane));
        let (outbox, queue) = mpsc::channel(outbox::QUEUE);
        let sending = Outbox::new(lane.clone(), table.clone(), subjects.clone(), caller.clone(), pack::inbox(&inbox));
        // Ends by itself when the last sender goes: a cancel that was queued by then is still sent.
        drop(task::spawn("bus-outbox", async move {
            sending.run(queue).await;
            drop(stay);
        }));
        let (moves, moved) = mpsc::channel(1);
        let replies = task::Owned::spawn("bus-replies", inbox::run(replies, table.clone(), moved));
        let watching =
            vigil::run(lane.clone(), table.clone(), subjects.clone(), caller.clone(), inbox.clone(), link.clone());
        let tasks = [replies, task::Owned::spawn("bus-vigil", watching)];
        let inner = Inner {
            client,
            lane,
            dial,
            heard,
            moves: tokio::sync::Mutex::new(moves),
            over,
            caller,
            mesh,
            subjects,
            inbox,
            table,
            link,
            denied,
            outbox,
            home,
            shut_out: Mutex::default(),
            store: kv::Guarded::default(),
            _tasks: tasks,
        };
        let bus = Self(Arc::new(inner));
        match bus.echo().await {
            Ok(()) => Ok(bus),
            Err(_) if bus.0.over.borrow().is_some() => Err(bus.0.dial.refused()),
            Err(_) => Err(ConnectError::Unreachable {
                url,
                source: async_nats::ConnectError::new(async_nats::ConnectErrorKind::TimedOut),
            }),
        }
    }

    /// Logs in with the credential as it is now, beside the connection that stands: requests, and what waits for replies
    /// or frames, go on over the new one, and nothing of it is lost when the old token ends. Subscriptions stay, and are
    /// made again when their own connection is.
    ///
    /// # Errors
    ///
    /// As [`Bus::connect`]; then all is as it was.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may or may not have moved them.
    pub async fn log_in_again(&self) -> Result<(), ConnectError> {
        let bus = self.clone();
        // Where the first connection lives, like all that is done for it.
        let moving = task::spawn_on(self.0.home.handle(), "bus-move", async move { bus.move_over().await });
        moving.await.map_err(|error| self.unreachable(std::io::Error::other(error)))?
    }

    async fn move_over(&self) -> Result<(), ConnectError> {
        let inner = &self.0;
        let moves = inner.moves.lock().await;
        let number = inner.lane.number() + 1;
        // What holds a connection must not be held by it: it ends with its last holder.
        let (lane, heard) = (Arc::downgrade(&inner.lane), inner.heard.clone());
        let note = move |event: Event, over| match (over, lane.upgrade()) {
            (Some(error), _) => heard.end(error),
            (None, Some(lane)) => lane.note(&event, number, &heard),
            (None, None) => {}
        };
        let client = inner.dial.connect(note, reconnect_delay).await?;
        let replies = client.subscribe(format!("{}.>", inner.inbox)).await;
        let replies = replies.map_err(|error| self.unreachable(error))?;
        let (done, moved) = oneshot::channel();
        let (lane, inbox) = (inner.lane.clone(), inner.inbox.clone());
        let next = Move { client, number, replies, inbox, lane, done };
        let closed = || self.unreachable(std::io::Error::other("the connection in use is closed"));
        moves.send(next).await.map_err(|_| closed())?;
        match moved.await {
            Ok(true) => Ok(()),
            _ => Err(closed()),
        }
    }

    fn unreachable(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ConnectError {
        let source = async_nats::ConnectError::with_source(async_nats::ConnectErrorKind::Io, error);
        ConnectError::Unreachable { url: self.0.dial.url().to_owned(), source }
    }
}

/// A random wait that grows to 5 s, so that thousands of clients do not come back in one burst.
fn reconnect_delay(attempts: usize) -> Duration {
    let exponent = u32::try_from(attempts).unwrap_or(u32::MAX).min(6);
    let ceiling = (100_u64 << exponent).min(5_000);
    let mut random = [0; 8];
    let share = if ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random).is_ok() {
        u64::from_le_bytes(random) % (ceiling - 49)
    } else {
        ceiling / 2
    };
    Duration::from_millis(50 + share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnects_wait_at_random_within_bounds() {
        for attempts in 0..100 {
            let wait = reconnect_delay(attempts).as_millis();
            assert!((50..=5_000).contains(&wait), "{wait}");
        }
    }
}
