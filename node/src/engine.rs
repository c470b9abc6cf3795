//! This host's Docker engine: a cheap handle that bounds every request and reads every answer as hostile.
//!
//! All requests go through one transport (`engine/transport.rs`). Commands are bollard's; what is read back and must survive odd answers
//! (lists, inspections, logs, events) is taken as JSON or bytes from the same transport, because a typed model
//! refuses a whole answer for one odd field.
//!
//! No connection is needed to make a handle: an engine that is away is an error of each request, and a state of
//! [`watch::Watch`].

mod act;
mod build;
mod container;
mod create;
mod error;
mod events;
mod exec;
mod fields;
mod files;
mod images;
mod inspection;
mod logs;
mod networks;
mod query;
mod raw;
mod transport;
pub mod watch;

use std::{
    collections::HashMap,
    env,
    future::Future,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bollard::{BollardRequest, Docker, errors::Error as ClientError};
use http_body_util::BodyExt;
use hyper::{Request, body::Incoming};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::{sync::Semaphore, time::Instant};

pub use act::Limits;
pub use build::{BuildRequest, Building, Progress};
pub use container::{CheckStatus, Container, ContainerId, InvalidContainerId, Listing, State};
pub use create::{Bind, Recipe, Volume};
pub use error::Error;
pub use events::{Event, EventLine, EventStream};
pub use exec::{ExecHandle, ExecOutput, ExecRequest, ExecSession, ExecState, OutputStream};
pub use files::{Change, Changed};
pub use images::ImageConfig;
pub use inspection::{Check, Inspection, Mount, Network, Port, Published, RestartPolicy};
#[cfg(any(test, fuzzing))]
pub(crate) use logs::entries as log_entries;
pub use logs::{LogEntry, LogQuery, LogStream, Source};
pub use networks::Bridge;

use error::Asked;
use transport::{Target, Transport, UNBOUNDED};

/// Most requests that are under way at once.
const AT_ONCE: usize = 16;
/// Longest time for one request.
const REQUEST: Duration = Duration::from_secs(10);
/// How long what is known of an image counts: its content is its id, and only a push or a pull adds a digest. Asking the
/// engine takes it longer than all else that a status needs.
const IMAGE: Duration = Duration::from_secs(10);
/// Most images that are remembered.
const IMAGES: usize = 1_024;
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// A handle on the engine. Clones share its bounds.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    deadline: Option<Instant>,
}

#[derive(Debug)]
struct Shared {
    transport: Arc<Transport>,
    /// The client for commands; making one opens nothing, and fails in no version that is known.
    docker: Option<Docker>,
    gate: Semaphore,
    /// The first failure after the last success.
    away_since: Mutex<Option<OffsetDateTime>>,
    /// What was learned of images by id, and when.
    images: Mutex<HashMap<String, (Instant, Image)>>,
}

impl Shared {
    fn images(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Image)>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn docker(&self) -> Result<&Docker, Error> {
        self.docker.as_ref().ok_or_else(|| Error::Malformed {
            engine: error::name(self.transport.target()),
            endpoint: "no request",
            what: "no client could be made for it".to_owned(),
        })
    }
}

/// What the engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The engine's version: `20.10.24`.
    pub version: String,
    /// The newest API that it speaks.
    pub api_version: String,
    /// The API that is spoken with it.
    pub negotiated: String,
    /// Its operating system and architecture: `linux/amd64`.
    pub platform: String,
}

/// What the engine knows of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id (`sha256:…`).
    pub id: String,
    /// Names of it.
    pub tags: Vec<String>,
    /// `NAME@sha256:…` of the registries it came from; empty for one that was built here.
    pub repo_digests: Vec<String>,
}

impl Image {
    /// The digest by which registries know it.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.repo_digests.iter().find_map(|name| name.split_once('@').map(|(_, digest)| digest))
    }
}

/// The processes of a container as the engine lists them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Top {
    /// The columns' titles.
    pub titles: Vec<String>,
    /// One row a process.
    pub processes: Vec<Vec<String>>,
}

impl Top {
    /// The column of that title in each row.
    pub fn column<'a>(&'a self, title: &str) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
        let at = self.titles.iter().position(|known| known == title);
        self.processes.iter().map(move |row| at.and_then(|at| row.get(at)).map(String::as_str))
    }
}

