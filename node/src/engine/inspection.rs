//! Everything the engine knows of one container, read as hostile.

use std::{cell::RefCell, collections::BTreeMap};

use serde_json::Value;
use time::OffsetDateTime;

use super::{
    container::{CheckStatus, ContainerId, State},
    fields::Fields,
};

/// A limit above this is none: the kernel's own "no limit" is near 2⁶³.
const NO_LIMIT: u64 = 1 << 60;

/// A port inside a container: `80/tcp`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// Its number.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

impl Port {
    fn read(text: &str) -> Option<Self> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        Some(Self { port: port.parse().ok()?, protocol: protocol.to_owned() })
    }
}

/// A port of the host that leads to a port of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The port inside.
    pub port: Port,
    /// The host's address; `0.0.0.0` or `::` for all.
    pub host_address: String,
    /// The host's port.
    pub host_port: u16,
}

/// What the engine does when the container ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestartPolicy {
    /// `no`, `always`, `unless-stopped` or `on-failure`.
    pub name: String,
    /// How often `on-failure` tries, 0 for without end.
    pub maximum_retries: u64,
}

/// One network that the container is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The network's name.
    pub name: String,
    /// The container's IPv4 address there.
    pub ip_address: Option<String>,
    /// The container's IPv6 address there.
    pub ipv6_address: Option<String>,
    /// Its hardware address there.
    pub mac_address: Option<String>,
    /// The gateway there.
    pub gateway: Option<String>,
    /// Its names there.
    pub aliases: Vec<String>,
}

/// One directory or file that is mounted into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `bind`, `volume`, `tmpfs` and the like.
    pub kind: String,
    /// The volume's name.
    pub name: Option<String>,
    /// The path on the host.
    pub source: Option<String>,
    /// The path in the container.
    pub destination: String,
    /// Whether the container may write there.
    pub writable: bool,
}

/// The engine's health check, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its verdict.
    pub status: CheckStatus,
    /// How many times in a row it failed.
    pub failing_streak: u64,
    /// The exit code of the last run.
    pub last_exit_code: Option<i64>,
    /// What the last run printed.
    pub last_output: Option<String>,
    /// When the last run ended.
    pub last_checked_at: Option<OffsetDateTime>,
}

/// Everything that is known of one container. What the engine does not say is `None` or empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// Its id.
    pub id: ContainerId,
    /// Its name, without the leading slash.
    pub name: String,
    /// What it is doing.
    pub state: State,
    /// The exit code; `None` while it has processes or never ran.
    pub exit_code: Option<i64>,
    /// Whether the kernel killed it for memory.
    pub oom_killed: bool,
    /// The engine's own error about it.
    pub error: Option<String>,
    /// When it was created.
    pub created_at: Option<OffsetDateTime>,
    /// When it was last started.
    pub started_at: Option<OffsetDateTime>,
    /// When it last ended; `None` while it has processes.
    pub finished_at: Option<OffsetDateTime>,
    /// How often its restart policy started it again.
    pub restart_count: u64,
    /// The image as it was named at creation.
    pub image: Option<String>,
    /// The image's id.
    pub image_id: Option<String>,
    /// Its first process, as the host numbers it; `None` if there is none.
    pub pid: Option<u32>,
    /// Whether it has a terminal: its output is one stream then.
    pub tty: bool,
    /// The first words of its command line.
    pub command: Vec<String>,
    /// Its log driver.
    pub log_driver: Option<String>,
    /// The log driver's options.
    pub log_options: BTreeMap<String, String>,
    /// Where a `json-file` log lies on the host.
    pub log_path: Option<String>,
    /// `KEY=VALUE` lines. Secrets: never shown or recorded.
    pub env: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The ports that its image or creator declared, sorted.
    pub exposed: Vec<Port>,
    /// The ports that the host leads to it.
    pub published: Vec<Published>,
    /// The memory limit in bytes.
    pub memory_limit: Option<u64>,
    /// Memory and swap together, in bytes.
    pub memory_swap_limit: Option<u64>,
    /// CPU time in microseconds per period.
    pub cpu_quota: Option<u64>,
    /// The period in microseconds.
    pub cpu_period: Option<u64>,
    /// CPUs in billionths.
    pub nano_cpus: Option<u64>,
    /// Most processes.
    pub pids_limit: Option<u64>,
    /// What the engine does when it ends.
    pub restart_policy: RestartPolicy,
    /// `bridge`, `host`, `none`, `container:…`, or a network's name.
    pub network_mode: Option<String>,
    /// The networks that it is on, sorted by name.
    pub networks: Vec<Network>,
    /// What is mounted into it.
    pub mounts: Vec<Mount>,
    /// The engine's health check, if there is one.
    pub health: Option<Check>,
    /// Why a value is missing that should be there.
    pub notes: Vec<String>,
    /// The engine's answer as it came. It holds secrets: redact before showing it.
    pub raw: Value,
}

