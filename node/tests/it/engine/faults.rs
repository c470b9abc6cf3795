use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aigis_node::engine::{
    Engine, Error,
    watch::{EngineState, Watch},
};
use aigis_proxy::{Code, task::Owned};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::watch,
};

use super::{heard, observed};
use crate::images::Running;

const REAL: &str = "/var/run/docker.sock";

/// How a relay treats what the engine sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Passes it on.
    Open,
    /// Holds it back.
    Frozen,
    /// Passes it on, but not what comes on a connection that asked for events.
    Deaf,
}

/// A socket before the real engine that can be cut, frozen and made deaf to events.
struct Relay {
    path: PathBuf,
    mode: watch::Sender<Mode>,
    accepting: Option<Owned>,
    _dir: tempfile::TempDir,
}

impl Relay {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        let mode = watch::channel(Mode::Open).0;
        let mut relay = Self { path, mode, accepting: None, _dir: dir };
        relay.open();
        relay
    }

    fn open(&mut self) {
        let listener = UnixListener::bind(&self.path).unwrap();
        let mode = self.mode.subscribe();
        self.accepting = Some(Owned::spawn("relay", async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, mode.clone()));
            }
        }));
    }

    /// Ends all connections and takes no more, as an engine that died.
    fn cut(&mut self) {
        self.accepting = None;
        std::fs::remove_file(&self.path).unwrap();
    }
}

async fn pass(client: UnixStream, mut mode: watch::Receiver<Mode>) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_engine, mut to_engine) = UnixStream::connect(REAL).await?.into_split();
    let mut head = vec![0; 16 * 1024];
    let read = from_client.read(&mut head).await?;
    let events = String::from_utf8_lossy(&head[..read]).contains("/events");
    to_engine.write_all(&head[..read]).await?;
    let upward = async { tokio::io::copy(&mut from_client, &mut to_engine).await.map(|_| ()) };
    let downward = async {
        let mut buffer = vec![0; 16 * 1024];
        let mut first = true;
        loop {
            let read = from_engine.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            let passes = |mode: &Mode| *mode == Mode::Open || *mode == Mode::Deaf && (first || !events);
            let swallowed = *mode.borrow() == Mode::Deaf && events && !first;
            if !swallowed {
                mode.wait_for(passes).await.map_err(io::Error::other)?;
                to_client.write_all(&buffer[..read]).await?;
            }
            first = false;
        }
    };
    let _: io::Result<()> = tokio::select! { done = downward => done, done = upward => done };
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn flt_34_an_engine_that_dies_is_a_state_and_comes_back() {
    let mut relay = Relay::new();
    let engine = Engine::at(&relay.path);
    let watch = Watch::spawn(engine.clone());
    let mut seen = watch.observation();
    let first = Running::busybox(&[], &["sleep", "1000"]);
    let found = observed(&mut seen, Duration::from_secs(60), "the first", |all| all.containers.contains_key(&first.id));
    found.await;
    relay.cut();
    let away = observed(&mut seen, Duration::from_secs(60), "away", |all| {
        matches!(all.engine, EngineState::Unreachable { .. })
    })
    .await;
    assert!(away.containers.contains_key(&first.id), "what is known stays");
    let EngineState::Unreachable { what, .. } = away.engine else { unreachable!() };
    assert!(what.contains(relay.path.to_str().unwrap()), "{what}");
    let error = engine.list().await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { .. }), "{error}");
    assert_eq!(error.code(), Code::Unavailable);
    let second = Running::busybox(&[], &["sleep", "1000"]);
    let gone = first.id.clone();
    drop(first);
    let mut events = watch.events();
    relay.open();
    observed(&mut seen, Duration::from_secs(60), "back and right", |all| {
        all.engine.is_reachable() && all.containers.contains_key(&second.id) && !all.containers.contains_key(&gone)
    })
    .await;
    heard(&mut events, &second.id, "start").await;
    assert!(watch.history(&second.id).events.iter().any(|event| event.action == "start"), "resumed by since");
}