impl Engine {
    /// Makes a handle on the engine of `DOCKER_HOST`, or of the usual socket.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_env_or(None)
    }

    /// As [`Engine::from_env`], with another address in place of the usual socket.
    #[must_use]
    pub fn from_env_or(address: Option<&str>) -> Self {
        let named = env::var("DOCKER_HOST").ok().filter(|address| !address.is_empty());
        Self::new(Target::parse(named.as_deref().or(address).unwrap_or(DEFAULT_SOCKET)))
    }

    /// Makes a handle on the engine behind that socket.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self::new(Target::Socket(socket.to_owned()))
    }

    fn new(target: Target) -> Self {
        let transport = Arc::new(Transport::new(target));
        let used = Arc::clone(&transport);
        let send = move |request: BollardRequest| {
            let transport = Arc::clone(&used);
            async move { transport.send(request).await }
        };
        // The client's own bound, in seconds, must never come before ours.
        let version = bollard::API_DEFAULT_VERSION;
        let docker = Docker::connect_with_custom_transport(send, Some("http://docker"), 3600, version).ok();
        let (gate, away_since, images) = (Semaphore::new(AT_ONCE), Mutex::default(), Mutex::default());
        let shared = Shared { transport, docker, gate, away_since, images };
        Self { shared: Arc::new(shared), deadline: None }
    }

    /// A handle whose requests end at `deadline` at the latest: a call's budget.
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        let deadline = self.deadline.map_or(deadline, |known| known.min(deadline));
        Self { shared: Arc::clone(&self.shared), deadline: Some(deadline) }
    }

    /// Where the engine is asked, for messages: `unix:///var/run/docker.sock`.
    #[must_use]
    pub fn address(&self) -> String {
        error::name(self.shared.transport.target())
    }

    /// Asks the engine for its version, and agrees on the API again.
    ///
    /// # Errors
    ///
    /// As every request.
    pub async fn version(&self) -> Result<Version, Error> {
        const ASK: Asked = Asked { what: "tell its version", endpoint: "GET /version" };
        self.shared.transport.set_version(None);
        let value = self.json(ASK, "/version").await?;
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or("unknown").to_owned();
        Ok(Version {
            version: text("Version"),
            api_version: text("ApiVersion"),
            negotiated: self.shared.transport.version().unwrap_or_else(|| "unknown".to_owned()),
            platform: format!("{}/{}", text("Os"), text("Arch")),
        })
    }

    /// Sees whether the engine answers at all, within `limit`.
    ///
    /// # Errors
    ///
    /// As every request.
    pub async fn ping(&self, limit: Duration) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "answer", endpoint: "GET /_ping" };
        let request = self.get(ASK, "/_ping", false)?;
        self.bounded(ASK, limit, async {
            let answer = self.checked(request).await?;
            answer.into_body().collect().await?;
            Ok(())
        })
        .await
    }

    /// Lists all containers, also those that do not run.
    ///
    /// # Errors
    ///
    /// As every request; rows that cannot be used are warnings of the listing instead.
    pub async fn list(&self) -> Result<Listing, Error> {
        self.list_by("/containers/json?all=1").await
    }

    /// Lists only those of the given containers that exist.
    ///
    /// # Errors
    ///
    /// As [`Self::list`].
    pub async fn list_some(&self, ids: &[ContainerId]) -> Result<Listing, Error> {
        let wanted = serde_json::json!({ "id": ids.iter().map(ContainerId::as_str).collect::<Vec<_>>() });
        let mut asked = query::Query::new();
        asked.add("all", "1").add("filters", &wanted.to_string());
        self.list_by(&format!("/containers/json{asked}")).await
    }

    async fn list_by(&self, path: &str) -> Result<Listing, Error> {
        const ASK: Asked = Asked { what: "list its containers", endpoint: "GET /containers/json" };
        let value = self.json(ASK, path).await?;
        let rows = value.as_array().ok_or_else(|| self.malformed(ASK, "it is no array".to_owned()))?;
        Ok(Listing::read(rows))
    }

    /// Reads everything about one container.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::NotFound`] if it is gone.
    pub async fn inspect(&self, id: &ContainerId) -> Result<Inspection, Error> {
        const ASK: Asked = Asked { what: "inspect the container", endpoint: "GET /containers/ID/json" };
        let value = self.json(ASK, &format!("/containers/{id}/json")).await?;
        Inspection::read(value).map_err(|what| self.malformed(ASK, what))
    }

    /// Reads about an image, by id or name. What was learned by id in the last 10 s is not asked again.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::NotFound`] if the engine has no such image.
    pub async fn image(&self, id: &str) -> Result<Image, Error> {
        const ASK: Asked = Asked { what: "inspect the image", endpoint: "GET /images/ID/json" };
        if let Some((at, image)) = self.shared.images().get(id)
            && at.elapsed() < IMAGE
        {
            return Ok(image.clone());
        }
        let value = self.json(ASK, &format!("/images/{}/json", query::escape(id))).await?;
        let texts = |name: &str| -> Vec<String> {
            let array = value.get(name).and_then(Value::as_array);
            array.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let known =
            value.get("Id").and_then(Value::as_str).ok_or_else(|| self.malformed(ASK, "it has no Id".to_owned()))?;
        let image = Image { id: known.to_owned(), tags: texts("RepoTags"), repo_digests: texts("RepoDigests") };
        // A name may mean another image at any moment; an id never does.
        if known == id {
            let mut images = self.shared.images();
            if images.len() >= IMAGES {
                images.clear();
            }
            images.insert(known.to_owned(), (Instant::now(), image.clone()));
        }
        Ok(image)
    }

    /// Lists a running container's processes: columns `PID`, `PPID`, `USER`, `COMMAND`, by the host's numbers.
    ///
    /// The engine runs `ps` on its host for this; nothing runs in the container.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Conflict`] if it does not run.
    pub async fn top(&self, id: &ContainerId) -> Result<Top, Error> {
        const ASK: Asked = Asked { what: "list the processes", endpoint: "GET /containers/ID/top" };
        let mut asked = query::Query::new();
        asked.add("ps_args", "-eo pid,ppid,user,args");
        let value = self.json(ASK, &format!("/containers/{id}/top{asked}")).await?;
        let row = |value: &Value| -> Option<Vec<String>> {
            let cells = value.as_array()?.iter();
            Some(cells.map(|cell| cell.as_str().unwrap_or_default().to_owned()).collect())
        };
        let titles = value.get("Titles").and_then(row);
        let titles = titles.ok_or_else(|| self.malformed(ASK, "it has no titles".to_owned()))?;
        let rows = value.get("Processes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        Ok(Top { titles, processes: rows.iter().filter_map(row).collect() })
    }

    /// Asks for JSON, within the bound of one request.
    async fn json(&self, asked: Asked, path: &str) -> Result<Value, Error> {
        let request = self.get(asked, path, false)?;
        let bytes = self
            .bounded(asked, REQUEST, async {
                let answer = self.checked(request).await?;
                Ok(answer.into_body().collect().await?.to_bytes())
            })
            .await?;
        serde_json::from_slice(&bytes).map_err(|error| self.malformed(asked, error.to_string()))
    }

    /// Opens an answer without end; only the time to its head is bounded.
    async fn open(&self, asked: Asked, path: &str) -> Result<Incoming, Error> {
        let request = self.get(asked, path, true)?;
        self.bounded(asked, REQUEST, async { Ok(self.checked(request).await?.into_body()) }).await
    }

    fn get(&self, asked: Asked, path: &str, endless: bool) -> Result<BollardRequest, Error> {
        let mut builder = Request::get(path);
        if endless {
            builder = builder.header(UNBOUNDED, "1");
        }
        builder.body(bollard::body_full(bytes::Bytes::new())).map_err(|error| self.malformed(asked, error.to_string()))
    }

    /// Sends a request; an answer that is no success becomes the engine's words.
    async fn checked(&self, request: BollardRequest) -> Result<hyper::Response<Incoming>, ClientError> {
        let answer = self.shared.transport.send(request).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status_code = answer.status().as_u16();
        // The refusal to a stream has no bound of its own on the wire: 64 KiB of words are enough.
        let body = http_body_util::Limited::new(answer.into_body(), 64 * 1024).collect().await;
        let bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let said: Option<Value> = serde_json::from_slice(&bytes).ok();
        let said = said.as_ref().and_then(|value| value.get("message")).and_then(Value::as_str);
        let message = said.map_or_else(|| String::from_utf8_lossy(&bytes).chars().take(1000).collect(), str::to_owned);
        Err(ClientError::DockerResponseServerError { status_code, message })
    }

    /// Waits for a turn, agrees on the API if that is still to do, and runs the request, all within the bounds.
    async fn bounded<T>(
        &self,
        asked: Asked,
        limit: Duration,
        request: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, Error> {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let (limit, budget) = match left {
            Some(left) if left < limit => (left, true),
            _ => (limit, false),
        };
        let work = async {
            // The gate is never closed.
            let _turn = self.shared.gate.acquire().await;
            if self.shared.transport.version().is_none() {
                let docker = self.shared.docker.clone().ok_or(ClientError::APIVersionParseError {})?;
                let agreed = docker.negotiate_version().await?.client_version();
                self.shared.transport.set_version(Some(agreed.to_string()));
            }
            request.await
        };
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(value)) => {
                *self.away() = None;
                Ok(value)
            }
            Ok(Err(error)) => Err(self.failed(asked, &error)),
            Err(_) => Err(self.timeout(asked, limit, budget)),
        }
    }

    fn away(&self) -> std::sync::MutexGuard<'_, Option<OffsetDateTime>> {
        self.shared.away_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns the client's failure into ours and remembers since when the engine is away.
    fn failed(&self, asked: Asked, error: &ClientError) -> Error {
        let since = self.away().unwrap_or_else(OffsetDateTime::now_utc);
        let error = error::from_client(self.shared.transport.target(), asked, since, error);
        if matches!(error, Error::Unreachable { .. }) {
            self.away().get_or_insert(since);
            // What comes back may be another version.
            self.shared.transport.set_version(None);
        } else if !matches!(error, Error::Malformed { .. }) {
            *self.away() = None;
        }
        error
    }

    fn timeout(&self, asked: Asked, after: Duration, budget: bool) -> Error {
        if !budget {
            self.away().get_or_insert_with(OffsetDateTime::now_utc);
        }
        Error::Timeout { engine: self.address(), what: asked.what, after, budget }
    }

    fn malformed(&self, asked: Asked, what: String) -> Error {
        Error::Malformed { engine: self.address(), endpoint: asked.endpoint, what }
    }
}
