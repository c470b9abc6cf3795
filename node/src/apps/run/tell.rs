//! What the coordinators are told of an instance.

use std::time::Duration;

use aigis_proxy::{
    blob::{Life, Store},
    rpc,
    services::chains::{CHAINS, ChainsClient, Report, Reported},
};
use tarpc::context;
use tokio::time::sleep;

use super::{AGAIN, Exit, Run};
use crate::engine::ContainerId;

/// The waits between two attempts to tell a coordinator something.
const TELL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

impl Run {
    /// It has ended by itself: stores what it wrote, and notes what is to be told.
    pub(super) async fn ended(&self, id: &ContainerId, exit: Exit) {
        self.spool.end(exit.code);
        let written = self.spool.all();
        let log = match written.is_empty() {
            true => None,
            false => loop {
                match Store::new(&self.parts.bus).put(Life::Kept, &written[..]).await {
                    Ok(stored) => break Some(stored.blob),
                    Err(error) => tracing::info!(app = %self.app, %error, "the log of an app is not stored yet"),
                }
                sleep(AGAIN).await;
            },
        };
        let by = self.note.get().by;
        self.over(Reported::Ended { exit_code: exit.code, out_of_memory: exit.out_of_memory, log, by });
        if let Err(error) = self.parts.host.engine.remove(id).await {
            tracing::info!(app = %self.app, %error, "the container of an app that ended is not removed yet");
        }
        self.leave_network().await;
    }

    /// Notes that it is over, and what is to be told of that.
    pub(super) fn over(&self, what: Reported) {
        if let Reported::Failed { error } = &what {
            tracing::warn!(app = %self.app, %error, "an app is not started");
            self.spool.end(1);
        }
        self.note.change(|note| {
            note.ended = true;
            note.untold.push(what);
        });
    }

    /// Tells the coordinators what there is to tell, each thing until one of them has taken it.
    pub(super) async fn tell(&self) {
        let client = ChainsClient::from(rpc::Asker::new(&self.parts.bus, rpc::SHARED, CHAINS));
        let mut changed = self.note.changed();
        let mut wait = TELL.0;
        loop {
            drop(changed.borrow_and_update());
            let Some(what) = self.note.get().untold.first().cloned() else {
                if changed.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let report = Report { app: self.app.clone(), instance: self.id().clone(), what };
            match rpc::answered(client.report(context::current(), report).await) {
                Ok(()) => {
                    wait = TELL.0;
                    self.note.change(|note| drop(note.untold.remove(0)));
                }
                Err(error) => {
                    tracing::debug!(app = %self.app, %error, "no coordinator takes what is told of an app; trying again");
                    sleep(wait).await;
                    wait = (wait * 2).min(TELL.1);
                }
            }
        }
    }
}
