//! A directory on its way into the mesh: only what goes by its rules, and of that only what the mesh lacks.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aigis_deploy::Rules;
use aigis_proxy::{Bus, Code, Error, blob::Store, chain::Tree};
use aigis_registry::{
    archive::{self, Kind, Limits},
    tree,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

pub(crate) use scan::{Scan, Stamp, scan};

use crate::{exit::Failure, output::Output};

mod scan;

/// How often a tree is read again because a file of it changed meanwhile.
const ROUNDS: usize = 3;
/// How long a bus is waited for that was lost while a tree was on its way, and how long between two tries.
const AWAY: Duration = Duration::from_secs(5 * 60);
const AGAIN: Duration = Duration::from_secs(1);

/// A tree that the mesh has.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Uploaded {
    /// The tree.
    pub(crate) tree: Tree,
    files: u64,
    bytes: u64,
    sent_bytes: u64,
    chunks: usize,
    sent_chunks: usize,
}

impl Uploaded {
    /// What it took, for programs.
    pub(crate) fn figures(&self) -> Value {
        let Self { tree, files, bytes, sent_bytes, chunks, sent_chunks } = self;
        json!({
            "files": files, "bytes": bytes, "sent_bytes": sent_bytes, "chunks": chunks, "sent_chunks": sent_chunks,
            "tree": tree.map(|tree| tree.to_string()),
        })
    }

    /// The same for people.
    pub(crate) fn text(&self) -> String {
        let (bytes, sent) = (crate::quantity::bytes(self.bytes), crate::quantity::bytes(self.sent_bytes));
        let files = if self.files == 1 { "file" } else { "files" };
        format!("uploaded {} {files}, {bytes}; sent {sent}", self.files)
    }
}

/// Looks at a directory, and says what is odd about it.
///
/// # Errors
///
/// What cannot be read; a tree that is too large or has nothing in it.
pub(crate) async fn look(output: &Output, root: &Path) -> Result<Scan, Failure> {
    let directory = root.to_owned();
    let scanned = tokio::task::spawn_blocking(move || {
        let found = scan(&directory)?;
        links(&directory)?;
        Ok::<_, Error>(found)
    });
    let found = scanned.await.map_err(|_| Error::internal("the thread that looks at a tree ended"))??;
    if !found.environment.is_empty() {
        let named = found.environment.iter().map(|path| aigis_proxy::quoted(path)).collect::<Vec<_>>().join(", ");
        output.note(&format!("left out, since files of secrets stay here: {named}"));
    }
    for path in &found.skipped {
        let path = aigis_proxy::quoted(path);
        output.note(&format!("left out: \"{path}\" is no file, directory or link"));
    }
    found.check(&Limits::TREE)?;
    if found.entries == 0 {
        return Err(Error::invalid(format!("there is nothing to push in {}", root.display()))
            .hint("put a file into it; what is left out by its rules is told by: aish push --dry-run")
            .into());
    }
    Ok(found)
}

/// Judges the links and the directories of a tree, before anything of it is sent.
fn links(root: &Path) -> Result<(), Error> {
    let mut rules = Rules::of(root);
    let mut keep = |path: &str, kind: Kind| {
        matches!(kind, Kind::Directory | Kind::Link) && rules.keeps(path, kind == Kind::Directory)
    };
    match archive::pack(root, std::io::sink(), &mut keep, &Limits::TREE) {
        // That there are only files is no fault.
        Ok(_) | Err(archive::Error::Empty) => Ok(()),
        // What is too much is told better.
        Err(archive::Error::Limit { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads the tree as if it were sent, and sends nothing.
///
/// # Errors
///
/// What of it could not be sent.
pub(crate) async fn rehearse(root: &Path) -> Result<(), Failure> {
    let directory = root.to_owned();
    let packed = tokio::task::spawn_blocking(move || {
        let mut keep = keep(&directory, Arc::default(), None);
        archive::pack(&directory, std::io::sink(), &mut keep, &Limits::TREE).map(drop)
    });
    let packed = packed.await.map_err(|_| Error::internal("the thread that packs a tree ended"))?;
    Ok(packed.map_err(Error::from)?)
}

/// Stores a tree of which [`look`] has told what it has.
///
/// # Errors
///
/// What of it cannot be sent, or changes all the time; what the store says.
pub(crate) async fn send(output: &Output, bus: &Bus, root: &Path, bytes: u64) -> Result<Uploaded, Failure> {
    let store = Store::new(bus);
    let mut round = 0;
    let mut patience: Option<Instant> = None;
    loop {
        round += 1;
        let (files, bar) = (Arc::new(AtomicU64::new(0)), output.bar(bytes));
        let stored = tree::store(&store, root, keep(root, files.clone(), bar.clone()), Limits::TREE).await;
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        match stored {
            Err(error) if error.detail("changed").is_some() && round < ROUNDS => {}
            Err(error) if is_lost(bus, &error) && patience.is_none_or(|until| Instant::now() < until) => {
                if patience.is_none() {
                    output.note("bus lost; the upload goes on when it is back");
                    patience = Some(Instant::now() + AWAY);
                }
                // What has arrived is not sent again, and what was lost is no change of the tree.
                round -= 1;
                sleep(AGAIN).await;
            }
            Err(error) => return Err(error.into()),
            Ok(kept) => {
                let tree::Kept { tree, bytes, chunks, sent_chunks, sent_bytes, .. } = kept;
                let files = files.load(Ordering::Relaxed);
                return Ok(Uploaded { tree, files, bytes, sent_bytes, chunks, sent_chunks });
            }
        }
    }
}

/// Whether something failed because this process has lost its bus, or just found it again.
fn is_lost(bus: &Bus, error: &Error) -> bool {
    let link = bus.link();
    let link = link.borrow();
    (!link.up || link.broken_before) && matches!(error.code, Code::Unavailable | Code::DeadlineExceeded)
}

/// What goes, by the rules of the tree; counts the files.
fn keep(
    root: &Path,
    files: Arc<AtomicU64>,
    bar: Option<indicatif::ProgressBar>,
) -> impl FnMut(&str, Kind) -> bool + Send + 'static {
    let mut rules = Rules::of(root);
    let root = root.to_owned();
    move |path, kind| {
        if kind == Kind::Other || !rules.keeps(path, kind == Kind::Directory) {
            return false;
        }
        if kind == Kind::File {
            files.fetch_add(1, Ordering::Relaxed);
            if let Some(bar) = &bar {
                bar.inc(std::fs::symlink_metadata(root.join(path)).map_or(0, |about| about.len()));
            }
        }
        true
    }
}
