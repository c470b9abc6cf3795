//! What this host's `/proc` and cgroup files say of a container: its processes, their exact arguments and the sockets
//! that they listen on. Nothing runs in the container for it.
//!
//! A process number from the engine counts only if the kernel itself says that it belongs to the container: the engine
//! may be of another host, and numbers are used again.

pub(crate) mod cgroup;
mod process;
mod socket;

use std::{
    collections::HashSet,
    fs,
    io::{self, Read},
    path::Path,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use tokio::sync::Semaphore;

use self::cgroup::{Membership, Place};
use crate::{
    engine::{ContainerId, Engine, Inspection, Top},
    services::{Process, Socket},
};

/// Most processes of one container that are read.
const MAX_PROCESSES: usize = 4096;

/// What was seen of a container from the outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its processes; `None` if they could not be read.
    pub processes: Option<Vec<Process>>,
    /// The sockets that it listens on; `None` if they could not be read.
    pub sockets: Option<Vec<Socket>>,
    /// Why something is missing.
    pub notes: Vec<String>,
}

/// Looks at a container's processes and listening sockets: on this host through `/proc`, else, and where that is not
/// permitted, through the engine's own process list.
///
/// A container that has no processes gives empty lists. It never fails: what cannot be read is `None` with a note.
pub async fn look(engine: &Engine, container: &Inspection) -> Seen {
    look_and(engine, container, |_, _| ()).await.0
}

/// Looks as [`look`] does, and reads more of a container that is of this host in the same turn.
pub(crate) async fn look_and<T: Default + Send + 'static>(
    engine: &Engine,
    container: &Inspection,
    more: impl FnOnce(u32, Place) -> T + Send + 'static,
) -> (Seen, T) {
    if !container.state.has_processes() {
        return (Seen { processes: Some(Vec::new()), sockets: Some(Vec::new()), notes: Vec::new() }, T::default());
    }
    let (id, shared) = (container.id.clone(), shares_network(container));
    let (here, more) = match container.pid {
        Some(pid) => aside(move || look_here(pid, &id, shared, more)).await.unwrap_or_default(),
        None => (Seen { notes: vec!["the engine names no process of it".to_owned()], ..Seen::default() }, T::default()),
    };
    (completed(engine, container, here).await, more)
}

/// What was seen, with the engine's own process list where this host shows none.
async fn completed(engine: &Engine, container: &Inspection, here: Seen) -> Seen {
    if here.processes.is_some() {
        return here;
    }
    let Seen { sockets, mut notes, .. } = here;
    match engine.top(&container.id).await {
        Ok(top) => Seen { processes: Some(from_top(&top)), sockets, notes },
        Err(error) => {
            notes.push(format!("its processes are not known: {error}"));
            Seen { processes: None, sockets, notes }
        }
    }
}

/// How many threads read this host's files at once: they wait for nothing but a processor.
const READERS: usize = 4;

static READING: Semaphore = Semaphore::const_new(READERS);

/// Reads files of this host where nothing else waits for it; `None` if that panicked.
pub(crate) async fn aside<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    // Never closed.
    let _turn = READING.acquire().await;
    tokio::task::spawn_blocking(read).await.ok()
}

/// Whether the container's sockets stand beside those of others.
fn shares_network(container: &Inspection) -> bool {
    container.network_mode.as_deref().is_some_and(|mode| mode == "host" || mode.starts_with("container:"))
}

/// Whether that process of this host belongs to the container.
#[must_use]
pub fn belongs(pid: u32, id: &ContainerId) -> bool {
    Membership::of(pid, id).is_some()
}

/// Kills one process of the container; answers whether that was done.
///
/// The process is held by a handle while its container is checked, so a number that is used again is never hit.
#[must_use]
pub fn kill(pid: u32, id: &ContainerId) -> bool {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(handle) = pidfd_open(number, PidfdFlags::empty()) else { return false };
    belongs(pid, id) && pidfd_send_signal(&handle, Signal::KILL).is_ok()
}

/// Whether a container's first process would not notice a TERM: the kernel keeps from a first process what it neither handles
/// nor waits for. Where that cannot be seen, it is taken to notice.
#[must_use]
pub fn is_deaf(pid: u32, id: &ContainerId) -> bool {
    let Ok(status) = read_text(Path::new(&format!("/proc/{pid}/status")), 64 * 1024) else { return false };
    deaf(&status) && belongs(pid, id)
}

fn deaf(status: &str) -> bool {
    // SIGTERM is number 15, and the masks begin with number 1.
    let has_term = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).map(|mask| mask & (1 << 14) != 0)
    };
    has_term("SigCgt:") == Some(false) && has_term("SigBlk:") == Some(false)
}

