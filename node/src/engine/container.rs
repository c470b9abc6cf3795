//! A container as the engine's list shows it.

use std::{cell::RefCell, collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::fields::Fields;

/// A container's id: 64 hex digits in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(Arc<str>);

/// A text that is no container id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no container id: 64 hex digits are needed")]
pub struct InvalidContainerId(String);

impl ContainerId {
    /// The 64 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, as people know them.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl FromStr for ContainerId {
    type Err = InvalidContainerId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if valid { Ok(Self(text.into())) } else { Err(InvalidContainerId(text.chars().take(80).collect())) }
    }
}

impl TryFrom<String> for ContainerId {
    type Error = InvalidContainerId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContainerId({})", self.short())
    }
}

/// The engine's word for what a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Made, never started.
    Created,
    /// Its first process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Ended, and the engine will start it again.
    Restarting,
    /// Being removed.
    Removing,
    /// Ended.
    Exited,
    /// Could not be removed.
    Dead,
    /// A word that this version does not know.
    Unknown,
}

impl State {
    /// The engine's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        }
    }

    /// Reads the engine's word.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "created" => Self::Created,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "restarting" => Self::Restarting,
            "removing" => Self::Removing,
            "exited" => Self::Exited,
            "dead" => Self::Dead,
            _ => Self::Unknown,
        }
    }

    /// Whether it has processes: running or paused.
    #[must_use]
    pub fn has_processes(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The verdict of the engine's own health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// Within its start period.
    Starting,
    /// The last check passed.
    Healthy,
    /// As many checks in a row failed as were allowed.
    Unhealthy,
}

impl CheckStatus {
    /// The engine's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// Reads the engine's word; `none`, empty and unknown words are no verdict.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "starting" => Some(Self::Starting),
            "healthy" => Some(Self::Healthy),
            "unhealthy" => Some(Self::Unhealthy),
            _ => None,
        }
    }
}

/// One container of the engine's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its name, without the leading slash; the id's first 12 digits if the engine gives none.
    pub name: String,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
    /// What it is doing.
    pub state: State,
    /// The exit code of one that ended, where the list shows it.
    pub exit_code: Option<i64>,
    /// The image as it was named at creation.
    pub image: String,
    /// The image's id (`sha256:…`).
    pub image_id: Option<String>,
    /// When it was created.
    pub created_at: Option<OffsetDateTime>,
    /// The verdict of its health check, while it runs.
    pub health: Option<CheckStatus>,
}

/// The containers of one list, and what in it could not be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The containers, by id.
    pub containers: BTreeMap<ContainerId, Arc<Container>>,
    /// A line for each row that was passed over or is odd, bounded.
    pub warnings: Vec<String>,
}

/// Most containers that are taken from one list.
pub(super) const MAX_LISTED: usize = 100_000;
const MAX_WARNINGS: usize = 100;

impl Listing {
    /// Reads the engine's list; rows that cannot be used become warnings, the others are kept.
    pub(super) fn read(rows: &[Value]) -> Self {
        let mut listing = Self::default();
        if rows.len() > MAX_LISTED {
            listing.warn(format!("the engine lists {} containers; only {MAX_LISTED} are shown", rows.len()));
        }
        for row in rows.iter().take(MAX_LISTED) {
            match read(row) {
                Ok((container, notes)) => {
                    for note in notes {
                        listing.warn(format!("container {}: {note}", container.id.short()));
                    }
                    let id = container.id.clone();
                    if listing.containers.insert(id.clone(), Arc::new(container)).is_some() {
                        listing.warn(format!("the engine lists container {id} twice; the last row is taken"));
                    }
                }
                Err(error) => listing.warn(format!("the engine lists a container that is passed over: {error}")),
            }
        }
        listing
    }

    fn warn(&mut self, line: String) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(line);
        }
    }
}