#[tokio::test(flavor = "multi_thread")]
async fn flt_35_an_engine_that_hangs_is_noticed_and_calls_end() {
    let relay = Relay::new();
    let engine = Engine::at(&relay.path);
    let watch = Watch::spawn(engine.clone());
    let mut seen = watch.observation();
    observed(&mut seen, Duration::from_secs(60), "reachable", |all| all.engine.is_reachable()).await;
    relay.mode.send_replace(Mode::Frozen);
    let begin = Instant::now();
    let call = aigis_proxy::task::spawn("call", {
        let engine = engine.clone();
        async move { engine.list().await }
    });
    let budget = engine.until(tokio::time::Instant::now() + Duration::from_millis(300));
    let error = budget.list().await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    observed(&mut seen, Duration::from_secs(60), "away", |all| !all.engine.is_reachable()).await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(begin.elapsed() < Duration::from_secs(30));
    relay.mode.send_replace(Mode::Open);
    observed(&mut seen, Duration::from_secs(60), "back", |all| all.engine.is_reachable()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flt_36_a_silent_event_stream_is_backed_by_full_lists() {
    let relay = Relay::new();
    let watch = Watch::spawn(Engine::at(&relay.path));
    let mut seen = watch.observation();
    observed(&mut seen, Duration::from_secs(60), "reachable", |all| all.engine.is_reachable()).await;
    relay.mode.send_replace(Mode::Deaf);
    let container = Running::busybox(&[], &["sleep", "1000"]);
    observed(&mut seen, Duration::from_secs(65), "listed", |all| all.containers.contains_key(&container.id)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_60_a_socket_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.sock");
    let error = Engine::at(&missing).list().await.unwrap_err();
    assert!(error.to_string().contains("there is no socket") && error.hint().is_some(), "{error}");
    let refused = dir.path().join("refused.sock");
    drop(UnixListener::bind(&refused).unwrap());
    let error = Engine::at(&refused).version().await.unwrap_err();
    assert!(error.to_string().contains("nothing listens"), "{error}");
    assert_eq!(error.code(), Code::Unavailable);
    let first = Engine::at(&missing);
    let since = |error: Error| match error {
        Error::Unreachable { since, .. } => since,
        other => panic!("{other}"),
    };
    let began = since(first.list().await.unwrap_err());
    assert_eq!(since(first.list().await.unwrap_err()), began, "the first failure counts");
}

/// A server that answers each request with these bytes and then keeps silent.
fn answering(path: &Path, answer: Vec<u8>) -> Owned {
    let listener = UnixListener::bind(path).unwrap();
    Owned::spawn("hostile", async move {
        let mut open = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let read = client.read(&mut head).await.unwrap_or(0);
            let version = b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"ApiVersion\":\"1.41\"}";
            let about = String::from_utf8_lossy(&head[..read]).contains("/version");
            let bytes = if about { version[..].to_vec() } else { answer.clone() };
            let _ = client.write_all(&bytes).await;
            open.push(client);
        }
    })
}

async fn outcome(answer: &[u8]) -> Error {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine.sock");
    let _server = answering(&path, answer.to_vec());
    let begin = Instant::now();
    let error = Engine::at(&path).list().await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(30), "{error}");
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_61_hostile_answers_are_errors_that_name_the_endpoint() {
    let ok = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
    for answer in [ok("<html>no</html>"), ok("[{\"Id\":"), ok("{}"), ok("null"), b"garbage\r\n\r\n".to_vec()] {
        let error = outcome(&answer).await;
        assert!(
            matches!(&error, Error::Malformed { endpoint, .. } if endpoint.contains("/containers/json")),
            "{error}"
        );
    }
    let mut endless = b"HTTP/1.1 200 OK\r\n".to_vec();
    endless.extend(b"X-Header: more\r\n".repeat(100_000));
    assert!(matches!(outcome(&endless).await, Error::Malformed { .. }));
    let mut huge = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n".to_vec();
    huge.resize(17 * 1024 * 1024, b'[');
    let error = outcome(&huge).await;
    assert!(error.to_string().contains("16 MiB"), "{error}");
    let silent = outcome(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[").await;
    assert!(matches!(silent, Error::Timeout { .. }), "{silent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_62_the_api_is_agreed_on() {
    let version = super::real().version().await.unwrap();
    let told = crate::images::docker(&["version", "--format", "{{.Server.Version}} {{.Server.APIVersion}}"]);
    assert_eq!(told, format!("{} {}", version.version, version.api_version));
    assert_eq!(version.negotiated, version.api_version.clone().min("1.53".to_owned()));
}
