//! Begins steps, and runs those of containers at their places.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Code, Error,
    blob::Blob,
    chain::{Attempt, Tree},
    fault::{self, Point},
    secret::SecretName,
    services::steps::{AssistantWork, Ended, Limits, Order, Room, Wanted, Work},
};
use aigis_registry::{
    Timestamp,
    shared::{AssistantRecord, ChainRecord, Key, PlacementNote, StepRecord, StepStatus, Version},
};

use super::{
    Core,
    holding::Told,
    log::StepLog,
    place::{Followed, Patience},
    records::{now, patiently},
};
use crate::{
    builtin,
    folder::Settings,
    machine,
    name::{AssistantName, Kind},
    placement::Found,
};

/// How long a step of a container may take.
const STEP: u64 = 30 * 60;
/// How long between two looks for a place.
const AGAIN: Duration = Duration::from_secs(2);
/// How long places are let wait for room when all are full, in milliseconds, and how long until they are asked once more.
const IN_TURN: u64 = 1_000;
const AT_ONCE: Duration = Duration::from_millis(50);
/// How long a place is looked for that nobody can be seen well enough to offer, or has what it wants.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// How long a step waits in all while others run at each place.
const IN_LINE: Duration = Duration::from_secs(24 * 60 * 60);

/// An assistant that runs in a container.
#[derive(Debug)]
pub(super) struct Contained {
    name: String,
    folder: Tree,
    settings: Settings,
}

impl Core {
    /// Begins the step at which a chain stands.
    pub(super) async fn begin(
        self: &Arc<Self>,
        version: &Version<ChainRecord>,
        before: Option<&StepRecord>,
        steps: &[StepRecord],
        epoch: u64,
    ) -> Result<(), Error> {
        let record = &version.content;
        let next = record.next.clone().unwrap_or_default();
        let assistant = match self.resolve(&next).await {
            Ok(assistant) => assistant,
            Err(error) => return self.fail(version, &error).await,
        };
        if assistant != next {
            let named = ChainRecord { next: Some(assistant), updated_at: now(), ..record.clone() };
            return self.write(version, named).await.map(drop);
        }
        let state = patiently(|| self.state(&record.state_tree)).await?;
        let likeness = machine::likeness(&record.app_tree, &state);
        // What runs again elsewhere is no loop.
        let is_moved = |step: &StepRecord| {
            step.n + 1 == record.step && step.assistant == "builtin:exec" && step.exit_code.is_none()
        };
        let is_moved = steps.iter().any(is_moved);
        if !is_moved && let Some(error) = machine::stuck(record, steps, &assistant, likeness) {
            return self.fail(version, &error).await;
        }
        let likeness = (!is_moved).then_some(likeness);
        if let Some(name) = assistant.strip_prefix("builtin:") {
            if builtin::find(name).is_none() {
                let error = Error::invalid(format!("there is no assistant {assistant}"));
                return self.fail(version, &error).await;
            }
            let begun = machine::begun(record, before, (assistant, None), PlacementNote::default(), now());
            let journal = StepRecord { likeness, ..begun };
            self.write_journal(record, journal.clone()).await?;
            fault::point(Point::StepBegun);
            return Box::pin(self.run_step(record, &journal, epoch, None)).await;
        }
        let contained = match self.contained(&assistant, record, steps).await {
            Ok(contained) => contained,
            Err(error) => return self.fail(version, &error).await,
        };
        let blobs: Vec<Blob> = [record.app_tree, record.state_tree, contained.folder].into_iter().flatten().collect();
        let wanted = Wanted {
            chain: record.id.clone(),
            step: record.step,
            room: Room::Step,
            blobs,
            images: Vec::new(),
            limits: contained.limits(),
            patience_ms: 0,
        };
        let Some((found, note)) = self.find_place(record, before, &wanted, epoch).await? else { return Ok(()) };
        let begun = machine::begun(record, before, (assistant, contained.folder), note, now());
        let journal = StepRecord { likeness, ..begun };
        match found {
            Found::Place(_, bid) => {
                self.write_journal(record, journal.clone()).await?;
                fault::point(Point::StepBegun);
                Box::pin(self.run_step(record, &journal, epoch, Some(bid.id))).await
            }
            Found::Nobody(error) if machine::was_placed(&journal) => {
                self.note_failed_by_mesh(record, &journal, &error, epoch).await
            }
            Found::Later(error) | Found::Nobody(error) => {
                let error = Some(machine::failure(&error, journal.n));
                let failed = StepRecord { status: StepStatus::Failed, error, ended_at: Some(now()), ..journal };
                self.write_journal(record, failed).await
            }
        }
    }

