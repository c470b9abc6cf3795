//! What the coordinator does for builtins.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use aigis_deploy::{plan::Bases, settings::Settings};
use aigis_proxy::{
    Error,
    blob::Store,
    chain::Tree,
    services::steps::{Ask, BuildWork, Finished, GitWork, Image, Limits, Question, Room, Wanted, Work as Ordered},
    sync::lock,
};
use aigis_registry::{
    shared::{ChainRecord, InstanceEnd, StepRecord},
    tree,
};
use futures::{FutureExt, future::BoxFuture};
use tokio::time::Instant;

use super::{
    Core,
    container::after,
    holding::blocking,
    log::StepLog,
    place::{Followed, Patience},
    records::{patiently, superseded},
    serve::Became,
};
use crate::{
    builtin::{Means, NewInstance, Served},
    machine,
    placement::Found,
    selection::Known,
};

/// How long a build may take.
const BUILD: u64 = 60 * 60;
/// How long a question waits.
const ASKED: u64 = 600;

/// A step of a builtin that runs here.
pub(super) struct Work {
    core: Arc<Core>,
    record: ChainRecord,
    epoch: u64,
    log: Arc<StepLog>,
    journal: Mutex<StepRecord>,
    warnings: Mutex<Vec<String>>,
    end: Mutex<Option<InstanceEnd>>,
    /// A directory that is there until the step ends.
    scratch: PathBuf,
    /// How many trees were unpacked there.
    opened: Mutex<u32>,
}

impl Work {
    pub(super) fn new(
        core: Arc<Core>,
        record: ChainRecord,
        journal: StepRecord,
        epoch: u64,
        log: Arc<StepLog>,
        scratch: PathBuf,
    ) -> Self {
        let (warnings, end, opened) = Default::default();
        Self { core, record, epoch, log, journal: Mutex::new(journal), warnings, end, scratch, opened }
    }

    /// The journal, with the place that was found meanwhile.
    pub(super) fn journal(&self) -> StepRecord {
        lock(&self.journal).clone()
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        lock(&self.warnings).clone()
    }

    /// How the app ended that this ran, if it did.
    pub(super) fn end(&self) -> Option<InstanceEnd> {
        lock(&self.end).clone()
    }

    /// Has a place do something, the one of the journal if another holder had found one.
    async fn order(&self, room: Room, blobs: Tree, work: Ordered) -> Result<Finished, Error> {
        let (core, record) = (&self.core, &self.record);
        let mut journal = self.journal();
        let mut bid = None;
        if journal.node.is_none() {
            let blobs = blobs.into_iter().collect();
            // Who has the app's former image has most of its layers at hand.
            let images = match &work {
                Ordered::Build(work) => vec![work.tag.clone()],
                Ordered::Assistant(_) | Ordered::Git(_) => Vec::new(),
            };
            let limits = Limits::default();
            let (chain, step) = (record.id.clone(), journal.n);
            let wanted = Wanted { chain, step, room, blobs, images, limits, patience_ms: 0 };
            let found = core.find_place(record, Some(&journal), &wanted, self.epoch).await?;
            let Some((found, note)) = found else { return Err(superseded(&record.id)) };
            journal.placement = note;
            match found {
                Found::Place(node, taken) => (journal.node, bid) = (Some(node), Some(taken.id)),
                Found::Nobody(error) if machine::was_placed(&journal) => {
                    *lock(&self.journal) = journal;
                    return Err(error);
                }
                Found::Later(error) | Found::Nobody(error) => {
                    *lock(&self.journal) = journal;
                    return Err(error.with("place", "none"));
                }
            }
            core.write_journal(record, journal.clone()).await?;
            *lock(&self.journal) = journal.clone();
        }
        let Some(place) = journal.node.clone() else { return Err(Error::internal("a place was found and lost")) };
        self.log.line(&format!("at {place}"));
        let mut order = core.order(record, &journal, self.epoch, bid, work);
        order.timeout_s = record.options.step_timeout_s.unwrap_or(BUILD);
        match core.follow(&place, &order, &self.log, Patience::ToTheEnd).await? {
            Followed::Ended(ended) => {
                let finished = ended.result?;
                lock(&self.warnings).extend(finished.warnings.iter().cloned());
                Ok(finished)
            }
            Followed::Lost => Err(Error::unavailable(format!("{place} is offline"))),
            Followed::Told(_) => Err(superseded(&record.id)),
        }
    }

