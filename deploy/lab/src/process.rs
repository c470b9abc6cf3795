//! A process, by a handle that a reused process id cannot deceive.

use std::{os::fd::OwnedFd, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use crate::program::within;

/// A running process.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    handle: OwnedFd,
}

impl Process {
    /// Takes hold of a process; nothing if there is none of that number.
    #[must_use]
    pub fn open(pid: Pid) -> Option<Self> {
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Self { pid, handle })
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends it a signal; one that has ended takes none.
    pub fn signal(&self, signal: Signal) {
        // The only thing that can fail here is that it has ended, which whoever signals it looks at afterwards.
        let _ = pidfd_send_signal(&self.handle, signal);
    }

    /// Whether it has ended, waited for or not.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut handle = [PollFd::new(&self.handle, PollFlags::IN)];
        poll(&mut handle, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Kills it and waits for its end, by when it holds no files and no locks; says whether that came.
    #[must_use]
    pub fn kill(&self) -> bool {
        self.signal(Signal::KILL);
        within(Duration::from_secs(10), || self.has_ended().then_some(())).is_some()
    }
}
