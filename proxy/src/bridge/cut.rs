//! Bytes cut into frames, and frames put together to messages.

use std::collections::HashMap;

use bytes::{Buf, Bytes, BytesMut};

use super::{
    MAX_BODY, MAX_FRAME, MAX_HEADER,
    frame::{Header, Kind, Message, Violation},
};

/// Bytes of the two lengths.
const LENGTHS: usize = 8;
/// How many messages may be incomplete at once.
const MAX_INCOMPLETE: usize = 256;

/// Cuts what came in into messages.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    input: BytesMut,
    incomplete: HashMap<(Kind, Option<u64>), Incomplete>,
    /// What the incomplete ones hold together.
    held: usize,
}

/// The parts of a message that have come.
#[derive(Debug)]
struct Incomplete {
    header: Header,
    body: BytesMut,
    size: usize,
    /// Whether there was no room for it.
    let_go: bool,
}

impl Cutter {
    /// Where further bytes are put.
    pub(crate) fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// How many bytes the frame that is coming still lacks at least, where its lengths are known.
    pub(crate) fn lacks(&self) -> usize {
        let whole = self.lengths().map_or(LENGTHS, |(head, body)| (LENGTHS + head).saturating_add(body));
        whole.min(LENGTHS + MAX_FRAME).saturating_sub(self.input.len())
    }

