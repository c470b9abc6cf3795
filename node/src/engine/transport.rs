//! The one way to the engine's socket: a connection a request, bounded in bytes.
//!
//! A connection to a Unix socket costs microseconds, so none is kept: an engine that was restarted never leaves a
//! dead one behind, and dropping an answer in the middle closes it. The byte bound lies under the HTTP reader, so no
//! length that the engine claims can pass it.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
};

use bollard::{BollardRequest, errors::Error as ClientError};
use hyper::{HeaderMap, Response, Uri, body::Incoming, header};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};

/// Most bytes of one answer that is no stream.
pub(super) const MAX_ANSWER: u64 = 16 * 1024 * 1024;

/// Marks a request whose answer is a stream without end: it has no byte bound.
pub(super) const UNBOUNDED: &str = "aigis-unbounded";

/// Where the engine is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A Unix socket.
    Socket(PathBuf),
    /// An address of a kind that is not spoken, as it was given.
    Foreign(String),
}

impl Target {
    /// Reads `unix:///path`, or a bare absolute path.
    pub(super) fn parse(address: &str) -> Self {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        if path.starts_with('/') { Self::Socket(PathBuf::from(path)) } else { Self::Foreign(address.to_owned()) }
    }
}

/// Opens connections and sends requests under the negotiated version of the API.
#[derive(Debug)]
pub(super) struct Transport {
    target: Target,
    version: Mutex<Option<String>>,
}

impl Transport {
    pub(super) fn new(target: Target) -> Self {
        Self { target, version: Mutex::new(None) }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Sets the version (`1.41`) that stands in each path from now on.
    pub(super) fn set_version(&self, version: Option<String>) {
        *self.version.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = version;
    }

    pub(super) fn version(&self) -> Option<String> {
        self.version.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Sends one request on a connection of its own and returns when the head of the answer has come.
    pub(super) async fn send(&self, request: BollardRequest) -> Result<Response<Incoming>, ClientError> {
        let path = match &self.target {
            Target::Socket(path) => path,
            Target::Foreign(address) => {
                let words = format!("{address} is no Unix socket");
                return Err(io::Error::new(io::ErrorKind::Unsupported, words).into());
            }
        };
        let bound = if is_stream(&request) { None } else { Some(MAX_ANSWER) };
        let request = self.prepare(request)?;
        let stream = connect(path).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::Builder::new().handshake(TokioIo::new(Bounded { stream, left: bound })).await?;
        // Ends by itself: when the answer was read, or when its reader dropped it.
        drop(aigis_proxy::task::spawn("engine-connection", async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to the engine ended early");
            }
        }));
        Ok(sender.send_request(request).await?)
    }

    /// Puts the version into the path and the host into the head.
    fn prepare(&self, request: BollardRequest) -> Result<BollardRequest, ClientError> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let versioned = match self.version() {
            Some(version) if !path.starts_with("/version") && !path.starts_with("/_ping") => {
                format!("/v{version}{path}")
            }
            _ => path,
        };
        head.uri = versioned.parse::<Uri>()?;
        head.headers.remove(UNBOUNDED);
        set(&mut head.headers, header::HOST, "docker");
        Ok(BollardRequest::from_parts(head, body))
    }
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &'static str) {
    headers.insert(name, header::HeaderValue::from_static(value));
}

fn is_stream(request: &BollardRequest) -> bool {
    request.headers().contains_key(header::UPGRADE) || request.headers().contains_key(UNBOUNDED)
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

/// A socket that ends with an error once more bytes came than were allowed.
struct Bounded {
    stream: UnixStream,
    left: Option<u64>,
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let came = (buffer.filled().len() - before) as u64;
        if let Some(left) = &mut self.left {
            let Some(rest) = left.checked_sub(came) else {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is over 16 MiB")));
            };
            *left = rest;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
