//! A bad wire: carries frames between two taps with delay, jitter, loss, doubles, disorder and a limited rate.
//!
//! The kernel can do this where it has `netem`; many have not, and this works on all. Frames from a tap are whole and
//! have their checksums, whatever the interfaces before it leave to hardware.

use std::{collections::BTreeMap, io, path::Path};

use tokio::time::{Duration, Instant, sleep_until};
use tokio_tun::Tun;

use crate::Link;

/// The most frames that are under way one way; more are lost.
const MOST: usize = 10_000;
/// How long a frame may wait for those before it on a thin link; one that would wait longer is lost.
const PATIENCE: Duration = Duration::from_millis(400);
/// More than any frame.
const FRAME: usize = 65_536;

/// Makes two taps in this namespace, writes this process's number to a file, and carries frames between them until one
/// of them fails.
///
/// # Errors
///
/// The taps or the file cannot be made, or a tap fails.
pub async fn carry(pid_file: &Path, near: &str, far: &str, link: Link) -> io::Result<()> {
    let (near, far) = (tap(near)?, tap(far)?);
    // Written beside and moved: whoever reads it reads all of it.
    let fresh = pid_file.with_extension("new");
    std::fs::write(&fresh, std::process::id().to_string())?;
    std::fs::rename(&fresh, pid_file)?;
    tokio::try_join!(forward(&near, &far, link), forward(&far, &near, link)).map(drop)
}

fn tap(name: &str) -> io::Result<Tun> {
    let mut made = Tun::builder().name(name).tap().up().build().map_err(io::Error::other)?;
    made.pop().ok_or_else(|| io::Error::other("no tap was made"))
}

async fn forward(from: &Tun, to: &Tun, link: Link) -> io::Result<()> {
    let mut under_way = UnderWay::new(link, fastrand::Rng::new());
    let mut frame = vec![0; FRAME];
    loop {
        let next = under_way.next();
        tokio::select! {
            // What is due goes first: a flood must not hold it up.
            biased;
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                for frame in under_way.due(Instant::now()) {
                    // An end that is down or full loses it, as a wire does.
                    let _ = to.send(&frame).await;
                }
            }
            read = from.recv(&mut frame) => {
                under_way.admit(Instant::now(), &frame[..read?]);
            }
        }
    }
}

/// The frames under way in one direction, by when they arrive.
#[derive(Debug)]
struct UnderWay {
    link: Link,
    random: fastrand::Rng,
    /// The count keeps those of one instant apart and in order.
    frames: BTreeMap<(Instant, u64), Vec<u8>>,
    count: u64,
    /// When the last frame so far has left a thin link.
    free: Option<Instant>,
    /// When the last frame in order arrives: with jitter, none overtakes it.
    last: Option<Instant>,
}

impl UnderWay {
    fn new(link: Link, random: fastrand::Rng) -> Self {
        Self { link, random, frames: BTreeMap::new(), count: 0, free: None, last: None }
    }

    /// When the next frame arrives.
    fn next(&self) -> Option<Instant> {
        self.frames.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes the frames that have arrived by now.
    fn due(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let later = self.frames.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.frames, later).into_values().collect()
    }

    fn admit(&mut self, now: Instant, frame: &[u8]) {
        if self.link.loss.has(&mut self.random) {
            return;
        }
        let copies = if self.link.duplicate.has(&mut self.random) { 2 } else { 1 };
        for _ in 0..copies {
            if self.frames.len() >= MOST {
                return;
            }
            let Some(left) = self.leave(now, frame.len()) else { return };
            let due = self.arrive(left);
            self.count += 1;
            self.frames.insert((due, self.count), frame.to_vec());
        }
    }

    /// When a frame of that length has left; never, if too much waits before it.
    fn leave(&mut self, now: Instant, length: usize) -> Option<Instant> {
        let Some(rate) = self.link.rate else { return Some(now) };
        let start = self.free.map_or(now, |free| free.max(now));
        if start - now > PATIENCE {
            return None;
        }
        let bits = u64::try_from(length).unwrap_or(u64::MAX).saturating_mul(8);
        let left = start + Duration::from_nanos(bits.saturating_mul(1_000_000_000) / rate);
        self.free = Some(left);
        Some(left)
    }

    fn arrive(&mut self, left: Instant) -> Instant {
        if self.link.reorder.has(&mut self.random) {
            return left;
        }
        let jitter = self.link.jitter.mul_f64(2.0 * self.random.f64());
        let due = left + (self.link.delay + jitter).saturating_sub(self.link.jitter);
        let due = self.last.map_or(due, |last| last.max(due));
        self.last = Some(due);
        due
    }
}

#[cfg(test)]
mod tests;
