//! Has an app run: names an instance in the app's record, which its place follows, and waits for what becomes of it.

use std::{sync::Mutex, time::Duration};

use aigis_proxy::{
    Code, Error, NodeName,
    chain::{ChainId, Tree},
    rpc::{self, Asker},
    services::{
        chains::{InstanceId, Restart},
        instances::{INSTANCES, InstancesClient},
        steps::{Room, Wanted},
    },
    sync::lock,
};
use aigis_registry::shared::{AppRecord, ChainRecord, Instance, InstanceEnd, StepRecord};
use tokio::time::Instant;

use super::{
    Core, ends,
    log::StepLog,
    records::{now, patiently, superseded},
};
use crate::{builtin::NewInstance, machine, placement::Found};

/// How long a place may take to say whether it has an image.
const ANSWER: Duration = Duration::from_secs(5);
/// How long the store of an image may take.
const EXPORT: Duration = Duration::from_secs(15 * 60);
/// How long an instance may take to be started, besides the time that it has to listen.
const STARTED: Duration = Duration::from_secs(15 * 60);

/// What became of an instance.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Became {
    /// It is in force.
    Serving,
    /// It ended by itself.
    Ended(Box<InstanceEnd>),
}

/// What is to be done about an instance that is named.
#[derive(Debug, Clone, PartialEq)]
enum Now {
    /// It is waited for.
    Wait,
    /// It takes the place of the one in force.
    Promote,
    /// It serves.
    Serving,
    /// It ended, or could not be started.
    Ended(Box<InstanceEnd>),
    /// It does not listen on these ports, and does not take the place of the one in force.
    Silent(Vec<u16>),
    /// It is not named any more.
    Unnamed,
}

/// How the instance of a step of a chain stands.
fn stands(app: &AppRecord, record: &ChainRecord, step: u32) -> Now {
    let is_own = |instance: &&Instance| instance.id.chain == record.id && instance.id.step == step;
    if let Some(own) = app.instance.as_ref().filter(is_own) {
        return match ends::ended(own) {
            Some(end) => Now::Ended(Box::new(end)),
            // A first one serves on, whatever it does not listen on.
            None if own.ready || !own.silent.is_empty() => Now::Serving,
            None => Now::Wait,
        };
    }
    match app.candidate.as_ref().filter(is_own) {
        None => Now::Unnamed,
        Some(own) => match ends::ended(own) {
            Some(end) => Now::Ended(Box::new(end)),
            None if own.ready => Now::Promote,
            None if !own.silent.is_empty() => Now::Silent(own.silent.clone()),
            None => Now::Wait,
        },
    }
}

/// The app with a new instance: in force at once if none is, else beside the one that is.
fn named(app: &AppRecord, instance: Instance) -> AppRecord {
    let is_served = app.instance.as_ref().is_some_and(|former| ends::ended(former).is_none()) && !app.stopped;
    let named = AppRecord { stopped: false, trouble: None, stranded: None, ..app.clone() };
    if is_served {
        AppRecord { candidate: Some(instance), ..named }
    } else {
        AppRecord { instance: Some(instance), candidate: None, ..named }
    }
}

/// The chain that has taken this one's place, if one has. One that failed leaves the app to that which serves: its instance
/// may still have to go elsewhere.
fn superseded_by<'a>(app: &'a AppRecord, record: &ChainRecord) -> Option<&'a ChainId> {
    let is_in_force = app.instance.as_ref().is_some_and(|instance| instance.id.chain == record.id);
    let is_followed = app.candidate.as_ref().is_some_and(|candidate| candidate.id.chain != record.id);
    (app.chain != record.id && (is_followed || !is_in_force)).then_some(&app.chain)
}

