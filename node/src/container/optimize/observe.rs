//! What `optimize` looks at: a sample a second for a while, what the node has seen, and the engine's settings.

use std::{path::Path, sync::Arc, time::Duration};

use time::OffsetDateTime;
use tokio::time::MissedTickBehavior;

use super::{
    proposal::{CpuLimit, Facts, Measures},
    proposals::FAILING,
    words::rounded,
};
use crate::{
    container::{Fault, Instant, lifecycle::Target},
    engine::{Container, ContainerId, Inspection, State, watch::Watch},
    host, naming, redact,
    usage::{Sampler, Usage},
};

const DAY: time::Duration = time::Duration::hours(24);
/// Most other containers that are asked whether they share the network.
const MOST_NEIGHBOURS: usize = 64;
/// Most rotated files of a log that are counted.
const MOST_LOG_FILES: usize = 100;
/// Most characters of a health check's output in a proposal.
const OUTPUT: usize = 200;

/// A container, and what the node knows it by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Eyes<'a> {
    pub(super) target: Target<'a>,
    pub(super) sampler: &'a Sampler,
    pub(super) watch: &'a Watch,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) facts: Facts,
    pub(super) notes: Vec<String>,
    /// When the engine was read last.
    pub(super) at: OffsetDateTime,
}

/// Measures for `window`.
///
/// # Errors
///
/// [`Fault::Gone`] if the container is; whatever the engine fails with.
pub(super) async fn observe(eyes: Eyes<'_>, window: Duration) -> Result<Observed, Fault> {
    let first = eyes.target.engine.inspect(eyes.target.id).await?;
    let mut notes = Vec::new();
    let mut series = Series::default();
    match first.pid {
        Some(pid) if first.state.has_processes() => series.take(eyes, pid, window).await,
        _ => notes.push(format!("it is {}: there is nothing to measure", first.state)),
    }
    // Settings and state as they are at the end: what is proposed is for the container as it is now.
    let last = eyes.target.engine.inspect(eyes.target.id).await?;
    let at = OffsetDateTime::now_utc();
    if first.state.has_processes() && last.started_at != first.started_at {
        notes.push("it was started again while it was measured".to_owned());
    }
    let mut measures = series.measures(last.memory_limit);
    seen(eyes, &last, at, &mut measures, &mut notes);
    let log = last.log_path.clone();
    measures.log_bytes = tokio::task::spawn_blocking(move || log_bytes(log.as_deref())).await.ok().flatten();
    if measures.log_bytes.is_none() {
        notes.push("the size of its log is not known: it is kept elsewhere, or may not be read".to_owned());
    }
    let host_memory = tokio::task::spawn_blocking(host_memory).await.ok().flatten();
    if host_memory.is_none() {
        notes.push("how much memory the host has is not known".to_owned());
    }
    let neighbours = if failing(&last) >= FAILING { neighbours(eyes, &mut notes).await } else { Vec::new() };
    for note in std::mem::take(&mut series.notes) {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    let facts = facts(&last, measures, window, host_memory, neighbours);
    Ok(Observed { facts, notes, at })
}

fn facts(
    last: &Inspection,
    measures: Measures,
    window: Duration,
    host_memory: Option<u64>,
    neighbours: Vec<String>,
) -> Facts {
    let check_output = last.health.as_ref().and_then(|check| check.last_output.as_deref()).map(end_of);
    Facts {
        id: last.id.clone(),
        state: last.state,
        exit_code: last.exit_code,
        window_s: window.as_secs(),
        measures,
        memory_limit: last.memory_limit,
        memory_swap_limit: last.memory_swap_limit,
        host_memory,
        cpu_limit: cpu_limit(last),
        host_cpus: std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64),
        pids_limit: last.pids_limit,
        restart_policy: last.restart_policy.clone(),
        failing_streak: failing(last),
        check_output: check_output.filter(|output| !output.is_empty()),
        started_at: last.started_at.map(Instant),
        connections: last.network_mode.as_deref() != Some("none"),
        log_driver: last.log_driver.clone(),
        log_has_max_size: last.log_options.contains_key("max-size"),
        neighbours,
        actions: naming::declared(&last.labels).actions,
    }
}

/// The CPU limit by the kind in which the engine holds it.
pub(super) fn cpu_limit(container: &Inspection) -> Option<CpuLimit> {
    let quota = |quota| CpuLimit::Quota { quota, period: container.cpu_period.unwrap_or(100_000) };
    container.nano_cpus.map(CpuLimit::Nano).or_else(|| container.cpu_quota.map(quota))
}

fn failing(container: &Inspection) -> u64 {
    container.health.as_ref().map_or(0, |check| check.failing_streak)
}

/// The end of what a check printed, in one line without secrets.
fn end_of(output: &str) -> String {
    let line: String = output.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let masked = redact::text(&line);
    let skip = masked.chars().count().saturating_sub(OUTPUT);
    masked.chars().skip(skip).collect()
}

/// Adds what the node has seen of OOM kills and restarts.
fn seen(eyes: Eyes<'_>, last: &Inspection, at: OffsetDateTime, measures: &mut Measures, notes: &mut Vec<String>) {
    let history = eyes.watch.history(eyes.target.id);
    let recent = |instant: Option<OffsetDateTime>| instant.is_some_and(|instant| at - instant < DAY);
    // The engine remembers the last kill, also one from before this node began to watch.
    let known = u64::from(last.oom_killed && (recent(last.finished_at) || recent(last.started_at)));
    measures.oom_kills_24h = Some((history.oom_kills_within(DAY) as u64).max(known));
    measures.restarts_24h = Some(history.restarts_within(DAY) as u64);
    let watched = at - history.watched_since_at;
    let lived = last.created_at.map_or(DAY, |created| at - created).min(DAY);
    if watched < lived {
        let since = Instant(history.watched_since_at);
        notes.push(format!(
            "the node has watched it only since {since}: there may have been more OOM kills and restarts"
        ));
    }
}

