//! Results as text: pure functions of the JSON, so that a caller on any host renders them alike. Notes are no part of
//! it.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Reply,
    debug::Report,
    describe::Description,
    health::Health,
    inventory::Inventory,
    logs::{Frame as LogFrame, Line},
    message::Replied,
    monitor::Frame as MonitorFrame,
    stats::Stats,
    status::{MemoryStatus, Status},
};
use crate::services;

const UNKNOWN: &str = "unknown";

/// Writes the result of a skill, or one frame of its stream, as text that ends in a newline; nothing for a frame
/// without text. Absent where the skill has no text form, or the result is not of its shape.
#[must_use]
pub(crate) fn render(skill: &str, result: &Value, address: &str) -> Option<String> {
    match skill {
        "status" => reply(result).map(|reply| status(&reply, address)),
        "health" => reply(result).map(|reply: Reply<Health>| health(&reply.body, address)),
        "services" => reply(result).map(|reply: Reply<Inventory>| inventory(&reply.body)),
        "stats" => reply(result).map(|reply: Reply<Stats>| stats(&reply.body)),
        "describe" => reply(result).map(|reply: Reply<Description>| describe(&reply.body)),
        "message" => reply(result).map(|reply: Reply<Replied>| reply.body.text),
        "debug" => reply(result).map(|reply: Reply<Report>| debug(&reply.body, address)),
        "logs" => read(result).map(|frame| log_frame(&frame)),
        "monitor" => read(result).map(|frame| monitor_frame(&frame)),
        _ => super::optimize::text(skill, result, address).or_else(|| super::lifecycle::text(skill, result, address)),
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

fn reply<T: DeserializeOwned>(value: &Value) -> Option<Reply<T>> {
    read(value)
}

/// `12.3 MiB`.
pub(crate) fn bytes(value: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if value < 1024 {
        return format!("{value} B");
    }
    let mut shown = value as f64 / 1024.0;
    let mut unit = "KiB";
    for next in UNITS {
        unit = next;
        if shown < 1023.95 {
            break;
        }
        if next != "TiB" {
            shown /= 1024.0;
        }
    }
    format!("{shown:.1} {unit}")
}

/// `3h 12m`: the two largest units.
fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        86_400.. => format!("{days}d {hours}h"),
        3600.. => format!("{hours}h {minutes}m"),
        60.. => format!("{minutes}m {}s", seconds % 60),
        _ => format!("{seconds}s"),
    }
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| format!("{value:.1}%"))
}

fn memory(memory: &MemoryStatus) -> String {
    let Some(used) = memory.used_bytes.map(bytes) else { return UNKNOWN.to_owned() };
    match (memory.limit_bytes, memory.percent) {
        (None, _) => format!("{used} (no limit)"),
        (Some(limit), Some(percent)) => format!("{used} of {} ({percent:.1}%)", bytes(limit)),
        (Some(limit), None) => format!("{used} of {}", bytes(limit)),
    }
}

/// One line: what comes from a container may hold line breaks.
fn line(text: &str) -> String {
    if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text.to_owned() }
}

fn status(reply: &Reply<Status>, address: &str) -> String {
    let status = &reply.body;
    let code = status.exit_code.map_or_else(String::new, |code| format!(" ({code})"));
    let services = status.services.as_ref().map_or_else(
        || UNKNOWN.to_owned(),
        |listed| {
            let running = listed.iter().filter(|service| service.running);
            let shown = services::summary(running.map(|service| (&*service.name, &*service.ports)));
            shown.unwrap_or_else(|| "none".to_owned())
        },
    );
    let uptime = match status.uptime_s {
        Some(seconds) => span(seconds),
        None if status.state.has_processes() => UNKNOWN.to_owned(),
        None => "none".to_owned(),
    };
    let reference = status.image.reference.as_deref().unwrap_or(UNKNOWN);
    // 12 digits are how people know images and containers.
    let id = status.image.id.as_deref().map(|id| id.chars().take("sha256:".len() + 12).collect::<String>());
    let image = id.map_or_else(|| line(reference), |id| format!("{} ({id})", line(reference)));
    format!(
        "{address} is {}{code}: {}\nservices: {services}\nmemory: {}\ncpu: {}\nuptime: {uptime}\nrestarts: {}\nimage: \
         {image}\nobserved: {}\n",
        status.state,
        status.health,
        memory(&status.memory),
        percent(status.cpu.percent),
        status.restarts,
        reply.common.observed_at.seconds(),
    )
}

fn health(health: &Health, address: &str) -> String {
    let decided = super::health::reasons(health.verdict, &health.checks);
    let mut text = format!("{address}: {} ({})\n", health.verdict, line(&decided.join("; ")));
    for check in &health.checks {
        let _ = writeln!(text, "{}: {}, {}", check.name, check.outcome.as_str(), line(&check.detail));
    }
    text
}

fn inventory(inventory: &Inventory) -> String {
    services::text(&inventory.services, &inventory.unknown, inventory.state.has_processes()) + "\n"
}

