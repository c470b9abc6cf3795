//! `status`: all that matters about a container, in one answer.

use std::sync::Arc;

use aigis_proxy::{
    Effect, Error,
    skill::{Call, Nothing, Table},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Container, Instant, Look, Reply, Verdict,
    examination::{Examination, examine, tenth},
};
use crate::{
    engine::{self, Image, State},
    services::{Confidence, Port, Service},
};

/// What `status` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Status {
    /// The container's own name.
    pub(crate) container_name: String,
    /// The engine's word for what it is doing.
    #[schemars(with = "String")]
    pub(crate) state: State,
    /// How it ended; null while it runs.
    pub(crate) exit_code: Option<i64>,
    /// Whether the kernel killed it for memory.
    pub(crate) oom_killed: bool,
    /// The engine's own error about it.
    pub(crate) engine_error: Option<String>,
    /// When it was last started.
    pub(crate) started_at: Option<Instant>,
    /// When it last ended; null while it runs.
    pub(crate) finished_at: Option<Instant>,
    /// Seconds since the start; null unless it runs or is paused.
    pub(crate) uptime_s: Option<u64>,
    /// How often its restart policy started it again.
    pub(crate) restarts: u64,
    pub(crate) image: ImageStatus,
    /// The services in it; null if they could not be looked for.
    pub(crate) services: Option<Vec<ServiceStatus>>,
    pub(crate) memory: MemoryStatus,
    pub(crate) cpu: CpuStatus,
    /// How many processes and threads it has.
    pub(crate) pids: Option<u64>,
    /// The verdict.
    pub(crate) health: Verdict,
    /// What decided it.
    pub(crate) health_reasons: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ImageStatus {
    /// The name it was created with.
    pub(crate) reference: Option<String>,
    /// The image's id.
    pub(crate) id: Option<String>,
    /// The digest by which registries know it; null for one that was built here.
    pub(crate) digest: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ServiceStatus {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) running: bool,
    pub(crate) confidence: Confidence,
    pub(crate) ports: Vec<Port>,
}

impl From<&Service> for ServiceStatus {
    fn from(service: &Service) -> Self {
        Self {
            name: service.name.clone(),
            role: service.role.clone(),
            running: service.running,
            confidence: service.confidence,
            ports: service.ports.clone(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MemoryStatus {
    /// In use, without the inactive file cache.
    pub(crate) used_bytes: Option<u64>,
    /// Its limit; null without one.
    pub(crate) limit_bytes: Option<u64>,
    /// Used of the limit.
    pub(crate) percent: Option<f64>,
}

impl MemoryStatus {
    pub(crate) fn of(seen: &Examination) -> Self {
        Self {
            used_bytes: seen.usage.memory.used_bytes,
            limit_bytes: seen.inspection.memory_limit,
            percent: seen.memory_percent(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CpuStatus {
    /// 100 is one full CPU.
    pub(crate) percent: Option<f64>,
    /// How many CPUs it may use; null without a limit.
    pub(crate) limit_cpus: Option<f64>,
}

impl CpuStatus {
    pub(crate) fn of(seen: &Examination) -> Self {
        Self { percent: seen.usage.cpu.percent.map(tenth), limit_cpus: seen.inspection.limit_cpus() }
    }
}

pub(super) fn add(table: &mut Table<Container>) {
    table.value("status", Effect::Read, "Says what the container is doing, what runs in it and what it uses.", status);
}

async fn status(container: Arc<Container>, call: Call, _: Nothing) -> Result<Reply<Status>, Error> {
    container.read(&call, answer).await
}

async fn answer(look: Look) -> Result<(Status, Vec<String>), super::Fault> {
    // The list says which image it is, so that it is asked for beside the inspection and not after it.
    let listed = look.bound.container.image_id.clone();
    let (seen, image) = tokio::join!(examine(&look), image(&look, listed.as_deref()));
    let seen = seen?;
    let image = match image {
        Some(image) if listed == seen.inspection.image_id => Some(image),
        _ => self::image(&look, seen.inspection.image_id.as_deref()).await,
    };
    let mut notes = seen.usage_notes();
    notes.extend(seen.notes.iter().cloned());
    let digest = match image {
        Some(Ok(image)) => image.digest().map(str::to_owned),
        Some(Err(error)) => {
            notes.push(format!("image.digest is not known: {error}"));
            None
        }
        None => {
            notes.push("image.digest is not known: the engine does not say which image it is".to_owned());
            None
        }
    };
    let container = &seen.inspection;
    let status = Status {
        container_name: container.name.clone(),
        state: container.state,
        exit_code: container.exit_code,
        oom_killed: container.oom_killed,
        engine_error: container.error.clone(),
        started_at: container.started_at.map(Instant),
        finished_at: container.finished_at.map(Instant),
        uptime_s: seen.uptime_s,
        restarts: container.restart_count,
        image: ImageStatus { reference: container.image.clone(), id: container.image_id.clone(), digest },
        services: Some(seen.services.services.iter().map(ServiceStatus::from).collect()),
        memory: MemoryStatus::of(&seen),
        cpu: CpuStatus::of(&seen),
        pids: seen.usage.pids.current,
        health: seen.judgement.verdict,
        health_reasons: seen.judgement.reasons.clone(),
    };
    Ok((status, notes))
}

async fn image(look: &Look, id: Option<&str>) -> Option<Result<Image, engine::Error>> {
    Some(look.engine.image(id?).await)
}
