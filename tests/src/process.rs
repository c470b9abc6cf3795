//! What the kernel says of a process.

use rustix::process::Pid;

/// The resident memory of a process, in bytes.
///
/// # Panics
///
/// Panics when there is no such process.
#[must_use]
pub fn resident_bytes(pid: Pid) -> u64 {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let amount = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let kib: Option<u64> = amount.and_then(|kib| kib.parse().ok());
    kib.unwrap_or_else(|| panic!("{path} holds no VmRSS: {status}")) * 1024
}

/// The CPU time that a process has used, in seconds.
///
/// # Panics
///
/// Panics when there is no such process.
#[must_use]
pub fn cpu_seconds(pid: Pid) -> f64 {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let stat = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    // The name stands in parentheses and may hold anything; user and system time are the 12th and 13th word after it,
    // in hundredths on every Linux.
    let words = stat.rsplit_once(')').map(|(_, words)| words.split_whitespace().skip(11).take(2));
    let ticks: Option<Vec<u32>> = words.and_then(|words| words.map(|word| word.parse().ok()).collect());
    ticks.unwrap_or_else(|| panic!("{path} is unreadable: {stat}")).into_iter().map(f64::from).sum::<f64>() / 100.0
}
