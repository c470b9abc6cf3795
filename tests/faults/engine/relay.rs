//! A relay before an engine's socket that swallows its events.

use std::{
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// What ends the head of an answer.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Stands at the engine's path until it is dropped, and passes everything but the body of `GET /events`.
#[derive(Debug)]
pub(super) struct Relay {
    path: PathBuf,
    silenced: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl Relay {
    /// Takes the place of that socket.
    pub(super) fn before(path: &Path) -> Self {
        let relay = Self { path: path.to_owned(), silenced: Arc::default(), ended: Arc::default() };
        let engine = relay.engine();
        // A socket goes on under another name.
        fs::rename(path, &engine).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let listener = UnixListener::bind(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (silenced, ended) = (Arc::clone(&relay.silenced), Arc::clone(&relay.ended));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok).take_while(|_| !ended.load(Ordering::SeqCst)) {
                let Ok(engine) = UnixStream::connect(&engine) else { continue };
                pass(client, engine, &silenced);
            }
        });
        relay
    }

    /// How many event streams it has silenced.
    pub(super) fn silenced(&self) -> usize {
        self.silenced.load(Ordering::SeqCst)
    }

    fn engine(&self) -> PathBuf {
        self.path.with_extension("engine")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // The listener wakes up for one last connection.
        let _ = UnixStream::connect(&self.path);
        let _ = fs::rename(self.engine(), &self.path);
    }
}

/// Passes a connection both ways, in the background, until either side ends.
fn pass(client: UnixStream, engine: UnixStream, silenced: &Arc<AtomicUsize>) {
    let (Ok(from_client), Ok(from_engine)) = (client.try_clone(), engine.try_clone()) else { return };
    let (silent, silenced) = (Arc::new(AtomicBool::new(false)), Arc::clone(silenced));
    let hush = Arc::clone(&silent);
    thread::spawn(move || {
        copy(from_client, engine, |bytes| {
            if asks_for_events(bytes) {
                silenced.fetch_add(1, Ordering::SeqCst);
                hush.store(true, Ordering::SeqCst);
            }
            bytes.len()
        });
    });
    thread::spawn(move || {
        let mut in_body = false;
        copy(from_engine, client, |bytes| {
            if !silent.load(Ordering::SeqCst) {
                return bytes.len();
            }
            if in_body {
                return 0;
            }
            let end = bytes.windows(END_OF_HEAD.len()).position(|window| window == END_OF_HEAD);
            in_body = end.is_some();
            end.map_or(bytes.len(), |at| at + END_OF_HEAD.len())
        });
    });
}

/// Copies until the end, of each piece as many bytes as `passes` says.
fn copy(mut from: UnixStream, mut to: UnixStream, mut passes: impl FnMut(&[u8]) -> usize) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        let passed = passes(bytes);
        if to.write_all(&bytes[..passed]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Whether these bytes are the head of a request for the event stream. The node sends one request on a connection, in
/// one piece.
fn asks_for_events(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    line.starts_with(b"GET ") && line.windows(b"/events".len()).any(|window| window == b"/events")
}
