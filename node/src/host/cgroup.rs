//! Where a container's cgroup files lie, for both versions of cgroups and for a host that is itself in a cgroup.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, PoisonError, RwLock},
};

use super::read_text;
use crate::engine::ContainerId;

/// Most cgroups below a container's own that are looked into for processes.
const MAX_NESTED: usize = 1000;

/// Where the kernel's trees are mounted, read again when a container is not found there: they stay where they are, and the
/// table of mounts grows with each container.
static MOUNTS: LazyLock<RwLock<Arc<[Mount]>>> = LazyLock::new(|| RwLock::new(Arc::new([])));

/// The controllers of version 1 whose files are read.
const CONTROLLERS: [&str; 5] = ["memory", "cpu", "cpuacct", "pids", "blkio"];

/// What the kernel says of a process of a container: the cgroups that it is in. The kernel takes a lock of the whole host to
/// tell, so it is asked once a look.
#[derive(Debug)]
pub(crate) struct Membership<'a> {
    text: String,
    id: &'a ContainerId,
}

impl<'a> Membership<'a> {
    /// Reads it; `None` if the process is not of that container, or of another host.
    pub(crate) fn of(pid: u32, id: &'a ContainerId) -> Option<Self> {
        let text = read_text(Path::new(&format!("/proc/{pid}/cgroup")), 64 * 1024).ok()?;
        text.contains(id.as_str()).then_some(Self { text, id })
    }

    /// Finds the container's cgroup; `None` if its files cannot be seen from here.
    pub(crate) fn place(&self) -> Option<Place> {
        let find = |mounts: &[Mount]| Place::find(&self.text, mounts, self.id, &|path| path.is_dir());
        let known = MOUNTS.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(found) = find(&known) {
            return Some(found);
        }
        let mounts = read_text(Path::new("/proc/self/mountinfo"), 4 * 1024 * 1024).ok()?;
        let mounts: Arc<[Mount]> = mounts.lines().filter_map(Mount::read).collect();
        *MOUNTS.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&mounts);
        find(&mounts)
    }
}

/// The directories of one container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Version 1: one directory a controller.
    V1(BTreeMap<String, PathBuf>),
    /// Version 2: one directory.
    V2(PathBuf),
}

impl Place {
    /// Finds the cgroup of a container by one of its processes; `None` if the process is not of that container, or its
    /// files cannot be seen from here.
    pub(crate) fn of(pid: u32, id: &ContainerId) -> Option<Self> {
        Membership::of(pid, id)?.place()
    }

    fn find(membership: &str, mounts: &[Mount], id: &ContainerId, exists: &dyn Fn(&Path) -> bool) -> Option<Self> {
        let mut controllers = BTreeMap::new();
        let mut unified = None;
        for line in membership.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(names), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
            if !path.contains(id.as_str()) {
                continue;
            }
            if names.is_empty() {
                let mount = mounts.iter().find(|mount| mount.controllers.is_none());
                unified = mount.and_then(|mount| mount.directory(path, id, exists));
                continue;
            }
            for name in names.split(',').filter(|name| CONTROLLERS.contains(name)) {
                let has =
                    |mount: &&Mount| mount.controllers.as_ref().is_some_and(|all| all.iter().any(|one| one == name));
                if let Some(directory) = mounts.iter().find(has).and_then(|mount| mount.directory(path, id, exists)) {
                    controllers.insert(name.to_owned(), directory);
                }
            }
        }
        // A hybrid host has an empty version 2 tree beside the controllers of version 1.
        if controllers.contains_key("memory") || controllers.contains_key("cpuacct") || controllers.contains_key("pids")
        {
            Some(Self::V1(controllers))
        } else {
            unified.map(Self::V2)
        }
    }

    /// The directory of a controller.
    pub(crate) fn directory(&self, controller: &str) -> Option<&Path> {
        match self {
            Self::V1(controllers) => controllers.get(controller).map(PathBuf::as_path),
            Self::V2(directory) => Some(directory),
        }
    }

    /// All processes of the container, also of cgroups that it made itself, sorted.
    pub(crate) fn pids(&self) -> Option<Vec<u32>> {
        let root = match self {
            Self::V1(controllers) => ["pids", "memory", "cpuacct"].iter().find_map(|name| controllers.get(*name))?,
            Self::V2(directory) => directory,
        };
        let mut pids = read_pids(root)?;
        let mut nested = vec![root.clone()];
        let mut seen = 0;
        while let Some(directory) = nested.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                if seen < MAX_NESTED && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    seen += 1;
                    pids.extend(read_pids(&entry.path()).unwrap_or_default());
                    nested.push(entry.path());
                }
            }
        }
        pids.sort_unstable();
        pids.dedup();
        Some(pids)
    }
}

