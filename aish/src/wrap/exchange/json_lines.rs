//! A line of JSON for each request and reply, matched by id, in any order.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use aigis_proxy::{Code, Error, quoted};
use serde_json::{Map, Value, json};

use super::{Ask, Reply, Stray};
use crate::wrap::framing::{Cutter, Framing};

/// Who waits, and who is being answered.
#[derive(Debug)]
pub(crate) struct JsonLines {
    cutter: Cutter,
    concurrency: usize,
    pub(super) queue: VecDeque<Ask>,
    asked: BTreeMap<u64, Ask>,
    cancelled: VecDeque<u64>,
    /// The last id that was written.
    last: u64,
}

impl JsonLines {
    pub(super) fn new(concurrency: usize) -> Self {
        Self {
            cutter: Cutter::new(Framing::JsonLines),
            concurrency,
            queue: VecDeque::new(),
            asked: BTreeMap::new(),
            cancelled: VecDeque::new(),
            last: 0,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.asked.len()
    }

    pub(super) fn gone(&mut self, id: u64) {
        if self.asked.remove(&id).is_some() {
            self.cancelled.push_back(id);
        }
    }

    pub(super) fn next(&mut self, now: Instant) -> Option<Vec<u8>> {
        let line = match self.cancelled.pop_front() {
            Some(id) => json!({ "cancel": id }),
            None if self.asked.len() >= self.concurrency => return None,
            None => {
                let ask = self.queue.pop_front()?;
                let left = ask.deadline.saturating_duration_since(now).as_millis();
                let left = u64::try_from(left).unwrap_or(u64::MAX);
                let mut line = json!({"id": ask.id, "message": ask.text, "input": ask.input, "deadline_ms": left});
                if let (Some(traceparent), Some(line)) = (&ask.traceparent, line.as_object_mut()) {
                    line.insert("traceparent".to_owned(), traceparent.as_str().into());
                }
                self.last = self.last.max(ask.id);
                self.asked.insert(ask.id, ask);
                line
            }
        };
        Some(format!("{line}\n").into_bytes())
    }

    pub(super) fn came(&mut self, bytes: &[u8]) -> Stray {
        let mut stray = Stray::default();
        self.cutter.push(bytes);
        while let Some(line) = self.cutter.next() {
            match line {
                Ok(line) => {
                    if !self.take(&line) {
                        stray.0.push(line);
                    }
                }
                // Whose it was cannot be told.
                Err(error) => stray.0.push(error.message.into_bytes()),
            }
        }
        stray
    }

    /// Whether the line is a reply; one to a request that was given up is dropped.
    fn take(&mut self, line: &[u8]) -> bool {
        let Ok(Value::Object(mut object)) = serde_json::from_slice(line) else { return false };
        let Some(id) = object.remove("id").and_then(|id| id.as_u64()) else { return false };
        match self.asked.remove(&id) {
            Some(ask) => ask.answer(read(object)),
            None => return id <= self.last && id > 0,
        }
        true
    }

    pub(super) fn end(&mut self, error: &Error) -> Stray {
        for (_, ask) in std::mem::take(&mut self.asked) {
            ask.answer(Err(error.clone()));
        }
        self.cancelled.clear();
        let rest = self.cutter.rest();
        Stray(if rest.is_empty() { Vec::new() } else { vec![rest] })
    }
}

/// What a program says under an id.
fn read(mut object: Map<String, Value>) -> Result<Reply, Error> {
    if let Some(error) = object.remove("error") {
        let word = |key: &str| error.get(key).and_then(Value::as_str);
        let message = word("message").unwrap_or("the program gave no reason").to_owned();
        return Err(match word("code").map(|code| (code, code.parse::<Code>())) {
            Some((_, Ok(code))) if code != Code::Internal => Error::new(code, message),
            // Its own words for what went wrong; a fault of ours is something else.
            Some((own, _)) => Error::internal(message).with("exception", quoted(own)),
            None => Error::internal(message).with("exception", "error"),
        });
    }
    match object.remove("reply") {
        Some(reply) => {
            let text = match &reply {
                Value::String(_) => reply,
                Value::Object(tagged) if tagged.len() == 1 && tagged.contains_key("$bytes") => reply,
                other => {
                    let text = other.to_string();
                    object.insert("reply".to_owned(), reply);
                    text.into()
                }
            };
            Ok(Reply { text, more: object })
        }
        None => {
            Err(Error::internal("the program's line has neither \"reply\" nor \"error\"").with("exception", "protocol"))
        }
    }
}