fn look_here<T: Default>(
    pid: u32,
    id: &ContainerId,
    shared_network: bool,
    more: impl FnOnce(u32, Place) -> T,
) -> (Seen, T) {
    let unseen = |note: &str| Seen { notes: vec![note.to_owned()], ..Seen::default() };
    let Some(membership) = Membership::of(pid, id) else {
        let note = "its processes are not of this host, or may not be read: only the engine's process list is known";
        return (unseen(note), T::default());
    };
    let note = "its cgroup may not be read: only the engine's process list is known";
    let Some(place) = membership.place() else { return (unseen(note), T::default()) };
    let pids = place.pids();
    // At once: the process was the container's own a moment ago.
    let more = more(pid, place);
    (pids.map_or_else(|| unseen(note), |pids| look_at(pid, pids, shared_network)), more)
}

fn look_at(pid: u32, mut pids: Vec<u32>, shared_network: bool) -> Seen {
    let mut notes = Vec::new();
    if pids.len() > MAX_PROCESSES {
        notes.push(format!("it has {} processes; {MAX_PROCESSES} were looked at", pids.len()));
        pids.truncate(MAX_PROCESSES);
    }
    let processes: Vec<Process> = pids.iter().filter_map(|pid| process::read(*pid)).collect();
    if processes.iter().any(|process| process.executable.is_none()) {
        notes.push("the executables of some processes may not be read".to_owned());
    }
    let sockets = sockets(pid, &pids, shared_network, &mut notes);
    Seen { processes: Some(processes), sockets, notes }
}

fn sockets(pid: u32, pids: &[u32], shared_network: bool, notes: &mut Vec<String>) -> Option<Vec<Socket>> {
    let Some(listening) = socket::listening(pid) else {
        notes.push("its sockets may not be read".to_owned());
        return None;
    };
    let inodes: HashSet<u64> = listening.iter().map(|socket| socket.inode).collect();
    let (owners, all_read) = socket::owners(pids, &inodes);
    if !all_read {
        notes.push("the owners of some sockets may not be read".to_owned());
    }
    let found = socket::join(listening, &owners);
    // Other containers, or the host, listen in the same place; and the engine's own name server listens in ours.
    let ours = |socket: &Socket| !socket.pids.is_empty() || !(shared_network || socket.address == "127.0.0.11");
    Some(found.into_iter().filter(ours).collect())
}

fn from_top(top: &Top) -> Vec<Process> {
    let commands = top.column("COMMAND").zip(top.column("CMD")).map(|(command, cmd)| command.or(cmd));
    let users = top.column("USER").zip(top.column("UID")).map(|(user, uid)| user.or(uid));
    let rows = top.column("PID").zip(top.column("PPID")).zip(users).zip(commands);
    rows.filter_map(|(((pid, ppid), user), command)| {
        Some(Process {
            pid: pid?.parse().ok()?,
            ppid: ppid.and_then(|ppid| ppid.parse().ok()).unwrap_or(0),
            user: user.unwrap_or_default().to_owned(),
            args: command.unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
            exact_argv: false,
            executable: None,
        })
    })
    .collect()
}

/// Reads a file up to a bound.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_in_parts(path, limit, 4 * 1024)
}

/// Reads a file up to a bound, in parts of at least that size as far as there is so much.
fn read_in_parts(path: &Path, limit: u64, part: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(part);
    fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a text file up to a bound; what is not UTF-8 is replaced.
pub(crate) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    Ok(text(read_bytes(path, limit)?))
}

/// As [`read_text`], in large parts: for each part of a table of sockets the kernel walks through all connections of the host,
/// which takes it milliseconds.
fn read_table(path: &Path, limit: u64) -> io::Result<String> {
    Ok(text(read_in_parts(path, limit, 64 * 1024)?))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chn_43_who_neither_handles_nor_waits_for_term_is_deaf() {
        let status = |blocked: &str, caught: &str| format!("Name:\tsh\nSigBlk:\t{blocked}\nSigCgt:\t{caught}\n");
        let (none, term) = ("0000000000000000", "0000000000004000");
        assert!(deaf(&status(none, none)) && deaf(&status(none, "0000000000000002")));
        assert!(!deaf(&status(none, term)) && !deaf(&status(term, none)) && !deaf("Name:\tsh\n"));
    }

    #[test]
    fn bad_65_a_process_list_with_other_columns_is_read_as_far_as_it_goes() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let mut top = Top {
            titles: row(&["UID", "PID", "PPID", "C", "CMD"]),
            processes: vec![row(&["root", "7", "1", "0", "nginx: master process nginx"]), row(&["x"])],
        };
        let found = from_top(&top);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].pid, found[0].user.as_str(), found[0].args[0].as_str()), (7, "root", "nginx:"));
        top.titles = row(&["A"]);
        assert!(from_top(&top).is_empty());
    }

    #[test]
    fn a_process_of_no_container_is_never_killed() {
        let id: ContainerId = "0".repeat(64).parse().unwrap();
        assert!(!kill(std::process::id(), &id));
        assert!(!kill(0, &id));
        assert!(!kill(u32::MAX, &id));
    }
}