fn read_pids(directory: &Path) -> Option<Vec<u32>> {
    let text = read_text(&directory.join("cgroup.procs"), 1024 * 1024).ok()?;
    Some(text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect())
}

/// A mounted cgroup tree.
#[derive(Debug)]
struct Mount {
    root: String,
    point: PathBuf,
    /// The controllers of a version 1 tree; `None` for version 2.
    controllers: Option<Vec<String>>,
}

impl Mount {
    fn read(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ');
        let (root, point) = (fields.nth(3)?.to_owned(), PathBuf::from(fields.next()?));
        let mut after = after.split(' ');
        let controllers = match after.next()? {
            "cgroup2" => None,
            "cgroup" => Some(after.nth(1)?.split(',').map(str::to_owned).collect()),
            _ => return None,
        };
        Some(Self { root, point, controllers })
    }

    /// The directory of a path as `/proc` names it. The mount may show only a part of the tree, and the path may be
    /// counted from elsewhere, so the first of the possible places that exists is taken.
    fn directory(&self, path: &str, id: &ContainerId, exists: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
        let relative = path.strip_prefix(self.root.trim_end_matches('/')).unwrap_or(path);
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != "..").collect();
        let own = parts.iter().position(|part| part.contains(id.as_str()))?;
        let tails = (0..=own).map(|from| parts.get(from..).unwrap_or_default().join("/"));
        std::iter::once(relative.trim_start_matches('/').to_owned())
            .chain(tails)
            .filter(|tail| !tail.contains(".."))
            .map(|tail| self.point.join(tail))
            .map(|directory| container_level(&directory, id))
            .find(|directory| exists(directory))
    }
}

/// Cuts a path after the part that names the container: a process may sit in a cgroup below.
fn container_level(directory: &Path, id: &ContainerId) -> PathBuf {
    let mut level = PathBuf::new();
    for part in directory.components() {
        level.push(part);
        if part.as_os_str().to_str().is_some_and(|part| part.contains(id.as_str())) {
            break;
        }
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(text: &str) -> Vec<Mount> {
        text.lines().filter_map(Mount::read).collect()
    }

    fn id() -> ContainerId {
        "ab".repeat(32).parse().unwrap()
    }

    #[test]
    fn version_1_is_found() {
        let (id, table) = (
            id(),
            "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        );
        let membership = format!("8:cpu:/docker/{id}\n4:memory:/docker/{id}/inner\n0::/\n");
        let Some(Place::V1(found)) = Place::find(&membership, &mounts(table), &id, &|_| true) else {
            panic!("not found")
        };
        assert_eq!(found["memory"], PathBuf::from(format!("/sys/fs/cgroup/memory/docker/{id}")));
        assert_eq!(found["cpu"], PathBuf::from(format!("/sys/fs/cgroup/cpu/docker/{id}")));
    }

    #[test]
    fn version_2_is_found_also_from_within_a_cgroup() {
        let id = id();
        let wanted = PathBuf::from(format!("/sys/fs/cgroup/system.slice/docker-{id}.scope"));
        let table = "30 23 0:26 /outer /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        for path in [format!("/outer/system.slice/docker-{id}.scope"), format!("/../system.slice/docker-{id}.scope")] {
            let found = Place::find(&format!("0::{path}\n"), &mounts(table), &id, &|path| path == wanted);
            assert_eq!(found, Some(Place::V2(wanted.clone())), "{path}");
        }
    }

    #[test]
    fn another_container_s_process_is_not_taken() {
        let table = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(Place::find("0::/user.slice\n", &mounts(table), &id(), &|_| true), None);
        assert_eq!(Place::find("garbage", &mounts("garbage"), &id(), &|_| true), None);
    }
}
