//! Network namespaces: what a host of the lab is, and by what its processes are known.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Pid;

use crate::{Error, Process, program::ip};

/// A named network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn new(name: String) -> Self {
        Self { name }
    }

    /// Its name, as `ip netns` takes it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    pub(crate) fn create(&self) -> Result<(), Error> {
        ip(&format!("netns add {}", self.name))?;
        self.ip("link set lo up").map(drop)
    }

    /// Deletes it if it is there; its interfaces go with it.
    pub(crate) fn delete(&self) -> Result<(), Error> {
        if !self.path().exists() {
            return Ok(());
        }
        ip(&format!("netns delete {}", self.name)).map(drop)
    }

    /// Runs `ip` in it.
    pub(crate) fn ip(&self, words: &str) -> Result<String, Error> {
        ip(&format!("-netns {} {words}", self.name))
    }

    /// A command that runs a program in it. Only the network is another: `ip netns exec` would hide the cgroups, which
    /// an engine needs.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Whether a process is in it.
    #[must_use]
    pub fn holds(&self, pid: Pid) -> bool {
        let own = identity(&self.path());
        own.is_some() && own == identity(&network_of(pid))
    }

    /// The processes in it.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let pids = all_pids().into_iter();
        // Looked at again once its handle is open: the first may have ended, and another have taken its number.
        pids.filter(|pid| self.holds(*pid)).filter_map(Process::open).filter(|found| self.holds(found.pid())).collect()
    }

    /// The process whose number stands in a file, if that runs in this namespace.
    pub(crate) fn process(&self, file: &Path) -> Option<Process> {
        let text = fs::read_to_string(file).ok()?;
        let process = Process::open(Pid::from_raw(text.trim().parse().ok()?)?)?;
        self.holds(process.pid()).then_some(process)
    }
}

fn network_of(pid: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{}/ns/net", pid.as_raw_nonzero()))
}

/// What a namespace's file stands for, whatever its path.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn all_pids() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
}
