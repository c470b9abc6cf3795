//! The end of a lab, whatever state it is in.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal},
};

use crate::{
    Error, Namespace, Process,
    program::{run, within},
    state::{BUS, State},
};

/// Locked by the reaper while it watches.
const WATCH: &str = "reaper";
/// How long the lab's processes may take to end.
const KILLED: Duration = Duration::from_secs(20);

/// Waits until standard input ends, as it does with the process that holds its other end, then removes the lab.
///
/// # Errors
///
/// Something is left.
pub fn reap(directory: &Path) -> Result<(), Error> {
    let path = directory.join(WATCH);
    let failed = |source| Error::Io { path: path.clone(), source };
    let file = fs::File::create(&path).map_err(failed)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| failed(error.into()))?;
    // A reader that has gone ends this as well.
    let _ = io::stdout().write_all(b"+").and_then(|()| io::stdout().flush());
    let _ = io::stdin().read_to_end(&mut Vec::new());
    remove(directory)
}

/// Whether a reaper watches the lab in a directory.
pub(crate) fn is_watched(directory: &Path) -> bool {
    let lock = fs::File::open(directory.join(WATCH)).map(|file| flock(&file, FlockOperation::NonBlockingLockShared));
    matches!(lock, Ok(Err(_)))
}

/// Removes the lab in a directory: its processes, containers, mounts, namespaces and files. May be repeated.
///
/// # Errors
///
/// There is no lab, or something of it is left.
pub fn remove(directory: &Path) -> Result<(), Error> {
    let state = State::read(directory)?;
    let path = directory.canonicalize().map_err(|source| Error::Io { path: directory.to_owned(), source })?;
    let left = |what: &str| Error::Left { path: path.clone(), what: what.to_owned() };
    let stations = state.hosts.iter().map(String::as_str).chain([BUS]).map(|station| state.namespace(station));
    let namespaces: Vec<_> = stations.chain([state.switch()]).collect();
    let containers = containers(&path, &state);
    within(KILLED, || kill(&namespaces, &containers).then_some(())).ok_or_else(|| left("processes"))?;
    unmount(&path)?;
    for group in containers.iter().flat_map(|id| control_groups(id)) {
        // The deepest first; one that is still there holds nothing, and the next engine of its name takes it over.
        let _ = fs::remove_dir(group);
    }
    namespaces.iter().try_for_each(Namespace::delete)?;
    fs::remove_dir_all(&path).map_err(|_| left("files"))
}

/// Kills everything of the lab that runs, and says whether nothing was left to kill.
fn kill(namespaces: &[Namespace], containers: &[String]) -> bool {
    let own = rustix::process::getpid();
    let in_namespaces = namespaces.iter().flat_map(Namespace::processes);
    let groups: Vec<_> = containers.iter().flat_map(|id| control_groups(id)).collect();
    for group in &groups {
        // A paused container takes no signal. Only one kind of group has this file.
        let thaw = group.join("freezer.state");
        if thaw.exists() {
            let _ = fs::write(thaw, "THAWED");
        }
    }
    let in_groups = groups.iter().flat_map(|group| members(group)).filter_map(Process::open);
    let found: Vec<_> = in_namespaces.chain(in_groups).filter(|found| found.pid() != own).collect();
    // The end of one that nobody waits for is an end all the same.
    let running: Vec<_> = found.into_iter().filter(|process| !process.has_ended()).collect();
    for process in &running {
        process.signal(Signal::KILL);
    }
    running.is_empty()
}

/// The ids of the containers that the lab's engines know.
fn containers(directory: &Path, state: &State) -> Vec<String> {
    let places = state.hosts.iter().map(|host| directory.join("hosts").join(host).join("engine/data/containers"));
    let entries = places.flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten());
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    // Only what is an id, and so names a control group of no one else.
    names.filter(|name| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())).collect()
}

/// The control groups of a container, the deepest first, in either version of the file system.
fn control_groups(container: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let places = hierarchies.chain([root.to_owned()]);
    let named = ["docker/", "system.slice/docker-"].into_iter().zip(["", ".scope"]);
    let named: Vec<_> = named.map(|(before, after)| format!("{before}{container}{after}")).collect();
    let groups = places.flat_map(|place| named.iter().map(move |name| place.join(name)).collect::<Vec<_>>());
    let mut found: Vec<_> = groups.filter(|group| group.is_dir()).collect();
    let mut place = 0;
    while let Some(group) = found.get(place) {
        let inner = fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
        found.extend(inner.filter(|path| path.is_dir()).collect::<Vec<_>>());
        place += 1;
    }
    found.reverse();
    found
}

fn members(group: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

/// Unmounts whatever is mounted below a directory, the innermost first.
fn unmount(directory: &Path) -> Result<(), Error> {
    let path = Path::new("/proc/self/mounts");
    let mounts = fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let places = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for place in places.filter(|place| place.starts_with(directory)) {
        run(Command::new("umount").arg("--lazy").arg(place))?;
    }
    Ok(())
}
