//! What is made of the values that come: values of ours, or nothing, where they only pass through.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{error::Error, json};

/// What a caller takes values as: [`Value`], or [`Bytes`] of JSON that nobody has looked at.
pub trait Content: Sized {
    /// How one stands in a frame of a stream.
    type Part<'a>: Deserialize<'a>;

    /// One that is a whole body.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a body that is none.
    fn whole(body: Bytes) -> Result<Self, Error>;

    /// One that stands in a frame, whose body is `frame`; a frame without any means `null`.
    fn part(part: Option<Self::Part<'_>>, frame: &Bytes) -> Self;
}

impl Content for Value {
    type Part<'a> = Self;

    fn whole(body: Bytes) -> Result<Self, Error> {
        json::read(&body)
    }

    fn part(part: Option<Self>, _: &Bytes) -> Self {
        part.unwrap_or(Self::Null)
    }
}

impl Content for Bytes {
    type Part<'a> = &'a RawValue;

    fn whole(body: Bytes) -> Result<Self, Error> {
        Ok(body)
    }

    fn part(part: Option<&RawValue>, frame: &Bytes) -> Self {
        part.map_or(Self::from_static(b"null"), |part| frame.slice_ref(part.get().as_bytes()))
    }
}
