//! What waits on a node's disk for the bus: lines that one thread appends, many at a time, and that are shipped in order.
//!
//! A segment is a file of lines, each `<sha-256 of the rest> <JSON>`. What a crash cut off at the end of the newest
//! segment was never acknowledged, and is removed at the next start.

mod ship;

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

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, oneshot, watch};

use crate::record::digest;

pub(crate) use ship::{ship, until_taken};

/// How much may wait for the bus unless said otherwise.
pub(crate) const ROOM: u64 = 64 * 1024 * 1024;
/// When a new segment begins.
const SEGMENT: u64 = 4 * 1024 * 1024;
/// How many lines are written together.
const BATCH: usize = 256;
/// How many lines may wait to be written.
const QUEUE: usize = 1024;
/// More segments than the room has.
const MAX_SEGMENTS: usize = 10_000;

/// Why a spool cannot be used.
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

/// What a spool holds, and how a line follows the one before it.
///
/// A batch is made on a copy, which takes the place of the original once the batch is on the disk.
pub(crate) trait Content: Clone + Send + 'static {
    /// What is appended.
    type Item: Send + 'static;
    /// What a line holds.
    type Kept: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Its name, for threads, tasks and messages.
    const NAME: &'static str;
    /// Whether lines outlive a loss of power from the moment at which they are acknowledged.
    const FLUSHED: bool;
    /// How long what was shipped stays.
    const KEPT_FOR: Duration;

    /// Takes in a line that a start finds.
    fn found(&mut self, kept: &Self::Kept);

    /// Makes the next line.
    ///
    /// # Errors
    ///
    /// The item has no JSON form.
    fn next(&mut self, item: &Self::Item) -> serde_json::Result<Self::Kept>;

    /// The number of the last line; 0 before the first.
    fn last(&self) -> u64;

    /// Told when all that was made so far is on the disk.
    fn written(&self) {}
}

/// Where the newest line on the disk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    segment: u64,
    length: u64,
}

/// Where the next line to ship begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

#[derive(Debug)]
struct Order<T> {
    item: T,
    /// Whoever waits for the line to be on the disk.
    done: Option<oneshot::Sender<Result<(), String>>>,
}

/// The hand on a spool; cheap to clone.
pub(crate) struct Spool<C: Content> {
    directory: Arc<Path>,
    orders: mpsc::Sender<Order<C::Item>>,
    written: watch::Receiver<Written>,
    /// Bytes that wait for the bus.
    backlog: Arc<AtomicU64>,
}

impl<C: Content> Clone for Spool<C> {
    fn clone(&self) -> Self {
        let Self { directory, orders, written, backlog } = self;
        Self {
            directory: directory.clone(),
            orders: orders.clone(),
            written: written.clone(),
            backlog: backlog.clone(),
        }
    }
}

impl<C: Content> std::fmt::Debug for Spool<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("directory", &self.directory).field("backlog", &self.backlog).finish()
    }
}

impl<C: Content> Spool<C> {
    /// Opens the spool in a directory and gives everything that is still there to `found`.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read and written.
    pub(crate) fn open(directory: &Path, mut content: C, mut found: impl FnMut(C::Kept)) -> Result<Self, OpenError> {
        let failed = |action, file: &Path, source| OpenError::Io { action, file: file.to_owned(), source };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| failed("create", directory, source))?;
        let segments = segments(directory).map_err(|source| failed("read", directory, source))?;
        for segment in &segments {
            let file = path(directory, *segment);
            let sound = read_segment::<C>(&file, |kept| {
                content.found(&kept);
                found(kept);
            })
            .map_err(|source| failed("read", &file, source))?;
            if segments.last() == Some(segment) {
                let opened = OpenOptions::new().write(true).open(&file);
                opened
                    .and_then(|opened| opened.set_len(sound).and_then(|()| opened.sync_all()))
                    .map_err(|source| failed("repair", &file, source))?;
            }
        }
        // A damaged newest segment may end with a number that nobody could read; its name stays its own. One without
        // lines is begun again, and none is begun before it: the shipping may stand there already.
        let is_empty = |segment: &u64| fs::metadata(path(directory, *segment)).is_ok_and(|found| found.len() == 0);
        let newest = segments.last().map_or(0, |last| if is_empty(last) { *last } else { last + 1 });
        let segment = newest.max(content.last() + 1);
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
        let at = Written { segment, length: 0 };
        let (sender, written) = watch::channel(at);
        let writer =
            Writer { directory: directory.into(), content, file, at, written: sender, backlog: backlog.clone() };
        thread::Builder::new()
            .name(C::NAME.to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|source| failed("start the writer of", directory, source))?;
        Ok(Self { directory: directory.into(), orders, written, backlog })
    }

    /// Appends an item, and returns when it is on the disk.
    ///
    /// # Errors
    ///
    /// Says why it is not.
    pub(crate) async fn append(&self, item: C::Item) -> Result<(), String> {
        let (done, written) = oneshot::channel();
        let closed = |()| format!("the writer of the {} spool has ended", C::NAME);
        self.orders.send(Order { item, done: Some(done) }).await.map_err(|_| closed(()))?;
        written.await.map_err(|_| closed(()))?
    }

    /// Has an item appended soon, without waiting; says whether it was taken.
    pub(crate) fn offer(&self, item: C::Item) -> bool {
        self.orders.try_send(Order { item, done: None }).is_ok()
    }

    /// Bytes that wait for the bus.
    pub(crate) fn backlog(&self) -> u64 {
        self.backlog.load(Ordering::Relaxed)
    }

    fn shipped(&self, bytes: u64) {
        // The shipper takes away only what was added before.
        self.backlog.fetch_sub(bytes.min(self.backlog()), Ordering::Relaxed);
    }
}

