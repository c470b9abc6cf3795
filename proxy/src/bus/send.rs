//! What is sent over the bus: requests with the replies that are awaited, replies, and what nobody answers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    Bus, HeaderMap, Message, Reader, Replies,
    dial::CONNECT,
    inbox::{To, Waiting},
    outbox::{self, Out},
    pack,
};
use crate::{
    client::Target,
    error::{Code, Error},
    name::UserName,
    subject::Token,
};

impl Bus {
    /// Sends a request and awaits its one reply.
    ///
    /// # Errors
    ///
    /// `unavailable` at once if the bus is away or nobody listens, `permission_denied` if the bus refuses the
    /// subject, `deadline_exceeded`; each with `data.sent`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future forgets the reply.
    pub async fn request(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Message, Error> {
        self.ready(body.len())?;
        let (sender, receiver) = oneshot::channel();
        let token = Token::random();
        let reply = self.reply_subject(&token);
        let _entry = self.0.table.enter(token, To::Subject(subject.clone()), Waiting::Message(sender));
        let client = self.0.lane.client();
        let published = match headers {
            Some(headers) => client.publish_with_reply_and_headers(subject, reply, headers, body).await,
            None => client.publish_with_reply(subject, reply, body).await,
        };
        published.map_err(|error| Error::unavailable(format!("the request could not be sent: {error}")).sent(false))?;
        match tokio::time::timeout(timeout, receiver).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(Error::new(Code::DeadlineExceeded, "no reply came before the deadline").sent(true)),
        }
    }

    /// Sends a skill call; its replies are awaited as long as the returned value lives.
    ///
    /// # Errors
    ///
    /// As [`Bus::request`], for what is known before the first reply.
    pub(crate) async fn call(&self, token: Token, target: &Target, body: Bytes) -> Result<Replies, Error> {
        self.ready(body.len())?;
        let (sender, first) = oneshot::channel();
        let entry = self.0.table.enter(token.clone(), To::Skill(target.clone()), Waiting::Call(sender));
        self.0.outbox.send(Out::Call(target.clone(), token, body)).await.map_err(|_| closed().sent(false))?;
        Ok(Replies::new(first, entry))
    }

    /// How many requests wait for replies.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.table.lock().len()
    }

    /// How many replies and frames came when nobody waited for them any more: their caller had given up, or had them
    /// already. They were dropped.
    #[must_use]
    pub fn late_replies(&self) -> u64 {
        self.0.table.late()
    }

    /// Whether a request can be sent now.
    fn ready(&self, size: usize) -> Result<(), Error> {
        if !self.0.lane.is_up(self.0.link.borrow().up) {
            return Err(Error::unavailable("the bus is not reachable").hint("see: aish doctor").sent(false));
        }
        let limit = self.max_payload();
        if size > limit {
            let message = format!("the request is {size} bytes; the bus takes at most {limit}");
            return Err(Error::new(Code::ResourceExhausted, message).sent(false));
        }
        Ok(())
    }

    /// Notes that a server did not answer a call: it may have become another, which reads no packs.
    pub(crate) fn was_silent(&self, server: &UserName) {
        self.0.table.peers.forget(server);
    }

    /// Sends a reply, in order, to an inbox whose owner reads packs.
    ///
    /// # Errors
    ///
    /// `unavailable` when the connection is closed for good.
    pub(crate) async fn reply(
        &self,
        inbox: Arc<str>,
        kind: pack::Kind,
        token: Token,
        body: Bytes,
    ) -> Result<(), Error> {
        self.0.outbox.send(Out::Reply(inbox, kind, token, body)).await.map_err(|_| closed())
    }

    /// Sends a pack that is made already, in order, to an inbox whose owner reads packs.
    ///
    /// # Errors
    ///
    /// `unavailable` when the connection is closed for good.
    pub(crate) async fn reply_pack(&self, inbox: &str, first: &Token, pack: Bytes) -> Result<(), Error> {
        let subject = outbox::reply_subject(inbox, first);
        self.0.outbox.send(Out::Publish(subject, pack)).await.map_err(|_| closed())
    }

    /// Watches whether somebody still hears an inbox whose owner reads packs.
    pub(crate) fn reader(&self, inbox: &Arc<str>) -> Reader {
        Reader::watch(self.0.table.clone(), inbox.clone())
    }

    /// The reply subject of that token, below this process's inbox.
    #[must_use]
    pub fn reply_subject(&self, token: &Token) -> String {
        format!("{}.{}", self.0.inbox, token.as_str())
    }

    /// Publishes without awaiting anything; for replies and for what repeats itself.
    ///
    /// # Errors
    ///
    /// `unavailable` when the connection is closed for good.
    pub async fn publish(&self, subject: String, headers: Option<HeaderMap>, body: Bytes) -> Result<(), Error> {
        let client = &self.0.client;
        let published = match headers {
            Some(headers) => client.publish_with_headers(subject, headers, body).await,
            None => client.publish(subject, body).await,
        };
        published.map_err(|error| Error::unavailable(format!("the message could not be sent: {error}")))
    }

    /// Publishes from where nothing can be awaited, such as a drop: a cancel is best effort.
    pub fn publish_soon(&self, subject: String, body: Bytes) {
        if self.0.outbox.try_send(Out::Publish(subject, body)).is_err() {
            tracing::warn!("a cancel was dropped: the bus takes nothing at the moment");
        }
    }

    /// Sends a message to the own inbox and awaits it: what was sent before has then reached the server.
    ///
    /// # Errors
    ///
    /// As [`Bus::request`].
    pub async fn echo(&self) -> Result<(), Error> {
        let token = Token::random();
        let (sender, receiver) = oneshot::channel();
        let subject = self.reply_subject(&token);
        let _entry = self.0.table.enter(token, To::Subject(subject.clone()), Waiting::Message(sender));
        self.publish(subject, None, Bytes::new()).await?;
        match tokio::time::timeout(CONNECT, receiver).await {
            Ok(Ok(Ok(_))) => Ok(()),
            _ => Err(Error::unavailable("the bus does not answer")),
        }
    }

    /// Sends what waits to be sent, within `grace`, before the process ends.
    pub async fn close(&self, grace: Duration) {
        let (sender, receiver) = oneshot::channel();
        let flush = async {
            if self.0.outbox.send(Out::Flushed(sender)).await.is_ok() {
                let _ = receiver.await;
            }
        };
        if tokio::time::timeout(grace, flush).await.is_err() {
            tracing::debug!("the bus took no farewell in time");
        }
    }
}

fn closed() -> Error {
    Error::unavailable("the connection to the bus was closed").sent(true)
}
