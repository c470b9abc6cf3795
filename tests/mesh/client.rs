//! A plain NATS client with a user's credential: nothing of ours stands between it and the bus.

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use aigis_tests::Mesh;
use async_nats::{ConnectOptions, HeaderMap, Message, Subscriber, jetstream};
use futures::StreamExt;
use tokio::runtime::Runtime;

/// How long whatever is to come may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection, with a runtime of its own, so that tests stay a plain list of steps.
pub(crate) struct Client {
    runtime: Runtime,
    client: async_nats::Client,
    events: Receiver<String>,
}

impl Client {
    /// Makes a user of that role, and logs in as it.
    pub(crate) fn of(mesh: &Mesh, name: &str, role: &str) -> Self {
        Self::log_in(mesh, name, &mesh.user(name, role))
    }

    /// Logs in with the credential in that file.
    pub(crate) fn log_in(mesh: &Mesh, name: &str, file: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, events) = channel();
        let client = runtime.block_on(async {
            let options = ConnectOptions::with_credentials_file(file).await.unwrap();
            let noted = move |event: async_nats::Event| {
                // The test may have ended and dropped its end.
                let _ = sender.send(event.to_string());
                std::future::ready(())
            };
            options.custom_inbox_prefix(format!("_INBOX.{name}")).event_callback(noted).connect(mesh.bus()).await
        });
        Self { runtime, client: client.unwrap(), events }
    }

    /// Sends a request, and awaits its one answer.
    pub(crate) fn request(&self, subject: &str, body: &str) -> Message {
        let answer = self.client.request(subject.to_owned(), body.to_owned().into());
        self.runtime.block_on(async { tokio::time::timeout(LIMIT, answer).await }).unwrap().unwrap()
    }

    /// Publishes, with a reply subject or without, and returns once the server has it.
    pub(crate) fn publish(&self, subject: &str, reply: Option<&str>, headers: HeaderMap, body: &str) {
        let (subject, body) = (subject.to_owned(), body.to_owned().into());
        self.runtime.block_on(async {
            match reply {
                Some(reply) => {
                    let reply = reply.to_owned();
                    self.client.publish_with_reply_and_headers(subject, reply, headers, body).await.unwrap();
                }
                None => self.client.publish_with_headers(subject, headers, body).await.unwrap(),
            }
            self.client.flush().await.unwrap();
        });
    }

    /// Subscribes, and returns once the server has it.
    pub(crate) fn subscribe(&self, subject: &str) -> Subscriber {
        self.runtime.block_on(async {
            let subscriber = self.client.subscribe(subject.to_owned()).await.unwrap();
            self.client.flush().await.unwrap();
            subscriber
        })
    }

    /// The next message, if one comes within `limit`.
    pub(crate) fn next(&self, subscriber: &mut Subscriber, limit: Duration) -> Option<Message> {
        self.runtime.block_on(async { tokio::time::timeout(limit, subscriber.next()).await.ok().flatten() })
    }

    /// Awaits the server's own word that it refuses something.
    pub(crate) fn refused(&self, what: &str, subject: &str) {
        let words = format!("permissions violation for {what} to \"{subject}\"").to_lowercase();
        let deadline = Instant::now() + LIMIT;
        let mut others = Vec::new();
        while let Ok(event) = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if event.to_lowercase().contains(&words) {
                return;
            }
            others.push(event);
        }
        panic!("no {words}, but {others:?}");
    }

    /// All that the registry holds: each key's revision and value.
    pub(crate) fn records(&self) -> BTreeMap<String, (u64, String)> {
        self.runtime.block_on(async {
            let records = jetstream::new(self.client.clone()).get_key_value("records").await.unwrap();
            let mut watch = records.watch_with_history(">").await.unwrap();
            let mut all = BTreeMap::new();
            loop {
                let entry = tokio::time::timeout(LIMIT, watch.next()).await.unwrap().unwrap().unwrap();
                let last = entry.delta == 0;
                all.insert(entry.key, (entry.revision, String::from_utf8_lossy(&entry.value).into_owned()));
                if last {
                    return all;
                }
            }
        })
    }
}
