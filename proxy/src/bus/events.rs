//! What the bus says out of band: that the link broke, that a subject is refused, and whose word a message is.

use std::{sync::Arc, time::Instant};

use async_nats::{Event, Message, ServerError};
use tokio::sync::watch;

use super::{Link, inbox::Table};
use crate::{
    error::{Code, Error},
    subject::{Caller, Subjects},
};

/// Those who are told of what the bus says out of band.
pub(super) struct Heard {
    pub(super) table: Arc<Table>,
    pub(super) subjects: Subjects,
    pub(super) caller: Caller,
    pub(super) denied: watch::Sender<Vec<String>>,
    /// Told when the user is done with.
    pub(super) over: watch::Sender<Option<Error>>,
}

impl Heard {
    /// Keeps the link's state, and ends at once what an event has made hopeless. `carries` says whether requests go over
    /// this connection.
    pub(super) fn first(
        &self,
        event: &Event,
        link: &watch::Sender<Link>,
        carries: bool,
        client: Option<&async_nats::Client>,
    ) {
        match event {
            Event::Connected => link.send_modify(|link| {
                link.up = true;
                link.since = Instant::now();
                link.connected = link.since;
                link.server = client.map(|client| client.server_info().server_id).unwrap_or_default();
            }),
            Event::Disconnected | Event::Closed => {
                link.send_modify(|link| {
                    link.up = false;
                    link.since = Instant::now();
                    link.broken_before = true;
                });
                if carries {
                    self.broke();
                }
            }
            other => self.said(other),
        }
    }

    /// Fails what waits: the connection broke over which it was asked for.
    pub(super) fn broke(&self) {
        self.table.fail(|_| true, &Error::unavailable("the connection to the bus broke").sent(true));
    }

    /// Fails what waits: this user is done with.
    pub(super) fn end(&self, error: Error) {
        self.table.fail(|_| true, &error);
        self.over.send_replace(Some(error));
    }

    /// Takes in what a server says of a connection that stands.
    pub(super) fn said(&self, event: &Event) {
        match event {
            Event::SlowConsumer(id) => {
                tracing::warn!(subscription = id, "messages were dropped: a consumer is too slow");
            }
            Event::ServerError(ServerError::Other(text)) => {
                let Some((publish, subject)) = violation(text) else { return };
                tracing::debug!(subject, publish, "the bus refused a subject");
                if publish {
                    let refused =
                        Error::new(Code::PermissionDenied, "the bus does not permit this to the role of this user")
                            .hint("ask an operator or admin of this mesh")
                            .sent(false);
                    self.table.refuse(subject, &self.subjects, &self.caller, &refused);
                } else {
                    self.denied.send_modify(|list| {
                        list.push(subject.to_owned());
                        // Only the newest matter: who asks does so right after subscribing.
                        if list.len() > 64 {
                            list.remove(0);
                        }
                    });
                }
            }
            _ => {}
        }
    }
}

/// Whether the server's words are a refusal, of a publish or of a subscription, and of which subject.
fn violation(text: &str) -> Option<(bool, &str)> {
    let lower = text.to_ascii_lowercase();
    let publish = lower.contains("permissions violation for publish");
    if !publish && !lower.contains("permissions violation for subscription") {
        return None;
    }
    let start = text.find('"')? + 1;
    let end = text.get(start..)?.find('"')? + start;
    Some((publish, text.get(start..end)?))
}

/// Whether a message is an answer of the store, which goes wherever its asker said, also to a subject on which the asker
/// may not publish: it is nobody's cancel, credit or event.
#[must_use]
pub fn from_store(message: &Message) -> bool {
    message.status.is_some()
        || message.headers.as_ref().is_some_and(|headers| headers.get("Nats-Stream").is_some())
        || message.payload.starts_with(br#"{"type":"io.nats."#)
}

#[cfg(test)]
mod tests {
    use async_nats::{HeaderMap, StatusCode};

    use super::*;

    #[test]
    fn violations_name_their_subject() {
        assert_eq!(
            violation("Permissions Violation for Publish to \"aigis.v1.main.x\""),
            Some((true, "aigis.v1.main.x"))
        );
        assert_eq!(violation("permissions violation for subscription to \"a.>\""), Some((false, "a.>")));
        assert_eq!(violation("Authorization Violation"), None);
    }

    #[test]
    fn atk_42_the_stores_answers_are_known_by_their_form() {
        let message = |headers: Option<HeaderMap>, status, payload: &'static str| Message {
            subject: "aigis.v1.main.event.ci.alpha.x".into(),
            reply: None,
            payload: payload.into(),
            headers,
            status,
            description: None,
            length: 0,
        };
        let header = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, "x");
            Some(headers)
        };
        assert!(from_store(&message(header("Nats-Stream"), None, "{}")));
        assert!(from_store(&message(None, Some(StatusCode::NOT_FOUND), "")));
        assert!(from_store(&message(None, None, r#"{"type":"io.nats.jetstream.api.v1.stream_info_response"}"#)));
        assert!(!from_store(&message(header("traceparent"), None, r#"{"type":"started"}"#)));
        assert!(!from_store(&message(None, None, "")));
    }
}
