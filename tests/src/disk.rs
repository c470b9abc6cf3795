//! A disk of a few MiB, in memory, on which there can be less room than somebody needs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use tempfile::TempDir;

use crate::until;

/// How long others may write on while the size of a disk is changed.
const SETTLED: Duration = Duration::from_secs(60);

/// A disk that is gone with this. What uses it has to be gone before.
#[derive(Debug)]
pub struct Disk {
    place: TempDir,
    bytes: u64,
}

impl Disk {
    /// An empty one of so many MiB.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be mounted, which only the superuser can do.
    #[must_use]
    pub fn of(mebibytes: u64) -> Self {
        let place = tempfile::Builder::new().prefix("aigis-disk").tempdir().unwrap_or_else(|error| panic!("{error}"));
        let disk = Self { place, bytes: mebibytes * 1024 * 1024 };
        let mounted = disk.mount("", disk.bytes);
        assert!(mounted.status.success(), "{mounted:?}");
        disk
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// How many bytes are in use.
    ///
    /// # Panics
    ///
    /// Panics when the kernel does not say.
    #[must_use]
    pub fn used(&self) -> u64 {
        let known = rustix::fs::statvfs(self.path()).unwrap_or_else(|error| panic!("{error}"));
        (known.f_blocks - known.f_bfree) * known.f_frsize
    }

    /// Leaves room for so many bytes more than it holds now.
    ///
    /// # Panics
    ///
    /// Panics when it is written to so fast that this cannot be done.
    pub fn leave(&self, bytes: u64) {
        // Never nothing: that would be no limit.
        until("the disk is full", SETTLED, || {
            self.mount("remount,", (self.used() + bytes).max(1)).status.success().then_some(())
        });
    }

    /// Gives it the room that it had at first.
    ///
    /// # Panics
    ///
    /// Panics when the kernel refuses.
    pub fn relieve(&self) {
        let mounted = self.mount("remount,", self.bytes);
        assert!(mounted.status.success(), "{mounted:?}");
    }

    fn mount(&self, how: &str, bytes: u64) -> Output {
        let options = format!("{how}mode=0700,size={bytes}");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &options, "none"]).arg(self.path());
        command.output().unwrap_or_else(|error| panic!("mount cannot be run: {error}"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let place: PathBuf = self.path().to_owned();
        // Who starts a container holds all mounts for a moment.
        let _ = Command::new("umount").arg("--lazy").arg(place).output();
    }
}
