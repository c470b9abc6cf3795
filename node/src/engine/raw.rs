//! Requests that change something and are written as JSON, for what the client's typed models would refuse or leave out.

use std::{pin::Pin, time::Duration};

use bollard::BollardRequest;
use bytes::{Bytes, BytesMut};
use futures::{Stream, stream};
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::{
    Method, Request,
    body::{Frame, Incoming},
    header,
};
use serde_json::Value;

use super::{Engine, Error, REQUEST, error::Asked, transport::UNBOUNDED};

/// A body as the client has it.
pub(super) type BodyType =
    Either<Full<Bytes>, StreamBody<Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send>>>>;

/// Longest line of a stream of lines.
const MAX_LINE: usize = 4 * 1024 * 1024;

impl Engine {
    /// Sends a request with a body of JSON, and reads JSON; an answer without a body is null.
    pub(super) async fn ask(
        &self,
        asked: Asked,
        limit: Duration,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        let content = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = self.request(asked, method, path, "application/json", bollard::body_full(content), false)?;
        let bytes = self.bounded(asked, limit, async {
            let answer = self.checked(request).await?;
            Ok(answer.into_body().collect().await?.to_bytes())
        });
        let bytes = bytes.await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| self.malformed(asked, error.to_string()))
    }

    /// Sends a request whose answer comes whenever it comes: it takes no turn of the short ones, and no bound in time but
    /// the caller's.
    pub(super) async fn ask_long(
        &self,
        asked: Asked,
        method: Method,
        path: &str,
        kind: &'static str,
        body: BodyType,
    ) -> Result<Incoming, Error> {
        // Agrees on the API first, within the bound of a short one.
        self.bounded(asked, REQUEST, std::future::ready(Ok(()))).await?;
        let request = self.request(asked, method, path, kind, body, true)?;
        let answer = self.checked(request).await.map_err(|error| self.failed(asked, &error))?;
        Ok(answer.into_body())
    }

    fn request(
        &self,
        asked: Asked,
        method: Method,
        path: &str,
        kind: &'static str,
        body: BodyType,
        endless: bool,
    ) -> Result<BollardRequest, Error> {
        let mut builder = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
        if endless {
            builder = builder.header(UNBOUNDED, "1");
        }
        builder.body(body).map_err(|error| self.malformed(asked, error.to_string()))
    }
}

/// An answer of bytes, as a stream.
pub(super) fn pieces(
    body: Incoming,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + Unpin + 'static + use<> {
    Box::pin(stream::unfold(body, |mut body| async {
        loop {
            match body.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(bytes) => return Some((Ok(bytes), body)),
                    Err(_) => continue,
                },
                Err(error) => return Some((Err(std::io::Error::other(error)), body)),
            }
        }
    }))
}

/// An answer of lines, each of them JSON.
#[derive(Debug)]
pub(super) struct Lines {
    engine: Engine,
    asked: Asked,
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    pub(super) fn new(engine: &Engine, asked: Asked, body: Incoming) -> Self {
        Self { engine: engine.clone(), asked, body, buffer: BytesMut::new() }
    }

    /// The next line; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Value>, Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return self.read(&line).map(Some);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(self.engine.malformed(self.asked, format!("a line is over {MAX_LINE} bytes")));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.buffer.extend_from_slice(&bytes);
                    }
                }
                Some(Err(error)) => return Err(self.engine.failed(self.asked, &error.into())),
                None if self.buffer.trim_ascii().is_empty() => return Ok(None),
                None => {
                    let line = self.buffer.split();
                    return self.read(&line).map(Some);
                }
            }
        }
    }

    fn read(&self, line: &[u8]) -> Result<Value, Error> {
        serde_json::from_slice(line).map_err(|error| self.engine.malformed(self.asked, error.to_string()))
    }
}
