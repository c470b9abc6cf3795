//! The ids that were issued, kept in the data directory: an id is good for a while, for one container, once.
//!
//! The file is replaced by a rename, so a crash leaves the old or the new one. A deed is marked before it is done: a
//! crash in the middle never does it twice.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use aigis_proxy::Name;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::Mutex;

use super::proposal::{Change, Kind};
use crate::{engine::ContainerId, home};

/// How long a proposal holds.
pub(super) const PROPOSAL: Duration = Duration::from_secs(10 * 60);
/// How long an applied proposal can be taken back.
pub(super) const UNDO: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an id that can no longer be applied is known as such.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Most ids that are kept; the oldest go first.
const MOST: usize = 4096;
const MOST_BYTES: u64 = 16 * 1024 * 1024;
const FILE: &str = "proposals.json";

/// An id that was issued.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Whose container it is for.
    pub(super) ci: Name,
    /// By which it is applied.
    pub(super) id: String,
    /// Which container it is for.
    pub(super) container: ContainerId,
    /// The kind of proposal; of an undo, [`Kind::Undo`].
    pub(super) kind: Kind,
    /// What is undone, for an undo.
    pub(super) undoes: Option<Kind>,
    /// What changes. Holds no secret: an action's own command is read from its label again.
    pub(super) change: Change,
    /// Until when it can be applied, in seconds since 1970.
    pub(super) expires_at_s: i64,
    /// Whether it was applied, or was about to be.
    pub(super) applied: bool,
}

/// Why an id cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("\"{id}\" was never issued for this container")]
    Unknown { id: String },
    #[error("\"{id}\" has expired")]
    Expired { id: String },
    #[error("\"{id}\" was for a former container of this name")]
    Former { id: String },
    #[error("\"{id}\" was applied already")]
    Applied { id: String },
}

/// A ledger that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the issued proposals cannot be kept in {}", path.display())]
pub struct Error {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl From<Error> for aigis_proxy::Error {
    fn from(error: Error) -> Self {
        let Error { path, source } = &error;
        Self::internal(format!("{error}: {source}"))
            .hint(format!("see that {} can be written and is not full", path.parent().unwrap_or(path).display()))
    }
}

/// The ids that were issued on this node.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    entries: Mutex<BTreeMap<(Name, String), Entry>>,
}

impl Ledger {
    /// Opens the ledger of that data directory. One that cannot be read is set aside: its ids are asked for again.
    #[must_use]
    pub fn open(data: &Path) -> Self {
        let path = data.join(FILE);
        let entries = match read(&path) {
            Ok(entries) => entries,
            Err(error) => {
                let aside = path.with_extension("json.unreadable");
                tracing::warn!(%error, path = %path.display(), "issued proposals cannot be read, and are set aside");
                if let Err(error) = fs::rename(&path, &aside) {
                    tracing::warn!(%error, "and they cannot be set aside");
                }
                Vec::new()
            }
        };
        let entries = entries.into_iter().map(|entry| ((entry.ci.clone(), entry.id.clone()), entry)).collect();
        Self { path, entries: Mutex::new(entries) }
    }

    /// Issues ids; one that was issued before is good again. Durable when it returns.
    ///
    /// # Errors
    ///
    /// Says so if the file cannot be written.
    pub(super) async fn issue(&self, issued: Vec<Entry>, now: OffsetDateTime) -> Result<(), Error> {
        if issued.is_empty() {
            return Ok(());
        }
        let mut entries = self.entries.lock().await;
        for entry in issued {
            entries.insert((entry.ci.clone(), entry.id.clone()), entry);
        }
        prune(&mut entries, now);
        self.write(&entries).await
    }

    /// The entry of an id that can be applied to that container now.
    ///
    /// # Errors
    ///
    /// Says why it cannot.
    pub(super) async fn find(
        &self,
        ci: &Name,
        container: &ContainerId,
        id: &str,
        now: OffsetDateTime,
    ) -> Result<Entry, Refusal> {
        let entries = self.entries.lock().await;
        let shown = || aigis_proxy::quoted(id);
        let Some(entry) = entries.get(&(ci.clone(), id.to_owned())) else {
            return Err(Refusal::Unknown { id: shown() });
        };
        if entry.container != *container {
            Err(Refusal::Former { id: shown() })
        } else if entry.applied {
            Err(Refusal::Applied { id: shown() })
        } else if entry.expires_at_s <= now.unix_timestamp() {
            Err(Refusal::Expired { id: shown() })
        } else {
            Ok(entry.clone())
        }
    }

    /// Marks an id as applied, or takes the mark back when nothing was done. Durable when it returns.
    ///
    /// # Errors
    ///
    /// Says so if the file cannot be written.
    pub(super) async fn mark(&self, entry: &Entry, applied: bool) -> Result<(), Error> {
        let mut entries = self.entries.lock().await;
        let key = (entry.ci.clone(), entry.id.clone());
        entries.entry(key).or_insert_with(|| entry.clone()).applied = applied;
        self.write(&entries).await
    }