impl Core {
    /// Names an instance unless this step has one, and waits until it serves or has ended.
    pub(super) async fn serve(
        &self,
        record: &ChainRecord,
        journal: &Mutex<StepRecord>,
        epoch: u64,
        new: NewInstance,
        log: &StepLog,
    ) -> Result<Became, Error> {
        let step = lock(journal).n;
        let missing = || Error::precondition(format!("the app {} was taken away", record.app));
        let app = patiently(|| self.records.app(&record.app)).await?.ok_or_else(missing)?;
        if stands(&app.content, record, step) == Now::Unnamed {
            let instance = self.instance(record, journal, epoch, new, log).await?;
            log.line(&format!("{} serves at {}", record.app, instance.node));
            let change = |app: &AppRecord| {
                if let Some(by) = superseded_by(app, record) {
                    return Err(Error::precondition(format!("superseded by {by}")));
                }
                let is_named = stands(app, record, step) != Now::Unnamed;
                Ok((!is_named).then(|| named(app, instance.clone())))
            };
            patiently(|| self.records.change_app(&record.app, change)).await?;
        }
        self.await_instance(record, step).await
    }

    async fn await_instance(&self, record: &ChainRecord, step: u32) -> Result<Became, Error> {
        let until = Instant::now() + STARTED + Duration::from_secs(record.options.ready_timeout_s);
        let mut changed = self.board.changed();
        loop {
            // The board may be behind what was just written.
            let app = patiently(|| self.records.app(&record.app)).await?.map(|app| app.content);
            let Some(app) = app else { return Err(Error::precondition(format!("the app {} was removed", record.app))) };
            match stands(&app, record, step) {
                Now::Serving => return Ok(Became::Serving),
                Now::Promote => {
                    let promote = |app: &AppRecord| {
                        let is_ready = stands(app, record, step) == Now::Promote;
                        Ok(is_ready.then(|| AppRecord {
                            instance: app.candidate.clone(),
                            candidate: None,
                            trouble: None,
                            stranded: None,
                            ..app.clone()
                        }))
                    };
                    patiently(|| self.records.change_app(&record.app, promote)).await?;
                }
                Now::Ended(end) => {
                    self.unname_candidate(record).await?;
                    return match end.error {
                        Some(error) => Err(error),
                        None => Ok(Became::Ended(end)),
                    };
                }
                Now::Silent(ports) => {
                    self.unname_candidate(record).await?;
                    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                    let message = format!(
                        "the new instance of {} does not listen on {} within {} s; the old one serves on",
                        record.app,
                        ports.join(", "),
                        record.options.ready_timeout_s
                    );
                    return Err(
                        Error::precondition(message).hint("its log says what it does: aish chains show ID --log")
                    );
                }
                Now::Unnamed => {
                    return Err(Error::precondition(format!("the instance of {} was taken away", record.app)));
                }
                Now::Wait if Instant::now() >= until => {
                    self.unname(record).await?;
                    return Err(Error::unavailable(format!("the place of {} does not start it", record.app)));
                }
                Now::Wait if self.is_place_lost(&app, record) => {
                    self.unname(record).await?;
                    return Err(Error::unavailable(format!("the place of {} is offline", record.app)));
                }
                Now::Wait => {
                    Self::board_changed(&mut changed, until.min(Instant::now() + Duration::from_secs(5))).await;
                }
            }
        }
    }

