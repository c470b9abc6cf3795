//! Ctrl-C and SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end a command.
#[derive(Debug)]
pub(crate) struct Signals(Vec<Signal>);

impl Signals {
    /// Takes them over from their default action, which would end the process before a cancel is sent.
    pub(crate) fn take() -> Self {
        let wanted = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Self(wanted.into_iter().filter_map(|kind| signal(kind).ok()).collect())
    }

    /// Awaits one of them.
    pub(crate) async fn any(&mut self) {
        if self.0.is_empty() {
            std::future::pending::<()>().await;
        }
        let waits = self.0.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures::future::select_all(waits).await;
    }
}
