//! The lines on the node's disk: appended and flushed by one thread, many at a time, before anyone goes on.
//!
//! A segment is a file of lines, each `<sha-256 of the rest> <JSON>`. What a crash cut off at the end of the newest
//! segment was never acknowledged, and is removed at the next start.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use aigis_proxy::{Error, identity::Credential};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Line, Signed};
use crate::{record::digest, timestamp::Timestamp};

/// How much may wait for the bus unless said otherwise.
pub(super) const ROOM: u64 = 64 * 1024 * 1024;
/// When a new segment begins.
const SEGMENT: u64 = 4 * 1024 * 1024;
/// How many lines are flushed together.
const BATCH: usize = 256;
/// How many lines may wait to be flushed.
const QUEUE: usize = 1024;
/// How long what was done is known under its call's id.
pub(super) const MEMORY: Duration = Duration::from_secs(10 * 60);
/// More segments than the room has.
const MAX_SEGMENTS: usize = 10_000;

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file cannot be read or written.
    #[error("cannot {action} {file}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        file: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// A line on disk: what is shipped, and what stays.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) signed: Signed,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) local: Option<Local>,
}

/// What the node keeps of a call beside its audit line, to answer it again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Local {
    pub(super) key: String,
    /// The digest of the arguments.
    pub(super) arguments: String,
    /// `None` while it is not known.
    pub(super) outcome: Option<Outcome>,
}

/// How a call ended, as a repeat is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Done(serde_json::Value),
    Failed(Error),
    /// It went well, and its result is too large to be kept.
    Large,
}

/// What a restart finds.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) line: Line,
    pub(super) local: Option<Local>,
}

/// Where the newest flushed line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flushed {
    pub(super) segment: u64,
    pub(super) length: u64,
}

/// Where the next line to ship begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

#[derive(Debug)]
struct Order {
    line: Line,
    local: Option<Local>,
    done: oneshot::Sender<Result<(), String>>,
}

/// The hand on the spool; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Spool {
    directory: Arc<Path>,
    orders: mpsc::Sender<Order>,
    flushed: watch::Receiver<Flushed>,
    /// Bytes that wait for the bus.
    backlog: Arc<AtomicU64>,
}

impl Spool {
    /// Opens the spool in a directory and gives everything that is remembered to `found`.
    pub(super) fn open(
        directory: &Path,
        credential: Arc<Credential>,
        mut found: impl FnMut(Found),
    ) -> Result<Self, OpenError> {
        let failed = |action, file: &Path, source| OpenError::Io { action, file: file.to_owned(), source };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| failed("create", directory, source))?;
        let segments = segments(directory).map_err(|source| failed("read", directory, source))?;
        let (mut seq, mut previous) = (0, String::new());
        for segment in &segments {
            let file = path(directory, *segment);
            let newest = segments.last() == Some(segment);
            let sound = read_segment(&file, |kept| {
                if let Ok(line) = serde_json::from_str::<Line>(kept.signed.line.get()) {
                    (seq, previous) = (line.seq, kept.signed.digest);
                    found(Found { line, local: kept.local });
                }
            })
            .map_err(|source| failed("read", &file, source))?;
            if newest {
                let opened = OpenOptions::new().write(true).open(&file);
                opened
                    .and_then(|opened| opened.set_len(sound).and_then(|()| opened.sync_all()))
                    .map_err(|source| failed("repair", &file, source))?;
            }
        }
        // A damaged newest segment may end with a number that nobody could read; its name stays its own.
        let occupied = segments.last().filter(|last| fs::metadata(path(directory, **last)).is_ok_and(|m| m.len() > 0));
        let segment = occupied.map_or(0, |last| last + 1).max(seq + 1);
        let file = begin(directory, segment).map_err(|source| failed("create", &path(directory, segment), source))?;
        let cursor = read_cursor(directory);
        let backlog = segments
            .iter()
            .filter(|segment| **segment >= cursor.segment)
            .filter_map(|segment| Some((segment, fs::metadata(path(directory, *segment)).ok()?.len())))
            .map(|(segment, length)| length - if *segment == cursor.segment { cursor.offset.min(length) } else { 0 })
            .sum();
        let backlog = Arc::new(AtomicU64::new(backlog));
        let (orders, queue) = mpsc::channel(QUEUE);
        let (sender, flushed) = watch::channel(Flushed { segment, length: 0 });
        let writer = Writer {
            directory: directory.into(),
            credential,
            file,
            at: Flushed { segment, length: 0 },
            seq,
            previous,
            flushed: sender,
            backlog: backlog.clone(),
        };
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|source| failed("start the writer of", directory, source))?;
        Ok(Self { directory: directory.into(), orders, flushed, backlog })
    }

    /// Appends a line, and returns when it is on the disk. Number, time and predecessor are set by the writer.
    pub(super) async fn append(&self, line: Line, local: Option<Local>) -> Result<(), String> {
        let (done, flushed) = oneshot::channel();
        let closed = |()| "the writer of the audit spool has ended".to_owned();
        self.orders.send(Order { line, local, done }).await.map_err(|_| closed(()))?;
        flushed.await.map_err(|_| closed(()))?
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn flushed(&self) -> watch::Receiver<Flushed> {
        self.flushed.clone()
    }

    pub(super) fn backlog(&self) -> u64 {
        self.backlog.load(Ordering::Relaxed)
    }

    pub(super) fn shipped(&self, bytes: u64) {
        // The shipper takes away only what was added before.
        self.backlog.fetch_sub(bytes.min(self.backlog()), Ordering::Relaxed);
    }
}