    /// Writes that the mesh failed an attempt, drops what it left at its place, and waits until the next one.
    async fn note_failed_by_mesh(
        &self,
        record: &ChainRecord,
        journal: &StepRecord,
        error: &Error,
        epoch: u64,
    ) -> Result<(), Error> {
        let (failed, pause) = machine::failed_by_mesh(journal, error, now());
        tracing::info!(chain = %record.id, step = journal.n, %error, "an attempt failed by the mesh's fault");
        self.write_journal(record, failed).await?;
        self.forget(record, Some(journal), epoch).await;
        self.pause(&record.id, epoch, pause.unwrap_or_default()).await;
        Ok(())
    }

    /// Looks for a place for as long as it is worth it; `None` if somebody wanted something of the chain meanwhile.
    pub(super) async fn find_place(
        &self,
        record: &ChainRecord,
        before: Option<&StepRecord>,
        wanted: &Wanted,
        epoch: u64,
    ) -> Result<Option<(Found, PlacementNote)>, Error> {
        let lost = before.map(|before| machine::failed_places(&before.earlier)).unwrap_or_default();
        let begun = tokio::time::Instant::now();
        let mut until = begun + PATIENCE;
        let mut said = String::new();
        let mut wanted = wanted.clone();
        loop {
            let cache = patiently(|| self.known.whole()).await?;
            let snapshot = cache.snapshot();
            let asking = crate::placement::ask(&self.parts.bus, &snapshot, &wanted, &record.on, &lost);
            let (found, note) = tokio::select! {
                asked = asking => asked,
                _told = self.told(&record.id, epoch) => return Ok(None),
            };
            let Found::Later(error) = &found else { return Ok(Some((found, note))) };
            let is_full = error.detail("full").is_some();
            // Whoever is in line is let in as soon as there is room.
            wanted.patience_ms = if is_full { IN_TURN } else { 0 };
            if is_full {
                // Who waits in line gets a place, however long those before take.
                until = (tokio::time::Instant::now() + PATIENCE).min(begun + IN_LINE);
            }
            if tokio::time::Instant::now() >= until {
                return Ok(Some((found, note)));
            }
            if said != error.message {
                said.clone_from(&error.message);
                let reason = format!("waits for a place: {said}");
                let say = |record: &ChainRecord| {
                    Some(ChainRecord { status_reason: reason.clone(), updated_at: now(), ..record.clone() })
                };
                self.update(&record.id, epoch, say).await?;
            }
            tokio::select! {
                () = tokio::time::sleep(if is_full { AT_ONCE } else { AGAIN }) => {}
                _told = self.told(&record.id, epoch) => return Ok(None),
            }
        }
    }

    /// Has a chain fail before its step began.
    pub(super) async fn fail(&self, version: &Version<ChainRecord>, error: &Error) -> Result<(), Error> {
        if super::records::is_away(error) && error.detail("sent").is_some() {
            return Err(error.clone());
        }
        let failure = machine::failure(error, version.content.step);
        let failed = machine::failed(&version.content, failure, now());
        if self.write(version, failed.clone()).await? {
            self.leave_behind(&failed).await;
        }
        Ok(())
    }

    /// The assistant of a step, in the version with which the chain began.
    async fn contained(&self, assistant: &str, record: &ChainRecord, steps: &[StepRecord]) -> Result<Contained, Error> {
        let unknown = || Error::invalid(format!("there is no assistant {assistant}"));
        let whole: AssistantName = assistant.parse()?;
        whole.check_runs()?;
        let key = Key::Assistant(whole.kind().to_string(), whole.short().parse().map_err(|_| unknown())?);
        let mut known: Option<Version<AssistantRecord>> = patiently(|| self.records.get(&key)).await?;
        if known.is_none() && whole.kind() == Kind::Remote {
            // It ships with this version, and nobody has told the mesh yet.
            self.ship_library().await;
            known = patiently(|| self.records.get(&key)).await?;
        }
        let earlier = steps.iter().find(|step| step.assistant == assistant).map(|step| step.assistant_digest);
        let began = earlier.or_else(|| record.assistants.get(assistant).copied());
        let (folder, settings) = match (known, began) {
            (Some(known), began) => (began.unwrap_or(known.content.folder), known.content.settings),
            // It was removed meanwhile; the chain goes on with what it knows.
            (None, Some(began)) => (began, serde_json::Value::Null),
            (None, None) => return Err(unknown()),
        };
        let settings = Settings::of_json(&settings)?;
        Ok(Contained { name: assistant.to_owned(), folder, settings })
    }