impl Inspection {
    /// How many CPUs it may use, from its quota or its CPU limit.
    #[must_use]
    pub fn limit_cpus(&self) -> Option<f64> {
        if let Some(nano) = self.nano_cpus {
            return Some(nano as f64 / 1e9);
        }
        self.cpu_quota.map(|quota| quota as f64 / self.cpu_period.unwrap_or(100_000) as f64)
    }

    /// Whether it shares the host's network.
    #[must_use]
    pub fn on_host_network(&self) -> bool {
        self.network_mode.as_deref() == Some("host")
    }

    /// Whether the engine can read its log back.
    #[must_use]
    pub fn log_is_readable(&self) -> bool {
        self.log_driver.as_deref() != Some("none")
    }

    /// Reads the engine's answer.
    ///
    /// # Errors
    ///
    /// Says so if the answer is no object with a container id.
    pub(crate) fn read(raw: Value) -> Result<Self, String> {
        let notes = RefCell::new(Vec::new());
        let mut read = Self::fields(&raw, &notes)?;
        read.notes = notes.into_inner();
        read.raw = raw;
        Ok(read)
    }

    fn fields(raw: &Value, notes: &RefCell<Vec<String>>) -> Result<Self, String> {
        let top = Fields::new(raw, notes);
        let (state, config) = (top.object("State"), top.object("Config"));
        let (host, settings) = (top.object("HostConfig"), top.object("NetworkSettings"));
        let (log, policy) = (host.object("LogConfig"), host.object("RestartPolicy"));
        let id: ContainerId = match top.text("Id") {
            Some(text) => text.parse().map_err(|error: super::InvalidContainerId| error.to_string())?,
            None => return Err("it has no container id".to_owned()),
        };
        let doing = State::from_word(&state.text("Status").unwrap_or_default());
        let started_at = state.instant("StartedAt");
        let ended = !doing.has_processes() && started_at.is_some();
        let mut command: Vec<String> = top.words("Path").into_iter().collect();
        command.extend(top.texts("Args"));
        let mut exposed: Vec<Port> =
            config.entries("ExposedPorts").into_iter().filter_map(|(text, _)| Port::read(text)).collect();
        exposed.sort();
        Ok(Self {
            name: top
                .text("Name")
                .map_or_else(|| id.short().to_owned(), |name| name.trim_start_matches('/').to_owned()),
            id,
            state: doing,
            exit_code: state.integer("ExitCode").filter(|_| ended),
            oom_killed: state.flag("OOMKilled").unwrap_or(false),
            error: state.words("Error"),
            created_at: top.instant("Created"),
            started_at,
            finished_at: state.instant("FinishedAt").filter(|_| ended),
            restart_count: top.positive("RestartCount").unwrap_or(0),
            image: config.words("Image"),
            image_id: top.words("Image"),
            pid: state.positive("Pid").and_then(|pid| i32::try_from(pid).ok()).map(i32::unsigned_abs),
            tty: config.flag("Tty").unwrap_or(false),
            command,
            log_driver: log.words("Type"),
            log_options: log.map("Config"),
            log_path: top.words("LogPath"),
            env: config.texts("Env"),
            labels: config.map("Labels"),
            exposed,
            published: published(&settings),
            memory_limit: host.positive("Memory").filter(|limit| *limit < NO_LIMIT),
            memory_swap_limit: host.positive("MemorySwap").filter(|limit| *limit < NO_LIMIT),
            cpu_quota: host.positive("CpuQuota"),
            cpu_period: host.positive("CpuPeriod"),
            nano_cpus: host.positive("NanoCpus"),
            pids_limit: host.positive("PidsLimit"),
            restart_policy: RestartPolicy {
                name: policy.words("Name").unwrap_or_else(|| "no".to_owned()),
                maximum_retries: policy.positive("MaximumRetryCount").unwrap_or(0),
            },
            network_mode: host.words("NetworkMode"),
            networks: networks(&settings, notes),
            mounts: top.array("Mounts").iter().filter_map(|mount| read_mount(mount, notes)).collect(),
            health: check(&state, notes),
            notes: Vec::new(),
            raw: Value::Null,
        })
    }
}

