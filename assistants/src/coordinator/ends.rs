//! What becomes of a chain that serves, when its app has ended or serves for another chain.

use aigis_proxy::{Code, Error, blob::Life, blob::Store};
use aigis_registry::shared::{
    AppRecord, ChainRecord, Failure, Instance, InstanceEnd, Status, StepRecord, StepStatus, Trees,
};

use super::{
    Core,
    records::{now, patiently, superseded},
};
use crate::machine;

/// How long the place of an app may be away before the app is moved.
const AWAY: std::time::Duration = std::time::Duration::from_secs(60);

/// Why a chain that serves does so no more.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// Somebody cancelled it.
    Cancelled,
    /// The app is gone, or none of its instances is in force.
    Removed,
    /// An instance of another chain is in force.
    Superseded(String),
    /// Its place is lost, and it may run elsewhere.
    Lost,
    /// Its instance has ended.
    Ended(Box<InstanceEnd>),
}

/// Whether a chain that serves still does; `None` if so.
pub(crate) fn verdict(record: &ChainRecord, app: Option<&AppRecord>, is_lost: bool) -> Option<Verdict> {
    if record.status != Status::Serving {
        return None;
    }
    if record.cancelled_by.is_some() {
        return Some(Verdict::Cancelled);
    }
    let Some(app) = app else { return Some(Verdict::Removed) };
    match &app.instance {
        None if app.stopped => None,
        None => Some(Verdict::Removed),
        Some(instance) if instance.id.chain != record.id => Some(Verdict::Superseded(instance.id.chain.to_string())),
        Some(instance) if !app.stopped => match ended(instance) {
            Some(end) => Some(Verdict::Ended(Box::new(end))),
            None => (is_lost && may_move(app)).then_some(Verdict::Lost),
        },
        Some(_) => None,
    }
}

/// Whether an app is bound to no node by name, and not on its way to another already.
fn may_move(app: &AppRecord) -> bool {
    app.candidate.is_none() && app.on.iter().all(|one| one.contains('='))
}

/// How an instance ended, if it did.
pub(crate) fn ended(instance: &Instance) -> Option<InstanceEnd> {
    let plain =
        |exit_code| InstanceEnd { exit_code: Some(exit_code), out_of_memory: false, log: None, by: None, error: None };
    instance.end.clone().or_else(|| instance.exit_code.map(plain))
}

/// What a chain fails with whose app ended so.
pub(crate) fn failure(record: &ChainRecord, end: &InstanceEnd) -> Option<Error> {
    if let Some(error) = &end.error {
        return Some(error.clone());
    }
    let code = end.exit_code.unwrap_or_default();
    if end.out_of_memory {
        let message = format!("app {} exited with {code}: the kernel ended it for its memory", record.app);
        return Some(
            Error::precondition(message).hint("give it more: aish push --memory SIZE").with("exit_code", code),
        );
    }
    (code != 0).then(|| Error::precondition(format!("app {} exited with {code}", record.app)).with("exit_code", code))
}

