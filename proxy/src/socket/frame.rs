//! Frames: four bytes of length, one that says the kind, four that name the call, and the body.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::LengthDelimitedCodec;

use super::MAX_FRAME;

/// Bytes of the length.
pub(super) const LENGTH: usize = 4;
/// Bytes of kind and id.
const HEAD: usize = 5;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Caller: whom it calls and which skill, a line feed, and the envelope.
    Request = 1,
    /// Caller: ends a call.
    Cancel = 2,
    /// Caller: a decimal number of further frames.
    Credit = 3,
    /// Peer of a node: a CI that it offers to serve, or what has changed about one.
    Offer = 4,
    /// Peer of a node: the name of a CI that it serves no more.
    Withdraw = 5,
    /// Caller: the token of a renewal, for the name, role and key that the connection has.
    Renew = 6,
    /// Callee: the result.
    Value = 16,
    /// Callee: an error instead of it.
    Error = 17,
    /// Callee: a stream follows.
    Stream = 18,
    /// Callee: a frame of the stream.
    Frame = 19,
    /// Node: why it ends the connection.
    Dismissed = 20,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Request,
        Self::Cancel,
        Self::Credit,
        Self::Offer,
        Self::Withdraw,
        Self::Renew,
        Self::Value,
        Self::Error,
        Self::Stream,
        Self::Frame,
        Self::Dismissed,
    ];

    fn read(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A frame that came in whole.
#[derive(Debug)]
pub(crate) struct Frame {
    /// What it is.
    pub(crate) kind: Kind,
    /// Which call of the connection it belongs to.
    pub(crate) id: u32,
    /// The rest.
    pub(crate) body: Bytes,
}

impl Frame {
    /// Reads what follows the length; `None` if it is no frame of this version.
    pub(super) fn read(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() < HEAD {
            return None;
        }
        let kind = Kind::read(bytes.get_u8())?;
        let id = bytes.get_u32();
        Some(Self { kind, id, body: bytes })
    }
}

/// Writes a frame at the end of `out`; `false`, and nothing written, if it is too large.
#[must_use]
pub(super) fn write(out: &mut BytesMut, kind: Kind, id: u32, body: &[&[u8]]) -> bool {
    let length = HEAD + body.iter().map(|part| part.len()).sum::<usize>();
    if length > MAX_FRAME {
        return false;
    }
    out.reserve(LENGTH + length);
    out.put_u32(u32::try_from(length).unwrap_or_default());
    out.put_u8(kind as u8);
    out.put_u32(id);
    for part in body {
        out.put_slice(part);
    }
    true
}

/// Cuts a byte stream into frames of at most `limit` bytes after the length.
pub(super) fn codec(limit: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().length_field_length(LENGTH).max_frame_length(limit).new_codec()
}

#[cfg(test)]
mod tests {
    use tokio_util::codec::Decoder;

    use super::*;

    #[test]
    fn a_frame_reads_back() {
        let mut out = BytesMut::new();
        assert!(write(&mut out, Kind::Request, 7, &[b"web.status\n", b"{}"]));
        let bytes = codec(MAX_FRAME).decode(&mut out).unwrap().unwrap();
        let frame = Frame::read(bytes.freeze()).unwrap();
        assert_eq!((frame.kind, frame.id, &frame.body[..]), (Kind::Request, 7, &b"web.status\n{}"[..]));
        assert!(out.is_empty());
    }

    #[test]
    fn bad_24_unknown_and_short_frames_are_none() {
        for bad in [&b""[..], &[1, 0, 0, 0], &[7, 0, 0, 0, 0], &[255, 0, 0, 0, 0, 1]] {
            assert!(Frame::read(Bytes::copy_from_slice(bad)).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn bad_24_a_length_beyond_the_limit_is_refused_before_anything_is_kept() {
        let mut input = BytesMut::from(&[0xFF, 0xFF, 0xFF, 0xFF, 1][..]);
        assert!(codec(MAX_FRAME).decode(&mut input).is_err());
        assert!(input.capacity() < 1_024);
    }

    proptest::proptest! {
        #[test]
        fn bad_24_any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let mut input = BytesMut::from(&bytes[..]);
            let mut codec = codec(1_024);
            while let Ok(Some(frame)) = codec.decode(&mut input) {
                let _ = Frame::read(frame.freeze());
            }
        }
    }
}
