//! A server's process, by a handle that a reused process id cannot deceive.

use std::{io, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// How often an adopted server is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long a server may take to end when asked to.
pub(super) const STOP: Duration = Duration::from_secs(10);

/// A process, ours or adopted, known by its handle: a reused process id cannot be mistaken for it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    handle: std::os::fd::OwnedFd,
    /// Ours is reaped when it ends; an adopted one is somebody else's child.
    child: Option<tokio::process::Child>,
}

impl Process {
    pub(super) fn open(pid: Pid, child: Option<tokio::process::Child>) -> io::Result<Self> {
        Ok(Self { pid, handle: pidfd_open(pid, PidfdFlags::empty())?, child })
    }

    /// Completes when the process has ended.
    pub(super) async fn ended(&mut self) {
        if let Some(child) = &mut self.child {
            // An error says the same: there is nothing left to wait for.
            let _ = child.wait().await;
            return;
        }
        while !self.has_ended() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether it is somebody else's child, that was running before.
    pub(super) fn is_adopted(&self) -> bool {
        self.child.is_none()
    }

    fn has_ended(&self) -> bool {
        let mut handle = [PollFd::new(&self.handle, PollFlags::IN)];
        poll(&mut handle, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    fn signal(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(&self.handle, signal) {
            tracing::debug!(%error, "the bus server took no signal");
        }
    }

    /// Makes it read its files again.
    pub(super) fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Asks it to end in order.
    pub(super) fn stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it, in order if it does so in time.
    pub(super) async fn end(mut self) {
        self.stop();
        if tokio::time::timeout(STOP, self.ended()).await.is_err() {
            self.signal(Signal::KILL);
            self.ended().await;
        }
    }
}
