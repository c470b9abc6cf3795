//! What a plugin printed and logged, and what the node did with it: one file of lines on the place that runs it, bounded in
//! size and age, read by the skill `logs`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aigis_proxy::{Error, Name, NodeName, with_causes};
use aigis_registry::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{
    line::{self, Source},
    logs::Wanted,
};
use crate::{
    home,
    mask::{Mask, Masks},
};

/// How large a file grows before the next one is begun, and how many there are at most: 20 MiB together.
const FILES: (u64, usize) = (5 << 20, 4);
/// How long lines are kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The longest line that is kept whole; a longer one is kept in parts.
const MAX_LINE: usize = 16 * 1024;

/// A line, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Line {
    pub(crate) at: String,
    pub(crate) plugin: String,
    pub(crate) node: String,
    pub(crate) source: Source,
    /// The logger's level, in lower case.
    pub(crate) level: Option<String>,
    pub(crate) line: String,
    /// Whether the line goes on in the next one of its source.
    #[serde(default)]
    pub(crate) partial: bool,
    pub(crate) pid: Option<u32>,
    /// The call in which it was said.
    pub(crate) call: Option<String>,
}

/// What is said, beside the words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a> {
    pub(crate) source: Source,
    pub(crate) level: Option<&'a str>,
    pub(crate) pid: Option<u32>,
    pub(crate) call: Option<&'a str>,
}

/// The log of one plugin.
#[derive(Debug)]
pub(crate) struct Journal {
    plugin: Name,
    node: NodeName,
    folder: PathBuf,
    /// The secrets that the node knows.
    masks: Masks,
    /// The plugin's own, which may lie in files beside the config.
    own: Masks,
    end: Mutex<End>,
    /// How many lines were written by this process.
    grown: watch::Sender<u64>,
}

/// The file that is written.
#[derive(Debug, Default)]
struct End {
    file: Option<File>,
    number: u64,
    size: u64,
    /// Lines that could not be written.
    lost: u64,
}

/// A place in the log, up to which it has been read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    number: u64,
    offset: u64,
}

impl Journal {
    /// Opens the log of a plugin, which may be there from before: `DATA/plugin-logs/NAME`.
    pub(crate) fn open(data: &Path, plugin: Name, node: NodeName, masks: Masks) -> Arc<Self> {
        let folder = data.join("plugin-logs").join(plugin.as_str());
        let (own, end, grown) = Default::default();
        let journal = Self { plugin, node, folder, masks, own, end, grown };
        journal.sweep();
        Arc::new(journal)
    }