fn published(settings: &Fields<'_>) -> Vec<Published> {
    let mut found = Vec::new();
    for (inside, bindings) in settings.entries("Ports") {
        let Some(port) = Port::read(inside) else { continue };
        for binding in bindings.as_array().into_iter().flatten() {
            let host_port = binding.get("HostPort").and_then(Value::as_str).and_then(|text| text.parse().ok());
            let Some(host_port) = host_port else { continue };
            let address = binding.get("HostIp").and_then(Value::as_str).filter(|address| !address.is_empty());
            let host_address = address.unwrap_or("0.0.0.0").to_owned();
            found.push(Published { port: port.clone(), host_address, host_port });
        }
    }
    found.sort_by(|a, b| (&a.port, &a.host_address, a.host_port).cmp(&(&b.port, &b.host_address, b.host_port)));
    found
}

fn networks(settings: &Fields<'_>, notes: &RefCell<Vec<String>>) -> Vec<Network> {
    let mut found: Vec<Network> = settings
        .entries("Networks")
        .into_iter()
        .map(|(name, value)| {
            let fields = Fields::new(value, notes);
            Network {
                name: name.clone(),
                ip_address: fields.words("IPAddress"),
                ipv6_address: fields.words("GlobalIPv6Address"),
                mac_address: fields.words("MacAddress"),
                gateway: fields.words("Gateway"),
                aliases: fields.texts("Aliases"),
            }
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn read_mount(value: &Value, notes: &RefCell<Vec<String>>) -> Option<Mount> {
    let fields = Fields::new(value, notes);
    Some(Mount {
        kind: fields.words("Type").unwrap_or_else(|| "unknown".to_owned()),
        name: fields.words("Name"),
        source: fields.words("Source"),
        destination: fields.words("Destination")?,
        writable: fields.flag("RW").unwrap_or(false),
    })
}

fn check(state: &Fields<'_>, notes: &RefCell<Vec<String>>) -> Option<Check> {
    let health = state.object("Health");
    let status = CheckStatus::from_word(&health.words("Status")?)?;
    let runs = health.array("Log");
    let last = runs.last().map(|run| Fields::new(run, notes));
    Some(Check {
        status,
        failing_streak: health.positive("FailingStreak").unwrap_or(0),
        last_exit_code: last.as_ref().and_then(|run| run.integer("ExitCode")),
        last_output: last.as_ref().and_then(|run| run.text("Output")),
        last_checked_at: last.as_ref().and_then(|run| run.instant("End")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn absent_fields_are_nothing() {
        let read = Inspection::read(json!({"Id": ID})).unwrap();
        assert_eq!(read.state, State::Unknown);
        assert_eq!(read.memory_limit, None);
        assert!(read.notes.is_empty());
    }

    #[test]
    fn bad_61_wrong_types_are_nothing_and_a_note() {
        let read = Inspection::read(json!({"Id": ID, "State": {"ExitCode": "x", "StartedAt": "soon", "Pid": [1]},
            "HostConfig": 3, "Mounts": {"a": 1}, "NetworkSettings": {"Ports": {"80/tcp": 4, "x": null}}}))
        .unwrap();
        assert_eq!((read.exit_code, read.started_at, read.pid), (None, None, None));
        assert!(read.notes.iter().any(|note| note.contains("State.StartedAt")), "{:?}", read.notes);
        assert!(Inspection::read(json!("<html>")).is_err());
        assert!(Inspection::read(json!({"Id": null})).is_err());
    }

    #[test]
    fn bad_64_limits_out_of_range_are_none() {
        let read = Inspection::read(json!({"Id": ID, "HostConfig": {"Memory": 9_223_372_036_854_775_807_i64,
            "PidsLimit": -1, "CpuQuota": -1, "NanoCpus": 500_000_000}, "State": {"Status": "running",
            "StartedAt": "0001-01-01T00:00:00Z", "Pid": 99_999_999_999_i64}}))
        .unwrap();
        assert_eq!((read.memory_limit, read.pids_limit, read.started_at, read.pid), (None, None, None, None));
        assert_eq!(read.limit_cpus(), Some(0.5));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z0-9:/-]{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(
                    (prop::sample::select(vec!["Health", "Log", "Status", "Ports", "80/tcp", "Networks", "x"]), inner),
                    0..4
                )
                .prop_map(|members| members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn bad_61_no_answer_panics(state in any_json(), host in any_json(), settings in any_json(), mounts in any_json()) {
            let raw = json!({"Id": ID, "State": state, "HostConfig": host, "NetworkSettings": settings, "Mounts": mounts});
            prop_assert!(Inspection::read(raw).is_ok());
        }
    }
}