/// The samples of a window.
#[derive(Debug, Default)]
struct Series {
    memory_peak: Option<u64>,
    pids_peak: Option<u64>,
    cpu: Mean,
    throttled: Mean,
    notes: Vec<String>,
}

#[derive(Debug, Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.sum += value;
            self.count += 1;
        }
    }

    fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| rounded(self.sum / f64::from(self.count)))
    }
}

impl Series {
    /// Takes a sample a second until `window` has passed.
    async fn take(&mut self, eyes: Eyes<'_>, pid: u32, window: Duration) {
        let end = tokio::time::Instant::now() + window;
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = tokio::time::sleep_until(end) => return,
            }
            let usage = eyes.sampler.measure(eyes.target.id, pid).await;
            self.add(&usage);
        }
    }

    fn add(&mut self, usage: &Usage) {
        self.memory_peak = self.memory_peak.max(usage.memory.used_bytes);
        self.pids_peak = self.pids_peak.max(usage.pids.current);
        self.cpu.add(usage.cpu.percent);
        self.throttled.add(usage.cpu.throttled_percent);
        for note in &usage.notes {
            // What is not asked for here is not missed here.
            let asked = !note.starts_with("network traffic") && !note.starts_with("block device");
            if asked && !self.notes.contains(note) {
                self.notes.push(note.clone());
            }
        }
    }

    fn measures(&self, limit: Option<u64>) -> Measures {
        let share = |(peak, limit): (u64, u64)| rounded(peak as f64 * 100.0 / limit.max(1) as f64);
        Measures {
            memory_peak_bytes: self.memory_peak,
            memory_percent_peak: self.memory_peak.zip(limit).map(share),
            cpu_percent_mean: self.cpu.value(),
            throttled_percent: self.throttled.value(),
            pids_peak: self.pids_peak,
            ..Measures::default()
        }
    }
}

/// The size of a log with its rotated files.
fn log_bytes(path: Option<&str>) -> Option<u64> {
    let path = path?;
    let size =
        |path: &str| std::fs::metadata(Path::new(path)).ok().filter(std::fs::Metadata::is_file).map(|file| file.len());
    let rotated = (1..MOST_LOG_FILES).map_while(|number| size(&format!("{path}.{number}")));
    Some(size(path)?.saturating_add(rotated.fold(0, u64::saturating_add)))
}

fn host_memory() -> Option<u64> {
    let text = host::read_text(Path::new("/proc/meminfo"), 64 * 1024).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The CIs of other containers that run in this one's network: they lose it with a restart.
async fn neighbours(eyes: Eyes<'_>, notes: &mut Vec<String>) -> Vec<String> {
    let Target { engine, id, .. } = eyes.target;
    let others: Vec<Arc<Container>> = {
        let observation = eyes.watch.observation();
        let known = observation.borrow();
        let runs = |one: &&Arc<Container>| one.state == State::Running && one.id != *id;
        known.containers.values().filter(runs).cloned().collect()
    };
    if others.len() > MOST_NEIGHBOURS {
        notes.push(format!(
            "only {MOST_NEIGHBOURS} of {} containers were asked whether they share its network",
            others.len()
        ));
    }
    let mut found = Vec::new();
    for other in others.iter().take(MOST_NEIGHBOURS) {
        let Ok(inspection) = engine.inspect(&other.id).await else { continue };
        if shares(&inspection, id) {
            found.push(naming::ci_name(&other.name, &other.labels).name.to_string());
        }
    }
    found.sort();
    found
}

fn shares(other: &Inspection, id: &ContainerId) -> bool {
    other.network_mode.as_deref().and_then(|mode| mode.strip_prefix("container:")) == Some(id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_and_means_leave_out_what_is_not_known() {
        let mut series = Series::default();
        assert_eq!(series.measures(Some(100)), Measures::default());
        for (memory, cpu) in [(Some(10), Some(1.0)), (None, None), (Some(90), Some(2.0)), (Some(20), Some(f64::NAN))] {
            let mut usage =
                crate::usage::nothing(OffsetDateTime::now_utc(), vec!["network traffic is not known".into()]);
            (usage.memory.used_bytes, usage.cpu.percent) = (memory, cpu);
            series.add(&usage);
        }
        let measures = series.measures(Some(100));
        assert_eq!((measures.memory_peak_bytes, measures.memory_percent_peak), (Some(90), Some(90.0)));
        assert_eq!((measures.cpu_percent_mean, measures.throttled_percent), (Some(1.5), None));
        assert!(series.notes.is_empty());
    }

    #[test]
    fn a_check_s_output_is_one_line_without_secrets() {
        assert_eq!(end_of("curl --token NONCE\nno answer\n"), "curl --token *** no answer");
        assert_eq!(end_of(&"x".repeat(1000)).len(), OUTPUT);
    }

    #[test]
    fn a_log_counts_with_its_rotated_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        assert_eq!(log_bytes(path.to_str()), None);
        std::fs::write(&path, [0; 10]).unwrap();
        std::fs::write(directory.path().join("a.log.1"), [0; 7]).unwrap();
        std::fs::write(directory.path().join("a.log.3"), [0; 7]).unwrap();
        assert_eq!(log_bytes(path.to_str()), Some(17));
    }
}
