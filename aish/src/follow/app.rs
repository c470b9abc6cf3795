//! What the instances of a chain's app write, one after the other, from where they run.

use std::{collections::VecDeque, time::Duration};

use aigis_proxy::{
    Bus, Code, Error, Name, NodeName, rpc,
    rpc::Asker,
    services::{
        chains::InstanceId,
        instances::{INSTANCES, InstancesClient, InstancesRequest, InstancesResponse, Signal, Written},
    },
};
use aigis_registry::shared::{AppRecord, Instance};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::time::sleep;

use super::teller::Teller;
use crate::exit::Failure;

/// How long a question for more may take; the place answers sooner, with nothing.
const LONG: Duration = Duration::from_secs(40);
/// How long a place may take to pass a signal on.
const SIGNAL: Duration = Duration::from_secs(15);
/// How long is waited after a question that could not be answered.
const PAUSE: Duration = Duration::from_millis(500);
/// How long is waited after an answer without anything in it.
const SHORT: Duration = Duration::from_millis(50);
/// How often an instance is asked for again that is over, or no longer named.
const TRIES: u32 = 10;

type Client = InstancesClient<Asker<InstancesRequest, InstancesResponse>>;

/// An instance and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At {
    /// Which one.
    pub(crate) id: InstanceId,
    /// Where it runs.
    pub(crate) node: NodeName,
}

impl From<&Instance> for At {
    fn from(instance: &Instance) -> Self {
        Self { id: instance.id.clone(), node: instance.node.clone() }
    }
}

/// How far the output of the instances was told.
pub(crate) struct Outputs {
    bus: Bus,
    app: Name,
    waiting: VecDeque<At>,
    seen: Vec<At>,
    now: Option<Reading>,
}

struct Reading {
    of: At,
    from: u64,
    tries: u32,
    asked: BoxFuture<'static, Result<Written, Error>>,
}

impl Outputs {
    /// Begins with none.
    pub(crate) fn new(bus: &Bus, app: &Name) -> Self {
        Self { bus: bus.clone(), app: app.clone(), waiting: VecDeque::new(), seen: Vec::new(), now: None }
    }

    /// Takes note of an instance whose output is to be told, once.
    pub(crate) fn add(&mut self, instance: &Instance) {
        let at = At::from(instance);
        if !self.seen.contains(&at) {
            self.seen.push(at.clone());
            self.waiting.push_back(at);
            self.go_on();
        }
    }

    /// Whether all was told that there was.
    pub(crate) fn is_told(&self) -> bool {
        self.now.is_none() && self.waiting.is_empty()
    }

    fn go_on(&mut self) {
        if self.now.is_none()
            && let Some(of) = self.waiting.pop_front()
        {
            let asked = self.ask(&of, 0, Duration::ZERO);
            self.now = Some(Reading { of, from: 0, tries: 0, asked });
        }
    }

    fn ask(&self, of: &At, from: u64, after: Duration) -> BoxFuture<'static, Result<Written, Error>> {
        let (client, app, id) = (client(&self.bus, &of.node), self.app.clone(), of.id.clone());
        async move {
            sleep(after).await;
            rpc::answered(client.output(rpc::within(LONG), app, id, from).await)
        }
        .boxed()
    }

    /// Waits for what is next; never ends while nothing is read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was answered is kept until [`Outputs::take`] is given it.
    pub(crate) async fn next(&mut self) -> Result<Written, Error> {
        match &mut self.now {
            Some(reading) => (&mut reading.asked).await,
            None => std::future::pending().await,
        }
    }

    /// Tells what was read. `named` is what the app's record says now; `over` is whether the chain has ended.
    ///
    /// # Errors
    ///
    /// What keeps from writing.
    pub(crate) async fn take(
        &mut self,
        read: Result<Written, Error>,
        named: Option<&AppRecord>,
        over: bool,
        teller: &Teller,
    ) -> Result<(), Failure> {
        let Some(mut reading) = self.now.take() else { return Ok(()) };
        match read {
            Ok(written) => {
                let empty = written.pieces.is_empty();
                for (source, content) in written.pieces {
                    teller.app(source, content.0.to_vec()).await?;
                }
                (reading.from, reading.tries) = (written.next, 0);
                if written.exit_code.is_none() {
                    let after = if empty { SHORT } else { Duration::ZERO };
                    reading.asked = self.ask(&reading.of, reading.from, after);
                    self.now = Some(reading);
                }
            }
            Err(error) => {
                reading.tries += 1;
                let is_named = named.is_some_and(|app| {
                    app.instance
                        .iter()
                        .chain(&app.candidate)
                        .any(|one| one.id == reading.of.id && one.exit_code.is_none())
                });
                let hopeless = error.code == Code::PermissionDenied;
                tracing::debug!(%error, node = %reading.of.node, "the output of the app cannot be read now");
                if !hopeless && (is_named && !over || reading.tries < TRIES) {
                    reading.asked = self.ask(&reading.of, reading.from, PAUSE);
                    self.now = Some(reading);
                } else {
                    let node = &reading.of.node;
                    teller
                        .note(format!("the rest of what the app wrote on {node} cannot be had: {}", error.message))
                        .await?;
                }
            }
        }
        self.go_on();
        Ok(())
    }
}

/// Sends an instance a signal.
///
/// # Errors
///
/// What its place says, or that it is away.
pub(crate) async fn signal(bus: Bus, app: Name, at: At, signal: Signal) -> Result<(), Error> {
    rpc::answered(client(&bus, &at.node).signal(rpc::within(SIGNAL), app, at.id, signal).await)
}

fn client(bus: &Bus, node: &NodeName) -> Client {
    InstancesClient::from(Asker::new(bus, node.as_str(), INSTANCES))
}
