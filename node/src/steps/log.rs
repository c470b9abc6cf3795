//! The log of an attempt: its first and its last 5 MiB, on the disk, with places that stay what they are.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

/// How much of a log's beginning is kept.
const HEAD: u64 = 5 * 1024 * 1024;
/// How much of its end is kept, and how much one file of it holds.
const TAIL: u64 = 5 * 1024 * 1024;

/// A log that grows. What comes after the beginning goes into files of which the last two are kept.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    inner: Mutex<Inner>,
    grown: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    total: u64,
    head: File,
    tail: Option<(u64, File)>,
}

/// What is kept of a log that is whole.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) bytes: Vec<u8>,
    /// How many bytes were left out.
    pub(super) dropped: u64,
}

impl Log {
    /// Opens the log of a folder, as far as there is one.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let head = OpenOptions::new().read(true).append(true).create(true).open(folder.join("log"))?;
        let mut total = head.metadata()?.len();
        let mut last = None;
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("log.")?.parse::<u64>().ok());
            last = last.max(number);
        }
        let mut tail = None;
        if let Some(number) = last {
            let file = OpenOptions::new().read(true).append(true).open(folder.join(format!("log.{number}")))?;
            total = HEAD + number * TAIL + file.metadata()?.len();
            tail = Some((number, file));
        }
        let inner = Mutex::new(Inner { total, head, tail });
        Ok(Self { folder: folder.to_owned(), inner, grown: watch::Sender::new(total) })
    }

    /// How long it is, and resolves as it grows.
    pub(super) fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    pub(super) fn len(&self) -> u64 {
        *self.grown.borrow()
    }

    /// Adds to it.
    pub(super) fn append(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        while !bytes.is_empty() {
            let room = match inner.total.checked_sub(HEAD) {
                None => HEAD - inner.total,
                Some(after) => TAIL - after % TAIL,
            };
            let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            if inner.total < HEAD {
                inner.head.write_all(now)?;
            } else {
                let number = (inner.total - HEAD) / TAIL;
                if inner.tail.as_ref().is_none_or(|(known, _)| *known != number) {
                    let path = self.folder.join(format!("log.{number}"));
                    inner.tail = Some((number, OpenOptions::new().read(true).append(true).create(true).open(path)?));
                    if let Some(old) = number.checked_sub(2) {
                        // What stays is room that is taken, until the attempt is forgotten.
                        let _ = fs::remove_file(self.folder.join(format!("log.{old}")));
                    }
                }
                if let Some((_, file)) = &mut inner.tail {
                    file.write_all(now)?;
                }
            }
            inner.total += now.len() as u64;
            bytes = later;
        }
        self.grown.send_replace(inner.total);
        Ok(())
    }

    /// Adds a line of ours.
    pub(super) fn say(&self, line: &str) {
        // A full disk is told of by what fails next.
        if let Err(error) = self.append(format!("{}\n", aigis_proxy::quoted_within(line)).as_bytes()) {
            tracing::warn!(%error, "the log of a step cannot be written");
        }
    }

    /// Reads at most `most` bytes from a place on; says from where they are, which is later where that was dropped.
    pub(super) fn read(&self, from: u64, most: usize) -> io::Result<(Vec<u8>, u64)> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let from = from.min(inner.total);
        if from < HEAD {
            let bytes = read_at(&inner.head, from, most)?;
            if !bytes.is_empty() {
                return Ok((bytes, from));
            }
        }
        let Some((last, _)) = inner.tail else { return Ok((Vec::new(), from)) };
        let first = HEAD + last.saturating_sub(1) * TAIL;
        let from = from.max(first);
        let number = (from - HEAD) / TAIL;
        if number > last {
            return Ok((Vec::new(), from));
        }
        let file = File::open(self.folder.join(format!("log.{number}")))?;
        Ok((read_at(&file, (from - HEAD) % TAIL, most)?, from))
    }

    /// Cuts it back to where it was that long, or as near to that as is kept.
    pub(super) fn cut(&self, length: u64) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("log.")) {
                fs::remove_file(path)?;
            }
        }
        let length = length.min(HEAD).min(inner.head.metadata()?.len());
        inner.head.set_len(length)?;
        (inner.tail, inner.total) = (None, length);
        self.grown.send_replace(length);
        Ok(())
    }

    /// What is kept of it: all, or its two ends with a line between them that says how much is missing.
    pub(super) fn kept(&self) -> io::Result<Kept> {
        let total = self.len();
        let dropped = total.saturating_sub(HEAD + TAIL);
        let mut bytes = Vec::new();
        let mut at = 0;
        while at < total {
            let (piece, from) = self.read(at, 1024 * 1024)?;
            if piece.is_empty() {
                break;
            }
            let wanted = total - TAIL.min(total);
            if from >= HEAD && dropped > 0 && from < wanted {
                if at <= HEAD {
                    bytes.extend_from_slice(format!("\n{{dropped: {dropped}}}\n").as_bytes());
                }
                at = wanted;
                continue;
            }
            at = from + piece.len() as u64;
            bytes.extend_from_slice(&piece);
        }
        Ok(Kept { bytes, dropped })
    }
}

fn read_at(mut file: &File, at: u64, most: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_from_any_place_and_goes_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        log.append(b"one\n").unwrap();
        drop(log);
        let log = Log::open(dir.path()).unwrap();
        log.append(b"two\n").unwrap();
        assert_eq!(log.read(0, 100).unwrap(), (b"one\ntwo\n".to_vec(), 0));
        assert_eq!(log.read(4, 2).unwrap(), (b"tw".to_vec(), 4));
        assert_eq!(log.read(99, 2).unwrap(), (Vec::new(), 8));
        log.cut(4).unwrap();
        assert_eq!((log.len(), log.kept().unwrap().bytes), (4, b"one\n".to_vec()));
        log.append(b"2\n").unwrap();
        assert_eq!(log.kept().unwrap().bytes, b"one\n2\n");
    }

    #[test]
    fn a_log_without_end_keeps_its_two_ends_and_says_how_much_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        let total: u64 = 23 * 1024 * 1024;
        let mut line = 0_u64;
        while log.len() < total {
            log.append(format!("{line:07}\n").as_bytes()).unwrap();
            line += 1;
        }
        let kept = log.kept().unwrap();
        assert_eq!(kept.dropped, total - HEAD - TAIL);
        let marker = format!("\n{{dropped: {}}}\n", kept.dropped);
        let at = usize::try_from(HEAD).unwrap();
        assert_eq!(&kept.bytes[at..at + marker.len()], marker.as_bytes());
        assert_eq!(kept.bytes.len() as u64, HEAD + TAIL + marker.len() as u64);
        assert!(kept.bytes.starts_with(b"0000000\n"));
        assert!(kept.bytes.ends_with(format!("{:07}\n", line - 1).as_bytes()));
        let (bytes, from) = log.read(HEAD, 8).unwrap();
        assert!(from > HEAD && bytes.len() == 8, "the middle is gone: {from}");
        drop(log);
        assert_eq!(Log::open(dir.path()).unwrap().len(), total);
    }
}
