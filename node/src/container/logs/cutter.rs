//! Makes lines of a log's entries: joins the pieces of long lines, and cuts what is longer than a frame.

use time::OffsetDateTime;

use super::{Frame, Line};
use crate::engine::{LogEntry, Source};

/// Longest part of a line in one frame.
const LONGEST: usize = 64 * 1024;

#[derive(Debug, Default)]
struct Pending {
    at: Option<OffsetDateTime>,
    bytes: Vec<u8>,
    /// Whether a part of this line went out already.
    begun: bool,
}

/// Lines in the making, for each source.
#[derive(Debug)]
pub(crate) struct Cutter {
    timestamps: bool,
    stdout: Pending,
    stderr: Pending,
}

impl Cutter {
    pub(crate) fn new(timestamps: bool) -> Self {
        Self { timestamps, stdout: Pending::default(), stderr: Pending::default() }
    }

    /// Whether no part of a line is held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.stdout.bytes.is_empty() && self.stderr.bytes.is_empty()
    }

    /// Takes an entry in and gives the frames that are complete.
    pub(crate) fn push(&mut self, entry: &LogEntry) -> Vec<Frame> {
        let timestamps = self.timestamps;
        let pending = match entry.source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        };
        let mut frames = Vec::new();
        for piece in entry.bytes.split_inclusive(|byte| *byte == b'\n') {
            if pending.bytes.is_empty() && !pending.begun {
                pending.at = entry.at;
                if let (true, Some(at)) = (timestamps, entry.at) {
                    pending.bytes.extend_from_slice(format!("{} ", super::Instant(at)).as_bytes());
                }
            }
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            pending.bytes.extend_from_slice(text);
            while pending.bytes.len() > LONGEST {
                let rest = pending.bytes.split_off(boundary(&pending.bytes));
                let part = std::mem::replace(&mut pending.bytes, rest);
                frames.push(frame(entry.source, pending.at, &part, true));
                pending.begun = true;
            }
            if ended {
                frames.push(frame(entry.source, pending.at, &pending.bytes, false));
                *pending = Pending::default();
            }
        }
        frames
    }

    /// Gives out what is held back, as parts of lines.
    pub(crate) fn flush(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for (source, pending) in [(Source::Stdout, &mut self.stdout), (Source::Stderr, &mut self.stderr)] {
            if !pending.bytes.is_empty() {
                frames.push(frame(source, pending.at, &pending.bytes, true));
                pending.bytes.clear();
                pending.begun = true;
            }
        }
        frames
    }
}

fn frame(source: Source, at: Option<OffsetDateTime>, bytes: &[u8], partial: bool) -> Frame {
    Frame::Line { at: at.map(super::Instant), source: source.as_str().to_owned(), line: Line::of(bytes), partial }
}

/// Where to cut: not within a character, as far as there are any.
fn boundary(bytes: &[u8]) -> usize {
    let continues = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    (LONGEST - 3..=LONGEST).rev().find(|at| !continues(*at)).unwrap_or(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(source: Source, text: &str) -> LogEntry {
        LogEntry { at: Some(OffsetDateTime::UNIX_EPOCH), source, bytes: text.as_bytes().to_vec().into() }
    }

    fn lines(frames: &[Frame]) -> Vec<(String, bool)> {
        frames
            .iter()
            .map(|frame| match frame {
                Frame::Line { line: Line::Text(text), partial, .. } => (text.clone(), *partial),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn pieces_of_a_line_are_joined_per_source() {
        let mut cutter = Cutter::new(false);
        assert!(cutter.push(&entry(Source::Stdout, "one, ")).is_empty());
        let other = cutter.push(&entry(Source::Stderr, "other\n"));
        assert_eq!(lines(&other), [("other".to_owned(), false)]);
        assert_eq!(lines(&cutter.push(&entry(Source::Stdout, "two\r\n"))), [("one, two\r".to_owned(), false)]);
        assert!(cutter.push(&entry(Source::Stdout, "prompt> ")).is_empty());
        assert_eq!(lines(&cutter.flush()), [("prompt> ".to_owned(), true)]);
        assert_eq!(lines(&cutter.push(&entry(Source::Stdout, "\n"))), [(String::new(), false)]);
        assert!(cutter.is_empty());
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let mut cutter = Cutter::new(false);
        let long = "ä".repeat(LONGEST);
        let mut frames = cutter.push(&entry(Source::Stdout, &format!("x{long}\n")));
        let parts = lines(&frames);
        assert_eq!(parts.iter().map(|(text, _)| text.as_str()).collect::<String>(), format!("x{long}"));
        assert!(parts.iter().all(|(text, _)| text.len() <= LONGEST));
        assert!(matches!(frames.pop(), Some(Frame::Line { partial: false, .. })));
        assert!(frames.iter().all(|frame| matches!(frame, Frame::Line { partial: true, .. })));
    }

    #[test]
    fn bytes_that_are_no_text_travel_tagged_and_stamps_stand_before_lines() {
        assert_eq!(serde_json::to_string(&Line::of(&[0xff, 0x00])).unwrap(), r#"{"$bytes":"/wA="}"#);
        let mut cutter = Cutter::new(true);
        assert_eq!(
            lines(&cutter.push(&entry(Source::Stdout, "a\nb\n"))),
            [("1970-01-01T00:00:00.000Z a".to_owned(), false), ("1970-01-01T00:00:00.000Z b".to_owned(), false)]
        );
    }
}
