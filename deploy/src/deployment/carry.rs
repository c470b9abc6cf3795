//! Carries what is under way, one step after the other, and writes down how far it is. All that it asks nodes may be asked
//! again, so whoever goes on after it does no harm.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aigis_proxy::{Code, Error, Name, NodeName, identity::Mandate, services::deployments::Replica};
use aigis_registry::{Timestamp, shared::Key};
use tokio::time::{Instant, sleep};

use super::{
    Action, Deployment, Direction, Gate, Host, Kind, Next, Outcome, Parts, Replicas, Row, Sources, Was, board::Core,
    facts, machine, plan, steps::Steps, wanted, work::Work,
};

/// How many things are done for one task; far more than a hundred replicas of many containers take.
const ROUNDS: usize = 100_000;
/// How long a node may be away before what is asked of it fails.
pub(super) const AWAY: Duration = Duration::from_secs(30);
/// How long the records may be away before what is under way is left to whoever looks next.
const STORE_AWAY: Duration = Duration::from_secs(300);
/// How long is waited before something is asked again.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Why this node carries something no further.
pub(super) enum Halt {
    /// It is done, or another node does it.
    Over,
    /// That went wrong.
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Carries a task to its end.
///
/// # Errors
///
/// What keeps this node from going on now.
pub(super) async fn carry(core: Arc<Core>, record: Deployment, revision: u64) -> Result<(), Error> {
    let mut work = Work::new(&core.place)?;
    let needed: BTreeSet<_> = record
        .wanted
        .values()
        .chain(record.stable.iter().flat_map(|parts| parts.values()))
        .map(|part| part.package)
        .collect();
    let is_removal = record.task.as_ref().is_some_and(|task| task.kind != Kind::Release);
    let sources = match work.sources(needed).await {
        // What is removed goes also where nothing is known of it any more.
        Err(_) if is_removal => Ok(Sources::new()),
        read => read,
    };
    let mut carrying =
        Carrying { core, record, revision, sources: Sources::new(), emptied: BTreeSet::new(), left: Vec::new() };
    let done = match sources {
        Ok(sources) => {
            carrying.sources = sources;
            Box::pin(carrying.run(&mut work)).await
        }
        Err(error) => Err(error.into()),
    };
    let Err(Halt::Failed(error)) = done else { return Ok(()) };
    // What may be otherwise in a while is tried again, here or elsewhere.
    if matches!(error.code, Code::Unavailable | Code::DeadlineExceeded) {
        return Err(error);
    }
    match is_removal {
        true => carrying.record.end_removal(Some(error)),
        false => carrying.record.end_release(Outcome::Failed, Some(error)),
    }
    match carrying.write().await {
        Err(Halt::Failed(error)) => Err(error),
        _ => Ok(()),
    }
}

/// What this node carries.
pub(super) struct Carrying {
    pub(super) core: Arc<Core>,
    pub(super) record: Deployment,
    revision: u64,
    sources: Sources,
    /// Nodes from which something was removed.
    emptied: BTreeSet<NodeName>,
    /// What could not be brought back to what it was.
    left: Vec<String>,
}

impl Carrying {
    async fn run(&mut self, work: &mut Work) -> Result<(), Halt> {
        match self.record.task.as_ref().map(|task| task.kind) {
            None => Ok(()),
            Some(Kind::Remove { volumes }) => self.remove_all(volumes).await,
            Some(Kind::Release) => self.release(work).await,
        }
    }

