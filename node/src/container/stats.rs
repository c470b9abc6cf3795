//! `stats`: what the container uses, in full.

use std::sync::Arc;

use aigis_proxy::{
    Effect, Error,
    skill::{Call, Nothing, Table},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Container, Reply,
    examination::{measure, percent, tenth},
};
use crate::{
    engine::{Inspection, State},
    usage::Usage,
};

/// What `stats` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Stats {
    /// What the container is doing.
    #[schemars(with = "String")]
    pub(crate) state: State,
    /// The seconds that the rates are over.
    pub(crate) interval_s: Option<f64>,
    pub(crate) cpu: CpuStats,
    pub(crate) memory: MemoryStats,
    /// Its interfaces; null on the host's network.
    pub(crate) network: Option<Vec<NetworkStats>>,
    pub(crate) block_io: BlockIoStats,
    pub(crate) pids: PidsStats,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CpuStats {
    /// 100 is one full CPU.
    pub(crate) percent: Option<f64>,
    /// How many CPUs it may use; null without a limit.
    pub(crate) limit_cpus: Option<f64>,
    /// How many CPUs the host has switched on.
    pub(crate) online_cpus: Option<u32>,
    /// How many of its periods ended with it held back.
    pub(crate) throttled_percent: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MemoryStats {
    /// In use, without the inactive file cache.
    pub(crate) used_bytes: Option<u64>,
    /// All file cache.
    pub(crate) cache_bytes: Option<u64>,
    /// Its limit; null without one.
    pub(crate) limit_bytes: Option<u64>,
    /// Used of the limit.
    pub(crate) percent: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct NetworkStats {
    pub(crate) interface: String,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) rx_errors: u64,
    pub(crate) tx_errors: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BlockIoStats {
    pub(crate) read_bytes: Option<u64>,
    pub(crate) write_bytes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PidsStats {
    /// How many there are, threads counted too.
    pub(crate) current: Option<u64>,
    /// Most that there may be; null without a limit.
    pub(crate) limit: Option<u64>,
}

impl Stats {
    /// What was measured, with the notes that belong to it.
    pub(crate) fn of(inspection: &Inspection, usage: &Usage) -> (Self, Vec<String>) {
        let host_network = inspection.on_host_network();
        let mut notes = usage.notes.clone();
        if host_network && inspection.state.has_processes() {
            notes.push("network is null: the container is on the host's network".to_owned());
        }
        let network = usage.network.as_ref().filter(|_| !host_network).map(|interfaces| {
            interfaces
                .iter()
                .map(|one| NetworkStats {
                    interface: one.name.clone(),
                    rx_bytes: one.rx_bytes,
                    tx_bytes: one.tx_bytes,
                    rx_errors: one.rx_errors,
                    tx_errors: one.tx_errors,
                })
                .collect()
        });
        let stats = Self {
            state: inspection.state,
            interval_s: usage.interval_s.map(|seconds| (seconds * 1000.0).round() / 1000.0),
            cpu: CpuStats {
                percent: usage.cpu.percent.map(tenth),
                limit_cpus: inspection.limit_cpus(),
                online_cpus: usage.cpu.online_cpus,
                throttled_percent: usage.cpu.throttled_percent.map(tenth),
            },
            memory: MemoryStats {
                used_bytes: usage.memory.used_bytes,
                cache_bytes: usage.memory.cache_bytes,
                limit_bytes: inspection.memory_limit,
                percent: percent(usage.memory.used_bytes, inspection.memory_limit),
            },
            network,
            block_io: BlockIoStats {
                read_bytes: usage.block_io.map(|io| io.read_bytes),
                write_bytes: usage.block_io.map(|io| io.write_bytes),
            },
            pids: PidsStats { current: usage.pids.current, limit: inspection.pids_limit },
        };
        (stats, notes)
    }
}

pub(super) fn add(table: &mut Table<Container>) {
    table.value("stats", Effect::Read, "Measures what the container uses of the host.", stats);
}

async fn stats(container: Arc<Container>, call: Call, _: Nothing) -> Result<Reply<Stats>, Error> {
    let read = |look: super::Look| async move {
        let inspection = look.engine.inspect(look.id()).await?;
        let usage = measure(&look, &inspection).await;
        let (stats, mut notes) = Stats::of(&inspection, &usage);
        notes.extend(inspection.notes.iter().cloned());
        Ok((stats, notes))
    };
    container.read(&call, read).await
}
