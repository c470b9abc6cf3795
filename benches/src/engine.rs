//! The engine's own time: its list and its inspect, asked on its socket without any client of ours.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use aigis_proxy::task;

use crate::error::{Error, part, system};

/// Where the engine listens.
const SOCKET: &str = "/var/run/docker.sock";

/// A connection to the engine that is kept.
pub(crate) struct Engine {
    sender: SendRequest<Empty<Bytes>>,
    _connection: task::Owned,
}

impl Engine {
    /// Connects.
    pub(crate) async fn connect() -> Result<Self, Error> {
        let stream = UnixStream::connect(SOCKET).await.map_err(system("connect to the engine"))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(part("speak to the engine"))?;
        let connection = task::Owned::spawn("engine", async move {
            // Its end shows in the request that it breaks.
            let _ = connection.await;
        });
        Ok(Self { sender, _connection: connection })
    }

    /// Asks, reads the whole answer, and gives the time of it.
    async fn get(&mut self, path: &str) -> Result<Duration, Error> {
        let started = Instant::now();
        let request = Request::get(path).header("Host", "engine").body(Empty::new()).map_err(part("make a request"))?;
        self.sender.ready().await.map_err(part("ask the engine"))?;
        let answer = self.sender.send_request(request).await.map_err(part("ask the engine"))?;
        let status = answer.status();
        answer.into_body().collect().await.map_err(part("read the engine's answer"))?;
        if status.is_success() {
            Ok(started.elapsed())
        } else {
            Err(Error::Part { what: "ask the engine", reason: format!("{path} is {status}") })
        }
    }

    /// The time of a list of all containers.
    pub(crate) async fn list(&mut self) -> Result<Duration, Error> {
        self.get("/containers/json?all=true").await
    }

    /// The time of an inspect.
    pub(crate) async fn inspect(&mut self, id: &str) -> Result<Duration, Error> {
        self.get(&format!("/containers/{id}/json")).await
    }
}

/// The time of one list, and of an inspect of each, all at once.
pub(crate) async fn list_and_inspect_all(ids: &[String]) -> Result<Duration, Error> {
    let mut engines = Vec::new();
    for _ in ids {
        engines.push(Engine::connect().await?);
    }
    let started = Instant::now();
    if let Some(engine) = engines.first_mut() {
        engine.list().await?;
    }
    let asked = engines.iter_mut().zip(ids).map(|(engine, id)| engine.inspect(id));
    futures::future::try_join_all(asked).await?;
    Ok(started.elapsed())
}
