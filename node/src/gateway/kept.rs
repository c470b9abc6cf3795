//! Connections to apps that wait for another request: a connection of one's own for each would cost it a call to the place.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aigis_proxy::{services::chains::InstanceId, sync::lock, task};
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{body::Incoming, client::conn::http1::SendRequest};

/// How long one waits: less than the servers of apps usually do, so that seldom one is taken that the app is just closing.
const WAITS: Duration = Duration::from_secs(4);
/// Most that wait, for one port of one instance and for all.
const EACH: usize = 32;
const ALL: usize = 512;

/// A connection to an app.
pub(super) type Sender = SendRequest<Either<Incoming, Full<Bytes>>>;

/// A port of an instance: what serves after it is not reached by its connections.
type Way = (InstanceId, u16);

/// The connections that wait. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept(Arc<Mutex<HashMap<Way, Vec<Waiting>>>>);

#[derive(Debug)]
struct Waiting {
    sender: Sender,
    since: Instant,
}

impl Kept {
    /// A connection to that port of that instance, if one waits that the app has not closed.
    pub(super) fn take(&self, instance: &InstanceId, port: u16) -> Option<Sender> {
        let mut kept = lock(&self.0);
        let waiting = kept.get_mut(&(instance.clone(), port))?;
        // The one used last is the least likely to be closed by now.
        std::iter::from_fn(|| waiting.pop()).map(|one| one.sender).find(SendRequest::is_ready)
    }

    /// Keeps a connection for the next request, once the answer to its last one has been read; closes it a while later.
    pub(super) fn put(&self, instance: InstanceId, port: u16, mut sender: Sender) {
        let kept = self.clone();
        // It ends with the connection, or soon after the last answer.
        drop(task::spawn("connection to an app", async move {
            if sender.ready().await.is_err() {
                return;
            }
            if kept.add((instance, port), sender) {
                tokio::time::sleep(WAITS).await;
                kept.sweep();
            }
        }));
    }

    fn add(&self, way: Way, sender: Sender) -> bool {
        let mut kept = lock(&self.0);
        if kept.values().map(Vec::len).sum::<usize>() >= ALL {
            return false;
        }
        let waiting = kept.entry(way).or_default();
        if waiting.len() >= EACH {
            return false;
        }
        waiting.push(Waiting { sender, since: Instant::now() });
        true
    }

    /// Closes what has waited long enough.
    fn sweep(&self) {
        lock(&self.0).retain(|_, waiting| {
            waiting.retain(|one| one.since.elapsed() < WAITS && !one.sender.is_closed());
            !waiting.is_empty()
        });
    }
}
