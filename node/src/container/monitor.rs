//! `monitor`: figures at an interval, and at once when something happens.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Effect, Error,
    skill::{Call, Input, Table},
    task::Owned,
};
use futures::{Stream, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::{
    sync::{broadcast, mpsc},
    time::{Instant as Moment, MissedTickBehavior},
};

use super::{
    Container, Fault, Instant, Look, Verdict, Whole,
    examination::examine,
    status::{CpuStatus, MemoryStatus},
};
use crate::engine::{Event, State};

/// How long a container that is gone may take to come back.
const BACK: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(500);

/// How often, and how many times.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Monitor {
    /// Seconds between two frames.
    #[serde(default = "default_interval")]
    interval_s: Whole<1, 3600>,
    /// How many frames; without end if absent.
    #[serde(default)]
    count: Option<Whole<1, 1_000_000>>,
}

fn default_interval() -> Whole<1, 3600> {
    Whole::clamped(2)
}

impl Input for Monitor {
    const POSITIONAL: &'static [&'static str] = &["interval_s", "count"];
}

/// A frame of `monitor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Frame {
    /// The frame's number, from 1 on.
    pub(crate) seq: u64,
    /// When the engine was read for it.
    pub(crate) observed_at: Instant,
    /// The engine's word for what the container is doing.
    #[schemars(with = "String")]
    pub(crate) state: State,
    /// The verdict.
    pub(crate) health: Verdict,
    pub(crate) cpu: CpuStatus,
    pub(crate) memory: MemoryStatus,
    /// How many processes and threads it has.
    pub(crate) pids: Option<u64>,
    /// How often its restart policy started it again.
    pub(crate) restarts: u64,
    /// What happened, for a frame that comes because of it.
    pub(crate) event: Option<String>,
}

pub(super) fn add(table: &mut Table<Container>) {
    table.stream(
        "monitor",
        Effect::Read,
        "Measures the container at an interval, and at once when something happens to it.",
        monitor,
    );
}

async fn monitor(
    ci: Arc<Container>,
    call: Call,
    wanted: Monitor,
) -> Result<impl Stream<Item = Result<Frame, Error>> + Send + 'static, Error> {
    // Events are followed before the first look, so that none falls between the two.
    let events = ci.host().watch.events();
    let first = ci.read(&call, |look| async move { Ok((frame(&look, 1, None).await?, Vec::new())) }).await?;
    let id = first.common.container_id;
    let (give, take) = mpsc::channel(1);
    let mut look = ci.look(&call, ci.bound());
    if *look.id() != id {
        look.bound = ci.successor(&look.engine, look.id()).await?.unwrap_or(look.bound);
    }
    look.engine = ci.host().engine.clone();
    let task = Owned::spawn("container-monitor", Watcher { look, wanted, events, give }.run(first.body));
    Ok(stream::unfold((take, task), |(mut take, task)| async move {
        let frame = take.recv().await?;
        Some((frame, (take, task)))
    }))
}

async fn frame(look: &Look, seq: u64, event: Option<String>) -> Result<Frame, Fault> {
    let observed_at = OffsetDateTime::now_utc().into();
    let seen = examine(look).await?;
    Ok(Frame {
        seq,
        observed_at,
        state: seen.inspection.state,
        health: seen.judgement.verdict,
        cpu: CpuStatus::of(&seen),
        memory: MemoryStatus::of(&seen),
        pids: seen.usage.pids.current,
        restarts: seen.inspection.restart_count,
        event,
    })
}

struct Watcher {
    look: Look,
    wanted: Monitor,
    events: broadcast::Receiver<Arc<Event>>,
    give: mpsc::Sender<Result<Frame, Error>>,
}

impl Watcher {
    async fn run(mut self, first: Frame) {
        let count = self.wanted.count.map_or(u64::MAX, Whole::get);
        let period = Duration::from_secs(self.wanted.interval_s.get());
        let mut tick = tokio::time::interval_at(Moment::now() + period, period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if self.give.send(Ok(first)).await.is_err() {
            return;
        }
        for seq in 2..=count {
            let event = tokio::select! {
                _ = tick.tick() => None,
                event = next_event(&mut self.events, &self.look) => Some(event),
            };
            let frame = self.frame(seq, event).await;
            let failed = frame.is_err();
            if self.give.send(frame).await.is_err() || failed {
                return;
            }
        }
    }

    /// Looks at the container, or at the one that has come in its place.
    async fn frame(&mut self, seq: u64, mut event: Option<String>) -> Result<Frame, Error> {
        let since = Moment::now();
        loop {
            match frame(&self.look, seq, event.clone()).await {
                Ok(frame) => return Ok(frame),
                Err(Fault::Failed(error)) => return Err(error),
                Err(Fault::Gone) if since.elapsed() > BACK => return Err(self.look.ci.removed()),
                Err(Fault::Gone) => {}
            }
            match self.look.ci.successor(&self.look.engine, self.look.id()).await? {
                Some(bound) => (self.look.bound, event) = (bound, Some("recreated".to_owned())),
                None => tokio::time::sleep(RETRY).await,
            }
        }
    }
}

/// The next thing that happens to the container.
async fn next_event(events: &mut broadcast::Receiver<Arc<Event>>, look: &Look) -> String {
    loop {
        match events.recv().await {
            Ok(event) if event.id == *look.id() => {
                return match &event.detail {
                    Some(detail) => format!("{}: {detail}", event.action),
                    None => event.action.clone(),
                };
            }
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            // The node is ending; the interval goes on until the stream is dropped.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use aigis_proxy::{Code, Request, skill::arguments};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn bad_70_interval_and_count_have_ranges() {
        for (kwargs, named) in [
            (json!({"interval_s": 0}), ["interval_s", "from 1 to 3600"]),
            (json!({"interval_s": 3601}), ["interval_s", "from 1 to 3600"]),
            (json!({"interval_s": null}), ["interval_s", "from 1 to 3600"]),
            (json!({"count": 0}), ["count", "from 1 to"]),
            (json!({"count": 1e300}), ["count", "from 1 to"]),
        ] {
            let Value::Object(kwargs) = kwargs else { panic!("no arguments") };
            let error = arguments::<Monitor>(&Request { kwargs, ..Request::default() }).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument);
            assert!(named.iter().all(|word| error.message.contains(word)), "{error}");
        }
    }
}
