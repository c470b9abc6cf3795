//! Makes lines of a log's entries: masks known secrets, joins the pieces of long lines, and cuts what is longer than a
//! frame.

use time::OffsetDateTime;

use super::{Frame, Line};
use crate::{
    engine::{LogEntry, Source},
    mask::{Masking, Masks},
};

/// Longest part of a line in one frame.
const LONGEST: usize = 64 * 1024;

#[derive(Debug)]
struct Pending {
    masking: Masking,
    /// When the newest bytes were printed.
    came_at: Option<OffsetDateTime>,
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
    pub(crate) fn new(timestamps: bool, masks: &Masks) -> Self {
        let pending = || Pending { masking: masks.stream(), came_at: None, at: None, bytes: Vec::new(), begun: false };
        Self { timestamps, stdout: pending(), stderr: pending() }
    }

    /// Whether no part of a line is held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.stdout.bytes.is_empty() && self.stderr.bytes.is_empty()
    }

    /// Takes an entry in and gives the frames that are complete.
    pub(crate) fn push(&mut self, entry: &LogEntry) -> Vec<Frame> {
        let pending = match entry.source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        };
        pending.came_at = entry.at;
        let bytes = pending.masking.push(&entry.bytes);
        pending.cut(&bytes, entry.source, self.timestamps)
    }

    /// Gives out what is held back, as parts of lines; not what may be the beginning of a secret.
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

    /// Gives out all that is held back: nothing follows.
    pub(crate) fn finish(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for (source, pending) in [(Source::Stdout, &mut self.stdout), (Source::Stderr, &mut self.stderr)] {
            let rest = pending.masking.finish();
            frames.extend(pending.cut(&rest, source, self.timestamps));
        }
        frames.extend(self.flush());
        frames
    }
}

impl Pending {
    /// Takes bytes in and gives the frames that are complete.
    fn cut(&mut self, bytes: &[u8], source: Source, timestamps: bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.bytes.is_empty() && !self.begun {
                self.at = self.came_at;
                if let (true, Some(at)) = (timestamps, self.came_at) {
                    self.bytes.extend_from_slice(format!("{} ", super::Instant(at)).as_bytes());
                }
            }
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            self.bytes.extend_from_slice(text);
            while self.bytes.len() > LONGEST {
                let rest = self.bytes.split_off(boundary(&self.bytes));
                let part = std::mem::replace(&mut self.bytes, rest);
                frames.push(frame(source, self.at, &part, true));
                self.begun = true;
            }
            if ended {
                frames.push(frame(source, self.at, &self.bytes, false));
                (self.at, self.begun) = (None, false);
                self.bytes.clear();
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
        let mut cutter = Cutter::new(false, &Masks::default());
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
    fn secrets_are_masked_before_anything_is_cut() {
        let masks = Masks::default();
        masks.set(crate::mask::Mask::of([&b"hunter2-hunter2"[..]]));
        let mut cutter = Cutter::new(false, &masks);
        assert!(cutter.push(&entry(Source::Stdout, "a hunter2-")).is_empty());
        assert_eq!(lines(&cutter.flush()), [("a ".to_owned(), true)], "its beginning is held back");
        assert!(cutter.is_empty());
        assert_eq!(lines(&cutter.push(&entry(Source::Stdout, "hunter2 b\nhunter2"))), [("*** b".to_owned(), false)]);
        assert_eq!(lines(&cutter.finish()), [("hunter2".to_owned(), true)]);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let mut cutter = Cutter::new(false, &Masks::default());
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
        let mut cutter = Cutter::new(true, &Masks::default());
        assert_eq!(
            lines(&cutter.push(&entry(Source::Stdout, "a\nb\n"))),
            [("1970-01-01T00:00:00.000Z a".to_owned(), false), ("1970-01-01T00:00:00.000Z b".to_owned(), false)]
        );
    }
}
