//! Runs the steps of builtins, which are part of this process.

use std::sync::Arc;

use aigis_proxy::{
    Code, Error,
    blob::{Life, Store},
    chain::ChainId,
    fault::{self, Point},
    services::steps::{Ended, Finished},
};
use aigis_registry::{
    AppState,
    shared::{ChainRecord, LogNote, StepRecord, Trees},
    tree,
};

use super::{
    Core,
    holding::Told,
    log::StepLog,
    means::Work,
    records::{now, patiently, superseded},
};
use crate::{
    builtin::{self, Context, Outcome},
    machine,
};

impl Core {
    /// Runs a builtin, again from its beginning where another holder had begun it: what it had done at places is found there.
    pub(super) async fn run_builtin(
        self: &Arc<Self>,
        record: &ChainRecord,
        journal: &StepRecord,
        epoch: u64,
        log: &Arc<StepLog>,
    ) -> Result<(), Error> {
        let name = journal.assistant.strip_prefix("builtin:").unwrap_or(&journal.assistant);
        let Some(builtin) = builtin::find(name) else {
            let error = Error::invalid(format!("there is no assistant {}", journal.assistant));
            return self.note_end(record, journal, of_here(Err(error), journal), epoch).await;
        };
        let scratch = self.scratch()?;
        let app_dir = scratch.path().join("app");
        let store = Store::new(&self.parts.bus);
        // Half a tree must not be in the way of the next attempt.
        patiently(|| async {
            let _ = tokio::fs::remove_dir_all(&app_dir).await;
            tree::fetch(&store, &record.app_tree, &app_dir).await
        })
        .await?;
        let mut state = patiently(|| self.state(&record.state_tree)).await?;
        state.clear("next");
        let at = scratch.path().to_owned();
        let means = Arc::new(Work::new(self.clone(), record.clone(), journal.clone(), epoch, log.clone(), at));
        let mut context = Context {
            app: record.app.clone(),
            chain: record.id.clone(),
            step: journal.n,
            app_dir,
            app_tree: record.app_tree,
            state: state.clone(),
            from: record.source.from.clone(),
            means: means.clone(),
        };
        let outcome = tokio::select! {
            outcome = builtin.run(&mut context) => outcome,
            told = self.told(&record.id, epoch) => {
                return if told == Told::Gone { Err(superseded(&record.id)) } else { Ok(()) };
            }
        };
        drop(scratch);
        if let Err(error) = &outcome {
            if error.code == superseded(&record.id).code {
                return Err(error.clone());
            }
            // What follows its first line is the end of this very log.
            log.line(error.message.lines().next().unwrap_or_default());
        }
        let journal = means.journal();
        let log_note = self.keep_log(&record.id, journal.n).await;
        if let Some(end) = means.end() {
            let journal = StepRecord { log: log_note, ..journal };
            let ended = patiently(|| self.ended_journal(record, journal.clone(), &end)).await?;
            return self.write_journal(record, ended).await;
        }
        match outcome {
            Ok(Outcome { serving: true, state, .. }) => {
                self.begin_serving(record, journal, &state, log_note, epoch).await
            }
            outcome => {
                let ended = self.after_builtin(&journal, outcome, &state, means.warnings(), log_note).await?;
                self.note_end(record, &journal, ended, epoch).await
            }
        }
    }

    /// What a builtin left, as if a place had run it.
    async fn after_builtin(
        &self,
        journal: &StepRecord,
        outcome: Result<Outcome, Error>,
        before: &AppState,
        warnings: Vec<String>,
        log: Option<LogNote>,
    ) -> Result<Ended, Error> {
        let (result, remains) = match outcome {
            Ok(Outcome { app_tree, mut state, next, .. }) => {
                state.clear("next");
                let state_tree =
                    if state == *before { journal.input.state } else { patiently(|| self.keep_state(&state)).await? };
                let finished = Finished {
                    app_tree: Some(app_tree.unwrap_or(journal.input.app)),
                    state_tree: Some(state_tree),
                    next,
                    warnings,
                    ..Finished::default()
                };
                (Ok(finished), Finished::default())
            }
            Err(error) => (Err(error), Finished { warnings, ..Finished::default() }),
        };
        let ended = of_here(result, journal);
        Ok(Ended { remains, log: log.map(|log| log.blob), log_dropped: log.map_or(0, |log| log.dropped), ..ended })
    }

    /// The app runs: the step stays open, and nobody holds the chain.
    async fn begin_serving(
        &self,
        record: &ChainRecord,
        journal: StepRecord,
        state: &AppState,
        log: Option<LogNote>,
        epoch: u64,
    ) -> Result<(), Error> {
        let state_tree = patiently(|| self.keep_state(state)).await?;
        let output = Some(Trees { app: record.app_tree, state: state_tree });
        let journal = StepRecord { log, output, ..journal };
        self.write_journal(record, journal.clone()).await?;
        let app = patiently(|| self.records.app(&record.app)).await?;
        let trouble = app.and_then(|app| app.content.trouble);
        let reason =
            trouble.map_or_else(|| "the app runs".to_owned(), |trouble| format!("the app runs, but {trouble}"));
        let change = |record: &ChainRecord| {
            let with_state = ChainRecord { state_tree, ..record.clone() };
            // Whoever asked for its end meanwhile is heard by whoever claims it next.
            Some(machine::serving(&with_state, &journal, &reason, now()))
        };
        fault::point(Point::ChainServing);
        let serving = self.update(&record.id, epoch, change).await?;
        self.leave_behind(&serving.content).await;
        // What it was built with is needed no more.
        Err(superseded(&record.id))
    }

    /// Stores what is kept of the log of a step that ran here.
    pub(super) async fn keep_log(&self, chain: &ChainId, step: u32) -> Option<LogNote> {
        let (bytes, dropped) = self.logs.find(chain, step)?.all();
        if bytes.is_empty() {
            return None;
        }
        let store = Store::new(&self.parts.bus);
        match patiently(|| store.put(Life::Kept, &bytes[..])).await {
            Ok(stored) => Some(LogNote { blob: stored.blob, dropped }),
            Err(error) => {
                tracing::warn!(%chain, step, %error, "a log is not kept");
                None
            }
        }
    }
}

fn of_here(result: Result<Finished, Error>, journal: &StepRecord) -> Ended {
    Ended {
        result: result.map_err(|error| Error { code: own(error.code), ..error }),
        remains: Finished::default(),
        started_at: journal.started_at.to_string(),
        ended_at: now().to_string(),
        log: None,
        log_dropped: 0,
    }
}

/// A builtin that says that it was cancelled has failed.
fn own(code: Code) -> Code {
    if code == Code::Cancelled { Code::FailedPrecondition } else { code }
}
