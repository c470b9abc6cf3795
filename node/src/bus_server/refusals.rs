//! What the supervised bus server refuses, put on record.
//!
//! The server tells a refusal to the client that it refuses, and to its log; nobody else hears of it. So its log is read
//! here as it grows, line by line, and whoever was turned away or tried what its role has not stands in the audit, by the
//! key that the server knows it by. Who floods the log is counted: the journal bounds the lines of one caller, and a look
//! the bytes that it reads.

use std::{
    collections::HashMap,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aigis_proxy::{Role, UserName, dispatch::Journal, subject::Caller, task};
use aigis_registry::{Cache, Snapshot, audit::AuditJournal};
use serde::{Deserialize, Serialize};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
    time::{MissedTickBehavior, interval},
};

use crate::home;

/// How often the log is looked at: a refusal is on record within 5 s.
const LOOK: Duration = Duration::from_secs(1);
/// How many bytes one look reads at most.
const MOST: usize = 4 * 1024 * 1024;
/// As whom stands on record who was never let in: a reserved word, which no user bears.
const STRANGER: &str = "none";

/// Reads the server's log and puts what it refused on record, until the returned task is dropped. Where it stands is kept
/// beside the log, so that the next start goes on from there.
#[must_use]
pub(crate) fn note(log: PathBuf, journal: Arc<AuditJournal>, cache: Cache) -> task::Owned {
    task::Owned::spawn("refusals", async move {
        let Ok(name) = UserName::parse(STRANGER) else { return };
        let stranger = Caller { role: Role::Join, name };
        let mut tail = Tail::new(log).await;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let text = match tail.read().await {
                Ok(text) if text.is_empty() => continue,
                Ok(text) => text,
                Err(error) => {
                    tracing::debug!(%error, "the bus server's log cannot be read");
                    continue;
                }
            };
            let users = by_key(&cache.snapshot());
            for refusal in text.lines().filter_map(Refusal::read) {
                let caller = refusal.key.and_then(|key| users.get(key)).unwrap_or(&stranger);
                journal.refused(caller, refusal.what(), &refusal.reason()).await;
            }
            tail.keep().await;
        }
    })
}

/// The users of the mesh by their public keys.
fn by_key(snapshot: &Snapshot) -> HashMap<String, Caller> {
    let caller = |role: Role, name: &UserName| Caller { role, name: name.clone() };
    snapshot.users().map(|user| (user.public_key.clone(), caller(user.role, &user.name))).collect()
}

/// A line of the log that tells of a refusal.
#[derive(Debug, PartialEq, Eq)]
struct Refusal<'a> {
    /// Where the client came from.
    address: &'a str,
    /// The public key that it logged in with, if it did.
    key: Option<&'a str>,
    /// The server's words, in which what came from the client is quoted and escaped.
    words: &'a str,
}

impl<'a> Refusal<'a> {
    /// Reads `[PID] DATE TIME [ERR] ADDRESS - cid:N - "NAME" - "ACCOUNT/TAG/jwt:KEY" - WORDS`; the two in quotes are
    /// absent where the client had not logged in. The client chooses its name: it is skipped as the quoted text that it
    /// is, whatever it looks like.
    fn read(line: &'a str) -> Option<Self> {
        let (_, rest) = line.split_once("] ")?.1.split_once(" [ERR] ")?;
        let (address, rest) = rest.split_once(" - cid:")?;
        let (_, mut words) = rest.split_once(" - ")?;
        let mut quoted = Vec::new();
        while quoted.len() < 2
            && let Some((text, rest)) = unquote(words)
            && let Some(rest) = rest.strip_prefix(" - ")
        {
            quoted.push(text);
            words = rest;
        }
        let key = quoted.get(1).and_then(|who| who.rsplit_once("/jwt:")).map(|(_, key)| key);
        Some(Self { address, key, words })
    }

    /// What was asked for.
    fn what(&self) -> &'static str {
        match self.words {
            words if words.starts_with("Publish Violation") => "bus.publish",
            words if words.starts_with("Subscription Violation") => "bus.subscribe",
            words if words.starts_with("authentication") => "bus.login",
            _ => "bus.connection",
        }
    }

    fn reason(&self) -> String {
        let words: String = self.words.chars().filter(|c| !c.is_control()).collect();
        match self.key {
            Some(key) => format!("the bus, to {key} at {}: {words}", self.address),
            None => format!("the bus, to {}: {words}", self.address),
        }
    }
}

/// The text in the quotes with which `text` begins, and what follows them.
fn unquote(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = inner.bytes().position(|byte| {
        let is_end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end
    })?;
    Some((&inner[..end], &inner[end + 1..]))
}

/// Where the reading of the log stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// The file: the server puts a full one away under another name.
    inode: u64,
    /// The first byte that was not read.
    offset: u64,
}

/// The end of the log, as far as it was not read.
struct Tail {
    log: PathBuf,
    file: Option<File>,
    place: Place,
    /// A line without its end.
    rest: Vec<u8>,
}

impl Tail {
    async fn new(log: PathBuf) -> Self {
        let kept = tokio::fs::read(kept_in(&log)).await.ok();
        let place = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { log, file: None, place, rest: Vec::new() }
    }