    /// Writes the record; whoever finds that another wrote it carries it no more.
    pub(super) async fn write(&mut self) -> Result<(), Halt> {
        self.record.updated_at = Timestamp::now();
        let key = Key::Deployment(self.record.project.clone());
        let until = Instant::now() + STORE_AWAY;
        loop {
            match self.core.place.shared.put(&key, &self.record, self.revision).await {
                Ok(Some(revision)) => {
                    self.revision = revision;
                    return Ok(());
                }
                Ok(None) => return Err(Halt::Over),
                Err(error) if error.code == Code::Unavailable && Instant::now() < until => sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn direction(&self) -> Direction {
        self.record.task.as_ref().map_or(Direction::Forward, |task| task.direction)
    }

    pub(super) fn steps(&self) -> Steps<'_> {
        Steps { core: &self.core, project: &self.record.project }
    }

    /// What nodes have, what each is to be given, and what has to be done.
    async fn look(&self) -> Result<(Vec<Host>, Replicas, Vec<Row>), Error> {
        let Deployment { project, wanted: parts, placements, .. } = &self.record;
        let snapshot = self.core.snapshot().await?;
        let hosts = facts::hosts(&self.core.place.bus, &snapshot, project, &BTreeSet::new()).await;
        let units = wanted(parts, &self.sources)?;
        let replicas = super::replicas(project, &units, &self.sources, placements, &hosts)?;
        let plan = plan(&replicas, &hosts);
        Ok((hosts, replicas, plan))
    }

    async fn release(&mut self, work: &mut Work) -> Result<(), Halt> {
        let mut away_since = None;
        for _ in 0..ROUNDS {
            if self.direction() == Direction::Back && self.record.stable.is_none() {
                return self.stop_all().await;
            }
            let (hosts, replicas, plan) = self.look().await?;
            let Some(task) = &self.record.task else { return Err(Halt::Over) };
            let next = machine::next(task, &plan, |row| {
                let is_new = row.action != Action::Keep || self.is_released(&row.container);
                is_new && !self.unprepared(&row.container).is_empty()
            });
            let row = match &next {
                Next::End => {
                    self.tell(&hosts, &replicas).await;
                    return self.end().await;
                }
                Next::Prepare(row) | Next::Set(row) | Next::Judge(row) | Next::Remove(row) => row.clone(),
            };
            if let Some(Err(why)) = hosts.iter().find(|host| host.name == row.node).map(|host| &host.survey) {
                let since: Instant = *away_since.get_or_insert_with(Instant::now);
                if since.elapsed() < AWAY {
                    sleep(PAUSE).await;
                    continue;
                }
                let error = Error::unavailable(format!("{} cannot be set up: {} {why}", row.name, row.node));
                self.fail(&row, error).await?;
                continue;
            }
            away_since = None;
            let replica = replicas.iter().find(|(_, replica)| replica.name == row.name).map(|(_, replica)| replica);
            let done = self.step(&next, &row, replica.cloned(), work).await;
            match done {
                Ok(()) => {}
                Err(Halt::Failed(error)) => self.fail(&row, error).await?,
                Err(Halt::Over) => return Err(Halt::Over),
            }
        }
        Err(Error::internal("a deployment takes more steps than any could").into())
    }

    /// Whether a container comes to be of another package than before.
    fn is_released(&self, container: &Name) -> bool {
        let package = |parts: &Parts| parts.get(container).map(|part| part.package);
        package(&self.record.wanted) != self.record.stable.as_ref().and_then(package)
    }

    /// Release commands of a container that did not run yet.
    fn unprepared(&self, container: &Name) -> Vec<(Name, Vec<String>)> {
        let Some(task) = &self.record.task else { return Vec::new() };
        let part = self.record.wanted.get(container);
        let Some(source) = part.and_then(|part| self.sources.get(&part.package)) else { return Vec::new() };
        let manifest = &source.document.manifest;
        let applications = manifest.containers.get(container).map(|container| container.applications.as_slice());
        let command = |name: &Name| manifest.applications.get(name)?.release_command.as_ref().map(|line| line.argv());
        let all = applications.unwrap_or_default().iter().filter(|name| !task.prepared.contains(*name));
        all.filter_map(|name| Some((name.clone(), command(name)?))).collect()
    }

    async fn step(&mut self, next: &Next, row: &Row, replica: Option<Replica>, work: &mut Work) -> Result<(), Halt> {
        if let (Next::Judge(_), Some(replica)) = (next, &replica) {
            let source = self.sources.get(&replica.package);
            let container = source.and_then(|source| source.document.manifest.containers.get(&row.container));
            let gate = Gate::new(replica.restart, container.and_then(|container| container.health.as_ref()));
            self.steps().judge(row, gate).await?;
            self.passed(row, Some(Was::Healthy), "passed").await?;
            return Ok(());
        }
        if self.direction() == Direction::Forward
            && let Err(error) =
                self.core.permit(&self.record.project, &[(row.container.clone(), row.node.clone())]).await
        {
            self.record.end_release(Outcome::Stopped, Some(error));
            self.write().await?;
            return Err(Halt::Over);
        }
        if let Next::Remove(row) = next {
            let mandate = self.own_mandate()?;
            self.steps().remove(mandate, row).await?;
            self.emptied.insert(row.node.clone());
            self.record.note(Was::Removed, Some(&row.name), Some(&row.node), row.reason);
            return self.write().await;
        }
        let replica = replica.ok_or_else(|| Error::internal(format!("{} is not wanted", row.name)))?;
        let mandate = self.mandate(&row.container)?;
        self.load(&mandate, row, &replica, work).await?;
        if matches!(next, Next::Prepare(_)) {
            for (application, command) in self.unprepared(&row.container) {
                self.steps().run(mandate.clone(), row, &replica, &application, command).await?;
                self.record.note(
                    Was::Prepared,
                    Some(&row.container),
                    Some(&row.node),
                    format!("the release command of {application} ran"),
                );
                if let Some(task) = &mut self.record.task {
                    task.prepared.insert(application);
                }
                self.write().await?;
            }
            return Ok(());
        }
        // Before it happens: whoever goes on judges what was set up, though nobody could write that down.
        if let Some(task) = &mut self.record.task {
            task.begun.insert(row.name.clone());
        }
        self.write().await?;
        self.steps().replace(mandate, row, &replica).await?;
        let was = if row.reason == "missing" || row.reason == "placement" { Was::Created } else { Was::Replaced };
        self.record.note(was, Some(&row.name), Some(&row.node), row.reason);
        self.write().await
    }

    async fn load(&self, mandate: &Mandate, row: &Row, replica: &Replica, work: &mut Work) -> Result<(), Error> {
        let source = self.sources.get(&replica.package);
        let images = source.into_iter().flat_map(|source| &source.record.images);
        let image = images.into_iter().find(|image| image.config == replica.image);
        let (Some(source), Some(image)) = (source, image) else {
            return Err(Error::internal(format!("the package has no image {}", replica.image)));
        };
        let archive = work.archive(&source.record, image).await?;
        self.steps().load(mandate.clone(), row, image.config, archive).await
    }

    async fn passed(&mut self, row: &Row, was: Option<Was>, text: &str) -> Result<(), Halt> {
        if let Some(task) = &mut self.record.task {
            task.passed.insert(row.name.clone());
        }
        if let Some(was) = was {
            self.record.note(was, Some(&row.name), Some(&row.node), text);
        }
        self.write().await
    }

    /// Turns back, or notes what could not be brought back.
    async fn fail(&mut self, row: &Row, error: Error) -> Result<(), Halt> {
        self.record.note(Was::Failed, Some(&row.name), Some(&row.node), error.message.clone());
        match self.direction() {
            Direction::Forward => {
                self.record.turn_back(error);
                self.write().await
            }
            Direction::Back => {
                self.left.push(format!("{} on {}: {}", row.name, row.node, error.message));
                self.passed(row, None, "").await
            }
        }
    }

    /// The mandate by which a container is of its package.
    fn mandate(&self, container: &Name) -> Result<Mandate, Error> {
        let part = self.record.wanted.get(container);
        part.map(|part| part.mandate.clone()).ok_or_else(|| Error::internal(format!("{container} is not wanted")))
    }

    /// The mandate of what is under way.
    pub(super) fn own_mandate(&self) -> Result<Mandate, Error> {
        let task = self.record.task.as_ref();
        task.map(|task| task.mandate.clone()).ok_or_else(|| Error::internal("nothing is under way"))
    }

    /// Tells nodes of which package those are now that were kept.
    async fn tell(&self, hosts: &[Host], replicas: &Replicas) {
        for (node, replica) in replicas {
            let host = hosts.iter().find(|host| host.name == *node).and_then(|host| host.survey.as_ref().ok());
            let found = host.and_then(|survey| survey.containers.iter().find(|found| found.name == replica.name));
            if found.is_none_or(|found| found.package == replica.package) {
                continue;
            }
            let told = match self.mandate(&replica.container) {
                Ok(mandate) => self.steps().tell(mandate, node, replica).await,
                Err(error) => Err(error),
            };
            // It runs as it is wanted, whatever is told of it.
            if let Err(error) = told {
                tracing::warn!(%node, name = %replica.name, %error, "a container tells of its former package");
            }
        }
    }

    async fn end(&mut self) -> Result<(), Halt> {
        let stands: BTreeSet<&NodeName> = self.record.placements.values().map(|at| &at.node).collect();
        let mandate = self.own_mandate()?;
        for node in self.emptied.iter().filter(|node| !stands.contains(node)) {
            if let Err(error) = self.steps().clear(mandate.clone(), node, false).await {
                tracing::warn!(%node, %error, "the network of a project is left");
            }
        }
        let failure = self.record.task.as_mut().and_then(|task| task.failure.take());
        let (outcome, error) = match failure {
            None => (Outcome::Deployed, None),
            Some(error) if self.left.is_empty() => (Outcome::RolledBack, Some(error)),
            Some(mut error) => {
                error.message = format!("{}; and going back failed: {}", error.message, self.left.join("; "));
                (Outcome::Failed, Some(error))
            }
        };
        self.record.end_release(outcome, error);
        self.write().await
    }

    /// Stops all of a first release that failed, and leaves it for who looks at it.
    async fn stop_all(&mut self) -> Result<(), Halt> {
        let mandate = self.own_mandate()?;
        let placed: Vec<(Name, NodeName)> =
            self.record.placements.iter().map(|(name, at)| (name.clone(), at.node.clone())).collect();
        for (name, node) in placed {
            match self.steps().stop(mandate.clone(), &node, &name).await {
                Ok(()) => self.record.note(Was::Stopped, Some(&name), Some(&node), "left for who looks at it"),
                // What was not reached yet is not there.
                Err(error) if error.code == Code::NotFound => {}
                Err(error) => self.record.note(Was::Failed, Some(&name), Some(&node), error.message),
            }
        }
        let failure = self.record.task.as_mut().and_then(|task| task.failure.take());
        self.record.end_release(Outcome::Failed, failure);
        self.write().await
    }

    pub(super) async fn erase(&mut self) -> Result<(), Halt> {
        let key = Key::Deployment(self.record.project.clone());
        self.core.place.shared.delete(&key, self.revision).await?;
        Ok(())
    }

    /// The units of what is deployed, in the order in which they begin, as far as that is known.
    pub(super) fn order(&self) -> Vec<Name> {
        let units = wanted(&self.record.wanted, &self.sources).unwrap_or_default();
        units.into_iter().map(|unit| unit.name).collect()
    }
}