    async fn answer(&self, question: Question) -> Result<String, Error> {
        let (core, record) = (&self.core, &self.record);
        let options = &record.options;
        let given = options.answers.get(&question.id).cloned();
        let given = given.or_else(|| (options.yes && question.kind == Ask::Confirm).then(|| "yes".to_owned()));
        if let Some(given) = given {
            question.check(&given)?;
            self.log.line(&format!("{} {given} (flag)", question.ask));
            return Ok(given);
        }
        let until = Instant::now() + Duration::from_secs(ASKED);
        let question = Question { until: after(ASKED), ..question };
        core.ask(&record.id, self.epoch, Some(question.clone())).await?;
        let asked_at = Instant::now();
        let mut changed = core.board.changed();
        let answer = loop {
            let known = core.board.chain(&record.id);
            let answer = known.and_then(|known| known.content.answers.get(&question.id).cloned());
            if answer.is_some() || Instant::now() >= until {
                break answer;
            }
            Core::board_changed(&mut changed, until).await;
        };
        lock(&self.journal).asked_s += asked_at.elapsed().as_secs();
        core.ask(&record.id, self.epoch, None).await?;
        match (answer, question.default) {
            (Some(answer), _) => {
                self.log.line(&format!("{} {answer}", question.ask));
                Ok(answer)
            }
            (None, Some(default)) => {
                self.log.line(&format!("{} {default} (default)", question.ask));
                Ok(default)
            }
            (None, None) => {
                let message = format!("nobody answered within {ASKED} s: {}", question.ask);
                Err(Error::precondition(message).hint("answer it: aish chains answer ID VALUE"))
            }
        }
    }
}

impl Means for Work {
    fn log(&self, line: &str) {
        self.log.line(line);
    }

    fn warn(&self, text: &str) {
        self.log.line(&format!("warning: {text}"));
        lock(&self.warnings).push(text.to_owned());
    }

    fn ask(&self, question: Question) -> BoxFuture<'_, Result<String, Error>> {
        self.answer(question).boxed()
    }

    fn build(&self, work: BuildWork) -> BoxFuture<'_, Result<Image, Error>> {
        let building = async move {
            let finished = self.order(Room::Build, work.context, Ordered::Build(work)).await?;
            let image = finished.image.ok_or_else(|| Error::internal("the build left no image"))?;
            lock(&self.journal).volumes.clone_from(&image.volumes);
            Ok(image)
        };
        building.boxed()
    }

    fn fetch(&self, work: GitWork) -> BoxFuture<'_, Result<Tree, Error>> {
        let fetching = async move {
            let finished = self.order(Room::Step, None, Ordered::Git(work)).await?;
            finished.app_tree.ok_or_else(|| Error::internal("the repository left no tree"))
        };
        fetching.boxed()
    }

    fn keep(&self, directory: PathBuf) -> BoxFuture<'_, Result<Tree, Error>> {
        async move { patiently(|| self.core.keep_tree(directory.clone())).await }.boxed()
    }

    fn open(&self, tree: Tree) -> BoxFuture<'_, Result<PathBuf, Error>> {
        let opening = async move {
            let number = {
                let mut opened = lock(&self.opened);
                *opened += 1;
                *opened
            };
            let into = self.scratch.join(format!("tree-{number}"));
            let store = Store::new(&self.core.parts.bus);
            patiently(|| async {
                let _ = tokio::fs::remove_dir_all(&into).await;
                tree::fetch(&store, &tree, &into).await
            })
            .await?;
            Ok(into)
        };
        opening.boxed()
    }

    fn known(&self) -> BoxFuture<'_, Result<Vec<Known>, Error>> {
        self.core.assistants().boxed()
    }

    fn python_image(&self) -> Option<String> {
        self.core.parts.python_image.clone()
    }

    fn bases(&self) -> BoxFuture<'_, Result<Bases, Error>> {
        let (python, file) = (self.core.parts.python_image.clone(), self.core.parts.packages.clone());
        let reading = async move {
            let settings = match file {
                None => Settings::default(),
                Some(file) => {
                    blocking(move || {
                        Settings::read(&file).map_err(|error| Error::invalid(aigis_proxy::with_causes(&error)))
                    })
                    .await??
                }
            };
            // What the node's own file says of apps goes before what is said of bases.
            Ok(settings.bases().with(python.map(|image| ("python".to_owned(), image))))
        };
        reading.boxed()
    }

    fn serve(&self, instance: NewInstance) -> BoxFuture<'_, Result<Served, Error>> {
        let serving = async move {
            match self.core.serve(&self.record, &self.journal, self.epoch, instance, &self.log).await? {
                Became::Serving => Ok(Served::Serving),
                Became::Ended(end) => {
                    let exit_code = end.exit_code.unwrap_or_default();
                    *lock(&self.end) = Some(*end);
                    Ok(Served::Ended { exit_code })
                }
            }
        };
        serving.boxed()
    }
}
