//! The shape of proposals, and of what they are made of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    container::Instant,
    engine::{ContainerId, Limits, RestartPolicy, State},
    naming::Action,
};

/// What `optimize` measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(super) struct Measures {
    /// The most memory in use, in bytes.
    pub(super) memory_peak_bytes: Option<u64>,
    /// The same as a share of the limit.
    pub(super) memory_percent_peak: Option<f64>,
    /// The mean of the CPU samples; 100 is one full CPU.
    pub(super) cpu_percent_mean: Option<f64>,
    /// The share of CPU periods in which it was held back.
    pub(super) throttled_percent: Option<f64>,
    /// The most processes and threads.
    pub(super) pids_peak: Option<u64>,
    /// How often the kernel killed for memory in the last 24 hours.
    pub(super) oom_kills_24h: Option<u64>,
    /// How often it was started again in the last 24 hours.
    pub(super) restarts_24h: Option<u64>,
    /// The size of its log on the host.
    pub(super) log_bytes: Option<u64>,
}

/// How CPU time is limited: the engine can change each only by its own kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CpuLimit {
    /// CPUs in billionths.
    Nano(u64),
    /// Microseconds per period.
    Quota {
        /// The time.
        quota: u64,
        /// The period.
        period: u64,
    },
}

impl CpuLimit {
    pub(super) fn cpus(self) -> f64 {
        match self {
            Self::Nano(nano) => nano as f64 / 1e9,
            Self::Quota { quota, period } => quota as f64 / period.max(1) as f64,
        }
    }

    /// One and a half times as much, at most `host` CPUs; none if that is no more.
    pub(super) fn raised(self, host: u64) -> Option<Self> {
        let raised = match self {
            Self::Nano(nano) => Self::Nano((nano.saturating_mul(3) / 2).min(host.saturating_mul(1_000_000_000))),
            Self::Quota { quota, period } => {
                Self::Quota { quota: (quota.saturating_mul(3) / 2).min(host.saturating_mul(period)), period }
            }
        };
        (raised.cpus() > self.cpus()).then_some(raised)
    }
}

/// All that proposals are made of.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) id: ContainerId,
    pub(super) state: State,
    pub(super) exit_code: Option<i64>,
    pub(super) window_s: u64,
    pub(super) measures: Measures,
    pub(super) memory_limit: Option<u64>,
    pub(super) memory_swap_limit: Option<u64>,
    pub(super) host_memory: Option<u64>,
    pub(super) cpu_limit: Option<CpuLimit>,
    pub(super) host_cpus: u64,
    pub(super) pids_limit: Option<u64>,
    pub(super) restart_policy: RestartPolicy,
    pub(super) failing_streak: u64,
    /// The end of the failing check's last output; secrets masked.
    pub(super) check_output: Option<String>,
    pub(super) started_at: Option<Instant>,
    pub(super) connections: bool,
    pub(super) log_driver: Option<String>,
    pub(super) log_has_max_size: bool,
    /// Other CIs of the node that share its network.
    pub(super) neighbours: Vec<String>,
    pub(super) actions: Vec<Action>,
}

/// The kinds of proposals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// More memory.
    RaiseMemoryLimit,
    /// A memory limit where there is none.
    SetMemoryLimit,
    /// More CPU time.
    RaiseCpuLimit,
    /// More processes.
    RaisePidsLimit,
    /// Start it again when it fails.
    SetRestartPolicy,
    /// Restart it.
    Restart,
    /// Bound the log.
    LimitLogSize,
    /// What the owner declared.
    Action,
    /// Take an applied proposal back.
    Undo,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::RaiseMemoryLimit => "raise-memory-limit",
            Self::SetMemoryLimit => "set-memory-limit",
            Self::RaiseCpuLimit => "raise-cpu-limit",
            Self::RaisePidsLimit => "raise-pids-limit",
            Self::SetRestartPolicy => "set-restart-policy",
            Self::Restart => "restart",
            Self::LimitLogSize => "limit-log-size",
            Self::Action => "action",
            Self::Undo => "undo",
        }
    }
}

/// What a proposal would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Change {
    /// How it is.
    pub(super) before: Value,
    /// How it would be.
    pub(super) after: Value,
}

/// What a proposal reaches beyond its purpose. `null`: not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct BlastRadius {
    /// Whether the container is restarted.
    pub(super) restarts_container: bool,
    /// How long it would not answer, estimated, in seconds.
    pub(super) downtime_s: Option<u64>,
    /// Whether open connections end.
    pub(super) connections_dropped: Option<bool>,
    /// Other CIs that would feel it.
    pub(super) other_cis: Vec<String>,
    /// Whether data could be lost: never.
    pub(super) data_at_risk: bool,
}

/// Why a proposal is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Evidence {
    /// Where it was seen.
    pub(super) source: String,
    /// What was seen.
    pub(super) detail: String,
}

/// One thing that could be done, as `optimize` answers it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct Proposal {
    /// By which it is applied.
    pub(super) id: String,
    /// Its kind.
    pub(super) kind: Kind,
    /// What it would do, in a line.
    pub(super) title: String,
    /// Why, in a sentence.
    pub(super) reason: String,
    /// What was seen.
    pub(super) evidence: Vec<Evidence>,
    /// What would change.
    pub(super) change: Change,
    /// What else it reaches.
    pub(super) blast_radius: BlastRadius,
    /// Whether it can be taken back.
    pub(super) reversible: bool,
    /// How it would be taken back.
    pub(super) undo: Option<String>,
    /// Whether `optimize.apply` can do it.
    pub(super) applicable: bool,
    /// Until when the id can be applied.
    pub(super) expires_at: Option<Instant>,
    #[serde(skip)]
    #[schemars(skip)]
    pub(super) deed: Deed,
}

/// What applying a proposal does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    /// Changes limits in one engine update.
    Update(Limits),
    /// Restarts the container.
    Restart,
    /// Runs an owner's action.
    Run(Action),
    /// Nothing: it is advice.
    Advice,
}