    /// Runs the attempt of a journal to its end, or joins one that runs already, and writes how it ended.
    pub(super) async fn run_step(
        self: &Arc<Self>,
        record: &ChainRecord,
        journal: &StepRecord,
        epoch: u64,
        bid: Option<String>,
    ) -> Result<(), Error> {
        let log = self.logs.begin(&record.id, journal.n);
        let ran = if journal.assistant.starts_with("builtin:") {
            Box::pin(self.run_builtin(record, journal, epoch, &log)).await
        } else {
            Box::pin(self.run_contained(record, journal, epoch, bid, &log)).await
        };
        log.finish();
        ran
    }

    async fn run_contained(
        &self,
        record: &ChainRecord,
        journal: &StepRecord,
        epoch: u64,
        bid: Option<String>,
        log: &StepLog,
    ) -> Result<(), Error> {
        let steps = self.steps(&record.id).await?;
        let contained = self.contained(&journal.assistant, record, &steps).await?;
        let order = self.order(record, journal, epoch, bid, contained.work(self, record));
        let order = Order { timeout_s: contained.timeout_s(record), ..order };
        let Some(place) = journal.node.clone() else {
            return Err(Error::internal("a step of a container has no place"));
        };
        match self.follow(&place, &order, log, Patience::UntilTold).await? {
            Followed::Told(Told::Gone) => Err(super::records::superseded(&record.id)),
            // What is to be done then is decided by what the record says.
            Followed::Told(Told::End) | Followed::Lost => Ok(()),
            Followed::Ended(ended) => {
                let asked_s = journal.asked_s + log.asked_s();
                let journal = StepRecord { asked_s, ..journal.clone() };
                self.note_end(record, &journal, *ended, epoch).await
            }
        }
    }

    /// Writes how an attempt ended: by the mesh's fault it is tried again, by the assistant's own it is not.
    pub(super) async fn note_end(
        &self,
        record: &ChainRecord,
        journal: &StepRecord,
        mut ended: Ended,
        epoch: u64,
    ) -> Result<(), Error> {
        fault::point(Point::StepEnded);
        if let Err(error) = self.named(&ended, journal).await?
            && let Ok(finished) = std::mem::replace(&mut ended.result, Err(error))
        {
            ended.remains = finished;
        }
        // Somebody may have added what came before.
        let state = ended.result.as_ref().ok().and_then(|finished| finished.state_tree);
        if let Some(state) = state {
            let checked = patiently(|| self.state(&state)).await?.check();
            if let Err(error) = checked
                && let Ok(finished) = std::mem::replace(&mut ended.result, Err(named(&error, &journal.assistant)))
            {
                ended.remains = finished;
            }
        }
        if let Err(error) = &mut ended.result
            && error.code == Code::DeadlineExceeded
            && error.hint.is_none()
        {
            error.hint = Some("allow more: aish push --step-timeout D".to_owned());
        }
        match &ended.result {
            // That nobody takes it was waited for already.
            Err(error)
                if matches!(error.code, Code::Unavailable | Code::Cancelled) && error.detail("place").is_none() =>
            {
                let current = patiently(|| self.records.chain(&record.id)).await?;
                let is_asked = current.content.cancelled_by.is_some()
                    || current.content.hold.as_ref().is_some_and(|hold| hold.now);
                if error.code == Code::Cancelled && is_asked {
                    return self.write_journal(record, machine::ended(journal, &ended, now())).await;
                }
                let StepRecord { log, output, .. } = machine::ended(journal, &ended, now());
                let journal = StepRecord { log, output, ..journal.clone() };
                self.note_failed_by_mesh(record, &journal, error, epoch).await
            }
            _ => self.write_journal(record, machine::ended(journal, &ended, now())).await,
        }
    }

    /// Whether there is an assistant of each name that a step wrote; the outer error is the mesh's.
    async fn named(&self, ended: &Ended, journal: &StepRecord) -> Result<Result<(), Error>, Error> {
        let Ok(finished) = &ended.result else { return Ok(Ok(())) };
        let mut named = Vec::from_iter(finished.next.clone().map(|next| ("next", next)));
        if let Some(tree) = finished.state_tree.filter(|tree| *tree != journal.input.state) {
            let after = patiently(|| self.state(&tree)).await?.after();
            let before = patiently(|| self.state(&journal.input.state)).await?.after();
            named.extend(after.filter(|after| before.as_ref() != Some(after)).map(|after| ("after", after)));
        }
        for (file, name) in named {
            let known = match self.resolve(&name).await {
                Ok(known) => known.parse::<AssistantName>().and_then(|name| name.check_runs()),
                Err(error) if super::records::is_away(&error) && error.detail("sent").is_some() => return Err(error),
                Err(error) => Err(error),
            };
            if let Err(error) = known {
                let message = format!("{} wrote {file}: {}", journal.assistant, error.message);
                return Ok(Err(Error { message, ..error }.with("file", file)));
            }
        }
        Ok(Ok(()))
    }

