//! How a message becomes a request to a program, and how its output is cut into replies: pure functions of bytes.

use std::time::Duration;

use aigis_proxy::{Code, Error, body::MAX_BODY, quoted};
use regex::bytes::Regex;

/// Most bytes of one reply. What JSON makes of it has to fit into a body.
const MAX_REPLY: usize = MAX_BODY;
/// How much of the end of the output is looked at for a prompt.
const PROMPT: usize = 4 * 1024;

/// How requests and replies are told apart.
#[derive(Debug, Clone)]
pub(crate) enum Framing {
    /// A request is a text and these bytes, a reply what comes before those.
    Delimiter { request: Vec<u8>, reply: Vec<u8> },
    /// A line of JSON each, in any order.
    JsonLines,
    /// A request is a line, a reply what comes before the prompt.
    Prompt(Regex),
    /// A request is a line, a reply what comes before silence.
    Quiet(Duration),
}

impl Framing {
    /// A line each.
    pub(crate) fn line() -> Self {
        Self::Delimiter { request: b"\n".to_vec(), reply: b"\n".to_vec() }
    }

    /// What comes until that expression matches at the end.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the expression.
    pub(crate) fn prompt(expression: &str) -> Result<Self, String> {
        let wrong = |error: regex::Error| {
            let text = error.to_string();
            format!("no regular expression: {}", text.lines().last().unwrap_or_default().trim())
        };
        let alone = Regex::new(expression).map_err(wrong)?;
        if alone.is_match(b"") {
            return Err("it matches nothing at all as well, so that every output would end in a prompt".to_owned());
        }
        Regex::new(&format!("(?:{expression})\\z")).map(Self::Prompt).map_err(wrong)
    }

    /// The bytes of a request; for all but JSON Lines.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a text that would be more than one request.
    pub(crate) fn request(&self, text: &str, input: Option<&[u8]>) -> Result<Vec<u8>, Error> {
        let mut bytes = text.as_bytes().to_vec();
        if let Some(input) = input {
            bytes.extend_from_slice(b"\n\n");
            bytes.extend_from_slice(input);
        }
        match self {
            Self::Delimiter { request, .. } => {
                let length = bytes.len();
                bytes.extend_from_slice(request);
                // A text may also end in what begins its end.
                if find(&bytes, request) != Some(length) {
                    let what = if input.is_some() { "message and input together hold" } else { "the message holds" };
                    return Err(if request == b"\n" {
                        Error::invalid(format!("{what} a line break, which ends a request to this program"))
                            .hint("send one line; or wrap the program with --delimiter or --jsonl")
                    } else {
                        let shown = String::from_utf8_lossy(request).into_owned();
                        Error::invalid(format!("{what} \"{}\", which ends a request to this program", quoted(&shown)))
                            .hint("leave it out; or wrap the program with another --delimiter")
                    });
                }
            }
            Self::JsonLines | Self::Prompt(_) | Self::Quiet(_) => bytes.push(b'\n'),
        }
        Ok(bytes)
    }
}

