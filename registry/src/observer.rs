//! Decides from signs of life who is there: a state machine over events and this process's own clock.
//!
//! Absence seen through a broken window is no death. Whoever was cut off, slept, or sits at a bus that has just
//! started says "unknown" and waits; only a silence that was watched from end to end is "offline". So does who reads from
//! one of several servers that nobody at all is there: one that stood still tells what it knew then.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use aigis_proxy::UserName;

use crate::record::{Lease, State};

/// How often a lease is renewed.
pub const RENEWAL: Duration = Duration::from_secs(5);
/// From when on a renewal is late.
pub const LATE: Duration = Duration::from_secs(10);
/// How long a lease holds without renewal.
pub const LEASE: Duration = Duration::from_secs(15);
/// How long after a start of the bus nothing is called offline.
pub const GRACE: Duration = Duration::from_secs(30);
/// How late a tick may be before the observer takes it that it slept.
pub const SLEPT: Duration = Duration::from_secs(2);

/// What was last seen of a lease.
#[derive(Debug, Clone)]
struct Sign {
    boot: String,
    counter: u64,
    goodbye: bool,
    /// When it moved; `None` if that was before this machine's clock began.
    moved: Option<Instant>,
}

/// Judges who is there.
#[derive(Debug)]
pub struct Observer {
    signs: HashMap<UserName, Sign>,
    /// When any of them moved last.
    stirred: Option<Instant>,
    /// Whether the bus has several servers, of which one may know less than the others.
    several: bool,
    /// Whether all that the bus knows is known here.
    whole: bool,
    /// Since when.
    whole_since: Option<Instant>,
    /// When that became so again after a break.
    healed: Option<Instant>,
    /// Whether it ever was so.
    seen_before: bool,
    up: bool,
    server: String,
    births: HashMap<String, Option<Instant>>,
    ticked: Instant,
    /// The last instant of which it is known that what the bus had to say then has come.
    heard: Option<Instant>,
}

impl Observer {
    /// Makes an observer that has seen nothing yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            signs: HashMap::new(),
            stirred: None,
            several: false,
            whole: false,
            whole_since: None,
            healed: None,
            seen_before: false,
            up: false,
            server: String::new(),
            births: HashMap::new(),
            ticked: now,
            heard: None,
        }
    }

    /// Notes a lease as it stands; `age` is by the store's clock. Says whether it moved.
    pub fn lease(&mut self, now: Instant, owner: &UserName, lease: &Lease, age: Duration) -> bool {
        let known = self.signs.get(owner);
        if known.is_some_and(|sign| {
            sign.boot == lease.boot && sign.counter == lease.counter && sign.goodbye == lease.goodbye
        }) {
            return false;
        }
        let sign = Sign {
            boot: lease.boot.clone(),
            counter: lease.counter,
            goodbye: lease.goodbye,
            moved: now.checked_sub(age),
        };
        self.stirred = self.stirred.max(sign.moved);
        self.signs.insert(owner.clone(), sign);
        true
    }

    /// Forgets an owner whose records are gone.
    pub fn forget(&mut self, owner: &UserName) {
        self.signs.remove(owner);
    }

    /// Notes that a bus server's start was recorded `age` ago.
    pub fn birth(&mut self, now: Instant, server: &str, age: Duration) {
        let born = now.checked_sub(age);
        let known = self.births.entry(server.to_owned()).or_insert(born);
        // Several nodes may have recorded it; the first one counts. `None` is the oldest.
        *known = (*known).min(born);
    }

    /// Forgets a bus server's start whose record was removed.
    pub fn forget_birth(&mut self, server: &str) {
        self.births.remove(server);
    }

    /// Notes the state of the link, and the server at its other end.
    pub fn link(&mut self, up: bool, server: &str) {
        if !up {
            self.whole = false;
        }
        self.up = up;
        server.clone_into(&mut self.server);
    }

    /// Notes whether the bus has several servers.
    pub fn several(&mut self, several: bool) {
        self.several = several;
    }

    /// Notes that a word sent to the bus at that instant came back, behind all that the bus had to say before it.
    pub fn heard(&mut self, sent: Instant) {
        self.heard = self.heard.max(Some(sent));
    }

    /// Whether somebody is silent for so long that it matters whether the link is only silent: one whose packets are
    /// dropped breaks late.
    #[must_use]
    pub fn doubts(&self, now: Instant) -> bool {
        let ended = |sign: &Sign| sign.moved.is_some_and(|moved| now.saturating_duration_since(moved) > LEASE);
        self.is_whole(now)
            && self.signs.values().any(|sign| ended(sign) && !sign.goodbye && !self.has_heard_since(sign))
    }

    /// Whether a renewal that came before the lease's end would be known here.
    fn has_heard_since(&self, sign: &Sign) -> bool {
        let ended = sign.moved.and_then(|moved| moved.checked_add(LEASE));
        ended.is_none_or(|ended| self.heard >= Some(ended))
    }

    /// Notes that what is known may be out of date.
    pub fn broken(&mut self) {
        self.whole = false;
    }

    /// Notes that all is known again.
    pub fn healed(&mut self, now: Instant) {
        if !self.whole {
            self.whole_since = Some(now);
            self.healed = Some(now).filter(|_| self.seen_before);
        }
        self.whole = true;
        self.seen_before = true;
        self.heard(now);
    }

    /// Notes that time passes, at least each second; says whether this process slept, so that it must read all again.
    pub fn tick(&mut self, now: Instant) -> bool {
        let slept = now.saturating_duration_since(self.ticked) > SLEPT;
        self.ticked = now;
        if slept {
            self.whole = false;
        }
        slept
    }

    /// Whether anything can be said from here.
    #[must_use]
    pub fn is_whole(&self, now: Instant) -> bool {
        self.up && self.whole && now.saturating_duration_since(self.ticked) <= SLEPT
    }

    /// Whether the owner of a lease is there: live, unknown or offline.
    #[must_use]
    pub fn judge(&self, now: Instant, owner: &UserName) -> State {
        if !self.is_whole(now) {
            return State::Unknown;
        }
        let sign = self.signs.get(owner);
        if sign.is_some_and(|sign| sign.goodbye) {
            return State::Offline;
        }
        let silent = sign.and_then(|sign| sign.moved).map(|moved| now.saturating_duration_since(moved));
        match silent {
            Some(silent) if silent <= LATE => State::Live,
            Some(silent) if silent <= LEASE => State::Unknown,
            _ if self.is_guarded(now) => State::Unknown,
            _ if sign.is_some_and(|sign| !self.has_heard_since(sign)) => State::Unknown,
            _ => State::Offline,
        }
    }

    /// Whether absence proves nothing at the moment.
    fn is_guarded(&self, now: Instant) -> bool {
        let within = |since: Instant, bound: Duration| now.saturating_duration_since(since) < bound;
        let healing = self.healed.is_some_and(|healed| within(healed, LEASE));
        let young = match self.births.get(&self.server) {
            Some(Some(born)) => within(*born, GRACE),
            Some(None) => false,
            None => true,
        };
        // A server that stood still, or leads no more and does not know, says of all others that they are silent.
        let stale = self.several
            && self.whole_since.is_some_and(|since| within(since, LEASE))
            && !self.stirred.is_some_and(|stirred| within(stirred, LEASE));
        healing || young || stale
    }
}

#[cfg(test)]
mod tests;
