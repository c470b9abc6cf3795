//! What is listened to: a subscription is proven to hold before anything relies on it.

use async_nats::Subscriber;

use super::Bus;
use crate::error::{Code, Error};

impl Bus {
    /// Subscribes, and returns once an own message has come back after it.
    ///
    /// # Errors
    ///
    /// `permission_denied` if the bus refuses the subject; `unavailable` if it is away.
    pub async fn subscribe(&self, subject: &str) -> Result<Subscriber, Error> {
        self.proven(subject, self.0.client.subscribe(subject.to_owned())).await
    }

    /// Subscribes to a share of what comes: each message goes to one of those that subscribe under that name.
    ///
    /// # Errors
    ///
    /// As [`Bus::subscribe`].
    pub async fn subscribe_shared(&self, subject: &str, share: &str) -> Result<Subscriber, Error> {
        self.proven(subject, self.0.client.queue_subscribe(subject.to_owned(), share.to_owned())).await
    }

    async fn proven(
        &self,
        subject: &str,
        subscribing: impl Future<Output = Result<Subscriber, async_nats::SubscribeError>>,
    ) -> Result<Subscriber, Error> {
        let denied_before = self.denials(subject);
        let away =
            |error: async_nats::SubscribeError| Error::unavailable(format!("cannot subscribe to {subject}: {error}"));
        let subscriber = subscribing.await.map_err(away)?;
        self.echo().await?;
        if self.denials(subject) > denied_before {
            let user = self.user();
            return Err(Error::new(
                Code::PermissionDenied,
                format!("the bus does not let \"{user}\" listen to {subject}"),
            ));
        }
        Ok(subscriber)
    }

    /// Subscribes without waiting until it is known to hold.
    pub(crate) async fn subscribe_unproven(&self, subject: &str) -> Result<Subscriber, Error> {
        let away =
            |error: async_nats::SubscribeError| Error::unavailable(format!("cannot subscribe to {subject}: {error}"));
        self.0.client.subscribe(subject.to_owned()).await.map_err(away)
    }

    /// Subscribes to what a request is about to ask for.
    pub(crate) async fn subscribe_ahead(&self, subject: &str) -> Result<Subscriber, Error> {
        match self.0.lane.number() {
            // Both go over one connection in order: no round trip is needed between them.
            0 => self.subscribe_unproven(subject).await,
            _ => self.subscribe(subject).await,
        }
    }

    fn denials(&self, subject: &str) -> usize {
        self.0.denied.borrow().iter().filter(|denied| *denied == subject).count()
    }
}