    /// Writes all entries; the caller holds the lock, so the newest state is what stays.
    async fn write(&self, entries: &BTreeMap<(Name, String), Entry>) -> Result<(), Error> {
        let all: Vec<&Entry> = entries.values().collect();
        let failed = |source| Error { path: self.path.clone(), source };
        let bytes = serde_json::to_vec(&all).map_err(|error| failed(error.into()))?;
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || home::write_whole(&path, &bytes)).await;
        written.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(failed)
    }
}

/// Drops what is long past, and the oldest above the bound.
fn prune(entries: &mut BTreeMap<(Name, String), Entry>, now: OffsetDateTime) {
    entries.retain(|_, entry| entry.expires_at_s.saturating_add(REMEMBERED.as_secs() as i64) > now.unix_timestamp());
    if entries.len() <= MOST {
        return;
    }
    let mut ages: Vec<_> = entries.iter().map(|(key, entry)| (entry.expires_at_s, key.clone())).collect();
    ages.sort();
    for (_, key) in ages.into_iter().take(entries.len() - MOST) {
        entries.remove(&key);
    }
}

fn read(path: &Path) -> io::Result<Vec<Entry>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    // A row of a newer version that this one does not know costs itself alone.
    let rows: Vec<Value> = serde_json::from_slice(&bytes)?;
    let all = rows.len();
    let known: Vec<Entry> = rows.into_iter().filter_map(|row| serde_json::from_value(row).ok()).take(MOST).collect();
    if known.len() < all {
        let left_out = all - known.len();
        tracing::warn!(left_out, path = %path.display(), "some issued proposals cannot be read; their ids are not known");
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn container(digit: char) -> ContainerId {
        digit.to_string().repeat(64).parse().unwrap()
    }

    fn entry(ci: &str, id: &str, expires_at: OffsetDateTime) -> Entry {
        Entry {
            ci: Name::parse(ci).unwrap(),
            id: id.into(),
            container: container('a'),
            kind: Kind::RaisePidsLimit,
            undoes: None,
            change: Change { before: Value::from(1), after: Value::from(2) },
            expires_at_s: expires_at.unix_timestamp(),
            applied: false,
        }
    }

    #[tokio::test]
    async fn ci_48_an_id_is_good_for_one_container_for_a_while_and_once() {
        let directory = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::now_utc();
        let ledger = Ledger::open(directory.path());
        let made = entry("web", "x-1", now + PROPOSAL);
        ledger.issue(vec![made.clone()], now).await.unwrap();
        let web = Name::parse("web").unwrap();
        // What is kept is kept over a restart of the node.
        let ledger = Ledger::open(directory.path());
        assert_eq!(ledger.find(&web, &container('a'), "x-1", now).await.unwrap(), made);
        let found = async |ci: &str, of: char, id: &str, at| {
            ledger.find(&Name::parse(ci).unwrap(), &container(of), id, at).await
        };
        assert!(matches!(found("web", 'a', "bogus", now).await, Err(Refusal::Unknown { .. })));
        assert!(matches!(found("api", 'a', "x-1", now).await, Err(Refusal::Unknown { .. })));
        assert!(matches!(found("web", 'b', "x-1", now).await, Err(Refusal::Former { .. })));
        assert!(matches!(found("web", 'a', "x-1", now + PROPOSAL).await, Err(Refusal::Expired { .. })));
        ledger.mark(&made, true).await.unwrap();
        assert!(matches!(found("web", 'a', "x-1", now).await, Err(Refusal::Applied { .. })));
        let again = Ledger::open(directory.path());
        assert!(matches!(again.find(&web, &container('a'), "x-1", now).await, Err(Refusal::Applied { .. })));
        again.issue(vec![made.clone()], now).await.unwrap();
        assert!(again.find(&web, &container('a'), "x-1", now).await.is_ok());
    }

    #[tokio::test]
    async fn the_ledger_is_bounded_and_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::now_utc();
        let ledger = Ledger::open(directory.path());
        let many = (0..MOST + 10).map(|n| entry("web", &format!("x-{n}"), now + HOUR + Duration::from_secs(n as u64)));
        ledger.issue(many.collect(), now).await.unwrap();
        ledger.issue(vec![entry("web", "new", now + UNDO)], now).await.unwrap();
        let entries = ledger.entries.lock().await;
        assert_eq!(entries.len(), MOST);
        let has = |id: &str| entries.contains_key(&(Name::parse("web").unwrap(), id.to_owned()));
        assert!(has("new") && !has("x-0") && has(&format!("x-{}", MOST + 9)));
        drop(entries);
        ledger.issue(vec![entry("web", "last", now + UNDO * 30)], now + REMEMBERED + UNDO * 2).await.unwrap();
        assert_eq!(ledger.entries.lock().await.len(), 1);
    }

    #[tokio::test]
    async fn a_damaged_ledger_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), b"[{\"ci\": 1}, ").unwrap();
        let ledger = Ledger::open(directory.path());
        assert!(ledger.entries.lock().await.is_empty());
        assert!(directory.path().join("proposals.json.unreadable").exists());
    }
}
