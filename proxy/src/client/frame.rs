//! A frame of a stream, as it travels.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{error::Error, json};

/// A frame of a stream, as it travels.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(bound(deserialize = "D: Deserialize<'de>"))]
pub(crate) struct Frame<D = Value> {
    pub(crate) seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<D>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) beat: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) end: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Error>,
}

/// What a frame brings, as its callee has it.
pub(crate) trait Data: Default + Send + 'static {
    /// Writes it as JSON at the end of `out`.
    fn write(&self, out: &mut Vec<u8>);
}

impl Data for Value {
    fn write(&self, out: &mut Vec<u8>) {
        json::write(self, out);
    }
}

impl Data for Bytes {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<D: Data> Frame<D> {
    /// Writes it as it travels, where about `room` bytes are expected; it brings data, or what it is besides.
    pub(crate) fn to_bytes(&self, room: usize) -> Bytes {
        let mut body = Vec::with_capacity(room);
        // Numbers and errors always have a JSON form, and memory takes it.
        let _ = match &self.data {
            Some(data) => {
                body.extend_from_slice(b"{\"seq\":");
                let written = serde_json::to_writer(&mut body, &self.seq);
                body.extend_from_slice(b",\"data\":");
                data.write(&mut body);
                body.push(b'}');
                written
            }
            None => {
                let Self { seq, beat, end, ref error, .. } = *self;
                serde_json::to_writer(&mut body, &Frame::<()> { seq, data: None, beat, end, error: error.clone() })
            }
        };
        body.into()
    }
}

impl<'a, D: Deserialize<'a>> Frame<D> {
    /// Reads the frame that is due.
    pub(super) fn read(body: &'a [u8], due: u64) -> Result<Self, String> {
        let frame: Self = serde_json::from_slice(body).map_err(|_| format!("frame {due} is unreadable"))?;
        if frame.seq == due { Ok(frame) } else { Err(format!("frame {} came where frame {due} was due", frame.seq)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn bad_22_any_frame_is_the_one_due_or_refused(
            body in "\\{\"seq\":[0-9]{1,20}(,\"(data|end|beat|error)\":[a-z0-9{}\"]{0,10}){0,3}\\}?|.{0,40}",
            due in 1..4_u64,
        ) {
            match Frame::<Value>::read(body.as_bytes(), due) {
                Ok(frame) => proptest::prop_assert_eq!(frame.seq, due),
                Err(reason) => proptest::prop_assert!(reason.contains(&due.to_string())),
            }
        }

        #[test]
        fn bad_22_a_frame_reads_back(seq in 1..u64::MAX, data in ".{0,20}", end: bool) {
            let data = (!end).then_some(Value::String(data));
            let body = Frame { seq, data: data.clone(), end, ..Frame::default() }.to_bytes(0);
            let frame: Frame = Frame::read(&body, seq).unwrap();
            proptest::prop_assert_eq!((frame.data, frame.end, frame.beat), (data, end, false));
        }
    }
}