    /// The whole lines that have come since, up to the bound of a look.
    async fn read(&mut self) -> io::Result<String> {
        if self.file.is_none() {
            self.open().await?;
        }
        let Some(file) = &mut self.file else { return Ok(String::new()) };
        let mut bytes = std::mem::take(&mut self.rest);
        let read = file.take(MOST as u64).read_to_end(&mut bytes).await?;
        self.place.offset += read as u64;
        if read == 0 && tokio::fs::metadata(&self.log).await?.ino() != self.place.inode {
            // It was put away, and nothing more comes there.
            self.file = None;
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.rest = bytes.split_off(whole);
        // A line without end is none of the server's.
        self.rest.truncate(MOST);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Opens the log that is there, where the reading of it stands.
    async fn open(&mut self) -> io::Result<()> {
        let mut file = File::open(&self.log).await?;
        let metadata = file.metadata().await?;
        if metadata.ino() != self.place.inode || metadata.len() < self.place.offset {
            self.place = Place { inode: metadata.ino(), offset: 0 };
        }
        file.seek(io::SeekFrom::Start(self.place.offset)).await?;
        self.file = Some(file);
        Ok(())
    }

    /// Notes where the reading stands, once what was read is on record.
    async fn keep(&self) {
        let Place { inode, offset } = self.place;
        let place = Place { inode, offset: offset.saturating_sub(self.rest.len() as u64) };
        let (path, bytes) = (kept_in(&self.log), serde_json::to_vec(&place).unwrap_or_default());
        let written = tokio::task::spawn_blocking(move || home::write_whole(&path, &bytes)).await;
        if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::debug!(%error, "the place in the bus server's log cannot be kept; lines may be noted twice");
        }
    }
}

fn kept_in(log: &Path) -> PathBuf {
    log.with_extension("read.json")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const KEY: &str = "UCCT6IOMH63MFHJPN5KYX52TBA5Q7RLAEDGZ36LCOOXTPB6JFTLJFKG5";

    fn line(name: &str, words: &str) -> String {
        format!("[7] 2026/11/21 22:49:28.917130 [ERR] 127.0.0.1:4 - cid:5 - {name} - \"AA/main/jwt:{KEY}\" - {words}")
    }

    #[test]
    fn r_32_a_refusal_names_the_key_whatever_the_client_calls_itself() {
        let other = r#""evil \"x\" - \"AA/main/jwt:UOTHER\" - Publish Violation - Subject \"z\"""#;
        for name in ["\"nats.rs\"", "\"\"", "\"a \\\\\"", other] {
            let line = line(name, r#"Publish Violation - Subject "aigis.v1.main.x""#);
            let refusal = Refusal::read(&line).unwrap();
            assert_eq!((refusal.address, refusal.key, refusal.what()), ("127.0.0.1:4", Some(KEY), "bus.publish"));
            assert_eq!(refusal.words, r#"Publish Violation - Subject "aigis.v1.main.x""#);
        }
    }

    #[test]
    fn r_32_what_else_the_log_says_is_told_apart() {
        let head = "[7] 2026/11/21 22:49:29.412233";
        let read = |words: &str| Refusal::read(words).map(|refusal| (refusal.key.is_some(), refusal.what()));
        assert_eq!(read(&format!("{head} [ERR] 1.2.3.4:5 - cid:8 - authentication error")), Some((false, "bus.login")));
        let queue = r#"Subscription Violation - Subject "q.>", Queue: "grp", SID 2"#;
        assert_eq!(read(&line("\"x\"", queue)), Some((true, "bus.subscribe")));
        let large = "maximum payload exceeded: 9000000 vs 1048576";
        assert_eq!(read(&line("\"x\"", large)), Some((true, "bus.connection")));
        for none in
            ["[INF] Server is ready", "[WRN] 1.2.3.4:5 - cid:8 - slow", "[ERR] no client", "[ERR] x - cid:8", ""]
        {
            assert_eq!(read(&format!("{head} {none}")), None, "{none}");
        }
    }

    proptest::proptest! {
        #[test]
        fn r_32_no_line_is_too_odd(line in ".{0,200}") {
            let _ = Refusal::read(&line);
            let _ = Refusal::read(&format!("[7] a b [ERR] {line}"));
        }
    }

    #[tokio::test]
    async fn r_32_the_log_is_read_on_over_its_turn_and_over_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("server.log");
        let write = |text: &str| {
            let opened = std::fs::OpenOptions::new().append(true).create(true).open(&log);
            opened.and_then(|mut file| file.write_all(text.as_bytes())).unwrap();
        };
        write("one\ntw");
        let mut tail = Tail::new(log.clone()).await;
        assert_eq!(tail.read().await.unwrap(), "one\n");
        tail.keep().await;
        write("o\n");
        let mut next = Tail::new(log.clone()).await;
        assert_eq!(next.read().await.unwrap(), "two\n", "the next start");
        assert_eq!(tail.read().await.unwrap(), "two\n");

        std::fs::rename(&log, directory.path().join("server.log.1")).unwrap();
        write("three\n");
        let mut read = String::new();
        for _ in 0..3 {
            read += &tail.read().await.unwrap();
        }
        assert_eq!(read, "three\n", "a new file");
    }
}
