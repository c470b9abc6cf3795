//! What nodes are asked while a deployment is carried, and the removal of one.

use std::{cmp::Reverse, collections::BTreeSet, future::Future, time::Duration};

use aigis_proxy::{
    Code, Error, Name, NodeName,
    blob::{Blob, Digest},
    identity::Mandate,
    rpc,
    services::deployments::Replica,
};
use tarpc::client::RpcError;
use tokio::time::{Instant, sleep};

use super::{
    Gate, Host, Row, Verdict, Was,
    board::Core,
    carry::{AWAY, Carrying, Halt, PAUSE},
    facts::{self, Node},
    gate,
};

/// How long an image may take to be loaded.
const LOADED: Duration = Duration::from_secs(15 * 60);
/// How long a container may take to be made or removed, beyond the time that it has to end by itself.
const MADE: Duration = Duration::from_secs(180);
/// The longest time that a container may have to end by itself.
const GRACE: Duration = Duration::from_secs(300);
/// How long a release command may run.
const RAN: Duration = Duration::from_secs(30 * 60);
/// How long a node may take to write something down.
const NOTED: Duration = Duration::from_secs(30);
/// How long a judgement may take.
const JUDGED: Duration = Duration::from_secs(20);
/// How many lines of a command that failed are told in its error.
const TOLD: usize = 3;

/// What is asked for one project.
pub(super) struct Steps<'a> {
    pub(super) core: &'a Core,
    pub(super) project: &'a Name,
}

impl Steps<'_> {
    fn node(&self, name: &NodeName) -> Node {
        facts::node(&self.core.place.bus, name)
    }

    pub(super) async fn load(&self, mandate: Mandate, row: &Row, image: Digest, archive: Blob) -> Result<(), Error> {
        let node = self.node(&row.node);
        asked(|| node.load(rpc::within(LOADED), mandate.clone(), self.project.clone(), image, archive)).await
    }

    pub(super) async fn replace(&self, mandate: Mandate, row: &Row, replica: &Replica) -> Result<String, Error> {
        let (node, grace) = (self.node(&row.node), Duration::from_secs(replica.grace_s.into()));
        asked(|| node.replace(rpc::within(MADE + grace), mandate.clone(), replica.clone())).await
    }

    pub(super) async fn tell(&self, mandate: Mandate, node: &NodeName, replica: &Replica) -> Result<(), Error> {
        let node = self.node(node);
        asked(|| node.tell(rpc::within(NOTED), mandate.clone(), replica.clone())).await
    }

    pub(super) async fn remove(&self, mandate: Mandate, row: &Row) -> Result<(), Error> {
        let node = self.node(&row.node);
        asked(|| node.remove(rpc::within(MADE + GRACE), mandate.clone(), self.project.clone(), row.name.clone())).await
    }

    pub(super) async fn stop(&self, mandate: Mandate, node: &NodeName, name: &Name) -> Result<(), Error> {
        let node = self.node(node);
        asked(|| node.stop(rpc::within(MADE + GRACE), mandate.clone(), self.project.clone(), name.clone())).await
    }

    pub(super) async fn clear(&self, mandate: Mandate, node: &NodeName, volumes: bool) -> Result<(), Error> {
        let node = self.node(node);
        asked(|| node.clear(rpc::within(MADE), mandate.clone(), self.project.clone(), volumes)).await
    }

    /// Runs a release command.
    pub(super) async fn run(
        &self,
        mandate: Mandate,
        row: &Row,
        replica: &Replica,
        application: &Name,
        command: Vec<String>,
    ) -> Result<(), Error> {
        let node = self.node(&row.node);
        let ran = asked(|| node.run(rpc::within(RAN), mandate.clone(), replica.clone(), command.clone())).await?;
        if ran.exit_code == 0 {
            return Ok(());
        }
        let last = ran.lines.iter().rev().take(TOLD).rev().cloned().collect::<Vec<_>>().join("; ");
        let message = format!("the release command of {application} failed with code {}: {last}", ran.exit_code);
        Err(Error::precondition(message).hint("mend it, and deploy again").with("lines", ran.lines))
    }

    /// Waits until a replica passes.
    pub(super) async fn judge(&self, row: &Row, mut gate: Gate) -> Result<(), Error> {
        let (node, begun) = (self.node(&row.node), Instant::now());
        let (mut last, mut heard) = (None, begun);
        let what = format!("{} on {}", row.name, row.node);
        loop {
            let judged = node.judge(rpc::within(JUDGED), self.project.clone(), row.name.clone()).await;
            let judged = rpc::answered(judged).ok();
            if judged.is_some() {
                heard = Instant::now();
                last.clone_from(&judged);
            }
            match gate.see(begun.elapsed(), judged.as_ref()) {
                Verdict::Passes => return Ok(()),
                Verdict::Fails => return Err(gate::failure(&what, last.as_ref())),
                Verdict::Waits if heard.elapsed() > AWAY => return Err(gate::failure(&what, None)),
                Verdict::Waits => sleep(PAUSE).await,
            }
        }
    }
}

