//! One request at a time: a reply that comes too late is thrown away before the next request is written.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use aigis_proxy::Error;
use serde_json::Map;

use super::{Ask, Reply, Stray, value};
use crate::{
    frames,
    wrap::framing::{self, Cutter, Framing},
};

/// How long a program may say nothing after a caller gave up on its reply.
const SILENCE: Duration = Duration::from_secs(60);

/// Who waits, and the one who is being answered.
#[derive(Debug)]
pub(crate) struct Serial {
    framing: Framing,
    cutter: Cutter,
    pub(super) queue: VecDeque<Ask>,
    turn: Option<Turn>,
    /// Whether the program has shown its first prompt, where it has one.
    prompted: bool,
}

/// A request that was written.
#[derive(Debug)]
struct Turn {
    /// The id; and who waits for the reply, unless nobody does any more.
    id: u64,
    ask: Option<Ask>,
    /// When something happened last.
    heard: Instant,
}

impl Serial {
    pub(super) fn new(framing: Framing) -> Self {
        let prompted = !matches!(framing, Framing::Prompt(_));
        let cutter = Cutter::new(framing.clone());
        Self { framing, cutter, queue: VecDeque::new(), turn: None, prompted }
    }

    /// Whether that would be one request.
    pub(super) fn check(&self, ask: &Ask) -> Result<(), Error> {
        self.bytes(ask).map(drop)
    }

    fn bytes(&self, ask: &Ask) -> Result<Vec<u8>, Error> {
        let input = ask.input.as_ref().map(frames::content).transpose()?;
        self.framing.request(&ask.text, input.as_deref())
    }

    pub(super) fn is_busy(&self) -> bool {
        self.turn.is_some()
    }

    pub(super) fn gone(&mut self, id: u64, now: Instant) {
        if let Some(turn) = self.turn.as_mut().filter(|turn| turn.id == id) {
            turn.ask = None;
            turn.heard = now;
        }
    }

    pub(super) fn next(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.turn.is_some() || !self.prompted {
            return None;
        }
        loop {
            let ask = self.queue.pop_front()?;
            match self.bytes(&ask) {
                Ok(bytes) => {
                    self.turn = Some(Turn { id: ask.id, ask: Some(ask), heard: now });
                    return Some(bytes);
                }
                Err(error) => ask.answer(Err(error.sent(false))),
            }
        }
    }

    pub(super) fn came(&mut self, bytes: &[u8], now: Instant) -> Stray {
        let mut stray = Stray::default();
        self.cutter.push(bytes);
        if let Some(turn) = &mut self.turn {
            turn.heard = now;
        }
        while let Some(reply) = self.cutter.next() {
            match (self.turn.take(), self.prompted) {
                (Some(turn), _) => turn.answer(reply),
                // What stands before the first prompt, and what nobody asked for.
                (None, _) => stray.0.extend(reply.ok().filter(|bytes| !bytes.is_empty())),
            }
            self.prompted = true;
        }
        if self.turn.is_none() && matches!(self.framing, Framing::Quiet(_)) && self.cutter.has_some() {
            stray.0.push(self.cutter.rest());
        }
        stray
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let turn = self.turn.as_ref()?;
        let quiet = match &self.framing {
            Framing::Quiet(quiet) if self.cutter.has_some() => Some(turn.heard + *quiet),
            _ => None,
        };
        let silent = turn.ask.is_none().then(|| turn.heard + SILENCE);
        quiet.into_iter().chain(silent).min()
    }

    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let Some(turn) = &self.turn else { return false };
        if let Framing::Quiet(quiet) = &self.framing
            && self.cutter.has_some()
            && now >= turn.heard + *quiet
        {
            let reply = self.cutter.silence();
            if let Some(turn) = self.turn.take() {
                turn.answer(reply);
            }
            return false;
        }
        turn.ask.is_none() && now >= turn.heard + SILENCE
    }

    pub(super) fn end(&mut self, error: Error) -> Stray {
        if let Some(ask) = self.turn.take().and_then(|turn| turn.ask) {
            ask.answer(Err(error));
        }
        let rest = self.cutter.rest();
        Stray(if rest.is_empty() { Vec::new() } else { vec![rest] })
    }
}

impl Turn {
    fn answer(self, reply: framing::Reply) {
        if let Some(ask) = self.ask {
            ask.answer(reply.map(|bytes| Reply { text: value(bytes), more: Map::new() }));
        }
    }
}
