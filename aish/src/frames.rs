//! Streams: frame by frame, as JSON Lines or as the text that each frame stands for.

use std::sync::Arc;

use aigis_proxy::{Address, Error, SkillPath, client::Frames};
use aigis_registry::{Addressee, Asking};
use data_encoding::BASE64;
use futures::{Stream, StreamExt};
use serde_json::Value;

use crate::{
    exit::Failure,
    output::{Output, Pen, Printer},
    render,
};

/// Prints the frames of a skill until their end; the exit code that the last one carried, if it did. A `terminal`'s bytes go
/// to ours as they are.
///
/// # Errors
///
/// The stream's error, or what keeps from writing.
pub(crate) async fn print(
    session: &Asking,
    output: &Output,
    found: &Addressee,
    path: &SkillPath,
    terminal: bool,
    frames: Box<Frames>,
) -> Result<Option<u8>, Failure> {
    let printer = Printer::start(output);
    let shown = Shown { address: found.address.clone(), path: path.as_str().into(), terminal };
    // Nobody needs to read what changes something for it to be wanted.
    let attended = found.reads(path);
    let pen = printer.pen();
    printer.until(attended, pass(session, found, frames, pen, shown)).await
}

/// Prints frames that no CI sends, as those of a skill.
///
/// # Errors
///
/// The stream's error, or what keeps from writing.
pub(crate) async fn print_read(
    output: &Output,
    address: &Address,
    path: &SkillPath,
    mut frames: impl Stream<Item = Result<Value, Error>> + Unpin,
) -> Result<(), Failure> {
    let printer = Printer::start(output);
    let shown = Shown { address: address.clone(), path: path.as_str().into(), terminal: false };
    let pen = printer.pen();
    let pass = async move {
        while let Some(frame) = frames.next().await.transpose()? {
            let shown = shown.clone();
            pen.put(move |output| shown.print(output, &frame)).await?;
        }
        Ok(())
    };
    printer.until(true, pass).await
}

/// Passes frames on to be printed, until their end.
async fn pass(
    session: &Asking,
    found: &Addressee,
    mut frames: Box<Frames>,
    pen: Pen,
    shown: Shown,
) -> Result<Option<u8>, Failure> {
    let mut code = None;
    let server = frames.server().clone();
    loop {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            error = session.lost(found, &server) => return Err(error.sent(true).into()),
        };
        let Some(frame) = frame.transpose()? else { return Ok(code) };
        if let Some(exit) = frame.get("exit_code").filter(|_| frame.get("seq").is_none()).and_then(Value::as_i64) {
            code = Some(u8::try_from(exit.rem_euclid(256)).unwrap_or(1));
        }
        let shown = shown.clone();
        tokio::select! {
            given = pen.put(move |output| shown.print(output, &frame)) => given?,
            never = frames.hold() => match never {},
        }
    }
}

/// How frames are shown.
#[derive(Debug, Clone)]
struct Shown {
    address: Address,
    path: Arc<str>,
    terminal: bool,
}

impl Shown {
    fn print(&self, output: &Output, frame: &Value) -> Result<(), Failure> {
        if output.is_json() {
            return output.json(frame);
        }
        if let Some(line) = frame.get("line") {
            let mut bytes = content(line)?;
            if frame.get("partial") != Some(&Value::Bool(true)) {
                bytes.push(b'\n');
            }
            return output.data(&bytes);
        }
        if let Some(data) = frame.get("data").filter(|_| frame.get("source").is_some()) {
            let bytes = content(data)?;
            if frame.get("source").and_then(Value::as_str) == Some("stderr") {
                output.error_data(&bytes, self.terminal);
                return Ok(());
            }
            return if self.terminal { output.bytes(&bytes) } else { output.data(&bytes) };
        }
        if frame.get("exit_code").is_some() && frame.get("seq").is_none() {
            return Ok(());
        }
        match frame.get("event").and_then(Value::as_str).filter(|_| frame.get("seq").is_none()) {
            Some(event) => output.note(&format!("{}: {event}", self.address)),
            None => output.text(&render::text(&self.path, frame, &self.address))?,
        }
        Ok(())
    }
}

/// The bytes of a field: text, or what is no text as `$bytes`.
///
/// # Errors
///
/// `internal` for a field of another form.
pub(crate) fn content(value: &Value) -> Result<Vec<u8>, Error> {
    let tagged = |value: &Value| BASE64.decode(value.get("$bytes")?.as_str()?.as_bytes()).ok();
    match value {
        Value::String(text) => Ok(text.clone().into_bytes()),
        other => tagged(other).ok_or_else(|| Error::internal("a frame holds neither text nor bytes")),
    }
}

/// Bytes as a field: text where they are text, else `$bytes`.
pub(crate) fn field(bytes: Vec<u8>) -> Value {
    match String::from_utf8(bytes) {
        Ok(text) => Value::String(text),
        Err(error) => serde_json::json!({ "$bytes": BASE64.encode(error.as_bytes()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_travel_as_text_or_tagged() {
        assert_eq!(field(b"hi".to_vec()), json!("hi"));
        let tagged = field(vec![0xff, 0]);
        assert_eq!(tagged, json!({"$bytes": "/wA="}));
        assert_eq!(content(&tagged).unwrap(), [0xff, 0]);
        assert!(content(&json!({"$bytes": "?"})).is_err() && content(&json!(1)).is_err());
    }
}
