//! How long the store's silence is borne, and how it is asked again.

use std::time::{Duration, Instant};

use super::{Error, guard};
use crate::{bus::Bus, subject::Token};

/// How long a write is repeated while the store has no leader, unless its caller has less time.
pub const PATIENCE: Duration = Duration::from_secs(25);
/// How long one attempt may take; an acknowledgement usually takes milliseconds.
pub(super) const ATTEMPT: Duration = Duration::from_secs(5);
/// How long an attempt to read may take where there are several servers: any that has a copy may be the one that answers, also
/// one that stands still, and the next attempt may meet another.
pub(super) const READ_ATTEMPT: Duration = Duration::from_secs(2);
/// How long it may take for a chunk of a blob, which is large and may come over a thin link.
pub(super) const LARGE_ATTEMPT: Duration = Duration::from_secs(10);
/// How long it may take until another server of the bus takes over.
const TAKE_OVER: Duration = Duration::from_secs(5);

/// Repeats what met silence, after a random wait, while there is time and the connection stands.
pub(super) async fn patiently<T, F, Fut>(
    bus: &Bus,
    within: Duration,
    each: Duration,
    mut attempt: F,
) -> Result<T, Error>
where
    F: FnMut(Duration) -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let end = Instant::now() + within;
    let mut sent_before = false;
    for round in 0_u32.. {
        let left = end.saturating_duration_since(Instant::now());
        let attempted = match guard::ours(bus, left.min(each)).await {
            Ok(()) => attempt(left.min(each)).await,
            Err(error) => Err(error),
        };
        let mut error = match attempted {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if let Error::Unavailable { sent, .. } = &mut error {
            // What an earlier attempt may have done stays possible.
            sent_before |= *sent;
            *sent = sent_before;
        }
        let wait = jitter(round);
        let left = end.saturating_duration_since(Instant::now());
        if !error.is_passing() || wait >= left || !has_way(bus) {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
    }
    Err(Error::Unavailable { reason: "it was asked too often".to_owned(), sent: sent_before })
}

/// Whether there is a bus to ask, or another server of it is about to take over.
fn has_way(bus: &Bus) -> bool {
    let link = bus.link().borrow().clone();
    link.up || (bus.has_several() && link.since.elapsed() < TAKE_OVER)
}

/// A random wait between a quarter and the whole of a bound that grows from 100 ms to 2 s.
pub(crate) fn jitter(round: u32) -> Duration {
    let ceiling = (100_u64 << round.min(5)).min(2_000);
    let token = Token::random();
    let random = token.as_str().bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    Duration::from_millis(ceiling / 4 + random % (ceiling * 3 / 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_random_within_bounds() {
        for round in 0..40 {
            let wait = jitter(round).as_millis();
            assert!((25..=2_000).contains(&wait), "{wait}");
        }
    }
}
