//! A simulated engine: what a Docker engine answers to the node that watches it, from a table. One process serves those
//! of all nodes, each on a socket of its own, so that what it costs is not counted as a node's.

use std::{
    fmt::Write as _,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use aigis_proxy::task;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    runtime::Builder,
    sync::broadcast,
};

use crate::say;

/// Longest head of a request.
const HEAD: usize = 64 * 1024;
/// Events that a slow reader may lag behind.
const EVENTS: usize = 1_024;
/// When all containers were made, in seconds since 1970.
const CREATED: u64 = 1_700_000_000;
/// An answer without content.
const DONE: &str = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
/// What it says of itself.
const VERSION: &str = r#"{"Version":"27.0.0","ApiVersion":"1.41","MinAPIVersion":"1.24","Os":"linux","Arch":"amd64"}"#;

/// The socket of a node's engine.
pub(crate) fn socket(directory: &Path, node: usize) -> PathBuf {
    directory.join(format!("e{node}.sock"))
}

/// The name of a container, and of its CI.
pub(crate) fn name(node: usize, number: usize) -> String {
    format!("service-{number}-of-{node}")
}

/// The id of a container.
fn id(node: usize, number: usize) -> String {
    format!("{node:032x}{number:032x}")
}

/// One node's engine: which of its containers run.
struct Engine {
    node: usize,
    running: Mutex<Vec<bool>>,
    events: broadcast::Sender<String>,
}

/// Serves the engines of so many nodes, with so many containers each, and one without any, until standard input ends.
pub(crate) fn serve(directory: &Path, nodes: usize, containers: usize) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap_or_else(|error| panic!("{error}"));
    let _served: Vec<task::Owned> = runtime.block_on(async {
        let engines = (0..=nodes).map(|node| {
            let containers = if node < nodes { containers } else { 0 };
            let path = socket(directory, node);
            let listener = UnixListener::bind(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let (events, _) = broadcast::channel(EVENTS);
            let engine = Arc::new(Engine { node, running: Mutex::new(vec![false; containers]), events });
            task::Owned::spawn("engine", engine.listen(listener))
        });
        engines.collect()
    });
    let (ended, end) = tokio::sync::oneshot::channel();
    let reading = move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    };
    std::thread::spawn(reading);
    say("ready");
    let _ = runtime.block_on(end);
}

/// Tells the engine of a node that a container starts or stops, as a client of that engine would.
pub(crate) async fn command(directory: &Path, node: usize, number: usize, what: &str) {
    let path = socket(directory, node);
    let mut stream = UnixStream::connect(&path).await.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let request = format!("POST /containers/{}/{what} HTTP/1.1\r\nHost: docker\r\n\r\n", id(node, number));
    stream.write_all(request.as_bytes()).await.unwrap_or_else(|error| panic!("{error}"));
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer).await;
    assert!(read.is_ok() && answer.starts_with("HTTP/1.1 204"), "{what}: {answer}");
}

impl Engine {
    async fn listen(self: Arc<Self>, listener: UnixListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let engine = self.clone();
            drop(task::spawn("engine-request", async move {
                // Whoever hangs up has heard enough.
                let _ = engine.answer(stream).await;
            }));
        }
    }

    /// Answers the one request of a connection.
    async fn answer(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut words = head.split_ascii_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = target.strip_prefix("/v").and_then(|rest| rest.find('/').map(|at| &rest[at..])).unwrap_or(target);
        // `/version` begins like a version of the interface.
        let path = if target.starts_with("/version") { target } else { path };
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let text = match (method, parts.as_slice()) {
            ("GET", ["_ping"]) => found("text/plain", "OK"),
            ("GET", ["version"]) => found("application/json", VERSION),
            ("GET", ["events"]) => return self.tell(stream).await,
            ("GET", ["containers", "json"]) => found("application/json", &self.list(query)),
            ("GET", ["containers", id, "json"]) => match self.number(id) {
                Some(number) => found("application/json", &self.inspect(number)),
                None => missing(),
            },
            ("POST", ["containers", id, what @ ("start" | "stop")]) => match self.number(id) {
                Some(number) => self.change(number, *what == "start"),
                None => missing(),
            },
            _ => missing(),
        };
        stream.write_all(text.as_bytes()).await
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Vec<bool>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self, wanted: &str) -> Option<usize> {
        (0..self.running().len()).find(|number| id(self.node, *number) == wanted)
    }

    /// All containers, or those whose ids the query names.
    fn list(&self, query: &str) -> String {
        // An escaped quotation mark ends in digits, as an id begins.
        let query = query.replace("%22", "\"");
        let wanted: Vec<&str> = query.split(|c: char| !c.is_ascii_hexdigit()).filter(|id| id.len() == 64).collect();
        let mut text = "[".to_owned();
        for (number, running) in self.running().iter().enumerate() {
            let id = id(self.node, number);
            if !query.contains("filters") || wanted.contains(&id.as_str()) {
                let (state, status) = state(*running);
                let comma = if text.len() > 1 { "," } else { "" };
                let name = name(self.node, number);
                let _ = write!(
                    text,
                    r#"{comma}{{"Id":"{id}","Names":["/{name}"],"Image":"registry.example/shop/{name}:1.27","ImageID":"sha256:{id}","State":"{state}","Status":"{status}","Created":{CREATED},"Labels":{{"org.opencontainers.image.version":"1.27"}}}}"#
                );
            }
        }
        text + "]"
    }

    fn inspect(&self, number: usize) -> String {
        let running = self.running().get(number).copied().unwrap_or_default();
        let (id, name, (state, _)) = (id(self.node, number), name(self.node, number), state(running));
        format!(r#"{{"Id":"{id}","Name":"/{name}","Image":"sha256:{id}","State":{{"Status":"{state}","Pid":0}}}}"#)
    }

    fn change(&self, number: usize, run: bool) -> String {
        if let Some(running) = self.running().get_mut(number) {
            *running = run;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, nanoseconds, action) = (now.as_secs(), now.as_nanos(), if run { "start" } else { "die" });
        let (id, name) = (id(self.node, number), name(self.node, number));
        // Nobody may be following.
        let _ = self.events.send(format!(
            r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"{id}","Attributes":{{"name":"{name}","exitCode":"0"}}}},"time":{seconds},"timeNano":{nanoseconds}}}"#
        ));
        DONE.to_owned()
    }

    /// Tells of what happens for as long as somebody listens.
    async fn tell(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let mut events = self.events.subscribe();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        let mut nothing = [0];
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => {
                        let chunk = format!("{:x}\r\n{event}\n\r\n", event.len() + 1);
                        stream.write_all(chunk.as_bytes()).await?;
                    }
                    Err(_) => return Ok(()),
                },
                read = stream.read(&mut nothing) => if read? == 0 {
                    return Ok(());
                },
            }
        }
    }
}

/// The engine's words for a container's state.
fn state(running: bool) -> (&'static str, &'static str) {
    if running { ("running", "Up 3 minutes") } else { ("exited", "Exited (0) 3 minutes ago") }
}

fn found(kind: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

fn missing() -> String {
    let body = r#"{"message":"the simulated engine has no such thing"}"#;
    let length = body.len();
    format!("HTTP/1.1 404 Not Found\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}
