//! Calls that run: what they count as, and how they end.

use std::sync::{Arc, atomic::Ordering};

use tokio::time::Instant;

use super::{
    Key, Reply, Server,
    reply::Way,
    streaming::{self, Running},
};
use crate::{
    body,
    dispatch::Incoming,
    error::{Code, Error},
    json,
    name::UserName,
    skill::Answer,
    sync::lock,
};

/// A call that counts until it ends.
pub(super) struct InFlight(Server);

impl InFlight {
    pub(super) fn begin(server: Server) -> Self {
        server.0.counters.requests.fetch_add(1, Ordering::Relaxed);
        server.0.counters.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(server)
    }

    /// Runs the call, unless it is refused, and sends its answer.
    pub(super) async fn answer(self, incoming: Incoming, reply: Reply, running: Arc<Running>, refused: Option<Error>) {
        let started = Instant::now();
        let server = &self.0;
        let counters = &server.0.counters;
        if let Reply::Socket(_) | Reply::Here(_) = reply {
            counters.local.fetch_add(1, Ordering::Relaxed);
        }
        let answer = match refused {
            Some(error) => {
                if error.code == Code::PermissionDenied {
                    let (journal, path) = (server.0.dispatcher.journal(), incoming.path.as_str());
                    journal.refused(&incoming.caller, path, &error.message).await;
                }
                Err(error)
            }
            None => match body::received(&server.0.bus, incoming).await {
                Ok(incoming) => server.0.dispatcher.answer(incoming).await,
                Err(error) => Err(error),
            },
        };
        match answer {
            Ok(Answer::Value(value)) => server.send_body(reply, json::to_bytes(&value)).await,
            Ok(Answer::Body(body)) => server.send_body(reply, body).await,
            Ok(Answer::Stream(stream)) => {
                let way = Way { bus: &server.0.bus, reply };
                streaming::send(&way, stream, &running, way.down(&server.0.ended)).await;
            }
            Ok(Answer::Bodies(bodies)) => {
                let way = Way { bus: &server.0.bus, reply };
                streaming::send_bodies(&way, bodies, &running, way.down(&server.0.ended)).await;
            }
            Err(error) => {
                counters.errors.fetch_add(1, Ordering::Relaxed);
                // Its caller did not cancel it.
                let cut_off = error.code == Code::Cancelled && server.0.ended.is_cancelled();
                let error = if cut_off { ends() } else { error };
                server.send_error(reply, &error).await;
            }
        }
        let spent = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        counters.busy_ns.fetch_add(spent, Ordering::Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What those learn whose calls outlast the grace of an end in order.
pub(super) fn ends() -> Error {
    Error::unavailable("the node ended before this did").hint("see: aish nodes").sent(true)
}

/// A call that goes on, and counts against its caller's limit until it ends.
pub(super) struct Admitted {
    pub(super) server: Server,
    pub(super) caller: UserName,
    pub(super) key: Option<Key>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let inner = &self.server.0;
        if let Some(key) = &self.key {
            lock(&inner.running).remove(key);
        }
        let mut per_caller = lock(&inner.per_caller);
        if let Some(count) = per_caller.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                per_caller.remove(&self.caller);
            }
        }
    }
}