    /// Masks these values as well from now on.
    pub(crate) fn hide<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) {
        self.own.set(Mask::of(values));
    }

    /// Keeps what the node says of the plugin.
    pub(crate) fn note(&self, level: &'static str, text: &str) {
        for line in text.lines() {
            self.keep(Said { source: Source::Node, level: Some(level), pid: None, call: None }, line);
        }
    }

    /// Keeps what a process said.
    pub(crate) fn take(&self, line: line::Line<'_>) {
        let line::Line { source, pid, level, call, text, .. } = line;
        self.keep(Said { source, level, pid: Some(pid), call }, text);
    }

    /// Keeps a line, in parts if it is long. Secrets that the node knows are masked.
    pub(crate) fn keep(&self, said: Said<'_>, text: &str) {
        let text = self.own.current().text(&self.masks.current().text(text));
        let at = Timestamp::now().to_string();
        let mut rest = text.as_str();
        let mut bytes = Vec::with_capacity(text.len() + 256);
        let mut count = 0;
        loop {
            let cut = if rest.len() > MAX_LINE { rest.floor_char_boundary(MAX_LINE) } else { rest.len() };
            let (part, more) = rest.split_at(cut);
            let line = Line {
                at: at.clone(),
                plugin: self.plugin.to_string(),
                node: self.node.to_string(),
                source: said.source,
                level: said.level.map(str::to_owned),
                line: part.to_owned(),
                partial: !more.is_empty(),
                pid: said.pid,
                call: said.call.map(str::to_owned),
            };
            if serde_json::to_writer(&mut bytes, &line).is_ok() {
                bytes.push(b'\n');
                count += 1;
            }
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        self.append_all(&bytes, count);
    }

    /// Writes whole lines.
    fn append_all(&self, bytes: &[u8], count: u64) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        match self.write(&mut end, bytes) {
            Ok(()) => end.lost = 0,
            Err(error) => {
                if end.lost == 0 {
                    tracing::warn!(%error, plugin = %self.plugin, "a plugin's log cannot be written");
                }
                (end.file, end.lost) = (None, end.lost + count);
            }
        }
        drop(end);
        self.grown.send_modify(|grown| *grown += count);
    }

    fn write(&self, end: &mut End, bytes: &[u8]) -> io::Result<()> {
        let (largest, _) = FILES;
        if end.file.is_none() || end.size + bytes.len() as u64 > largest {
            home::make_directory(&self.folder).map_err(io::Error::other)?;
            let last = self.files()?.pop().map_or(0, |(number, _)| number);
            self.sweep();
            end.number = last + 1;
            let path = self.folder.join(format!("{:010}.jsonl", end.number));
            end.file = Some(OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?);
            end.size = 0;
            if end.lost > 0 {
                let lost = self.warning(format!("{} lines before this one could not be written", end.lost));
                let mut bytes = serde_json::to_vec(&lost)?;
                bytes.push(b'\n');
                Self::append(end, &bytes)?;
            }
        }
        Self::append(end, bytes)
    }

    /// A line of the node's own about the log itself.
    fn warning(&self, line: String) -> Line {
        Line {
            at: Timestamp::now().to_string(),
            plugin: self.plugin.to_string(),
            node: self.node.to_string(),
            source: Source::Node,
            level: Some("warning".to_owned()),
            line,
            partial: false,
            pid: None,
            call: None,
        }
    }

    fn append(end: &mut End, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut end.file else { return Err(io::Error::other("no file is open")) };
        file.write_all(bytes)?;
        end.size += bytes.len() as u64;
        Ok(())
    }

    /// The files, the oldest first.
    fn files(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut files = Vec::new();
        let listed = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
            listed => listed?,
        };
        for entry in listed {
            let path = entry?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            files.extend(number.map(|number| (number, path)));
        }
        files.sort();
        Ok(files)
    }

    /// Removes what is too old, or one file too many for another to begin.
    fn sweep(&self) {
        let Ok(files) = self.files() else { return };
        let surplus = (files.len() + 1).saturating_sub(FILES.1);
        for (index, (_, path)) in files.iter().enumerate() {
            let written = path.metadata().and_then(|found| found.modified()).ok();
            let age = written.and_then(|written| SystemTime::now().duration_since(written).ok());
            if index < surplus || age.is_some_and(|age| age > KEPT) {
                // It is tried again with the next file.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Removes the whole log.
    ///
    /// # Errors
    ///
    /// The operating system refuses; not if there is none.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).file = None;
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Told whenever lines were added.
    pub(crate) fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// The last lines that are wanted, and where the log ended then.
    ///
    /// # Errors
    ///
    /// The files cannot be read.
    pub(crate) async fn tail(self: &Arc<Self>, wanted: Wanted) -> Result<(Vec<Line>, Place), Error> {
        let most = wanted.tail;
        let (mut lines, place) = self.clone().blocking(Place::default(), wanted, usize::MAX).await?;
        let surplus = lines.len().saturating_sub(most);
        lines.drain(..surplus);
        Ok((lines, place))
    }

    /// The wanted lines after a place, and where the log ended then.
    ///
    /// # Errors
    ///
    /// The files cannot be read.
    pub(crate) async fn after(self: &Arc<Self>, place: Place, wanted: Wanted) -> Result<(Vec<Line>, Place), Error> {
        self.clone().blocking(place, wanted, usize::MAX).await
    }

    /// The next lines after a place, at most so many, and up to where they were read.
    ///
    /// # Errors
    ///
    /// The files cannot be read.
    pub(crate) async fn next(self: &Arc<Self>, place: Place, most: usize) -> Result<(Vec<Line>, Place), Error> {
        self.clone().blocking(place, Wanted::all(), most).await
    }

    /// Keeps a line that was said at another place; the secrets that are known here are masked in it too.
    pub(crate) fn adopt(&self, line: &Line) {
        let text = self.own.current().text(&self.masks.current().text(&line.line));
        let line = Line { plugin: self.plugin.to_string(), line: text, ..line.clone() };
        if let Ok(mut bytes) = serde_json::to_vec(&line) {
            bytes.push(b'\n');
            self.append_all(&bytes, 1);
        }
    }

    async fn blocking(self: Arc<Self>, place: Place, wanted: Wanted, most: usize) -> Result<(Vec<Line>, Place), Error> {
        let read = tokio::task::spawn_blocking(move || self.read(place, &wanted, most)).await;
        let read = read.map_err(|_| Error::internal("reading a plugin's log broke off"))?;
        read.map_err(|error| Error::internal(format!("a plugin's log cannot be read: {}", with_causes(&error))))
    }

    fn read(&self, mut place: Place, wanted: &Wanted, most: usize) -> io::Result<(Vec<Line>, Place)> {
        let mut lines = Vec::new();
        let files = self.files()?;
        let oldest = files.first().map_or(0, |(number, _)| *number);
        if place.number > 0 && place.number < oldest {
            lines.push(self.warning("lines that this reader had not come to are gone: the log was full".to_owned()));
        }
        for (number, path) in files {
            if number < place.number {
                continue;
            }
            let offset = if number == place.number { place.offset } else { 0 };
            let mut file = match File::open(&path) {
                // It has grown too old meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            file.seek(SeekFrom::Start(offset))?;
            place = Place { number, offset };
            let mut reader = BufReader::new(file.take(2 * FILES.0));
            let mut text = Vec::new();
            loop {
                if lines.len() >= most {
                    return Ok((lines, place));
                }
                text.clear();
                let size = reader.read_until(b'\n', &mut text)?;
                // A line that is being written is read the next time.
                if text.last() != Some(&b'\n') {
                    break;
                }
                place.offset += size as u64;
                // A line that a power cut left half written is nobody's.
                let Ok(line) = serde_json::from_slice::<Line>(&text) else { continue };
                if wanted.takes(&line) {
                    lines.push(line);
                }
            }
        }
        Ok((lines, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(data: &Path) -> Arc<Journal> {
        Journal::open(data, Name::parse("fx").unwrap(), NodeName::parse("alpha").unwrap(), Masks::default())
    }

    fn said(source: Source) -> Said<'static> {
        Said { source, level: None, pid: Some(7), call: None }
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.line.as_str()).collect()
    }

    #[tokio::test]
    async fn lines_are_read_back_over_a_start_and_followed() {
        let data = tempfile::tempdir().unwrap();
        let first = journal(data.path());
        first.keep(said(Source::Stdout), "one");
        first.note("info", "two\nthree");
        drop(first);
        let second = journal(data.path());
        second.keep(said(Source::Stderr), "four");
        let wanted = Wanted { tail: 3, ..Wanted::all() };
        let (lines, place) = second.tail(wanted.clone()).await.unwrap();
        assert_eq!(texts(&lines), ["two", "three", "four"]);
        assert_eq!((lines[2].plugin.as_str(), lines[2].node.as_str(), lines[2].pid), ("fx", "alpha", Some(7)));
        let mut grown = second.grown();
        second.keep(said(Source::Stdout), "five");
        grown.changed().await.unwrap();
        let (lines, _) = second.after(place, wanted).await.unwrap();
        assert_eq!(texts(&lines), ["five"]);
        let only = Wanted { source: Some(Source::Node), ..Wanted::all() };
        assert_eq!(texts(&second.tail(only).await.unwrap().0), ["two", "three"]);
        second.remove().unwrap();
        assert!(second.tail(Wanted::all()).await.unwrap().0.is_empty());
    }

    #[tokio::test]
    async fn plg_61_secrets_are_masked_and_long_lines_are_kept_in_parts() {
        let data = tempfile::tempdir().unwrap();
        let journal = journal(data.path());
        journal.masks.set(Mask::of([&b"NONCE-NONCE"[..]]));
        journal.keep(said(Source::Stdout), "it is NONCE-NONCE");
        journal.keep(said(Source::Stdout), &"ä".repeat(MAX_LINE));
        let (lines, _) = journal.tail(Wanted::all()).await.unwrap();
        assert_eq!(lines[0].line, "it is ***");
        let parts: Vec<bool> = lines[1..].iter().map(|line| line.partial).collect();
        assert_eq!(parts, [true, false]);
        assert_eq!(lines[1..].iter().map(|line| line.line.as_str()).collect::<String>(), "ä".repeat(MAX_LINE));
    }

    #[tokio::test]
    async fn a_log_is_bounded() {
        let data = tempfile::tempdir().unwrap();
        let journal = journal(data.path());
        let line = "x".repeat(MAX_LINE);
        for _ in 0..(5 * FILES.0 / MAX_LINE as u64) {
            journal.keep(said(Source::Stdout), &line);
        }
        journal.keep(said(Source::Stdout), "last");
        let files = journal.files().unwrap();
        let size: u64 = files.iter().map(|(_, path)| path.metadata().unwrap().len()).sum();
        assert!(files.len() <= FILES.1 && size <= FILES.0 * FILES.1 as u64, "{files:?}");
        let (lines, _) = journal.tail(Wanted { tail: 1, ..Wanted::all() }).await.unwrap();
        assert_eq!(texts(&lines), ["last"]);
    }
}
