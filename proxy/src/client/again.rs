//! Sending a call again over a bus of several servers. When one of them goes, those who were connected to it are back
//! on another within moments: the caller, or the callee. The call keeps its id, so that it has one effect.

use std::time::Duration;

use tokio::time::Instant;

use crate::{bus::Bus, envelope::Outgoing, error::Error, subject::Token};

/// How long the own connection may take to come back by another server.
const OWN: Duration = Duration::from_secs(5);
/// How long that of the callee may, while the own one stands. Whoever calls a CI whose node is dead learns it after that.
const CALLEE: Duration = Duration::from_millis(900);
/// The same for a callee that was missed for a while already.
const MISSED: Duration = Duration::from_millis(400);
/// The same, if the own connection broke as well: the same server may have been both's.
const BOTH: Duration = Duration::from_secs(3);
/// How long is waited for the callee between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// What is known of the attempts so far.
#[derive(Debug)]
pub(super) struct Again {
    several: bool,
    deadline: Instant,
    /// When the first attempt failed.
    failed: Option<Instant>,
    /// Whether one of them may have arrived.
    sent: bool,
}

impl Again {
    /// Gives the call an id, by which a repeat is known as one, where there may be repeats.
    pub(super) fn new(bus: &Bus, request: &mut impl Outgoing, deadline: Instant) -> Self {
        let several = bus.has_several();
        if several {
            request.meta_mut().call.get_or_insert_with(|| Token::random().as_str().to_owned());
        }
        Self { several, deadline, failed: None, sent: false }
    }

    /// Whether the call can be sent again now, once there is a way: waits for that.
    pub(super) async fn can(&mut self, bus: &Bus, error: &Error) -> bool {
        if !self.several {
            return false;
        }
        let failed = *self.failed.get_or_insert_with(Instant::now);
        let mut link = bus.link();
        if !link.borrow().up {
            let until = (failed + OWN).min(self.deadline);
            let back = tokio::time::timeout_at(until, link.wait_for(|link| link.up)).await;
            return matches!(back, Ok(Ok(_)));
        }
        let own_broke = {
            let link = link.borrow();
            link.broken_before && link.since.elapsed() < OWN
        };
        let was_sent = error.detail("sent") == Some(&true.into());
        let patience = match (own_broke, was_sent) {
            (true, _) => BOTH,
            (false, true) => MISSED,
            (false, false) => CALLEE,
        };
        let until = (failed + patience).min(self.deadline);
        if Instant::now() + PAUSE >= until {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
        true
    }

    /// Notes why it is sent again.
    pub(super) fn note(&mut self, error: &Error) {
        self.sent |= error.detail("sent") == Some(&true.into());
        tracing::debug!(%error, "the call is sent again");
    }

    /// The last error, which says that the call may have run if any attempt may have.
    pub(super) fn sent_before(&self, error: Error) -> Error {
        if self.sent { error.sent(true) } else { error }
    }
}
