//! The tunnels of one process: what comes for them by one subscription, handed to the connection that it is for.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::StreamExt as _;

use super::{
    frame::Frame,
    pipe::{Line, Tunnel},
};
use crate::{
    bus::Bus,
    error::{Code, Error},
    subject::{Token, reply_token},
    sync::lock,
    task,
};

/// Most tunnels of a process at once.
const MOST: usize = 4_096;

type Table = Mutex<HashMap<Token, Arc<Line>>>;

/// The tunnels of one process. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    bus: Bus,
    token: Token,
    table: Arc<Table>,
    _hearing: task::Owned,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("tunnels", &lock(&self.0.table).len()).finish_non_exhaustive()
    }
}

impl Hub {
    /// Makes a hub, and returns once the bus brings it what is sent to it.
    ///
    /// # Errors
    ///
    /// As [`Bus::subscribe`].
    pub async fn open(bus: &Bus) -> Result<Self, Error> {
        let (token, table) = (Token::random(), Arc::<Table>::default());
        let mut came = bus.subscribe(&bus.subjects().tunnels(bus.user(), &token)).await?;
        let heard = table.clone();
        let hearing = task::Owned::spawn("tunnels", async move {
            while let Some(message) = came.next().await {
                let line = reply_token(&message.subject).and_then(|token| lock(&heard).get(&token).cloned());
                // What comes late for one that has ended is told to nobody: its other side has been, or will find out.
                if let Some(line) = line {
                    take(&line, message.payload);
                }
            }
        });
        Ok(Self(Arc::new(Inner { bus: bus.clone(), token, table, _hearing: hearing })))
    }

    /// The bus.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.0.bus
    }

    /// How many tunnels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.0.table).len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn token(&self) -> &Token {
        &self.0.token
    }

    /// Makes a tunnel whose other side is not known yet, and may send already.
    pub(super) fn expect(&self) -> Result<(Token, Opening), Error> {
        let mut table = lock(&self.0.table);
        if table.len() >= MOST {
            let message = format!("this process has {MOST} tunnels already");
            return Err(Error::new(Code::ResourceExhausted, message).hint("end some connections first"));
        }
        let (token, line) = (Token::random(), Arc::new(Line::new()));
        table.insert(token.clone(), line.clone());
        drop(table);
        Ok((token.clone(), Opening { hub: self.clone(), token, line: Some(line) }))
    }

    pub(super) fn forget(&self, token: &Token) {
        lock(&self.0.table).remove(token);
    }
}

fn take(line: &Line, payload: Bytes) {
    match Frame::read(payload) {
        Some(frame) => line.take(frame),
        None => line.break_off("what came through the tunnel is no frame"),
    }
}

/// A tunnel that has no other side yet; dropped, it never was.
pub(super) struct Opening {
    hub: Hub,
    token: Token,
    line: Option<Arc<Line>>,
}

impl Opening {
    /// Begins to send to the other side.
    pub(super) fn begin(mut self, subject: String) -> Tunnel {
        let line = self.line.take().unwrap_or_default();
        let (sending, hub, token) = (line.clone(), self.hub.clone(), self.token.clone());
        // It ends by itself, soon after the tunnel does or its other side is lost.
        drop(task::spawn("tunnel", async move {
            sending.send(hub.bus(), &subject).await;
            hub.forget(&token);
        }));
        Tunnel::over(line)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if self.line.is_some() {
            self.hub.forget(&self.token);
        }
    }
}