    /// The next message of what has come in.
    ///
    /// # Errors
    ///
    /// It is none; nothing that comes after it can be read.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, Violation> {
        while let Some((header, body)) = self.frame()? {
            if let Some(message) = self.join(header, body)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    fn lengths(&self) -> Option<(usize, usize)> {
        let lengths = self.input.first_chunk::<LENGTHS>()?;
        let (mut head, mut body) = lengths.split_at(LENGTHS / 2);
        Some((head.get_u32() as usize, body.get_u32() as usize))
    }

    fn frame(&mut self) -> Result<Option<(Header, Bytes)>, Violation> {
        let Some((head, body)) = self.lengths() else { return Ok(None) };
        if head > MAX_HEADER || head.saturating_add(body) > MAX_FRAME {
            return Err(Violation::new(format!("a frame of {head} and {body} bytes, which is beyond the limit")));
        }
        if self.input.len() < LENGTHS + head + body {
            return Ok(None);
        }
        self.input.advance(LENGTHS);
        let header = Header::read(&self.input.split_to(head))?;
        Ok(Some((header, self.input.split_to(body).freeze())))
    }

    fn join(&mut self, header: Header, part: Bytes) -> Result<Option<Message>, Violation> {
        let (key, more) = ((header.t, header.id), header.more);
        if !more && !self.incomplete.contains_key(&key) {
            return Ok(Some(Message { header, body: Some(part) }));
        }
        if self.incomplete.len() >= MAX_INCOMPLETE && !self.incomplete.contains_key(&key) {
            return Err(Violation::new(format!("more than {MAX_INCOMPLETE} messages in parts at once")));
        }
        let whole = self.incomplete.entry(key).or_insert_with(|| Incomplete {
            header: Header { more: false, ..header },
            body: BytesMut::new(),
            size: 0,
            let_go: false,
        });
        whole.size += part.len();
        if whole.size > MAX_BODY {
            return Err(Violation::new(format!("a body of more than {MAX_BODY} bytes")));
        }
        // Several large ones at once are no wrong of the process, but the memory is this host's.
        if !whole.let_go && self.held + part.len() > MAX_BODY {
            self.held -= std::mem::take(&mut whole.body).len();
            whole.let_go = true;
        }
        if !whole.let_go {
            whole.body.extend_from_slice(&part);
            self.held += part.len();
        }
        if more {
            return Ok(None);
        }
        let Some(whole) = self.incomplete.remove(&key) else { return Ok(None) };
        self.held -= whole.body.len();
        let body = (!whole.let_go).then(|| whole.body.freeze());
        Ok(Some(Message { header: whole.header, body }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bridge::outbox::encoded;

    fn cut(bytes: &[u8]) -> Result<Vec<Message>, Violation> {
        let mut cutter = Cutter::default();
        cutter.input().extend_from_slice(bytes);
        let mut messages = Vec::new();
        while let Some(message) = cutter.next()? {
            messages.push(message);
        }
        Ok(messages)
    }

    fn frame(header: &str, body: &[u8]) -> Vec<u8> {
        let length = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
        [&length(header.len())[..], &length(body.len()), header.as_bytes(), body].concat()
    }

    #[test]
    fn bad_24_lengths_beyond_the_limits_are_refused_before_anything_is_kept() {
        for lengths in [[0xFF; 8], [0, 1, 0, 1, 0, 0, 0, 0], [0, 0, 0, 2, 4, 0, 0, 0]] {
            let mut cutter = Cutter::default();
            cutter.input().extend_from_slice(&lengths);
            assert!(cutter.next().is_err(), "{lengths:?}");
            assert!(cutter.lacks() <= LENGTHS + MAX_FRAME);
        }
        assert!(cut(&[0; 8]).is_err(), "a header is never empty");
        assert!(cut(&[0, 0, 0, 9]).unwrap().is_empty(), "it may still become one");
    }

    #[test]
    fn parts_come_together_whatever_comes_in_between() {
        let bytes = [
            frame(r#"{"t":"call","id":1,"path":"a.b","more":true}"#, b"ab"),
            frame(r#"{"t":"cancel","id":7}"#, b""),
            frame(r#"{"t":"call","id":2,"path":"c.d"}"#, b"x"),
            frame(r#"{"t":"call","id":1,"more":true}"#, b"cd"),
            frame(r#"{"t":"call","id":1}"#, b"e"),
        ];
        let messages = cut(&bytes.concat()).unwrap();
        let shown: Vec<_> = messages.iter().map(|message| (message.header.id, message.body.as_deref())).collect();
        assert_eq!(shown, [(Some(7), Some(&b""[..])), (Some(2), Some(b"x")), (Some(1), Some(b"abcde"))]);
        assert_eq!(messages[2].header.path.as_deref(), Some("a.b"));
        assert!(!messages[2].header.more);
    }

    #[test]
    fn bad_24_messages_in_parts_are_bounded() {
        let part = |id: usize| frame(&format!(r#"{{"t":"call","id":{id},"path":"a.b","more":true}}"#), b"");
        let parts = |count: usize| (1..=count).flat_map(part).collect::<Vec<u8>>();
        assert!(cut(&parts(MAX_INCOMPLETE)).unwrap().is_empty());
        assert!(cut(&parts(MAX_INCOMPLETE + 1)).is_err());
    }

    #[test]
    fn what_there_is_no_room_for_is_let_go_and_said() {
        let mut cutter = Cutter { held: MAX_BODY - 1, ..Cutter::default() };
        cutter.input().extend_from_slice(&frame(r#"{"t":"call","id":1,"path":"a.b","more":true}"#, b"ab"));
        cutter.input().extend_from_slice(&frame(r#"{"t":"call","id":1}"#, b"cd"));
        let message = cutter.next().unwrap().unwrap();
        assert!(message.body.is_none() && message.header.path.is_some());
        assert_eq!(cutter.held, MAX_BODY - 1);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_in_whatever_pieces(
            id in 1..1_000_u64,
            body in prop::collection::vec(any::<u8>(), 0..64),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let header = Header { ci: Some("web@beta".into()), ..Header::new(Kind::Reply, Some(id)) };
            let bytes = encoded(&header, &body);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let (mut cutter, mut from, mut messages) = (Cutter::default(), 0, Vec::new());
            for to in cuts {
                cutter.input().extend_from_slice(&bytes[from..to]);
                from = to;
                messages.extend(cutter.next().unwrap());
            }
            prop_assert_eq!(messages.len(), 1);
            prop_assert_eq!(&messages[0].header, &header);
            prop_assert_eq!(messages[0].body.as_deref(), Some(&body[..]));
        }
    }
}
