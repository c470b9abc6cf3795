//! One reading of a container's cgroup and network files.

use std::path::Path;

use crate::{host, host::cgroup::Place};

/// A limit above this is the kernel's way to say "none".
const NO_LIMIT: u64 = 1 << 60;
const MAX_FILE: u64 = 1024 * 1024;

/// What the files of one container said at one moment; what could not be read is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Memory in use, with all file cache.
    pub(super) memory_usage: Option<u64>,
    /// File cache that the kernel can take back at once.
    pub(super) inactive_file: Option<u64>,
    /// All file cache.
    pub(super) cache: Option<u64>,
    pub(super) memory_limit: Option<u64>,
    pub(super) counters: Counters,
    pub(super) pids: Option<u64>,
    pub(super) pids_limit: Option<u64>,
    pub(super) read_bytes: Option<u64>,
    pub(super) write_bytes: Option<u64>,
}

/// What only grows, of which rates are made: all that is read each second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) cpu_nanos: Option<u64>,
    pub(super) periods: Option<u64>,
    pub(super) throttled: Option<u64>,
}

impl Reading {
    /// Memory in use without the file cache that can be taken back, as the engine counts it.
    pub(super) fn memory_used(&self) -> Option<u64> {
        Some(self.memory_usage?.saturating_sub(self.inactive_file.unwrap_or(0)))
    }
}

fn text(place: &Place, controller: &str, name: &str) -> Option<String> {
    host::read_text(&place.directory(controller)?.join(name), MAX_FILE).ok()
}

/// Reads what only grows; `None` if the cgroup is not (any more) to be found.
pub(super) fn counters(place: &Place) -> Option<Counters> {
    let cpu = text(place, "cpu", "cpu.stat").unwrap_or_default();
    let cpu_nanos = match place {
        Place::V1(_) => text(place, "cpuacct", "cpuacct.usage").and_then(|text| number(&text)),
        Place::V2(_) => key(&cpu, "usage_usec").and_then(|micros| micros.checked_mul(1000)),
    };
    let counters = Counters { cpu_nanos, periods: key(&cpu, "nr_periods"), throttled: key(&cpu, "nr_throttled") };
    (counters != Counters::default()).then_some(counters)
}

/// Reads all files of a container; `None` if its cgroup is not (any more) to be found.
pub(super) fn read(place: &Place) -> Option<Reading> {
    let file = |controller: &str, name: &str| text(place, controller, name);
    let counters = counters(place).unwrap_or_default();
    let reading = match place {
        Place::V1(_) => {
            let memory = file("memory", "memory.stat").unwrap_or_default();
            let io = file("blkio", "blkio.throttle.io_service_bytes_recursive")
                .or_else(|| file("blkio", "blkio.throttle.io_service_bytes"));
            Reading {
                memory_usage: file("memory", "memory.usage_in_bytes").and_then(|text| number(&text)),
                inactive_file: key(&memory, "total_inactive_file"),
                cache: key(&memory, "total_cache"),
                memory_limit: file("memory", "memory.limit_in_bytes").and_then(|text| limit(&text)),
                counters,
                pids: file("pids", "pids.current").and_then(|text| number(&text)),
                pids_limit: file("pids", "pids.max").and_then(|text| limit(&text)),
                read_bytes: io.as_deref().map(|text| io_v1(text, "Read")),
                write_bytes: io.as_deref().map(|text| io_v1(text, "Write")),
            }
        }
        Place::V2(_) => {
            let memory = file("memory", "memory.stat").unwrap_or_default();
            let io = file("io", "io.stat");
            Reading {
                memory_usage: file("memory", "memory.current").and_then(|text| number(&text)),
                inactive_file: key(&memory, "inactive_file"),
                cache: key(&memory, "file"),
                memory_limit: file("memory", "memory.max").and_then(|text| limit(&text)),
                counters,
                pids: file("pids", "pids.current").and_then(|text| number(&text)),
                pids_limit: file("pids", "pids.max").and_then(|text| limit(&text)),
                read_bytes: io.as_deref().map(|text| io_v2(text, "rbytes=")),
                write_bytes: io.as_deref().map(|text| io_v2(text, "wbytes=")),
            }
        }
    };
    (reading != Reading::default()).then_some(reading)
}

/// Counters of one network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name in the container.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Errors while receiving.
    pub rx_errors: u64,
    /// Errors while sending.
    pub tx_errors: u64,
}

/// Reads the interfaces that a process of the container sees, without the loopback one.
pub(super) fn interfaces(pid: u32) -> Option<Vec<Interface>> {
    let text = host::read_text(Path::new(&format!("/proc/{pid}/net/dev")), MAX_FILE).ok()?;
    Some(devices(&text))
}

