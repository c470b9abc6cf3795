//! Several frames in one message, for peers that have shown that they read it; see `docs/specs/envelope.md`.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::subject::Token;

/// The first byte of a pack. No JSON text begins with it, so a single body is never taken for one.
pub(crate) const MARK: u8 = 0x01;
/// Most frames of one pack.
pub(crate) const MOST: usize = 64;
/// Largest body of a pack; what does not fit travels alone.
pub(crate) const ROOM: usize = 128 * 1024;
/// What stands before the token in the reply subject of a caller that reads packs.
const READS: &str = ".p";
/// Kind, token, length of the head, length of the body.
const FIXED: usize = 1 + Token::LENGTH + 2 + 4;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A request; its head is `<ci>.<skill…>`.
    Request,
    /// A result.
    Value,
    /// An error, whose code stands in its body.
    Error,
    /// The opening of a stream.
    Stream,
    /// A frame of a stream.
    Frame,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Request, Self::Value, Self::Error, Self::Stream, Self::Frame];

    const fn byte(self) -> u8 {
        match self {
            Self::Request => b'q',
            Self::Value => b'v',
            Self::Error => b'e',
            Self::Stream => b's',
            Self::Frame => b'f',
        }
    }
}

/// One of the messages in a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) token: Token,
    pub(crate) head: Bytes,
    pub(crate) body: Bytes,
}

/// Puts a frame at the end of a pack.
pub(crate) fn put(pack: &mut BytesMut, kind: Kind, token: &Token, head: &[&str], body: &[u8]) {
    if pack.is_empty() {
        pack.put_u8(MARK);
    }
    let head_length = head.iter().map(|part| part.len()).sum::<usize>();
    pack.reserve(FIXED + head_length + body.len());
    pack.put_u8(kind.byte());
    pack.put_slice(token.as_str().as_bytes());
    // A head is two names, and a body is no longer than a pack: both fit.
    pack.put_u16(u16::try_from(head_length).unwrap_or(u16::MAX));
    pack.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    for part in head {
        pack.put_slice(part.as_bytes());
    }
    pack.put_slice(body);
}

/// The bytes that a frame takes.
pub(crate) fn size(head: usize, body: usize) -> usize {
    FIXED + head + body
}

/// The frames of a pack, as far as they can be read.
#[derive(Debug)]
pub(crate) struct Frames(Bytes);

/// Reads a body as a pack; `None` if it is none.
pub(crate) fn read(body: &Bytes) -> Option<Frames> {
    (body.first() == Some(&MARK)).then(|| Frames(body.slice(1..)))
}

impl Iterator for Frames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let fixed = self.0.get(..FIXED)?;
        let kind = Kind::ALL.into_iter().find(|kind| Some(&kind.byte()) == fixed.first())?;
        let token = Token::parse(std::str::from_utf8(fixed.get(1..=Token::LENGTH)?).ok()?)?;
        let mut lengths = fixed.get(1 + Token::LENGTH..)?;
        let (head, body) = (usize::from(lengths.get_u16()), usize::try_from(lengths.get_u32()).ok()?);
        if self.0.len() - FIXED < head.checked_add(body)? {
            return None;
        }
        self.0.advance(FIXED);
        Some(Frame { kind, token, head: self.0.split_to(head), body: self.0.split_to(body) })
    }
}

/// Where the replies to calls go, below an inbox: it says that its owner reads packs.
pub(crate) fn inbox(inbox: &str) -> String {
    format!("{inbox}{READS}")
}

/// What stands before the token, and the token, of a reply subject whose owner reads packs.
pub(crate) fn reply(reply: &str) -> Option<(&str, Token)> {
    let (inbox, token) = reply.rsplit_once('.')?;
    inbox.ends_with(READS).then_some(())?;
    Some((inbox, Token::parse(token)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_reads_back() {
        let mut pack = BytesMut::new();
        let tokens = [Token::random(), Token::random()];
        put(&mut pack, Kind::Request, &tokens[0], &["web", ".", "status"], b"{}");
        put(&mut pack, Kind::Value, &tokens[1], &[], b"");
        let frames: Vec<Frame> = read(&pack.freeze()).unwrap().collect();
        let [first, second] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!((first.kind, &first.token, &first.head[..]), (Kind::Request, &tokens[0], &b"web.status"[..]));
        assert_eq!((second.kind, &second.token, second.body.len()), (Kind::Value, &tokens[1], 0));
        assert!(read(&Bytes::from_static(b"{}")).is_none());
    }

    #[test]
    fn a_reply_subject_says_whether_its_owner_reads_packs() {
        let (inbox, token) = (inbox("_INBOX.olga.abc"), Token::random());
        assert_eq!(reply(&format!("{inbox}.{}", token.as_str())), Some((inbox.as_str(), token.clone())));
        for other in [&format!("_INBOX.olga.abc.{}", token.as_str()), "_INBOX.olga.p.def", "x", ""] {
            assert_eq!(reply(other), None, "{other}");
        }
    }

    proptest::proptest! {
        #[test]
        fn bad_07_any_bytes_are_frames_or_nothing(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..256)) {
            let mut pack = vec![MARK];
            pack.extend(bytes);
            let _ = read(&pack.into()).unwrap().count();
        }
    }
}