/// Asks, and again while whoever is asked is away for a moment.
async fn asked<T, F>(ask: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<Result<T, Error>, RpcError>>,
{
    let until = Instant::now() + AWAY;
    loop {
        match rpc::answered(ask().await) {
            Err(error) if error.code == Code::Unavailable && Instant::now() < until => sleep(PAUSE).await,
            done => return done,
        }
    }
}

impl Carrying {
    /// Removes all that nodes have of the project, what depends on others first.
    pub(super) async fn remove_all(&mut self, volumes: bool) -> Result<(), Halt> {
        let snapshot = self.core.snapshot().await?;
        let none = BTreeSet::new();
        let hosts = facts::hosts(&self.core.place.bus, &snapshot, &self.record.project, &none).await;
        let mandate = self.own_mandate()?;
        let away: Vec<String> = self.away(&hosts);
        for (node, name, container) in self.standing(&hosts) {
            let change = [(container.clone(), node.clone())];
            let row = Row { container, name, node, action: super::Action::Remove, reason: "unwanted" };
            let removed = match self.core.permit(&self.record.project, &change).await {
                Ok(()) => self.steps().remove(mandate.clone(), &row).await,
                held => held,
            };
            if let Err(error) = removed {
                self.record.note(Was::Failed, Some(&row.name), Some(&row.node), error.message.clone());
                self.record.end_removal(Some(error));
                return self.write().await;
            }
            self.record.note(Was::Removed, Some(&row.name), Some(&row.node), row.reason);
            self.record.placements.remove(&row.name);
            self.write().await?;
        }
        let has_any = |host: &&Host| {
            let survey = host.survey.as_ref();
            survey.is_ok_and(|survey| !survey.containers.is_empty() || (volumes && !survey.volumes.is_empty()))
        };
        for host in hosts.iter().filter(has_any) {
            self.steps().clear(mandate.clone(), &host.name, volumes).await?;
        }
        if !away.is_empty() {
            let message = format!("something of {} is left: {}", self.record.project, away.join("; "));
            self.record.end_removal(Some(Error::unavailable(message).hint("remove it again once they are back")));
            return self.write().await;
        }
        self.record.end_removal(None);
        match volumes {
            true => self.erase().await,
            false => self.write().await,
        }
    }

    /// Nodes where something of the project is to stand, and that say nothing.
    fn away(&self, hosts: &[Host]) -> Vec<String> {
        let placed: BTreeSet<&NodeName> = self.record.placements.values().map(|at| &at.node).collect();
        let silent = hosts.iter().filter_map(|host| Some((&host.name, host.survey.as_ref().err()?)));
        silent.filter(|(node, _)| placed.contains(node)).map(|(node, why)| format!("{node} {why}")).collect()
    }

    /// The containers that nodes have, in the order in which they go.
    fn standing(&self, hosts: &[Host]) -> Vec<(NodeName, Name, Name)> {
        let order = self.order();
        let mut all: Vec<(NodeName, Name, Name)> = Vec::new();
        for host in hosts {
            let containers = host.survey.iter().flat_map(|survey| &survey.containers);
            all.extend(containers.map(|found| (host.name.clone(), found.name.clone(), found.container.clone())));
        }
        let place = |name: &Name| order.iter().position(|other| other == name).unwrap_or(order.len());
        all.sort_by_key(|(node, name, _)| (Reverse(place(name)), name.clone(), node.clone()));
        all
    }
}
