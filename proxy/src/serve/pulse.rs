//! Notices that this process stood still: what is read after that may be as old as the standstill, and its callers may
//! have given up long ago.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use crate::bus::Bus;

/// How often the pulse beats.
const BEAT: Duration = Duration::from_millis(500);
/// Longest pause between two beats that is no standstill.
const STANDSTILL: Duration = Duration::from_secs(2);

/// The pulse of the thread on which requests come in.
#[derive(Debug)]
pub(super) struct Pulse {
    begun: Instant,
    /// The last beat, in milliseconds since it begun.
    beat: AtomicU64,
    /// How long this process stood still, in milliseconds, while what came meanwhile is still being read.
    stood: AtomicU64,
    stopped: Notify,
}

impl Pulse {
    pub(super) fn new() -> Arc<Self> {
        let (beat, stood) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { begun: Instant::now(), beat, stood, stopped: Notify::new() })
    }

    /// When a request that is read now was sent, at the earliest.
    pub(super) fn sent_at_earliest(&self) -> Instant {
        let now = Instant::now();
        let stood = self.stood_still(now);
        if stood == 0 { now } else { now.checked_sub(Duration::from_millis(stood)).unwrap_or(now) }
    }

    /// How long a request that is read now may have lain here, in milliseconds.
    fn stood_still(&self, now: Instant) -> u64 {
        let pause = self.since_begun(now).saturating_sub(self.beat.load(Ordering::Relaxed));
        if u128::from(pause) <= STANDSTILL.as_millis() {
            return self.stood.load(Ordering::Relaxed);
        }
        self.stopped.notify_one();
        self.stood.fetch_max(pause, Ordering::Relaxed).max(pause)
    }

    fn since_begun(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }

    /// Beats, until dropped; where the connection lives.
    pub(super) async fn run(self: Arc<Self>, bus: Bus) {
        tokio::join!(self.beats(), self.recovers(&bus));
    }

    async fn beats(&self) {
        let mut tick = interval(BEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let now = Instant::now();
            let _stood = self.stood_still(now);
            self.beat.store(self.since_begun(now), Ordering::Relaxed);
        }
    }

    /// Takes what is read for fresh again once all that came during a standstill has been read.
    async fn recovers(&self, bus: &Bus) {
        loop {
            self.stopped.notified().await;
            loop {
                caught_up(bus).await;
                if self.stopped.notified().now_or_never().is_none() {
                    break;
                }
            }
            let stood = self.stood.swap(0, Ordering::Relaxed);
            tracing::warn!(
                seconds = stood / 1_000,
                "this process stood still; calls beyond their deadline were not run"
            );
        }
    }
}

/// Resolves once an own message came back behind all that came before it, or the connection that held them is gone.
async fn caught_up(bus: &Bus) {
    loop {
        let gone = !bus.link().borrow().up;
        let back = gone || bus.echo().await.is_ok();
        // What was read is taken from here on, which is soon.
        sleep(BEAT).await;
        if back {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn flt_05_what_is_read_after_a_standstill_may_be_as_old() {
        let pulse = Pulse::new();
        sleep(Duration::from_secs(2)).await;
        assert_eq!(pulse.sent_at_earliest(), Instant::now(), "a busy machine is no standstill");
        sleep(Duration::from_secs(28)).await;
        assert_eq!(Instant::now() - pulse.sent_at_earliest(), Duration::from_secs(30));
        let beating = pulse.clone();
        let beats = crate::task::Owned::spawn("beats", async move { beating.beats().await });
        sleep(Duration::from_secs(1)).await;
        assert_eq!(Instant::now() - pulse.sent_at_earliest(), Duration::from_secs(30), "until it has caught up");
        pulse.stood.store(0, Ordering::Relaxed);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(pulse.sent_at_earliest(), Instant::now());
        drop(beats);
    }
}
