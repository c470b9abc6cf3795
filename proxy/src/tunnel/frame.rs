//! What travels through a tunnel: a byte for the kind, a number of eight bytes, and the data.

use bytes::{BufMut, Bytes, BytesMut};

/// The bytes before the data.
const HEAD: usize = 9;
/// Most bytes of the words of a reset.
const WORDS: usize = 512;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// Bytes, and the frame's number.
    Data(u64, Bytes),
    /// No more bytes follow; its number.
    End(u64),
    /// Up to which cost the receiver of this may go.
    Credit(u64),
    /// The sender is there: the number of its next frame, and as [`Frame::Credit`].
    Alive(u64, u64),
    /// The connection is broken, and why.
    Reset(String),
}

impl Frame {
    /// Writes it.
    pub(super) fn write(&self) -> Bytes {
        let (kind, number, rest) = match self {
            Self::Data(number, bytes) => (0, *number, bytes.clone()),
            Self::End(number) => (1, *number, Bytes::new()),
            Self::Credit(limit) => (2, *limit, Bytes::new()),
            Self::Alive(number, limit) => (3, *number, Bytes::copy_from_slice(&limit.to_be_bytes())),
            Self::Reset(words) => {
                (4, 0, Bytes::copy_from_slice(words.as_bytes().get(..WORDS).unwrap_or(words.as_bytes())))
            }
        };
        let mut written = BytesMut::with_capacity(HEAD + rest.len());
        written.put_u8(kind);
        written.put_u64(number);
        written.extend_from_slice(&rest);
        written.freeze()
    }

    /// Reads one; `None` if it is none.
    pub(super) fn read(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() < HEAD {
            return None;
        }
        let rest = bytes.split_off(HEAD);
        let (kind, number) = bytes.split_first()?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        match kind {
            0 => Some(Self::Data(number, rest)),
            1 => Some(Self::End(number)),
            2 => Some(Self::Credit(number)),
            3 => Some(Self::Alive(number, u64::from_be_bytes(rest.as_ref().try_into().ok()?))),
            4 => Some(Self::Reset(crate::name::quoted(&String::from_utf8_lossy(rest.get(..WORDS).unwrap_or(&rest))))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_read_back() {
        let bytes = Bytes::from_static(b"\0\xff");
        for frame in [
            Frame::Data(7, bytes),
            Frame::Data(u64::MAX, Bytes::new()),
            Frame::End(1),
            Frame::Credit(3),
            Frame::Alive(1, u64::MAX),
            Frame::Reset("gone".to_owned()),
        ] {
            assert_eq!(Frame::read(frame.write()), Some(frame));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Frame::read(bytes.into());
        }
    }
}