fn devices(text: &str) -> Vec<Interface> {
    let read = |line: &str| -> Option<Interface> {
        let (name, counters) = line.split_once(':')?;
        let mut counters = counters.split_whitespace().map(|field| field.parse::<u64>().ok());
        let (rx_bytes, rx_errors) = (counters.next()??, counters.nth(1)??);
        let (tx_bytes, tx_errors) = (counters.nth(5)??, counters.nth(1)??);
        Some(Interface { name: name.trim().to_owned(), rx_bytes, tx_bytes, rx_errors, tx_errors })
    };
    let mut found: Vec<Interface> = text.lines().filter_map(read).filter(|device| device.name != "lo").collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// How many CPUs the host has switched on.
pub(super) fn online_cpus() -> Option<u32> {
    let text = host::read_text(Path::new("/sys/devices/system/cpu/online"), 4096).ok();
    text.and_then(|text| ranges(text.trim()))
        .or_else(|| std::thread::available_parallelism().ok().and_then(|count| u32::try_from(count.get()).ok()))
}

/// Counts `0-3,8`.
fn ranges(text: &str) -> Option<u32> {
    let mut count = 0_u32;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    (count > 0).then_some(count)
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn limit(text: &str) -> Option<u64> {
    number(text).filter(|limit| *limit < NO_LIMIT)
}

fn key(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Adds up lines of `8:0 Read 4096`.
fn io_v1(text: &str, direction: &str) -> u64 {
    let read = |line: &str| -> Option<u64> {
        let mut fields = line.split_whitespace().skip(1);
        (fields.next()? == direction).then(|| fields.next()?.parse().ok())?
    };
    text.lines().filter_map(read).fold(0, u64::saturating_add)
}

/// Adds up lines of `8:0 rbytes=4096 wbytes=0 …`.
fn io_v2(text: &str, name: &str) -> u64 {
    let read = |line: &str| line.split_whitespace().find_map(|field| field.strip_prefix(name)?.parse::<u64>().ok());
    text.lines().filter_map(read).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;

    #[test]
    fn version_1_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        put("memory.usage_in_bytes", "20971520\n");
        put("memory.limit_in_bytes", "9223372036854771712\n");
        put("memory.stat", "cache 1\ninactive_file 7\ntotal_cache 5242880\ntotal_inactive_file 4194304\n");
        put("cpuacct.usage", "123456789\n");
        put("cpu.stat", "nr_periods 10\nnr_throttled 4\nthrottled_time 99\n");
        put("pids.current", "3\n");
        put("pids.max", "max\n");
        put(
            "blkio.throttle.io_service_bytes",
            "8:0 Read 4096\n8:0 Write 10\n8:16 Read 4\n8:0 Total 4110\nTotal 4110\n",
        );
        let controllers = ["memory", "cpu", "cpuacct", "pids", "blkio"];
        let place = Place::V1(controllers.map(|name| (name.to_owned(), dir.path().to_owned())).into());
        let reading = read(&place).unwrap();
        assert_eq!(reading.memory_used(), Some(20_971_520 - 4_194_304));
        assert_eq!((reading.memory_limit, reading.pids_limit), (None, None));
        let counters = Counters { cpu_nanos: Some(123_456_789), periods: Some(10), throttled: Some(4) };
        assert_eq!((reading.counters, super::counters(&place)), (counters, Some(counters)));
        assert_eq!((reading.read_bytes, reading.write_bytes, reading.pids), (Some(4100), Some(10), Some(3)));
    }

    #[test]
    fn version_2_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        put("memory.current", "100\n");
        put("memory.max", "67108864\n");
        put("memory.stat", "anon 5\nfile 90\ninactive_file 120\n");
        put("cpu.stat", "usage_usec 2000\nnr_periods 0\nnr_throttled 0\n");
        put("io.stat", "8:0 rbytes=5 wbytes=6 rios=1\n8:16 rbytes=7 wbytes=1\n");
        let reading = read(&Place::V2(dir.path().to_owned())).unwrap();
        assert_eq!(reading.memory_used(), Some(0));
        assert_eq!((reading.memory_limit, reading.counters.cpu_nanos), (Some(67_108_864), Some(2_000_000)));
        assert_eq!((reading.read_bytes, reading.write_bytes, reading.pids), (Some(12), Some(7), None));
    }

    #[test]
    fn bad_64_a_cgroup_without_its_files_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&Place::V2(dir.path().to_owned())), None);
        assert_eq!(read(&Place::V1(BTreeMap::new())), None);
        fs::write(dir.path().join("memory.current"), "lots").unwrap();
        assert_eq!(read(&Place::V2(dir.path().to_owned())), None);
    }

    #[test]
    fn counters_and_ranges_are_read() {
        let text = "Inter-|   Receive  | Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n\
            lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 100 2 3 0 0 0 0 0 200 4 5 0 0 0 0 0\n";
        let found = devices(text);
        assert_eq!(found.len(), 1);
        let Interface { name, rx_bytes, tx_bytes, rx_errors, tx_errors } = found[0].clone();
        assert_eq!((name.as_str(), rx_bytes, tx_bytes, rx_errors, tx_errors), ("eth0", 100, 200, 3, 5));
        assert_eq!((ranges("0-3,8"), ranges("0"), ranges(""), ranges("3-1")), (Some(5), Some(1), None, None));
    }
}
