//! Processes held by the kernel's own handles: a number may pass to another process, a handle never does.

use std::{fs, io, os::fd::OwnedFd};

use aigis_proxy::{Error, socket::ProcessGroup};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, getpgrp, kill_process_group, pidfd_open, pidfd_send_signal},
};
use tokio::io::{Interest, unix::AsyncFd};

/// A process, whatever becomes of its number.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    handle: AsyncFd<OwnedFd>,
}

impl Process {
    /// The process that bears the number now, if there is one.
    #[must_use]
    pub fn open(pid: i32) -> Option<Self> {
        let pid = Pid::from_raw(pid)?;
        let handle = pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
        Some(Self { pid, handle: watched(handle).ok()? })
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Resolves when it has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ended(&self) {
        if self.handle.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut watched = [PollFd::new(self.handle.get_ref(), PollFlags::IN)];
        poll(&mut watched, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
}

#[expect(deprecated, reason = "what replaces it is unsafe; a descriptor that is owned keeps to what that asks for")]
fn watched(handle: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(handle, Interest::READABLE)
}

/// A process group, by the handle of its leader.
#[derive(Debug)]
pub struct Group {
    leader: Process,
    session: i32,
    started: u64,
}

impl Group {
    /// Takes hold of a group whose leader is a child of `parent`, who asks for it; `None` if the leader has ended
    /// meanwhile. The node may end what others may not: so it ends for nobody but a parent.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a group that nobody may have ended for him: this node's own, another's, or that of no
    /// leader.
    pub fn open(wanted: ProcessGroup, parent: Option<i32>) -> Result<Option<Self>, Error> {
        let ProcessGroup { pid, .. } = wanted;
        let of_another = Place::of(pid).is_some_and(|place| Some(place.parent) != parent);
        if pid <= 1 || getpgrp().as_raw_nonzero().get() == pid || of_another {
            return Err(Error::invalid(format!("the process group {pid} is not that of a program of yours")));
        }
        let Some(process) = Process::open(pid) else { return Ok(None) };
        // Asked after the handle was taken: what bears the number now is what the handle holds, or that has ended.
        match ProcessGroup::led_by(pid) {
            Some(found) if found == wanted => {
                let session = Place::of(pid).map(|place| place.session);
                Ok(session.map(|session| Self { leader: process, session, started: wanted.started }))
            }
            _ if process.has_ended() => Ok(None),
            _ => Err(Error::invalid(format!("the process {pid} leads no group, or began at another time"))),
        }
    }

    /// The group's number.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.leader.id()
    }

    /// Kills all of it. Where its leader has ended the number alone says little, so that each member is judged and held
    /// by a handle of its own.
    pub fn kill(&self) {
        if !self.leader.has_ended() {
            if let Err(error) = kill_process_group(self.leader.pid, Signal::KILL) {
                tracing::warn!(%error, group = self.id(), "a process group was not ended");
            }
            return;
        }
        let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
        for pid in numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
            if self.holds(pid)
                && let Some(member) = Process::open(pid)
                && self.holds(pid)
                && let Err(error) = pidfd_send_signal(member.handle.get_ref(), Signal::KILL)
            {
                tracing::warn!(%error, pid, group = self.id(), "a process was not ended");
            }
        }
    }

    /// Whether that is a process of this group, and not of one that got the number later: such a one has its leader, or
    /// is of another session.
    fn holds(&self, pid: i32) -> bool {
        let number = self.id();
        let passed_on = Place::of(number).is_some_and(|place| place.started != self.started);
        !passed_on
            && Place::of(pid).is_some_and(|place| {
                place.group == number && place.session == self.session && place.started >= self.started
            })
    }
}

/// Where a process belongs, as `/proc` knows it.
#[derive(Debug, Clone, Copy)]
struct Place {
    parent: i32,
    group: i32,
    session: i32,
    started: u64,
}

impl Place {
    fn of(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before may hold anything but ends in the last parenthesis; state and parent follow.
        let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse().ok();
        Some(Self {
            parent: number(1)?,
            group: number(2)?,
            session: number(3)?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        os::unix::process::CommandExt as _,
        process::{Command, Stdio},
    };

    use super::*;

    fn own() -> Option<i32> {
        i32::try_from(std::process::id()).ok()
    }

    fn sleep() -> std::process::Child {
        Command::new("sleep").arg("60").process_group(0).spawn().unwrap()
    }

    #[tokio::test]
    async fn a_group_ends_with_its_leader_alive_and_no_other_in_its_place() {
        let mut child = sleep();
        let pid = i32::try_from(child.id()).unwrap();
        let wanted = ProcessGroup::led_by(pid).unwrap();
        let other = ProcessGroup { started: wanted.started + 1, ..wanted };
        assert!(Group::open(other, own()).unwrap_err().message.contains("another time"));
        for other in [None, Some(1)] {
            assert!(Group::open(wanted, other).unwrap_err().message.contains("not that of a program of yours"));
        }
        let group = Group::open(wanted, own()).unwrap().unwrap();
        assert!(!group.leader.has_ended());
        group.kill();
        group.leader.ended().await;
        assert!(group.leader.has_ended());
        child.wait().unwrap();
        assert!(Group::open(wanted, own()).unwrap().is_none(), "it has ended");
    }

    #[tokio::test]
    async fn members_whose_leader_has_ended_are_ended_too() {
        let script = "sleep 1000 & echo $!; read line";
        let mut command = Command::new("sh");
        command.args(["-c", script]).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut leader = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(leader.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let member = Process::open(line.trim().parse().unwrap()).unwrap();
        let wanted = ProcessGroup::led_by(i32::try_from(leader.id()).unwrap()).unwrap();
        let group = Group::open(wanted, own()).unwrap().unwrap();
        drop(leader.stdin.take());
        leader.wait().unwrap();
        assert!(group.leader.has_ended() && !member.has_ended());
        group.kill();
        tokio::time::timeout(std::time::Duration::from_secs(10), member.ended()).await.unwrap();
    }

    #[tokio::test]
    async fn bad_24_groups_that_are_nobodys_program_are_refused() {
        for pid in [-1, 0, 1, getpgrp().as_raw_nonzero().get()] {
            assert!(Group::open(ProcessGroup { pid, started: 0 }, own()).is_err(), "{pid}");
        }
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(Group::open(ProcessGroup { pid, started: 0 }, own()).is_err(), "a process that leads no group");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
