//! Calls by hand to a CI whose own user serves it at the bus: they are heard here, and handed on as they came.

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::FutureExt;
use tokio::{runtime::Handle, task::unconstrained};

use super::{Reply, Server};
use crate::{
    bus::{Bus, Message},
    error::Error,
    name::{SkillPath, UserName},
    subject::{Caller, Control, HandTarget, Token},
    sync::lock,
};

/// The way to who serves a CI by itself. What is handed on keeps its caller, and is answered straight to the caller's inbox.
#[derive(Debug, Clone)]
pub struct Passage {
    /// A connection of who serves, which may send itself what others asked.
    pub bus: Bus,
    /// The name by which it hears calls: the CI's.
    pub server: UserName,
}

/// A passage that stands until this is dropped.
#[derive(Debug)]
pub struct Open {
    within: Server,
    server: UserName,
}

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.within.0.passages).remove(&self.server);
    }
}

/// A call by hand that is to be handed on.
pub(super) struct Passing {
    pub(super) passage: Passage,
    pub(super) caller: Caller,
    pub(super) target: HandTarget,
    pub(super) path: SkillPath,
}

impl Passage {
    async fn hand_on(
        &self,
        subject: String,
        reply: String,
        headers: Option<HeaderMap>,
        body: Bytes,
    ) -> Result<(), Error> {
        let client = self.bus.client();
        let sent = match headers {
            Some(headers) => client.publish_with_reply_and_headers(subject, reply, headers, body).await,
            None => client.publish_with_reply(subject, reply, body).await,
        };
        sent.map_err(|error| Error::unavailable(format!("the call could not be handed on: {error}")).sent(false))
    }
}

impl Server {
    /// Hands calls by hand on to who serves by itself, for as long as what it gives is held.
    #[must_use]
    pub fn open_passage(&self, passage: Passage) -> Open {
        let server = passage.server.clone();
        lock(&self.0.passages).insert(server.clone(), passage);
        Open { within: self.clone(), server }
    }

    /// The passage of a call by hand to that skill, and the skill's path there.
    pub(super) fn passage(&self, target: &HandTarget, path: &SkillPath) -> Option<(Passage, SkillPath)> {
        // Whoever serves by itself does so by the CI's own name.
        let server = UserName::parse(target.name.as_str()).ok()?;
        let passage = lock(&self.0.passages).get(&server).cloned()?;
        Some((passage, self.0.dispatcher.handed_on(target, path)?))
    }

    /// Hands a call on whose name is clear; `reply` is where it is refused otherwise.
    pub(super) fn pass_on(&self, passing: Passing, message: Message, reply: Reply, elsewhere: &Handle) {
        let server = self.clone();
        let mut work = Box::pin(async move {
            if let Err(error) = server.hand_on(passing, message).await {
                server.send_error(reply, &error).await;
            }
        });
        if unconstrained(&mut work).now_or_never().is_none() {
            self.0.tracker.spawn_on(work, elsewhere);
        }
    }

    async fn hand_on(&self, passing: Passing, message: Message) -> Result<(), Error> {
        let Passing { passage, caller, target, path } = passing;
        if let Some(refusal) = self.refusal(&caller.name) {
            return Err(refusal);
        }
        self.0.dispatcher.settle(&target).await?;
        let subject = self.0.bus.subjects().to(&passage.server, &caller, &target.name, &path);
        // It is below the caller's own inbox: that was seen before.
        let Some(reply) = message.reply else { return Ok(()) };
        passage.hand_on(subject, reply.into_string(), message.headers, message.payload).await
    }

    /// Tells those to whom calls by hand are handed on of what ends one of them, or lets it go on: which of them runs it is
    /// known to nobody here.
    pub(super) fn pass_control(&self, caller: &Caller, verb: Control, token: &Token, body: &Bytes) {
        for Passage { bus, server } in lock(&self.0.passages).values() {
            bus.publish_soon(self.0.bus.subjects().control(server, caller, verb, token), body.clone());
        }
    }
}