fn read(row: &Value) -> Result<(Container, Vec<String>), InvalidContainerId> {
    let notes = RefCell::new(Vec::new());
    let fields = Fields::new(row, &notes);
    let id: ContainerId = fields.text("Id").unwrap_or_default().parse()?;
    let status = fields.text("Status").unwrap_or_default();
    let state = State::from_word(&fields.text("State").unwrap_or_default());
    let names = fields.texts("Names");
    // Legacy links show as further names with a second slash: the container's own has none.
    let own =
        names.iter().map(|name| name.trim_start_matches('/')).find(|name| !name.is_empty() && !name.contains('/'));
    if own.is_none() {
        notes.borrow_mut().push("it has no name; its id stands for it".to_owned());
    }
    let name = own.map_or_else(|| id.short().to_owned(), str::to_owned);
    let checked = fields.object("Health").words("Status").and_then(|word| CheckStatus::from_word(&word));
    let container = Container {
        name,
        labels: fields.map("Labels"),
        state,
        exit_code: exit_code(&status).filter(|_| state == State::Exited),
        image: fields.text("Image").unwrap_or_default(),
        image_id: fields.words("ImageID"),
        created_at: fields
            .integer("Created")
            .filter(|seconds| *seconds > 0)
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok()),
        health: checked.or_else(|| check_status(&status)).filter(|_| state.has_processes()),
        id,
    };
    Ok((container, notes.into_inner()))
}

/// Reads `Exited (137) 3 minutes ago`.
fn exit_code(status: &str) -> Option<i64> {
    status.strip_prefix("Exited (")?.split_once(')')?.0.parse().ok()
}

/// Reads the end of `Up 3 minutes (healthy)`: engines before 29 show the verdict only there.
fn check_status(status: &str) -> Option<CheckStatus> {
    let word = status.strip_suffix(')')?.rsplit_once('(')?.1;
    CheckStatus::from_word(word.strip_prefix("health: ").unwrap_or(word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_row_is_read() {
        let listing = Listing::read(&[json!({"Id": ID, "Names": ["/other/alias", "/web"], "Image": "busybox",
            "ImageID": "sha256:1", "State": "exited", "Status": "Exited (137) 3 minutes ago", "Created": 1_700_000_000,
            "Labels": {"a": "b", "bad": 3}})]);
        let container = listing.containers.values().next().unwrap();
        assert_eq!(container.name, "web");
        assert_eq!(container.exit_code, Some(137));
        assert_eq!(container.labels.len(), 1);
        assert!(listing.warnings.is_empty(), "{:?}", listing.warnings);
    }

    #[test]
    fn health_is_read_from_the_status_line() {
        assert_eq!(check_status("Up 2 minutes (healthy)"), Some(CheckStatus::Healthy));
        assert_eq!(check_status("Up 2 minutes (health: starting)"), Some(CheckStatus::Starting));
        assert_eq!(check_status("Up 2 minutes (unhealthy)"), Some(CheckStatus::Unhealthy));
        assert_eq!(check_status("Up 2 minutes (Paused)"), None);
        assert_eq!(check_status("Up 2 minutes"), None);
    }

    #[test]
    fn bad_63_odd_rows_become_warnings_and_the_others_are_listed() {
        let good = ID.replace('0', "1");
        let listing = Listing::read(&[
            json!({"Id": ID, "Names": [], "Created": -5}),
            json!({"Id": ID, "Names": ["/a", "/b"]}),
            json!({"Id": "../../etc", "Names": ["/c"]}),
            json!(null),
            json!([1, 2]),
            json!({"Id": good, "Names": ["/d"], "State": "running", "Labels": 7}),
        ]);
        assert_eq!(listing.containers.len(), 2);
        assert!(listing.containers.values().any(|container| container.name == "d"));
        assert!(listing.containers.values().all(|container| container.created_at.is_none()));
        assert_eq!(listing.warnings.len(), 6, "{:?}", listing.warnings);
    }
}
