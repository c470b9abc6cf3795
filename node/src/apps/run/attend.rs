//! An instance while it runs: its end, its output, its ports.

use std::time::{Duration, Instant};

use aigis_proxy::{
    fault::{self, Point},
    services::{chains::Reported, instances::Output},
};
use futures::StreamExt as _;
use tokio::time::{sleep, timeout};

use super::{super::start, AGAIN, Exit, REST, Run};
use crate::{
    engine::{self, ContainerId, Inspection, LogQuery, Source, State},
    listening::{address, silent},
};

/// How often it is tried whether the ports accept, at first and after the app has had its time.
const TRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

impl Run {
    /// Stays with a container until it has ended, and nobody starts it again.
    pub(super) async fn attend(&self, id: &ContainerId) -> Exit {
        let (mut log, mut tries) = (Box::pin(self.follow(id)), Box::pin(self.see_ready(id)));
        let mut exit = Box::pin(self.exit(id));
        let (mut read, mut seen) = (false, false);
        let exit = loop {
            tokio::select! {
                exit = &mut exit => break exit,
                () = &mut log, if !read => read = true,
                () = &mut tries, if !seen => seen = true,
            }
        };
        if !read {
            let _ = timeout(REST, log).await;
        }
        exit
    }

    /// Waits until the container has ended.
    async fn exit(&self, id: &ContainerId) -> Exit {
        let mut observed = self.parts.host.watch.observation();
        loop {
            let (listed, is_known) = {
                let now = observed.borrow_and_update();
                (now.containers.get(id).map(|container| container.state), now.engine.is_reachable())
            };
            let has_ended = matches!(listed, Some(State::Exited | State::Dead));
            // What is not listed yet may just have been made.
            if has_ended || (listed.is_none() && is_known) {
                match self.parts.host.engine.inspect(id).await {
                    Ok(seen) if matches!(seen.state, State::Exited | State::Dead) => {
                        return Exit::of(&seen);
                    }
                    Err(engine::Error::NotFound { .. }) => {
                        return Exit { code: 137, out_of_memory: false, ran: Duration::ZERO };
                    }
                    Ok(_) => {}
                    Err(error) => tracing::debug!(app = %self.app, %error, "the engine does not say how an app is"),
                }
            }
            // Now and then it is looked at, whatever the engine tells.
            let _ = timeout(AGAIN, observed.changed()).await;
        }
    }

    /// Waits until a container that was stopped by hand runs again, or is no longer held.
    pub(super) async fn released(&self, id: &ContainerId) {
        let (mut observed, mut changed) = (self.parts.host.watch.observation(), self.note.changed());
        loop {
            drop((observed.borrow_and_update(), changed.borrow_and_update()));
            if !self.is_held() || self.runs(id).await {
                return;
            }
            tokio::select! {
                _ = observed.changed() => {}
                _ = changed.changed() => {}
                () = sleep(AGAIN) => {}
            }
        }
    }

    /// Reads what it writes, until it has ended.
    pub(super) async fn follow(&self, id: &ContainerId) {
        let engine = &self.parts.host.engine;
        // The engine may end what it follows a moment before the last words are in it: then the rest is read once more.
        let mut follow = true;
        loop {
            let since = self.spool.last().map(|last| last + time::Duration::nanoseconds(1));
            let wanted = LogQuery { tail: None, since, follow, ..LogQuery::default() };
            match engine.logs(id, false, &wanted).await {
                Ok(mut log) => {
                    let mut whole = true;
                    while let Some(entry) = log.next().await {
                        let Ok(entry) = entry else {
                            whole = false;
                            break;
                        };
                        let output = match entry.source {
                            Source::Stdout => Output::Stdout,
                            Source::Stderr => Output::Stderr,
                        };
                        self.spool.push(output, entry.bytes, entry.at);
                    }
                    let runs = self.runs(id).await;
                    if whole && !runs && !std::mem::replace(&mut follow, runs) {
                        return;
                    }
                }
                Err(engine::Error::NotFound { .. } | engine::Error::Refused { .. }) => return,
                Err(error) => tracing::debug!(app = %self.app, %error, "the output of an app cannot be read now"),
            }
            sleep(TRY.1).await;
        }
    }

    async fn runs(&self, id: &ContainerId) -> bool {
        self.parts.host.engine.inspect(id).await.is_ok_and(|seen| seen.state.has_processes())
    }

    /// Tries its ports until they all accept, and notes what it finds.
    async fn see_ready(&self, id: &ContainerId) {
        let network = start::network(&self.parts, &self.app);
        let begun = Instant::now();
        let patience = Duration::from_secs(self.instance.ready_timeout_s);
        loop {
            let address = match self.parts.host.engine.inspect(id).await {
                Ok(seen) if seen.state == State::Running => address(&seen, &network),
                _ => None,
            };
            self.view.send_modify(|view| view.address = address);
            let silent = match address {
                Some(address) => silent(address, &self.instance.ports).await,
                None => self.instance.ports.clone(),
            };
            // One without ports serves from its start, however short that is.
            if silent.is_empty() && (address.is_some() || self.instance.ports.is_empty()) {
                self.view.send_modify(|view| (view.ready, view.silent) = (true, Vec::new()));
                if !self.note.get().ready {
                    fault::point(Point::AppReady);
                    self.note.change(|note| {
                        note.ready = true;
                        note.untold.push(Reported::Ready);
                    });
                }
                return;
            }
            let is_late = begun.elapsed() >= patience;
            if is_late && self.view.borrow().silent != silent {
                self.view.send_modify(|view| view.silent.clone_from(&silent));
                if !self.note.get().ready {
                    self.note.change(|note| note.untold.push(Reported::Silent { ports: silent }));
                }
            }
            sleep(if is_late { TRY.1 } else { TRY.0 }).await;
        }
    }
}

impl Exit {
    fn of(seen: &Inspection) -> Self {
        let ran = seen.started_at.zip(seen.finished_at).map(|(from, to)| to - from);
        Self {
            code: seen.exit_code.unwrap_or(137),
            out_of_memory: seen.oom_killed,
            ran: ran.and_then(|ran| ran.try_into().ok()).unwrap_or_default(),
        }
    }
}