    /// The instance of a step, at the place that can take it best: where its image is.
    async fn instance(
        &self,
        record: &ChainRecord,
        journal: &Mutex<StepRecord>,
        epoch: u64,
        new: NewInstance,
        log: &StepLog,
    ) -> Result<Instance, Error> {
        let options = &record.options;
        let before = lock(journal).clone();
        let step = before.n;
        let wanted = Wanted {
            chain: record.id.clone(),
            step,
            room: Room::App,
            blobs: Vec::new(),
            images: vec![new.image.clone()],
            limits: options.limits.clone(),
            patience_ms: 0,
        };
        let found = self.find_place(record, Some(&before), &wanted, epoch).await?;
        let Some((found, note)) = found else { return Err(superseded(&record.id)) };
        let (node, has_image) = match found {
            Found::Place(node, bid) => (node, bid.images > 0),
            Found::Nobody(error) if machine::was_placed(&before) => {
                lock(journal).placement = note;
                return Err(error);
            }
            Found::Later(error) | Found::Nobody(error) => {
                lock(journal).placement = note;
                return Err(error.with("place", "none"));
            }
        };
        let noted = {
            let mut journal = lock(journal);
            journal.placement = note;
            journal.clone()
        };
        self.write_journal(record, noted).await?;
        let archive = if has_image { None } else { self.archive(record, &node, &new.image, log).await? };
        Ok(Instance {
            id: InstanceId { chain: record.id.clone(), step, epoch },
            node,
            image: new.image,
            archive,
            cmd: new.cmd,
            workingdir: new.workingdir,
            restart: options.restart.unwrap_or(if new.ports.is_empty() { Restart::No } else { Restart::OnFailure }),
            ports: new.ports,
            limits: options.limits.clone(),
            ready_timeout_s: options.ready_timeout_s,
            mandate: record.mandate.clone(),
            ready: false,
            silent: Vec::new(),
            exit_code: None,
            end: None,
            since: now(),
        })
    }

    /// An archive of an image that the place lacks, from where the chain's builds ran; none if nobody there has it, as for
    /// one that is to be pulled.
    async fn archive(&self, record: &ChainRecord, node: &NodeName, image: &str, log: &StepLog) -> Result<Tree, Error> {
        let steps = self.steps(&record.id).await?;
        let mut nodes: Vec<NodeName> = steps.into_iter().rev().filter_map(|step| step.node).collect();
        let cache = patiently(|| self.known.whole()).await?;
        nodes.extend(cache.snapshot().nodes().filter(|node| node.engine.is_some()).map(|node| node.name.clone()));
        let mut asked: Vec<NodeName> = Vec::new();
        for from in nodes {
            if from == *node || asked.contains(&from) || self.is_lost(&from) {
                continue;
            }
            let client = InstancesClient::from(Asker::new(&self.parts.bus, from.as_str(), INSTANCES));
            let has = rpc::answered(client.has_image(rpc::within(ANSWER), image.to_owned()).await);
            if has.is_ok_and(|has| has) {
                log.line(&format!("the image {image} is brought from {from} to {node}"));
                let exported = rpc::answered(client.export_image(rpc::within(EXPORT), image.to_owned()).await)?;
                return Ok(Some(exported));
            }
            asked.push(from);
        }
        Ok(None)
    }

    fn is_place_lost(&self, app: &AppRecord, record: &ChainRecord) -> bool {
        let of_chain = [&app.instance, &app.candidate].into_iter().flatten().find(|one| one.id.chain == record.id);
        of_chain.is_some_and(|instance| self.is_lost(&instance.node))
    }

    /// Takes the instances of a chain out of its app's record; their places end them.
    pub(super) async fn unname(&self, record: &ChainRecord) -> Result<(), Error> {
        self.take_out(record, true).await
    }

    async fn unname_candidate(&self, record: &ChainRecord) -> Result<(), Error> {
        self.take_out(record, false).await
    }

    async fn take_out(&self, record: &ChainRecord, all: bool) -> Result<(), Error> {
        let change = |app: &AppRecord| {
            let is_own = |instance: &Instance| instance.id.chain == record.id;
            let mut becomes = app.clone();
            if becomes.candidate.as_ref().is_some_and(is_own) {
                becomes.candidate = None;
            }
            if all && becomes.instance.as_ref().is_some_and(is_own) {
                becomes.instance = None;
            }
            Ok((becomes != *app).then_some(becomes))
        };
        match patiently(|| self.records.change_app(&record.app, change)).await {
            Err(error) if error.code == Code::NotFound => Ok(()),
            done => done.map(drop),
        }
    }
}