struct Writer {
    directory: PathBuf,
    credential: Arc<Credential>,
    file: File,
    at: Flushed,
    seq: u64,
    previous: String,
    flushed: watch::Sender<Flushed>,
    backlog: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Order>) {
        let mut orders = Vec::new();
        while let Some(first) = queue.blocking_recv() {
            orders.push(first);
            while let Some(order) = (orders.len() < BATCH).then(|| queue.try_recv().ok()).flatten() {
                orders.push(order);
            }
            let written = self.write(&orders).map_err(|error| {
                tracing::error!(%error, "the audit spool cannot be written");
                error.to_string()
            });
            for order in orders.drain(..) {
                let _ = order.done.send(written.clone());
            }
        }
    }

    /// Writes a batch whole; on failure the spool is as it was before.
    fn write(&mut self, orders: &[Order]) -> io::Result<()> {
        if self.at.length >= SEGMENT {
            self.turn()?;
        }
        let (mut seq, mut previous, mut bytes) = (self.seq, self.previous.clone(), Vec::new());
        for order in orders {
            seq += 1;
            let line = Line { seq, previous, at: Timestamp::now(), ..order.line.clone() };
            let line: Box<RawValue> = serde_json::value::to_raw_value(&line)?;
            let digest_of_line = digest(line.get().as_bytes());
            let signature = data_encoding::BASE64.encode(&self.credential.sign(line.get().as_bytes()));
            previous = digest_of_line.clone();
            let signed = Signed { digest: digest_of_line, signature, line };
            let kept = serde_json::to_string(&Kept { signed, local: order.local.clone() })?;
            writeln!(bytes, "{} {kept}", digest(kept.as_bytes()))?;
        }
        if let Err(error) = self.file.write_all(&bytes).and_then(|()| self.file.sync_data()) {
            // Whatever part got there must not stand before the next line.
            self.file.set_len(self.at.length)?;
            return Err(error);
        }
        let length = bytes.len() as u64;
        (self.seq, self.previous) = (seq, previous);
        self.at.length += length;
        self.backlog.fetch_add(length, Ordering::Relaxed);
        self.flushed.send_replace(self.at);
        Ok(())
    }

    /// Begins a new segment, and removes those that are neither needed by the bus nor for repeats.
    fn turn(&mut self) -> io::Result<()> {
        let segment = (self.at.segment + 1).max(self.seq + 1);
        self.file = begin(&self.directory, segment)?;
        self.at = Flushed { segment, length: 0 };
        let cursor = read_cursor(&self.directory);
        for old in segments(&self.directory)?.into_iter().filter(|old| *old < cursor.segment.min(segment)) {
            let file = path(&self.directory, old);
            let age = fs::metadata(&file)?.modified().map(|time| SystemTime::now().duration_since(time));
            if matches!(age, Ok(Ok(age)) if age > MEMORY) {
                fs::remove_file(&file)?;
            }
        }
        Ok(())
    }
}

fn begin(directory: &Path, segment: u64) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path(directory, segment))?;
    // What a failed start left there was never acknowledged.
    file.set_len(0)?;
    File::open(directory)?.sync_all()?;
    Ok(file)
}

pub(super) fn path(directory: &Path, segment: u64) -> PathBuf {
    directory.join(format!("{segment:020}.log"))
}

/// The segments that are there, the oldest first, by the number of their first line.
pub(super) fn segments(directory: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)?.take(MAX_SEGMENTS) {
        let name = entry?.file_name();
        if let Some(first) = name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|n| n.parse().ok()) {
            found.push(first);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Gives each sound line to `take` and returns where the last one ends.
fn read_segment(file: &Path, mut take: impl FnMut(Kept)) -> io::Result<u64> {
    let mut reader = BufReader::new(File::open(file)?);
    let (mut line, mut offset, mut sound) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)? as u64;
        if read == 0 {
            return Ok(sound);
        }
        offset += read;
        match parse(&line) {
            Some(kept) => {
                sound = offset;
                take(kept);
            }
            None if line.ends_with(b"\n") => {
                // Damage is no end: what follows may be sound. The gap shows in the chain.
                sound = offset;
                tracing::error!(file = %file.display(), offset, "a line of the audit spool is damaged");
            }
            None => tracing::warn!(file = %file.display(), "the audit spool ends within a line; it is cut off"),
        }
    }
}

/// Reads a line with its end; `None` if it is cut off or damaged.
pub(super) fn parse(line: &[u8]) -> Option<Kept> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (expected, kept) = text.split_once(' ')?;
    (digest(kept.as_bytes()) == expected).then(|| serde_json::from_str(kept).ok()).flatten()
}

const CURSOR: &str = "shipped.json";

/// Where the shipping stands; at the beginning if that is not known, or points behind what there is: then all is shipped
/// again, and readers know a line by its digest.
pub(super) fn read_cursor(directory: &Path) -> Cursor {
    let file = directory.join(CURSOR);
    let damaged = match fs::read(&file) {
        Ok(stored) => match serde_json::from_slice::<Cursor>(&stored) {
            Ok(cursor) if is_there(directory, cursor) => return cursor,
            Ok(_) => "it points behind the newest line".to_owned(),
            Err(error) => error.to_string(),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Cursor::default(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(file = %file.display(), damaged, "it is not known what was shipped; the audit is shipped again");
    Cursor::default()
}

/// Whether a cursor points to what there is; else it would hide lines from the bus, and give them away as shipped.
fn is_there(directory: &Path, cursor: Cursor) -> bool {
    let newest = segments(directory).ok().and_then(|segments| segments.last().copied());
    newest.is_none_or(|newest| cursor.segment <= newest)
}

pub(super) fn write_cursor(directory: &Path, cursor: Cursor) -> io::Result<()> {
    let staged = directory.join("shipped.json.new");
    fs::write(&staged, serde_json::to_vec(&cursor)?)?;
    fs::rename(staged, directory.join(CURSOR))
}
