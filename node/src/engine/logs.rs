//! A container's log, taken apart into entries.
//!
//! The engine sends two shapes. Without a terminal, each entry is a frame: a source byte, three zeros, a length of four
//! bytes and that many bytes. With a terminal there are only bytes. In both, each entry begins with its instant,
//! because that is always asked for; an entry over 16 KiB comes in pieces that each begin with one.

use std::{pin::Pin, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{ContainerId, Engine, Error, error::Asked, query};

/// Longest entry that is taken from a frame; the engine's own limit is 16 KiB.
const MAX_FRAME: usize = 1024 * 1024;
/// The engine cuts what is longer than this into pieces.
const PIECE: usize = 16 * 1024;
/// Length of the instant before an entry: `2026-11-21T07:25:40.450000000Z`.
const STAMP: usize = 30;
/// How long a log that is not followed may stay silent before the engine counts as hung.
const SILENCE: Duration = Duration::from_secs(10);

/// Which part of a log is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// How many of the last lines; `None` for all.
    pub tail: Option<u64>,
    /// Only entries at or after this.
    pub since: Option<OffsetDateTime>,
    /// Only entries before this.
    pub until: Option<OffsetDateTime>,
    /// Whether to go on with new entries until the container ends.
    pub follow: bool,
    /// Whether standard output is wanted.
    pub stdout: bool,
    /// Whether standard error is wanted.
    pub stderr: bool,
}

impl Default for LogQuery {
    fn default() -> Self {
        Self { tail: Some(100), since: None, until: None, follow: false, stdout: true, stderr: true }
    }
}

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Standard output; also all of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Source {
    /// `stdout` or `stderr`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One entry of a log, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When the engine took it.
    pub at: Option<OffsetDateTime>,
    /// Where it came from.
    pub source: Source,
    /// Its bytes, with the line break; a piece of a long line has none.
    pub bytes: Bytes,
}

/// A log's entries, oldest first. Dropping it ends the request.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<LogEntry, Error>> + Send>>;

const READ: Asked = Asked { what: "read the log", endpoint: "GET /containers/ID/logs" };

impl Engine {
    /// Reads a container's log; `tty` says whether it has a terminal ([`super::Inspection::tty`]).
    ///
    /// The stream takes from the engine only what its reader takes from it.
    ///
    /// # Errors
    ///
    /// As every request; a log driver that cannot read is [`Error::Refused`]. The stream's own errors end it.
    pub async fn logs(&self, id: &ContainerId, tty: bool, wanted: &LogQuery) -> Result<LogStream, Error> {
        let mut asked = query::Query::new();
        asked.add("timestamps", "1").add("stdout", bit(wanted.stdout)).add("stderr", bit(wanted.stderr));
        asked.add("follow", bit(wanted.follow));
        asked.add("tail", &wanted.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string()));
        if let Some(since) = wanted.since {
            asked.add("since", &query::instant(since));
        }
        if let Some(until) = wanted.until {
            asked.add("until", &query::instant(until));
        }
        let body = self.open(READ, &format!("/containers/{id}/logs{asked}")).await?;
        let silence = (!wanted.follow).then_some(SILENCE);
        let reading = Reading { engine: self.clone(), body, decoder: Decoder::new(tty), silence, ended: false };
        Ok(Box::pin(stream::unfold(reading, Reading::next)))
    }
}

fn bit(set: bool) -> &'static str {
    if set { "1" } else { "0" }
}

struct Reading {
    engine: Engine,
    body: Incoming,
    decoder: Decoder,
    silence: Option<Duration>,
    ended: bool,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<LogEntry, Error>, Self)> {
        loop {
            match self.decoder.entry(self.ended) {
                Ok(Some(entry)) => return Some((Ok(entry), self)),
                Ok(None) if self.ended => return None,
                Ok(None) => {}
                Err(what) => {
                    let error = self.engine.malformed(READ, what);
                    (self.ended, self.decoder) = (true, Decoder::new(true));
                    return Some((Err(error), self));
                }
            }
            let frame = match self.silence {
                Some(silence) => match tokio::time::timeout(silence, self.body.frame()).await {
                    Ok(frame) => frame,
                    Err(_) => {
                        (self.ended, self.decoder) = (true, Decoder::new(true));
                        let error = self.engine.timeout(READ, silence, false);
                        return Some((Err(error), self));
                    }
                },
                None => self.body.frame().await,
            };
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.decoder.buffer.extend_from_slice(&bytes);
                    }
                }
                Some(Err(error)) => {
                    (self.ended, self.decoder) = (true, Decoder::new(true));
                    let error = self.engine.failed(READ, &error.into());
                    return Some((Err(error), self));
                }
                None => self.ended = true,
            }
        }
    }
}

/// Takes the engine's bytes apart.
#[derive(Debug)]
struct Decoder {
    buffer: BytesMut,
    tty: bool,
    /// With a terminal: bytes of the current line that were already given out.
    line: usize,
    /// With a terminal: whether the stamp of the current piece was taken off.
    stamped: bool,
    at: Option<OffsetDateTime>,
}

impl Decoder {
    fn new(tty: bool) -> Self {
        Self { buffer: BytesMut::new(), tty, line: 0, stamped: false, at: None }
    }

    /// The next entry, if the buffer holds a whole one.
    fn entry(&mut self, ended: bool) -> Result<Option<LogEntry>, String> {
        if self.tty { Ok(self.piece(ended)) } else { self.frame(ended) }
    }

