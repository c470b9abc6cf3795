//! What a process lets its host send of a stream.

use tokio::sync::watch;

use super::FIRST_CREDIT;

/// Where the reader's credit is added.
#[derive(Debug)]
pub(super) struct Granting(watch::Sender<u64>);

/// What a writer has of it.
#[derive(Debug)]
pub(super) struct Granted {
    total: watch::Receiver<u64>,
    sent: u64,
    seen: u64,
}

/// The credit of one stream, which begins with 32.
pub(super) fn credit() -> (Granting, Granted) {
    let first = u64::from(FIRST_CREDIT);
    let (sender, total) = watch::channel(first);
    (Granting(sender), Granted { total, sent: 0, seen: first })
}

impl Granting {
    /// Adds so much.
    pub(super) fn grant(&self, items: u32) {
        self.0.send_modify(|total| *total = total.saturating_add(items.into()));
    }
}

impl Granted {
    /// Whether one more item may be sent.
    pub(super) fn is_left(&self) -> bool {
        self.sent < self.seen
    }

    /// Notes that one was sent.
    pub(super) fn spend(&mut self) {
        self.sent += 1;
    }

    /// Awaits further credit, and says how much came.
    ///
    /// # Cancel safety
    ///
    /// None is lost.
    pub(super) async fn more(&mut self) -> u32 {
        if self.total.wait_for(|total| *total > self.seen).await.is_err() {
            // Nobody grants any more: the call was given up, and its task ends with it.
            std::future::pending::<()>().await;
        }
        let total = *self.total.borrow();
        let more = total.saturating_sub(self.seen);
        self.seen = total;
        u32::try_from(more).unwrap_or(u32::MAX)
    }
}