    /// Ends the attempt that runs, and writes that.
    pub(super) async fn end_step(&self, record: &ChainRecord, journal: &StepRecord, epoch: u64) -> Result<(), Error> {
        let mut noted = StepRecord { status: StepStatus::Cancelled, ended_at: Some(now()), ..journal.clone() };
        if let Some(place) = &journal.node {
            let attempt = Attempt { chain: record.id.clone(), step: journal.n, attempt: journal.attempt };
            let ended = self.end_at(place, &attempt, epoch).await;
            if let Some(ended) = ended {
                let log = machine::ended(journal, &ended, now());
                (noted.log, noted.exit_code) = (log.log, log.exit_code);
            }
        }
        if journal.assistant == "builtin:exec" {
            self.unname(record).await?;
        }
        if noted.log.is_none() {
            noted.log = self.keep_log(&record.id, journal.n).await;
        }
        self.write_journal(record, noted).await?;
        if let Some(place) = &journal.node {
            self.forget_at(place, &record.id, journal.n, epoch).await;
        }
        Ok(())
    }

    /// Drops what a step left at its place, once its result stands in the record.
    pub(super) async fn forget(&self, record: &ChainRecord, journal: Option<&StepRecord>, epoch: u64) {
        if let Some(journal) = journal
            && let Some(place) = &journal.node
        {
            self.forget_at(place, &record.id, journal.n, epoch).await;
        }
    }

    /// As [`Core::forget`], while the chain goes on: nothing of it waits for that. A place does not hear who is of an older
    /// epoch, so that what comes late takes nothing from a step that is run again.
    pub(super) fn forget_beside(self: &Arc<Self>, record: &ChainRecord, journal: &StepRecord, epoch: u64) {
        let Some(place) = journal.node.clone() else { return };
        let (core, chain, step) = (self.clone(), record.id.clone(), journal.n);
        // Whoever is not told finds in the record that the step is over.
        self.held.run_errand(async move { core.forget_at(&place, &chain, step, epoch).await });
    }

    pub(super) fn order(
        &self,
        record: &ChainRecord,
        journal: &StepRecord,
        epoch: u64,
        bid: Option<String>,
        work: Work,
    ) -> Order {
        Order {
            attempt: Attempt { chain: record.id.clone(), step: journal.n, attempt: journal.attempt },
            epoch,
            bid,
            app: record.app.clone(),
            mandate: record.mandate.clone(),
            work,
            timeout_s: STEP,
        }
    }
}

/// An error about what an assistant left, with its name.
fn named(error: &Error, assistant: &str) -> Error {
    let message = format!("{assistant} left a state that cannot be used: {}", error.message);
    Error { message, ..error.clone() }
}

impl Contained {
    fn limits(&self) -> Limits {
        self.settings.limits()
    }

    fn timeout_s(&self, record: &ChainRecord) -> u64 {
        let usual = record.options.step_timeout_s.or(self.settings.step_timeout_s).unwrap_or(STEP);
        let left = record.budget.max_time_s.saturating_sub(record.budget.used_time_s).max(1);
        usual.min(left)
    }

    fn work(&self, core: &Core, record: &ChainRecord) -> Work {
        let secret = format!("assistant/{}", self.name.replace(':', "/"));
        let secret = SecretName::parse(&secret).ok();
        let secret = secret.filter(|secret| core.parts.cache.snapshot().secret(secret).is_some());
        Work::Assistant(Box::new(AssistantWork {
            assistant: self.name.clone(),
            folder: self.folder,
            app_tree: record.app_tree,
            state_tree: record.state_tree,
            limits: self.limits(),
            network: self.settings.has_network(),
            deterministic: self.settings.deterministic,
            secret,
            answers: record.options.answers.clone(),
            yes: record.options.yes,
        }))
    }
}

/// The instant after some seconds from now, in RFC 3339.
pub(super) fn after(seconds: u64) -> String {
    Timestamp::from(now().time() + Duration::from_secs(seconds)).to_string()
}
