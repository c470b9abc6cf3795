//! Streams: frame by frame, as JSON Lines or as the text that each frame stands for.

use aigis_proxy::{Address, Error, client::Frames};
use data_encoding::BASE64;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{
    exit::Failure,
    output::Output,
    render,
    session::{Found, Session},
};

/// How a stream is shown.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// Whether lines have their time before them.
    pub(crate) timestamps: bool,
    /// Whether what comes belongs to a terminal, and goes to ours as it is.
    pub(crate) terminal: bool,
}

/// Frames that wait to be printed.
const WAITING: usize = 16;

/// Prints the frames of a skill until their end; the exit code that the last one carried, if it did.
///
/// # Errors
///
/// The stream's error, or what keeps from writing.
pub(crate) async fn print(
    session: &Session,
    output: &Output,
    found: &Found,
    path: &str,
    style: Style,
    mut frames: Frames,
) -> Result<Option<u8>, Failure> {
    let (give, take) = mpsc::channel(WAITING);
    let printer = Printer { output: *output, address: found.address.clone(), path: path.to_owned(), style };
    // Whoever reads our output may stand still, and a write waits for him: not here, where the bus and signals are heard.
    let printing = tokio::task::spawn_blocking(move || printer.run(take));
    let passed = pass(session, found, &mut frames, &give).await;
    drop(give);
    printing.await.map_err(|error| Error::internal(format!("the output ended: {error}")))??;
    Ok(passed?)
}

/// Passes frames on to be printed, until their end or that of the printing.
async fn pass(
    session: &Session,
    found: &Found,
    frames: &mut Frames,
    give: &mpsc::Sender<Value>,
) -> Result<Option<u8>, Error> {
    let mut code = None;
    loop {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            error = session.lost(found) => return Err(error.sent(true)),
            // The printing has failed, and says why.
            () = give.closed() => return Ok(code),
        };
        let Some(frame) = frame.transpose()? else { return Ok(code) };
        if let Some(exit) = frame.get("exit_code").filter(|_| frame.get("seq").is_none()).and_then(Value::as_i64) {
            code = Some(u8::try_from(exit.rem_euclid(256)).unwrap_or(1));
        }
        let given = tokio::select! {
            given = give.send(frame) => given,
            never = frames.hold() => match never {},
        };
        if given.is_err() {
            return Ok(code);
        }
    }
}

/// Prints what it is given, on a thread that may be kept waiting.
struct Printer {
    output: Output,
    address: Address,
    path: String,
    style: Style,
}

impl Printer {
    fn run(&self, mut frames: mpsc::Receiver<Value>) -> Result<(), Failure> {
        while let Some(frame) = frames.blocking_recv() {
            if self.output.is_json() {
                self.output.json(&frame)?;
            } else {
                show(&self.output, &self.path, &self.address, self.style, &frame)?;
            }
        }
        Ok(())
    }
}

fn show(output: &Output, path: &str, address: &Address, style: Style, frame: &Value) -> Result<(), Failure> {
    if let Some(line) = frame.get("line") {
        let mut bytes = Vec::new();
        if let Some(at) = frame.get("at").and_then(Value::as_str).filter(|_| style.timestamps) {
            bytes.extend_from_slice(at.as_bytes());
            bytes.push(b' ');
        }
        bytes.extend(content(line)?);
        if frame.get("partial") != Some(&Value::Bool(true)) {
            bytes.push(b'\n');
        }
        return output.data(&bytes);
    }
    if let Some(data) = frame.get("data").filter(|_| frame.get("source").is_some()) {
        let bytes = content(data)?;
        if frame.get("source").and_then(Value::as_str) == Some("stderr") {
            output.error_data(&bytes, style.terminal);
            return Ok(());
        }
        return if style.terminal { output.bytes(&bytes) } else { output.data(&bytes) };
    }
    if frame.get("exit_code").is_some() && frame.get("seq").is_none() {
        return Ok(());
    }
    match frame.get("event").and_then(Value::as_str).filter(|_| frame.get("seq").is_none()) {
        Some(event) => output.note(&format!("{address}: {event}")),
        None => output.text(&render::text(path, frame, address))?,
    }
    Ok(())
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
