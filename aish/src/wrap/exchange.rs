//! Whose turn it is: which request is written when, and whose a reply is. Pure: told what happens, and when.

mod json_lines;
mod serial;

use std::{collections::VecDeque, time::Instant};

use aigis_proxy::{Code, Error};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::framing::Framing;

/// How many requests may wait.
pub(crate) const WAITING: usize = 1024;

/// What a program replied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    /// The text, or bytes that are none.
    pub(crate) text: Value,
    /// What else it replied.
    pub(crate) more: Map<String, Value>,
}

/// A message to a program.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Tells it from all others.
    pub(crate) id: u64,
    /// The message.
    pub(crate) text: String,
    /// What came beside it: text, or bytes as `$bytes`.
    pub(crate) input: Option<Value>,
    /// When the reply is no longer awaited.
    pub(crate) deadline: Instant,
    /// The span that it is part of, as a `traceparent`.
    pub(crate) traceparent: Option<String>,
    /// Where the reply goes.
    pub(crate) reply: oneshot::Sender<Result<Reply, Error>>,
}

impl Ask {
    /// Answers; that nobody waits any more is no reason to fail.
    pub(crate) fn answer(self, outcome: Result<Reply, Error>) {
        let _ = self.reply.send(outcome);
    }
}

/// What is to be done with a program's output.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stray(pub(crate) Vec<Vec<u8>>);

/// Who waits, and who is being answered.
#[derive(Debug)]
pub(crate) enum Exchange {
    /// One at a time.
    Serial(Box<serial::Serial>),
    /// Several at once, each under its id.
    JsonLines(json_lines::JsonLines),
}

impl Exchange {
    /// Nobody waits yet.
    pub(crate) fn new(framing: &Framing, concurrency: usize) -> Self {
        match framing {
            Framing::JsonLines => Self::JsonLines(json_lines::JsonLines::new(concurrency)),
            other => Self::Serial(Box::new(serial::Serial::new(other.clone()))),
        }
    }

    fn queue(&mut self) -> &mut VecDeque<Ask> {
        match self {
            Self::Serial(serial) => &mut serial.queue,
            Self::JsonLines(lines) => &mut lines.queue,
        }
    }

    /// Takes a message into the queue, or answers why not.
    pub(crate) fn admit(&mut self, ask: Ask) {
        if let Self::Serial(serial) = self
            && let Err(error) = serial.check(&ask)
        {
            return ask.answer(Err(error.sent(false)));
        }
        if self.queue().len() >= WAITING {
            let message = format!("{WAITING} messages wait for this program already");
            let error = Error::new(Code::ResourceExhausted, message).hint("wait for some of them to be answered");
            return ask.answer(Err(error.sent(false)));
        }
        self.queue().push_back(ask);
    }

    /// Hears that nobody waits for a reply any more.
    pub(crate) fn gone(&mut self, id: u64, now: Instant) {
        self.queue().retain(|ask| ask.id != id);
        match self {
            Self::Serial(serial) => serial.gone(id, now),
            Self::JsonLines(lines) => lines.gone(id),
        }
    }

    /// What is to be written now, if anything.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Vec<u8>> {
        match self {
            Self::Serial(serial) => serial.next(now),
            Self::JsonLines(lines) => lines.next(now),
        }
    }

    /// Takes output; gives what is no reply.
    pub(crate) fn came(&mut self, bytes: &[u8], now: Instant) -> Stray {
        match self {
            Self::Serial(serial) => serial.came(bytes, now),
            Self::JsonLines(lines) => lines.came(bytes),
        }
    }

    /// When [`Exchange::tick`] is due, if nothing happens before.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self {
            Self::Serial(serial) => serial.due(),
            Self::JsonLines(_) => None,
        }
    }

    /// Does what time asks for; whether the program has been silent for too long.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        match self {
            Self::Serial(serial) => serial.tick(now),
            Self::JsonLines(_) => false,
        }
    }

    /// How many are being answered, and how many wait.
    pub(crate) fn load(&self) -> (usize, usize) {
        match self {
            Self::Serial(serial) => (usize::from(serial.is_busy()), serial.queue.len()),
            Self::JsonLines(lines) => (lines.in_flight(), lines.queue.len()),
        }
    }

    /// The program has ended: tells everyone who waits, and gives what it left half said.
    pub(crate) fn end(&mut self, why: &Error) -> Stray {
        // A request that waited surely did not reach it.
        for ask in self.queue().drain(..) {
            ask.answer(Err(why.clone().sent(false)));
        }
        let error = why.clone().sent(true);
        match self {
            Self::Serial(serial) => serial.end(error),
            Self::JsonLines(lines) => lines.end(&error),
        }
    }
}

/// Bytes as a value: text where they are text, else `$bytes`.
fn value(bytes: Vec<u8>) -> Value {
    crate::frames::field(bytes)
}

#[cfg(test)]
mod tests;
