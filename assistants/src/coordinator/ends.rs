//! What becomes of a chain that serves, when its app has ended or serves for another chain.

use aigis_proxy::{Code, Error, blob::Life, blob::Store};
use aigis_registry::shared::{
    AppRecord, ChainRecord, Failure, Instance, InstanceEnd, Status, StepRecord, StepStatus, Trees,
};

use super::{
    Core,
    moves::Turn,
    records::{now, patiently, superseded},
};
use crate::machine;

/// Why a chain that serves does so no more.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// Somebody cancelled it.
    Cancelled,
    /// The app is gone, or none of its instances is in force.
    Removed,
    /// An instance of another chain is in force.
    Superseded(String),
    /// Its place cannot keep it, or can again.
    Turned(Turn),
    /// Its instance has ended.
    Ended(Box<InstanceEnd>),
}

/// Whether a chain that serves still does; `None` if so.
pub(crate) fn verdict(record: &ChainRecord, app: Option<&AppRecord>, turn: Option<Turn>) -> Option<Verdict> {
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
            None => turn.map(Verdict::Turned),
        },
        Some(_) => None,
    }
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
        let turn = app.and_then(|app| self.turn(app, true));
        let Some(verdict) = verdict(record, app, turn) else { return Ok(false) };
        let steps = self.steps(&record.id).await?;
        let journal = steps.iter().find(|step| step.n == record.step).cloned();
        let at = now();
        let note = async |status: StepStatus| match journal.clone() {
            Some(journal) => self.write_journal(record, StepRecord { status, ended_at: Some(at), ..journal }).await,
            None => Ok(()),
        };
        match verdict {
            Verdict::Cancelled => {
                self.unname(record).await?;
                note(StepStatus::Cancelled).await?;
                self.settle(record, machine::cancelled(record, at), epoch).await?;
            }
            Verdict::Removed => {
                let gone = ChainRecord {
                    cancelled_by: Some(format!("the app {} was taken away", record.app)),
                    ..record.clone()
                };
                note(StepStatus::Cancelled).await?;
                self.settle(record, machine::cancelled(&gone, at), epoch).await?;
            }
            Verdict::Turned(turn) => match self.turned(record, journal.as_ref(), &steps, turn).await? {
                Some(journal) => {
                    self.write_journal(record, journal.clone()).await?;
                    self.settle(record, machine::goes_elsewhere(record, &journal, at), epoch).await?;
                }
                None => {
                    // That it was looked at stands in the record, so that nobody does so again at once.
                    self.settle(record, ChainRecord { updated_at: at, ..record.clone() }, epoch).await?;
                    return Err(superseded(&record.id));
                }
            },
            Verdict::Superseded(by) => {
                note(StepStatus::Done).await?;
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
                self.write_journal(record, journal.clone()).await?;
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