struct Writer<C> {
    directory: PathBuf,
    content: C,
    file: File,
    at: Written,
    written: watch::Sender<Written>,
    backlog: Arc<AtomicU64>,
}

impl<C: Content> Writer<C> {
    fn run(mut self, mut queue: mpsc::Receiver<Order<C::Item>>) {
        let mut orders = Vec::new();
        while let Some(first) = queue.blocking_recv() {
            orders.push(first);
            while let Some(order) = (orders.len() < BATCH).then(|| queue.try_recv().ok()).flatten() {
                orders.push(order);
            }
            let written = self.write(&orders).map_err(|error| {
                tracing::error!(%error, spool = C::NAME, "a spool cannot be written");
                error.to_string()
            });
            for done in orders.drain(..).filter_map(|order| order.done) {
                let _ = done.send(written.clone());
            }
        }
    }

    /// Writes a batch whole; on failure the spool is as it was before.
    fn write(&mut self, orders: &[Order<C::Item>]) -> io::Result<()> {
        if self.at.length >= SEGMENT {
            self.turn()?;
        }
        let (mut content, mut bytes) = (self.content.clone(), Vec::new());
        for order in orders {
            let kept = serde_json::to_string(&content.next(&order.item)?)?;
            writeln!(bytes, "{} {kept}", digest(kept.as_bytes()))?;
        }
        if let Err(error) = self.file.write_all(&bytes).and_then(|()| self.flush()) {
            // Whatever part got there must not stand before the next line.
            self.file.set_len(self.at.length)?;
            return Err(error);
        }
        let length = bytes.len() as u64;
        self.content = content;
        self.content.written();
        self.at.length += length;
        self.backlog.fetch_add(length, Ordering::Relaxed);
        self.written.send_replace(self.at);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        if C::FLUSHED { self.file.sync_data() } else { Ok(()) }
    }

    /// Begins a new segment, and removes those that were shipped and need not stay.
    fn turn(&mut self) -> io::Result<()> {
        let segment = (self.at.segment + 1).max(self.content.last() + 1);
        self.file = begin(&self.directory, segment)?;
        self.at = Written { segment, length: 0 };
        let cursor = read_cursor(&self.directory);
        for old in segments(&self.directory)?.into_iter().filter(|old| *old < cursor.segment.min(segment)) {
            let file = path(&self.directory, old);
            let age = fs::metadata(&file)?.modified().map(|time| SystemTime::now().duration_since(time));
            if matches!(age, Ok(Ok(age)) if age > C::KEPT_FOR) {
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

pub(crate) fn path(directory: &Path, segment: u64) -> PathBuf {
    directory.join(format!("{segment:020}.log"))
}

/// The segments that are there, the oldest first, by the number of their first line.
pub(crate) fn segments(directory: &Path) -> io::Result<Vec<u64>> {
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
fn read_segment<C: Content>(file: &Path, mut take: impl FnMut(C::Kept)) -> io::Result<u64> {
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
                // Damage is no end: what follows may be sound. The gap shows in the numbers.
                sound = offset;
                tracing::error!(file = %file.display(), offset, "a line of a spool is damaged");
            }
            None => tracing::warn!(file = %file.display(), "a spool ends within a line; it is cut off"),
        }
    }
}

/// Reads a line with its end; `None` if it is cut off or damaged.
pub(crate) fn parse<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (expected, kept) = text.split_once(' ')?;
    (digest(kept.as_bytes()) == expected).then(|| serde_json::from_str(kept).ok()).flatten()
}

const CURSOR: &str = "shipped.json";

/// Where the shipping stands; at the beginning if that is not known, or points behind what there is: then all is shipped
/// again, and readers know a line by its digest or number.
pub(crate) fn read_cursor(directory: &Path) -> Cursor {
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
    tracing::warn!(file = %file.display(), damaged, "it is not known what was shipped; the spool is shipped again");
    Cursor::default()
}

/// Whether a cursor points to what there is; else it would hide lines from the bus, and give them away as shipped.
fn is_there(directory: &Path, cursor: Cursor) -> bool {
    let newest = segments(directory).ok().and_then(|segments| segments.last().copied());
    newest.is_none_or(|newest| cursor.segment <= newest)
}

pub(crate) fn write_cursor(directory: &Path, cursor: Cursor) -> io::Result<()> {
    let staged = directory.join("shipped.json.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
    file.write_all(&serde_json::to_vec(&cursor)?)?;
    fs::rename(staged, directory.join(CURSOR))
}

#[cfg(test)]
mod tests;
