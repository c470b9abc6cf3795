//! Refusals that got no line of their own are counted, and the count is told: in the line of the caller's next refusal, or
//! by itself once the caller keeps still.

use std::time::Duration;

use aigis_proxy::{Code, subject::Caller, task};
use tokio::time::interval;

use super::{AuditJournal, Line, Phase, blank, lock};

/// How often is looked for counts that nobody told.
const LOOK: Duration = Duration::from_secs(1);
/// How long after the last line a count may wait for the next one.
const STILL: Duration = Duration::from_secs(2);

impl AuditJournal {
    /// Tells what was only counted, until the returned task is dropped; one at a time.
    #[must_use]
    pub fn tell_counts(&self) -> task::Owned {
        let journal = self.clone();
        task::Owned::spawn("counts of refusals", async move {
            let mut look = interval(LOOK);
            loop {
                look.tick().await;
                for (caller, count) in journal.untold() {
                    journal.tell(&caller, count).await;
                }
            }
        })
    }

    /// The counts that have waited long enough, taken.
    fn untold(&self) -> Vec<(Caller, u64)> {
        if self.backlog() >= self.0.room / 4 * 3 {
            return Vec::new();
        }
        let mut refusals = lock(&self.0.refusals);
        let due = refusals.iter_mut().filter(|(_, refusals)| refusals.more > 0 && refusals.since.elapsed() >= STILL);
        due.map(|(caller, refusals)| (caller.clone(), std::mem::take(&mut refusals.more))).collect()
    }

    async fn tell(&self, caller: &Caller, count: u64) {
        let line = Line {
            code: Some(Code::PermissionDenied),
            reason: Some(format!("{count} further refusals, which have no line of their own")),
            more: count - 1,
            ..blank(&self.0.node, caller, Phase::Refused)
        };
        if let Err(error) = self.append(line, None).await {
            tracing::error!(%error, count, "a count of refusals is not on record");
        }
    }
}
