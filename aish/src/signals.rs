//! Ctrl-C, SIGTERM and SIGHUP.

use std::io::{self, IsTerminal as _};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end a command.
#[derive(Debug)]
pub(crate) struct Signals(Vec<(SignalKind, Signal)>);

/// SIGHUP, to whom it does not mean the end.
#[derive(Debug)]
pub(crate) struct Hangups {
    signal: Option<Signal>,
    /// Whether there was a terminal that can go away.
    had_terminal: bool,
}

/// What a SIGHUP means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// Somebody wants the configuration to be read again.
    Again,
    /// The terminal is gone.
    Over,
}

impl Signals {
    /// Takes them over from their default action, which would end the process before a cancel is sent.
    pub(crate) fn take() -> Self {
        let wanted = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Self(wanted.into_iter().filter_map(|kind| Some((kind, signal(kind).ok()?))).collect())
    }

    /// Awaits one of them.
    pub(crate) async fn any(&mut self) {
        if self.0.is_empty() {
            std::future::pending::<()>().await;
        }
        let waits = self.0.iter_mut().map(|(_, signal)| Box::pin(signal.recv()));
        futures::future::select_all(waits).await;
    }

    /// Awaits one of them, and says which.
    pub(crate) async fn next(&mut self) -> SignalKind {
        if self.0.is_empty() {
            std::future::pending::<()>().await;
        }
        let waits = self.0.iter_mut().map(|(kind, signal)| {
            let kind = *kind;
            Box::pin(async move {
                signal.recv().await;
                kind
            })
        });
        futures::future::select_all(waits).await.0
    }

    /// Parts SIGHUP from the others: from now on it is no signal that ends the command.
    pub(crate) fn hangups(&mut self) -> Hangups {
        let place = self.0.iter().position(|(kind, _)| *kind == SignalKind::hangup());
        let signal = place.map(|place| self.0.swap_remove(place).1);
        Hangups { signal, had_terminal: io::stdin().is_terminal() }
    }
}

impl Hangups {
    /// Awaits the next one. Those that come before it is awaited count once.
    pub(crate) async fn next(&mut self) -> Hangup {
        match &mut self.signal {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
        if self.had_terminal && !io::stdin().is_terminal() { Hangup::Over } else { Hangup::Again }
    }
}
