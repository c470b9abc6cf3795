//! What a skill answers: a value or frames, as values or as the bytes that they travel as.

use std::fmt;

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use serde::Serialize;
use serde_json::Value;

use crate::{error::Error, json};

/// What a skill answers.
pub enum Answer {
    /// One result.
    Value(Value),
    /// Frames, ended by the first error.
    Stream(BoxStream<'static, Result<Value, Error>>),
    /// One result as JSON, which goes out as it is: whoever made it answers for its form.
    Body(Bytes),
    /// Frames as JSON, which go out as they are, ended by the first error.
    Bodies(Bodies),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => f.debug_tuple("Value").field(value).finish(),
            Self::Stream(_) => f.write_str("Stream"),
            Self::Body(body) => f.debug_tuple("Body").field(&body.len()).finish(),
            Self::Bodies(_) => f.write_str("Bodies"),
        }
    }
}

impl Answer {
    /// Makes an answer of anything that serializes.
    ///
    /// # Errors
    ///
    /// `internal`, if the value has no JSON form.
    pub fn of(value: &impl Serialize) -> Result<Self, Error> {
        serde_json::to_value(value)
            .map(Self::Value)
            .map_err(|error| Error::internal(format!("the result has no JSON form: {error}")))
    }
}

/// Frames as JSON, and whoever is told how far their reader lets them go.
pub struct Bodies {
    frames: BoxStream<'static, Result<Bytes, Error>>,
    granting: Option<Granting>,
}

impl fmt::Debug for Bodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bodies").field("is_paced", &self.granting.is_some()).finish_non_exhaustive()
    }
}

impl Bodies {
    /// Frames that are made as they are read: the credit of their reader is for those that are sent.
    #[must_use]
    pub fn new(frames: BoxStream<'static, Result<Bytes, Error>>) -> Self {
        Self { frames, granting: None }
    }

    /// Frames that somebody makes elsewhere, who may be 32 ahead of their reader and is told by `grant` of each credit that
    /// he gives beyond.
    #[must_use]
    pub fn paced(
        frames: BoxStream<'static, Result<Bytes, Error>>,
        grant: impl Fn(u32) + Send + Sync + 'static,
    ) -> Self {
        Self { frames, granting: Some(Granting(Box::new(grant))) }
    }

    /// The frames for a reader who gives no credit: each that he reads lets one more be made.
    #[must_use]
    pub fn unpaced(self) -> BoxStream<'static, Result<Bytes, Error>> {
        match self.granting {
            None => self.frames,
            Some(granting) => self.frames.inspect(move |_| granting.grant(1)).boxed(),
        }
    }

    pub(crate) fn into_parts(self) -> (BoxStream<'static, Result<Bytes, Error>>, Option<Granting>) {
        (self.frames, self.granting)
    }
}

/// Who is told of a reader's credit.
pub(crate) struct Granting(Box<dyn Fn(u32) + Send + Sync>);

impl Granting {
    pub(crate) fn grant(&self, frames: u32) {
        (self.0)(frames);
    }
}

impl fmt::Debug for Granting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Granting")
    }
}

/// What a result or a frame of [`Answer::Body`] and [`Answer::Bodies`] says, for who looks at it.
///
/// # Errors
///
/// `internal` for one that is no usable JSON.
pub fn value_of(body: &[u8]) -> Result<Value, Error> {
    json::read(body).map_err(|error| Error::internal(format!("the result is unusable: {}", error.message)))
}
