//! How much each side of a tunnel may send: credit in bytes, both ways, as a pure state machine.
//!
//! Each frame costs its bytes and a little more, so that many small frames take no more room than few large ones. A side says
//! up to which cost the other may go; both count from the beginning, so that what is said twice, or late, does no harm.

/// What a side may send before it has heard anything.
pub(super) const WINDOW: u64 = 256 * 1024;
/// Most bytes of one frame.
pub(super) const FRAME: usize = 32 * 1024;
/// What a frame costs beside its bytes.
const BESIDE: u64 = 64;
/// So much is taken from the reader's room before the writer is told of it.
const STEP: u64 = WINDOW / 4;

/// Why a side counts as lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// What was sent in between did not come.
    #[error("frame {expected} of the tunnel was lost: frame {found} came")]
    Gap {
        /// Which was due.
        expected: u64,
        /// Which came.
        found: u64,
    },
    /// More came than was allowed.
    #[error("the other side of the tunnel sent more than it was allowed to")]
    Flood,
}

/// The counts of one side.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    /// The number of the next frame that leaves, and what all before it cost.
    next_out: u64,
    sent: u64,
    /// Up to which cost this side may go.
    limit: u64,
    /// The number of the next frame that is due, and what all before it cost.
    next_in: u64,
    received: u64,
    /// What the reader has taken, and what the other side knows of that.
    consumed: u64,
    told: u64,
}

impl Flow {
    pub(super) fn new() -> Self {
        Self { next_out: 0, sent: 0, limit: WINDOW, next_in: 0, received: 0, consumed: 0, told: 0 }
    }

    /// How many bytes the next frame may have; none if that is 0.
    pub(super) fn room(&self) -> usize {
        let left = self.limit.saturating_sub(self.sent).saturating_sub(BESIDE);
        usize::try_from(left).unwrap_or(FRAME).min(FRAME)
    }

    /// Counts a frame of data that leaves; answers with its number.
    pub(super) fn send(&mut self, bytes: usize) -> u64 {
        self.sent += cost(bytes);
        let number = self.next_out;
        self.next_out += 1;
        number
    }

    /// The number of the next frame that leaves.
    pub(super) fn next_out(&self) -> u64 {
        self.next_out
    }

    /// Takes what the other side allows; says whether it is more than before.
    pub(super) fn allow(&mut self, limit: u64) -> bool {
        let is_more = limit > self.limit;
        self.limit = self.limit.max(limit);
        is_more
    }

    /// Counts a frame of data that came.
    pub(super) fn receive(&mut self, number: u64, bytes: usize) -> Result<(), Fault> {
        self.due(number)?;
        self.next_in += 1;
        self.received += cost(bytes);
        if bytes > FRAME || self.received > self.consumed + WINDOW {
            return Err(Fault::Flood);
        }
        Ok(())
    }

    /// Looks whether nothing was lost before the frame of that number.
    pub(super) fn due(&self, number: u64) -> Result<(), Fault> {
        match number == self.next_in {
            true => Ok(()),
            false => Err(Fault::Gap { expected: self.next_in, found: number }),
        }
    }

    /// Notes that the reader has taken all of a frame; what the other side is to be told, if it is time.
    pub(super) fn consume(&mut self, bytes: usize) -> Option<u64> {
        self.consumed += cost(bytes);
        if self.consumed - self.told < STEP {
            return None;
        }
        self.told = self.consumed;
        Some(self.granted())
    }

    /// Up to which cost the other side may go.
    pub(super) fn granted(&self) -> u64 {
        self.consumed + WINDOW
    }
}

fn cost(bytes: usize) -> u64 {
    bytes as u64 + BESIDE
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_lost_or_too_much_is_a_fault() {
        let mut flow = Flow::new();
        assert_eq!(flow.receive(1, 1), Err(Fault::Gap { expected: 0, found: 1 }));
        assert_eq!(flow.receive(0, FRAME + 1), Err(Fault::Flood));
        let (mut flow, mut number) = (Flow::new(), 0);
        let flooded = std::iter::repeat_with(|| {
            number += 1;
            flow.receive(number - 1, 0)
        });
        let frames = flooded.take_while(Result::is_ok).count() as u64;
        assert_eq!(frames, WINDOW / BESIDE, "empty frames take room too");
    }

    proptest! {
        /// Two sides over a wire that is slow, in any order of doings: nothing stalls for good, nothing is a fault, and never
        /// does more wait than the window.
        #[test]
        fn chn_39_credit_never_stalls_and_never_floods(doings in prop::collection::vec((0_u8..4, 1_usize..100_000), 1..400)) {
            let (mut writer, mut reader) = (Flow::new(), Flow::new());
            let (mut wire, mut waiting, mut back) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
            let deliver = |reader: &mut Flow, wire: &mut VecDeque<(u64, usize)>, waiting: &mut VecDeque<usize>| {
                if let Some((number, bytes)) = wire.pop_front() {
                    reader.receive(number, bytes).unwrap();
                    waiting.push_back(bytes);
                }
                assert!(waiting.iter().map(|bytes| cost(*bytes)).sum::<u64>() <= WINDOW);
            };
            for (doing, size) in doings {
                match doing {
                    0 => {
                        let bytes = writer.room().min(size);
                        if bytes > 0 {
                            wire.push_back((writer.send(bytes), bytes));
                        }
                    }
                    1 => deliver(&mut reader, &mut wire, &mut waiting),
                    2 => back.extend(waiting.pop_front().and_then(|bytes| reader.consume(bytes))),
                    _ => {
                        if let Some(limit) = back.pop_front() {
                            writer.allow(limit);
                        }
                    }
                }
            }
            // Whatever came before: once all is read and told, there is room again.
            while !wire.is_empty() {
                deliver(&mut reader, &mut wire, &mut waiting);
            }
            back.extend(waiting.drain(..).filter_map(|bytes| reader.consume(bytes)).collect::<Vec<_>>());
            for limit in back {
                writer.allow(limit);
            }
            prop_assert!(writer.room() > 0);
        }
    }
}
