//! Plugins whose start failed since the bus was away, or the issuer: they are tried again until they start, or fail otherwise.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use aigis_proxy::{Code, Error, task};
use futures::{FutureExt as _, future::BoxFuture};

use super::{Hosting, plugin::Plugin, standing::State};
use crate::plugins::source::Occasion;

/// The first pause before a start is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// What marks such an error.
const AWAY: &str = "away";

/// The pauses between tries: each is twice as long as the one before, up to a bound.
#[derive(Debug)]
pub(super) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(PAUSES.0)
    }
}

impl Pauses {
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSES.1);
        pause
    }
}

/// Marks what was said of the bus, or by it, as the fault of those who are away, if it can be that.
pub(super) fn blamed(error: Error) -> Error {
    match error.code {
        Code::Unavailable | Code::DeadlineExceeded => error.with(AWAY, true),
        _ => error,
    }
}

/// Whether the same may succeed later, since somebody was away.
pub(super) fn is_away(error: &Error) -> bool {
    error.detail(AWAY).is_some()
}

impl Hosting {
    /// Notes that a plugin did not start; where somebody was away, it is tried again.
    pub(super) fn did_not_start(self: &Arc<Self>, plugin: &Arc<Plugin>, error: &Error) {
        if !is_away(error) {
            return plugin.fail(State::Failed, error.clone());
        }
        plugin.fail(State::BackingOff, error.clone());
        let trying = || task::Owned::spawn("plugin-again", keep_trying(Arc::downgrade(self), plugin.clone()));
        self.change(&plugin.name, |seat| {
            // What is tried again already goes on by itself.
            if !std::mem::replace(&mut seat.is_tried_again, true) {
                seat.again = Some(trying());
            }
        });
    }

    /// Gives up trying again: whoever asked for a change decides what becomes of the plugin.
    pub(super) fn try_no_more(&self, plugin: &Plugin) {
        // Dropped after the seats are let go.
        let _again = self.change(&plugin.name, |seat| {
            seat.is_tried_again = false;
            seat.again.take()
        });
    }

    /// Tries to start a plugin; says whether to go on trying.
    async fn try_once_more(self: &Arc<Self>, plugin: &Arc<Plugin>) -> bool {
        let _turn = self.turn.lock().await;
        let tried = async {
            if !self.change(&plugin.name, |seat| seat.is_registered).unwrap_or_default() {
                self.register(plugin, false).await.inspect_err(|error| self.did_not_start(plugin, error))?;
            }
            if plugin.prepared().is_none() {
                self.prepare(plugin, Occasion::Start).await?;
            }
            self.run(plugin, false).await
        };
        let outcome = Box::pin(tried).await;
        // A program that has a runner is its business.
        let goes_on = outcome.is_err_and(|error| is_away(&error)) && self.keeper(&plugin.name).is_none();
        if !goes_on {
            self.change(&plugin.name, |seat| seat.is_tried_again = false);
        }
        goes_on
    }
}

/// Tries to start a plugin again and again. It is what a start spawns that is part of it, so that the future names its own type.
fn keep_trying(hosting: Weak<Hosting>, plugin: Arc<Plugin>) -> BoxFuture<'static, ()> {
    async move {
        let mut pauses = Pauses::default();
        loop {
            tokio::time::sleep(pauses.next()).await;
            let Some(hosting) = hosting.upgrade() else { return };
            if !hosting.try_once_more(&plugin).await {
                return;
            }
        }
    }
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_may_come_back_is_waited_for() {
        for (code, away) in [
            (Code::Unavailable, true),
            (Code::DeadlineExceeded, true),
            (Code::PermissionDenied, false),
            (Code::AlreadyExists, false),
        ] {
            assert_eq!(is_away(&blamed(Error::new(code, "no"))), away, "{code:?}");
        }
        assert!(!is_away(&Error::unavailable("the core host ended before it said hello")));
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        let mut pauses = Pauses::default();
        let first: Vec<u64> = std::iter::repeat_with(|| pauses.next().as_secs()).take(8).collect();
        assert_eq!(first, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