impl Core {
    /// Ends the serving of a chain that is held for it. Says whether it did.
    pub(super) async fn end_serving(&self, record: &ChainRecord, epoch: u64) -> Result<bool, Error> {
        let app = patiently(|| self.records.app(&record.app)).await?;
        let app = app.as_ref().map(|app| &app.content);
        let is_lost = app.is_some_and(|app| self.is_abandoned(app));
        let Some(verdict) = verdict(record, app, is_lost) else { return Ok(false) };
        let steps = patiently(|| self.records.steps(&record.id)).await?;
        let steps: Vec<StepRecord> = steps.into_iter().map(|step| step.content).collect();
        let journal = steps.iter().find(|step| step.n == record.step).cloned();
        let at = now();
        let note =
            |status: StepStatus| journal.clone().map(|journal| StepRecord { status, ended_at: Some(at), ..journal });
        match verdict {
            Verdict::Cancelled => {
                self.unname(record).await?;
                self.write_journal(record, note(StepStatus::Cancelled)).await?;
                self.settle(record, machine::cancelled(record, at), epoch).await?;
            }
            Verdict::Removed => {
                let gone = ChainRecord {
                    cancelled_by: Some(format!("the app {} was taken away", record.app)),
                    ..record.clone()
                };
                self.write_journal(record, note(StepStatus::Cancelled)).await?;
                self.settle(record, machine::cancelled(&gone, at), epoch).await?;
            }
            Verdict::Lost => {
                let has_volumes = steps.iter().any(|step| !step.volumes.is_empty());
                let Some(journal) = journal.filter(|_| !has_volumes) else {
                    self.note_trouble(record).await?;
                    self.settle(record, record.clone(), epoch).await?;
                    return Err(superseded(&record.id));
                };
                tracing::warn!(chain = %record.id, app = %record.app, "an app is moved: its place is lost");
                let journal = machine::moved(record, &journal, &steps, at);
                self.write_journal(record, Some(journal.clone())).await?;
                self.settle(record, machine::committed(record, &journal, at), epoch).await?;
            }
            Verdict::Superseded(by) => {
                self.write_journal(record, note(StepStatus::Done)).await?;
                let over = machine::done(record, &format!("superseded by {by}"), at);
                self.settle(record, over, epoch).await?;
            }
            Verdict::Ended(end) => {
                let Some(journal) = journal else {
                    let failure = Failure {
                        code: Code::DataLoss,
                        message: format!("the journal of step {} is lost", record.step),
                        hint: None,
                        step: record.step,
                    };
                    self.settle(record, machine::failed(record, failure, at), epoch).await?;
                    return Ok(true);
                };
                let journal = self.ended_journal(record, journal, &end).await?;
                self.write_journal(record, Some(journal.clone())).await?;
                let becomes = match &end.by {
                    Some(by) => {
                        let state_tree = journal.output.map_or(record.state_tree, |output| output.state);
                        let ended =
                            ChainRecord { state_tree, cancelled_by: Some(format!("ended by {by}")), ..record.clone() };
                        machine::cancelled(&ended, at)
                    }
                    None => {
                        let held = ChainRecord { status: Status::Serving, ..record.clone() };
                        machine::committed(&held, &journal, at)
                    }
                };
                self.settle(record, becomes, epoch).await?;
            }
        }
        Ok(true)
    }

    /// Whether the place of an app is away for so long that the app may run elsewhere.
    pub(super) fn is_abandoned(&self, app: &AppRecord) -> bool {
        app.instance
            .as_ref()
            .is_some_and(|instance| instance.node != self.parts.node && self.known.offline_for(&instance.node) >= AWAY)
    }

    /// Notes that an app cannot be moved from a place that is lost.
    async fn note_trouble(&self, record: &ChainRecord) -> Result<(), Error> {
        let change = |app: &AppRecord| {
            let Some(instance) = &app.instance else { return Ok(None) };
            let trouble = format!("{} is offline, and its volumes are there", instance.node);
            let is_new = app.trouble.as_ref() != Some(&trouble);
            Ok(is_new.then(|| AppRecord { trouble: Some(trouble), ..app.clone() }))
        };
        patiently(|| self.records.change_app(&record.app, change)).await.map(drop)
    }

    /// The journal of the step whose app ended: its state has `exit` and `log`, and `after` says what comes next.
    pub(super) async fn ended_journal(
        &self,
        record: &ChainRecord,
        journal: StepRecord,
        end: &InstanceEnd,
    ) -> Result<StepRecord, Error> {
        let mut state = self.state(&record.state_tree).await?;
        if let Some(code) = end.exit_code {
            state.set("exit", code.to_string());
        }
        let log = match &end.log {
            Some(blob) => {
                let store = Store::new(&self.parts.bus);
                patiently(|| store.read(Life::Kept, blob)).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "the log of an app that ended cannot be had");
                    Vec::new()
                })
            }
            None => Vec::new(),
        };
        state.set("log", log);
        // What went well needs no mending: the loop of build, run and mend ends there.
        let has_failed = end.exit_code.is_some_and(|code| code != 0);
        let after = state.after().filter(|_| has_failed && end.by.is_none() && end.error.is_none());
        let error = failure(record, end).filter(|_| after.is_none());
        let output = Trees { app: record.app_tree, state: self.keep_state(&state).await? };
        Ok(StepRecord {
            status: if error.is_some() { StepStatus::Failed } else { StepStatus::Done },
            output: Some(output),
            next: after,
            exit_code: end.exit_code,
            ended_at: Some(now()),
            error: error.map(|error| machine::failure(&error, journal.n)),
            ..journal
        })
    }
}