fn stats(stats: &Stats) -> String {
    let number = |value: Option<u64>| value.map_or_else(|| UNKNOWN.to_owned(), |value| value.to_string());
    let size = |value: Option<u64>| value.map_or_else(|| UNKNOWN.to_owned(), bytes);
    let used = MemoryStatus {
        used_bytes: stats.memory.used_bytes,
        limit_bytes: stats.memory.limit_bytes,
        percent: stats.memory.percent,
    };
    let cpus = stats.cpu.limit_cpus.map_or_else(|| "no limit".to_owned(), |cpus| format!("limit {cpus} CPUs"));
    let mut text = format!("state: {}\ncpu: {} ({cpus})\n", stats.state, percent(stats.cpu.percent));
    if let Some(throttled) = stats.cpu.throttled_percent {
        let _ = writeln!(text, "throttled: {throttled:.1}%");
    }
    let _ = writeln!(text, "memory: {}\ncache: {}", memory(&used), size(stats.memory.cache_bytes));
    for one in stats.network.iter().flatten() {
        let _ = writeln!(
            text,
            "network {}: received {}, sent {}, errors {}",
            line(&one.interface),
            bytes(one.rx_bytes),
            bytes(one.tx_bytes),
            one.rx_errors.saturating_add(one.tx_errors)
        );
    }
    let io = &stats.block_io;
    let _ = writeln!(text, "block io: read {}, written {}", size(io.read_bytes), size(io.write_bytes));
    let limit = stats.pids.limit.map_or_else(|| "no limit".to_owned(), |limit| format!("limit {limit}"));
    let _ = writeln!(text, "pids: {} ({limit})", number(stats.pids.current));
    text
}

fn describe(description: &Description) -> String {
    let container = &description.container;
    let mut text = format!(
        "{} is a {}: {}\ncontainer: {} ({}, {})\nimage: {}\n",
        description.address,
        description.kind,
        description.state,
        container.name,
        container.state,
        container.health,
        line(container.image.as_deref().unwrap_or(UNKNOWN)),
    );
    if !description.description.is_empty() {
        let _ = writeln!(text, "description: {}", line(&description.description));
    }
    if !description.aliases.is_empty() {
        let _ = writeln!(text, "aliases: {}", description.aliases.join(", "));
    }
    if let Some(service) = &description.service {
        let _ = writeln!(text, "service: {service}");
    }
    for warning in &description.warnings {
        let _ = writeln!(text, "warning: {}", line(warning));
    }
    text.push_str("skills:\n");
    for skill in &description.skills {
        let stream = if skill.stream { ", stream" } else { "" };
        let _ = writeln!(text, "  {} ({}{stream}): {}", skill.path, skill.effect, line(&skill.doc));
    }
    if !description.actions.is_empty() {
        text.push_str("actions:\n");
        for action in &description.actions {
            let _ = writeln!(text, "  {}: {}", action.id, line(&action.description));
        }
    }
    text
}

fn debug(report: &Report, address: &str) -> String {
    let mut text = String::new();
    if let Some(known) = &report.health {
        text.push_str(&health(known, address));
    }
    if let Some(figures) = &report.stats {
        let _ = write!(text, "\n[stats]\n{}", stats(figures));
    }
    if let Some(found) = &report.services {
        let _ = write!(text, "\n[services]\n{}", inventory(found));
    }
    if let Some(top) = &report.top {
        let _ = writeln!(text, "\n[processes]\n{}", top.titles.join(" "));
        for row in &top.processes {
            let _ = writeln!(text, "{}", line(&row.join(" ")));
        }
    }
    if let Some(mounts) = report.mounts.as_ref().filter(|mounts| !mounts.is_empty()) {
        text.push_str("\n[mounts]\n");
        for mount in mounts {
            let from = mount.name.as_deref().or(mount.source.as_deref()).unwrap_or("-");
            let access = if mount.writable { "read and write" } else { "read only" };
            let _ = writeln!(text, "{} from {} ({}, {access})", line(&mount.destination), line(from), mount.kind);
        }
    }
    if let Some(networks) = report.networks.as_ref().filter(|networks| !networks.is_empty()) {
        text.push_str("\n[networks]\n");
        for network in networks {
            let _ = writeln!(text, "{} {}", line(&network.name), network.ip_address.as_deref().unwrap_or("-"));
        }
    }
    if !report.events.is_empty() {
        text.push_str("\n[events]\n");
        for event in &report.events {
            let code = event.exit_code.map_or_else(String::new, |code| format!(" ({code})"));
            let detail = event.detail.as_ref().map_or_else(String::new, |detail| format!(": {}", line(detail)));
            let _ = writeln!(text, "{} {}{code}{detail}", event.at, line(&event.action));
        }
    }
    if let Some(logs) = report.logs.as_ref().filter(|logs| !logs.is_empty()) {
        text.push_str("\n[log]\n");
        for entry in logs {
            let _ = writeln!(text, "{}", log_line(&entry.line));
        }
    }
    if !report.errors.is_empty() {
        text.push_str("\n[errors]\n");
        for error in &report.errors {
            let _ = writeln!(text, "{}: {}: {}", error.part, error.code, line(&error.message));
        }
    }
    text
}

/// A line as text; bytes that are none are shown as far as they go, and stay whole in the JSON.
fn log_line(line: &Line) -> String {
    match line {
        Line::Text(text) => text.clone(),
        Line::Bytes { base64 } => {
            let bytes = data_encoding::BASE64.decode(base64.as_bytes()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        }
    }
}

fn log_frame(frame: &LogFrame) -> String {
    match frame {
        LogFrame::Line { line, partial, .. } => log_line(line) + if *partial { "" } else { "\n" },
        LogFrame::Event { .. } => String::new(),
    }
}

fn monitor_frame(frame: &MonitorFrame) -> String {
    let pids = frame.pids.map_or_else(|| UNKNOWN.to_owned(), |pids| pids.to_string());
    let event = frame.event.as_ref().map_or_else(String::new, |event| format!(" event {}", line(event)));
    format!(
        "{} {}, {} cpu {} memory {} pids {pids} restarts {}{event}\n",
        frame.observed_at.seconds(),
        frame.state,
        frame.health,
        percent(frame.cpu.percent),
        memory(&frame.memory),
        frame.restarts,
    )
}

#[cfg(test)]
mod tests;
