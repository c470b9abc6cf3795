//! Which container CIs there ought to be, worked out from what the engine lists: a pure state machine, fed with
//! observations and the time.
//!
//! A CI is bound to a name, not to a container id: a container that is recreated within the grace stays the same CI,
//! and a holder keeps its name whatever comes after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::Name;
use time::OffsetDateTime;

use crate::{
    engine::{Container, ContainerId, State},
    naming,
};

/// How long a container that was never started waits before it is shown: a recreate uses temporary names.
const CREATED_GRACE: Duration = Duration::from_secs(30);
/// How long a name may be without a container before its CI is gone.
const GONE_GRACE: Duration = Duration::from_secs(2);
/// How often one CI's record may change.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// This CI is bound to this container: register it, or write what changed.
    Bind(Name, Arc<Container>),
    /// This CI's container is gone.
    Gone(Name),
}

#[derive(Debug)]
struct Held {
    /// The name before a clash was settled.
    base: Name,
    name: Name,
    missing_since: Option<Instant>,
    written: Option<(Instant, Arc<Container>)>,
}

/// The names that this node's containers hold.
#[derive(Debug, Default)]
pub(crate) struct Reconciler {
    /// By the container's own name, which the engine keeps unique.
    held: BTreeMap<String, Held>,
    /// Names that other CIs of this node hold.
    taken: BTreeSet<Name>,
}

impl Reconciler {
    /// Begins with the CIs that the node's records name, so that a restart renames nothing: pairs of container name
    /// and CI name. Names in `taken` belong to other kinds of CI.
    #[must_use]
    pub(crate) fn new(known: impl IntoIterator<Item = (String, Name)>, taken: BTreeSet<Name>, now: Instant) -> Self {
        let held = known.into_iter().map(|(container_name, name)| {
            let held = Held { base: name.clone(), name, missing_since: Some(now), written: None };
            (container_name, held)
        });
        Self { held: held.collect(), taken }
    }

    /// Says which names other CIs of this node hold now.
    pub(crate) fn set_taken(&mut self, taken: BTreeSet<Name>) {
        self.taken = taken;
    }

    /// Takes what the engine lists now, and says what is to be done and when to look again at the latest.
    pub(crate) fn observe(
        &mut self,
        containers: &BTreeMap<ContainerId, Arc<Container>>,
        now: Instant,
        clock: OffsetDateTime,
    ) -> (Vec<Action>, Option<Instant>) {
        let mut actions = Vec::new();
        let mut wake: Option<Instant> = None;
        let mut look_again = |at: Instant| wake = Some(wake.map_or(at, |known| known.min(at)));
        let mut present = BTreeSet::new();
        for container in containers.values() {
            let declared = naming::declared(&container.labels);
            if declared.hidden || declared.owner.is_some() {
                continue;
            }
            present.insert(container.name.clone());
            if !self.held.contains_key(&container.name)
                && let Some(left) = waiting(container, clock)
            {
                look_again(now + left);
                continue;
            }
            self.bind(container, now, &mut actions, &mut look_again);
        }
        for (container_name, held) in &mut self.held {
            if present.contains(container_name) {
                continue;
            }
            let since = *held.missing_since.get_or_insert(now);
            if now >= since + GONE_GRACE {
                actions.push(Action::Gone(held.name.clone()));
            } else {
                look_again(since + GONE_GRACE);
            }
        }
        self.held.retain(|container_name, held| {
            present.contains(container_name) || held.missing_since.is_none_or(|since| now < since + GONE_GRACE)
        });
        (actions, wake)
    }

    fn bind(
        &mut self,
        container: &Arc<Container>,
        now: Instant,
        actions: &mut Vec<Action>,
        look_again: &mut impl FnMut(Instant),
    ) {
        let named = naming::ci_name(&container.name, &container.labels);
        let renamed = self.held.get(&container.name).is_some_and(|held| !held.keeps(&named.name, &container.name));
        if renamed && let Some(held) = self.held.remove(&container.name) {
            actions.push(Action::Gone(held.name));
        }
        let name = match self.held.get(&container.name) {
            Some(held) => held.name.clone(),
            None => self.free(&named.name, &container.name),
        };
        let held = self.held.entry(container.name.clone()).or_insert_with(|| Held {
            base: named.name.clone(),
            name: name.clone(),
            missing_since: None,
            written: None,
        });
        held.base = named.name;
        held.missing_since = None;
        match &held.written {
            Some((_, written)) if written == container => {}
            Some((at, _)) if now < *at + WRITE_INTERVAL => look_again(*at + WRITE_INTERVAL),
            _ => {
                held.written = Some((now, container.clone()));
                actions.push(Action::Bind(name, container.clone()));
            }
        }
    }

    /// The name itself, or with the container's digits if another CI of this node holds it.
    fn free(&self, base: &Name, container_name: &str) -> Name {
        let held = self.taken.contains(base) || self.held.values().any(|held| held.name == *base);
        if held { naming::disambiguated(base, container_name) } else { base.clone() }
    }
}

impl Held {
    /// Whether a container whose name and labels ask for `base` goes on under this name.
    fn keeps(&self, base: &Name, container_name: &str) -> bool {
        self.base == *base || self.name == *base || self.name == naming::disambiguated(base, container_name)
    }
}

/// What is left of the wait of a container that was created and never started.
fn waiting(container: &Container, clock: OffsetDateTime) -> Option<Duration> {
    if container.state != State::Created {
        return None;
    }
    let age = container.created_at.map(|created| clock - created)?;
    let age = Duration::try_from(age).unwrap_or_default();
    CREATED_GRACE.checked_sub(age).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests;