    fn frame(&mut self, ended: bool) -> Result<Option<LogEntry>, String> {
        let Some(&[kind, _, _, _, a, b, c, d]) = self.buffer.first_chunk::<8>() else {
            return match ended && !self.buffer.is_empty() {
                true => Err("the log ends within a frame".to_owned()),
                false => Ok(None),
            };
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let source = match kind {
            0 | 1 => Source::Stdout,
            2 => Source::Stderr,
            // Three is how the engine tells of its own failure in the middle of a log.
            3 => {
                let words = self.buffer.get(8..).unwrap_or_default();
                return Err(String::from_utf8_lossy(words.get(..length.min(500)).unwrap_or(words)).trim().to_owned());
            }
            other => return Err(format!("a log frame has the unknown source {other}")),
        };
        if length > MAX_FRAME {
            return Err(format!("a log frame says that it has {length} bytes; at most {MAX_FRAME} are read"));
        }
        if self.buffer.len() < 8 + length {
            return if ended { Err("the log ends within a frame".to_owned()) } else { Ok(None) };
        }
        self.buffer.advance(8);
        let mut bytes = self.buffer.split_to(length).freeze();
        let at = stamp(&bytes);
        if at.is_some() {
            bytes.advance(STAMP + 1);
        }
        Ok(Some(LogEntry { at, source, bytes }))
    }

    fn piece(&mut self, ended: bool) -> Option<LogEntry> {
        if self.buffer.is_empty() {
            return None;
        }
        // A stamp stands before each line and before each further piece of a long one.
        if !self.stamped {
            if self.buffer.len() <= STAMP && !ended {
                return None;
            }
            if let Some(at) = stamp(&self.buffer) {
                self.at = Some(at);
                self.buffer.advance(STAMP + 1);
            }
            self.stamped = true;
        }
        let room = PIECE - self.line % PIECE;
        let within = self.buffer.len().min(room);
        let end = self.buffer.iter().take(within).position(|byte| *byte == b'\n');
        // The engine itself holds a line back until it ends or fills a piece.
        let take = match end {
            Some(at) => at + 1,
            None if within == room || ended => within,
            None => return None,
        };
        self.line = if end.is_some() { 0 } else { self.line + take };
        self.stamped = !self.line.is_multiple_of(PIECE);
        let bytes = self.buffer.split_to(take).freeze();
        Some(LogEntry { at: self.at, source: Source::Stdout, bytes })
    }
}

/// The instant with which an entry begins.
fn stamp(bytes: &[u8]) -> Option<OffsetDateTime> {
    let (head, rest) = bytes.split_at_checked(STAMP)?;
    if rest.first() != Some(&b' ') || head.last() != Some(&b'Z') {
        return None;
    }
    OffsetDateTime::parse(std::str::from_utf8(head).ok()?, &Rfc3339).ok()
}

/// All entries of a log that is these bytes.
#[cfg(any(test, fuzzing))]
pub(crate) fn entries(tty: bool, bytes: &[u8]) -> Result<Vec<LogEntry>, String> {
    let mut decoder = Decoder::new(tty);
    decoder.buffer.extend_from_slice(bytes);
    let mut found = Vec::new();
    while let Some(entry) = decoder.entry(true)? {
        found.push(entry);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: &str = "2026-11-21T07:25:40.450000000Z ";

    fn frame(kind: u8, text: &str) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    #[test]
    fn frames_are_taken_apart() {
        let mut bytes = frame(1, &format!("{AT}one\n"));
        bytes.extend(frame(2, &format!("{AT}two")));
        bytes.extend(frame(1, "no instant\n"));
        let entries = entries(false, &bytes).unwrap();
        assert_eq!(entries.len(), 3);
        assert_eq!((entries[0].source, entries[0].bytes.as_ref()), (Source::Stdout, b"one\n".as_ref()));
        assert!(entries[0].at.is_some());
        assert_eq!((entries[1].source, entries[1].bytes.as_ref()), (Source::Stderr, b"two".as_ref()));
        assert_eq!((entries[2].at, entries[2].bytes.as_ref()), (None, b"no instant\n".as_ref()));
    }

    #[test]
    fn bad_65_a_broken_frame_header_ends_the_log_with_words() {
        assert!(entries(false, &[9, 0, 0, 0, 0, 0, 0, 1, 7]).unwrap_err().contains("unknown source 9"));
        assert!(entries(false, &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).unwrap_err().contains("4294967295"));
        assert!(entries(false, &[1, 0, 0]).is_err());
    }

    #[test]
    fn a_terminal_s_line_that_looks_like_a_stamp_is_kept_in_whatever_parts_it_comes() {
        let mut decoder = Decoder::new(true);
        let mut found = Vec::new();
        for byte in format!("{AT}{AT}x\n{AT}\n").into_bytes() {
            decoder.buffer.extend_from_slice(&[byte]);
            found.extend(decoder.entry(false).unwrap());
        }
        let texts: Vec<&[u8]> = found.iter().map(|entry| entry.bytes.as_ref()).collect();
        assert_eq!(texts, [format!("{AT}x\n").as_bytes(), b"\n"]);
    }

    #[test]
    fn a_terminal_s_long_line_loses_the_stamps_of_its_pieces() {
        let text = format!("{AT}{}{AT}tail\r\n{AT}next\n", "x".repeat(PIECE));
        let entries = entries(true, text.as_bytes()).unwrap();
        let joined: Vec<u8> = entries.iter().flat_map(|entry| entry.bytes.to_vec()).collect();
        assert_eq!(joined, format!("{}tail\r\nnext\n", "x".repeat(PIECE)).into_bytes());
    }

    proptest! {
        #[test]
        fn bad_65_no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), tty: bool) {
            let _ = entries(tty, &bytes);
        }
    }
}
