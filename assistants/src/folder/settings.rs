//! The file `assistant.toml`.

use std::{path::Path, time::Duration};

use aigis_proxy::{Error, services::steps::Limits, text_file};
use aigis_registry::toml_file::{self, Table};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::selection;

const KEYS: [&str; 8] = ["description", "detect", "step_timeout", "network", "deterministic", "memory", "cpus", "user"];
/// Least and most bytes of memory.
const MEMORY: std::ops::RangeInclusive<u64> = 6 * 1024 * 1024..=1024 * 1024 * 1024 * 1024;
/// Most processors.
const CPUS: f64 = 1_024.0;
/// Longest time of a step.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What an assistant's containers reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// What any container reaches.
    #[default]
    Full,
    /// Nothing.
    None,
}

/// What an `assistant.toml` says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What it does, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Globs of paths of apps that it is made for; one that begins with `!` must not match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub detect: Vec<String>,
    /// How long a step may take, in seconds; as usual if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_timeout_s: Option<u64>,
    /// What it reaches.
    pub network: Network,
    /// Whether the same inputs give the same outputs.
    pub deterministic: bool,
    /// Most bytes of memory; as usual if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Most processors; as many as there are if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Whether it will ask the user.
    pub user: bool,
}

impl Settings {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// `invalid_argument` with the file, the line and the key that cannot be used.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = text_file::read(path).map_err(|error| super::invalid(&error).with("file", super::SETTINGS))?;
        Self::parse(path, &text)
    }

    /// As [`Settings::read`], of a file whose text is there already.
    ///
    /// # Errors
    ///
    /// As [`Settings::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        toml_file::parse(path, text, &KEYS, Self::of_table)
            .map_err(|error| super::invalid(&error).with("file", super::SETTINGS))
    }

    fn of_table(root: Table<'_>) -> Result<Self, text_file::Error> {
        let network = |text: &str| match text {
            "full" => Ok(Network::Full),
            "none" => Ok(Network::None),
            _ => Err("write \"full\" or \"none\""),
        };
        let detect = |text: &str| {
            let glob = text.strip_prefix('!').unwrap_or(text);
            selection::glob(glob).map(|_| text.to_owned()).map_err(|error| error.kind().to_string())
        };
        let detect = root.texts("detect", detect)?.unwrap_or_default();
        if !detect.is_empty() && detect.iter().all(|glob| glob.starts_with('!')) {
            return Err(root.refuse("detect", "at least one glob must stand there that does not begin with !"));
        }
        Ok(Self {
            description: root.text("description", |text| Ok::<_, String>(text.trim().to_owned()))?,
            detect,
            step_timeout_s: root.text("step_timeout", timeout)?,
            network: root.text("network", network)?.unwrap_or_default(),
            deterministic: root.flag("deterministic")?.unwrap_or_default(),
            memory_bytes: root.text("memory", memory)?,
            cpus: root.number("cpus", 0.01..=CPUS)?,
            user: root.flag("user")?.unwrap_or_default(),
        })
    }

    /// What stands in an assistant's record.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for what no version of this product wrote.
    pub fn of_json(value: &Value) -> Result<Self, Error> {
        if value.is_null() {
            return Ok(Self::default());
        }
        Self::deserialize(value)
            .map_err(|error| Error::invalid(format!("settings: {}", aigis_proxy::quoted_within(&error.to_string()))))
    }

    /// What is written into an assistant's record.
    #[must_use]
    pub fn to_json(&self) -> Value {
        // Nothing in it lacks a JSON form.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// What its steps may use.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { memory_bytes: self.memory_bytes, cpus: self.cpus, pids: None }
    }

    /// Whether its steps reach a network.
    #[must_use]
    pub fn has_network(&self) -> bool {
        self.network == Network::Full
    }
}

/// A span of time: `90s`, `30m`, `2h`.
fn timeout(text: &str) -> Result<u64, String> {
    let expected =
        || format!("write a span of time from 1s to {}h: \"90s\", \"30m\", \"2h\"", LONGEST.as_secs() / 3_600);
    let (number, unit) = split(text);
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(expected()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    seconds.filter(|seconds| (1..=LONGEST.as_secs()).contains(seconds)).ok_or_else(expected)
}

/// An amount of memory: `256m`, `2g`, `512MiB`.
fn memory(text: &str) -> Result<u64, String> {
    let expected = || "write an amount of memory from 6m to 1024g: \"256m\", \"2g\"".to_owned();
    let (number, unit) = split(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return Err(expected()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes.filter(|bytes| MEMORY.contains(bytes)).ok_or_else(expected)
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    (number, unit.trim())
}