/// Reads a delimiter as it is written on the command line: `\n \r \t \0 \\ \xNN`.
///
/// # Errors
///
/// Says what is allowed.
pub(crate) fn delimiter(text: &str) -> Result<Vec<u8>, String> {
    const FORM: &str = "write text with \\n \\r \\t \\0 \\\\ or \\xNN";
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let escape = after.chars().next().ok_or_else(|| format!("a backslash stands at the end: {FORM}"))?;
        let mut length = escape.len_utf8();
        bytes.push(match escape {
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            '0' => 0,
            '\\' => b'\\',
            'x' => {
                length += 2;
                let digits = after.get(1..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                value.ok_or_else(|| format!("\\x lacks its two digits: {FORM}"))?
            }
            other => return Err(format!("\\{} is no escape: {FORM}", other.escape_debug())),
        });
        rest = after.get(length..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    if bytes.is_empty() { Err(format!("it is empty: {FORM}")) } else { Ok(bytes) }
}

/// A reply that was cut out of a program's output; an error for one that was too large to be kept.
pub(crate) type Reply = Result<Vec<u8>, Error>;

/// Cuts a program's output into replies.
#[derive(Debug)]
pub(crate) struct Cutter {
    framing: Framing,
    buffer: Vec<u8>,
    /// How much of the buffer surely holds no end.
    searched: usize,
    /// How many bytes of the reply under way were dropped, as it is too large.
    dropped: usize,
    limit: usize,
}

impl Cutter {
    /// A cutter that has seen nothing yet.
    pub(crate) fn new(framing: Framing) -> Self {
        Self { framing, buffer: Vec::new(), searched: 0, dropped: 0, limit: MAX_REPLY }
    }

    /// Takes output.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next reply that is whole.
    pub(crate) fn next(&mut self) -> Option<Reply> {
        let found = match &self.framing {
            Framing::Delimiter { reply, .. } => ended(&self.buffer, self.searched, reply),
            Framing::JsonLines => ended(&self.buffer, self.searched, b"\n"),
            Framing::Prompt(expression) => {
                let begin = self.buffer.len().saturating_sub(PROMPT);
                let tail = self.buffer.get(begin..).unwrap_or_default();
                expression.find(tail).map(|found| (begin + found.start(), self.buffer.len()))
            }
            Framing::Quiet(_) => None,
        };
        let Some((end, next)) = found else {
            self.bound();
            return None;
        };
        let rest = self.buffer.split_off(next);
        let mut reply = std::mem::replace(&mut self.buffer, rest);
        reply.truncate(end);
        self.searched = 0;
        let dropped = std::mem::take(&mut self.dropped);
        if matches!(self.framing, Framing::Prompt(_)) {
            trim(&mut reply);
        }
        Some(self.judged(reply, dropped))
    }

    /// What came so far, as the reply that silence ends.
    pub(crate) fn silence(&mut self) -> Reply {
        let mut reply = self.rest();
        trim(&mut reply);
        let dropped = std::mem::take(&mut self.dropped);
        self.judged(reply, dropped)
    }

    /// Whether something has come that is no whole reply yet.
    pub(crate) fn has_some(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Gives up what has come of the reply under way.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        self.searched = 0;
        std::mem::take(&mut self.buffer)
    }

    fn judged(&self, reply: Vec<u8>, dropped: usize) -> Reply {
        let length = reply.len() + dropped;
        if length <= self.limit {
            return Ok(reply);
        }
        let message = format!("the program's reply is {length} bytes; at most {} are taken", self.limit);
        Err(Error::new(Code::ResourceExhausted, message).hint("ask for less at once").sent(true))
    }

    /// Drops what is too much, but for what an end may begin with.
    fn bound(&mut self) {
        let kept = match &self.framing {
            Framing::Delimiter { reply, .. } => reply.len() - 1,
            Framing::JsonLines => 0,
            Framing::Prompt(_) | Framing::Quiet(_) => PROMPT,
        };
        self.searched = self.buffer.len().saturating_sub(kept);
        if self.dropped > 0 || self.buffer.len() > self.limit + kept {
            self.dropped += self.searched;
            self.buffer.drain(..self.searched);
            self.searched = 0;
        }
    }
}

/// Where a reply ends and what follows it begins.
fn ended(buffer: &[u8], searched: usize, end: &[u8]) -> Option<(usize, usize)> {
    let at = searched + find(buffer.get(searched..)?, end)?;
    Some((at, at + end.len()))
}

/// Where bytes stand in others.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| *byte == first)?;
        if bytes.get(at..)?.starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// Cuts the line break that stands before a prompt.
fn trim(reply: &mut Vec<u8>) {
    if reply.ends_with(b"\n") {
        reply.pop();
        if reply.ends_with(b"\r") {
            reply.pop();
        }
    }
}

/// Makes line feeds of the line ends that a terminal writes.
#[derive(Debug, Default)]
pub(crate) struct LineEnds {
    /// Whether the last byte was a carriage return.
    held: bool,
}

impl LineEnds {
    /// Takes output, and gives it with `\r\n` as `\n`.
    pub(crate) fn plain(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 1);
        for byte in bytes {
            let held = std::mem::replace(&mut self.held, *byte == b'\r');
            if held && *byte != b'\n' {
                out.push(b'\r');
            }
            if *byte != b'\r' {
                out.push(*byte);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests;
