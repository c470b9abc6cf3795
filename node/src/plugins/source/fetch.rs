//! The way of a source into the runtime copy: brought, looked at, delivered.

use std::{collections::BTreeSet, path::PathBuf};

use aigis_registry::archive::Staging;

use super::{
    Error, Location, Source, Update,
    deliver::{Delivered, Delivery, Outcome},
    git::Repository,
    index::Index,
    local,
};
use crate::plugins::{Folder, Note};

/// Why a source is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The plugin starts: what there is will do.
    Start,
    /// Somebody wants what is new.
    Reload,
    /// Somebody wants nothing of what there was.
    Fresh,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// What is new, which is not in its place yet; nothing if the runtime copy is to be used as it is.
    pub fetched: Option<Fetched>,
    /// The runtime copy that there was before.
    pub present: Option<Present>,
    /// What is to be said of it.
    pub notes: Vec<Note>,
}

/// What a runtime copy was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The commit, of a git source.
    pub revision: Option<String>,
    /// The digest of what was delivered.
    pub digest: String,
    /// Whether the source is another by now.
    pub changed: bool,
}

/// A tree that was brought. It lies beside the runtime copy until it is delivered; dropped, it is gone.
#[derive(Debug)]
pub struct Fetched {
    folder: Folder,
    staging: Staging,
    delivered: Delivered,
    is_fresh: bool,
}

/// Brings a plugin's source, if there is anything to bring.
///
/// # Errors
///
/// Why it cannot be brought. What there was before is as it was; of a plugin that was not there before, nothing stays.
///
/// # Cancel safety
///
/// What was brought so far is thrown away.
pub async fn fetch(folder: &Folder, source: &Source, occasion: Occasion) -> Result<Report, Error> {
    folder.make()?;
    let brought = bring(folder, source, occasion).await;
    if brought.is_err() && !folder.copy().exists() {
        // What cannot be removed is no more than room that is taken.
        let _ = folder.remove();
    }
    brought
}

/// What was delivered into a runtime copy, by paths within it.
///
/// # Errors
///
/// It is not known.
pub(crate) fn delivered(folder: &Folder) -> Result<BTreeSet<PathBuf>, Error> {
    let (known, _) = Delivered::load(folder)?;
    Ok(known.map(|known| known.items.0.into_keys().collect()).unwrap_or_default())
}

async fn bring(folder: &Folder, source: &Source, occasion: Occasion) -> Result<Report, Error> {
    let (known, interrupted) = match Delivered::load(folder) {
        // Whoever wants nothing of it minds no damage.
        Err(_) if occasion == Occasion::Fresh => (None, None),
        loaded => loaded?,
    };
    let is_there = folder.copy().is_dir();
    let present = is_there.then(|| present(known.as_ref().or(interrupted.as_ref())));
    let may_stay = occasion == Occasion::Start && is_there && interrupted.is_none();
    if may_stay && source.update == Update::Never {
        return Ok(Report { fetched: None, present, notes: Vec::new() });
    }
    let is_fresh = occasion == Occasion::Fresh;
    let fetched = |staging, revision: Option<String>, items: Index| {
        let delivered = Delivered { revision, digest: items.digest(), items, beside: Index::default() };
        Fetched { folder: folder.clone(), staging, delivered, is_fresh }
    };
    match &source.location {
        Location::Path(path) => {
            let (path, subdir) = (path.clone(), source.subdir.clone());
            if let Some(present) = present.clone().filter(|_| may_stay) {
                let index = blocking(move || local::top(&path, subdir.as_ref()).and_then(|top| local::index(&top)));
                return Ok(unchanged(folder, present, index.await));
            }
            let staging = Staging::new(folder.path())?;
            let to = staging.top();
            let items = blocking(move || local::copy(&local::top(&path, subdir.as_ref())?, &to)).await?;
            Ok(Report { fetched: Some(fetched(staging, None, items)), present, notes: Vec::new() })
        }
        Location::Git(url) => {
            let tried = async {
                let repository = Repository::fetch(&folder.git(), url).await?;
                let commit = repository.revision(source.reference.as_ref()).await?;
                let is_known = present.as_ref().is_some_and(|present| present.revision.as_ref() == Some(&commit));
                if may_stay && is_known {
                    return Ok(None);
                }
                let staging = Staging::new(folder.path())?;
                repository.check_out(&commit, source.subdir.as_ref(), &staging).await?;
                let top = staging.top();
                let items = blocking(move || Index::of(&top)).await?;
                Ok(Some(fetched(staging, Some(commit), items)))
            };
            match tried.await {
                Ok(fetched) => Ok(Report { fetched, present, notes: Vec::new() }),
                Err(error) if may_stay => {
                    let revision =
                        present.as_ref().and_then(|present| present.revision.as_deref()).unwrap_or("what is there");
                    let cause = aigis_proxy::with_causes(&error);
                    let text = format!("could not update {}: {cause}, using {revision}", folder.name());
                    Ok(Report { fetched: None, present, notes: vec![Note::Warning(text)] })
                }
                Err(error) => Err(error),
            }
        }
    }
}

fn present(known: Option<&Delivered>) -> Present {
    Present {
        revision: known.and_then(|known| known.revision.clone()),
        digest: known.map(|known| known.digest.clone()).unwrap_or_default(),
        changed: false,
    }
}

/// A runtime copy that stays, and whether its source is still what it was.
fn unchanged(folder: &Folder, mut present: Present, index: Result<Index, Error>) -> Report {
    let note = match index.map(|index| index.digest() == present.digest) {
        Ok(true) => Note::Information("the source is as it was copied".to_owned()),
        Ok(false) => {
            present.changed = true;
            let name = folder.name();
            Note::Warning(format!("source changed since it was copied; aish plugins reload {name} takes it"))
        }
        // The copy serves without it.
        Err(error) => Note::Warning(format!("the source cannot be compared: {}", aigis_proxy::with_causes(&error))),
    };
    Report { fetched: None, present: Some(present), notes: vec![note] }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Broken)?
}

impl Fetched {
    /// Where it lies now.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.staging.top()
    }

    /// The commit, of a git source.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        self.delivered.revision.as_deref()
    }

    /// Puts it in its place: whole where nothing was, else file by file, so that what the plugin wrote stays.
    ///
    /// # Errors
    ///
    /// The operating system refuses. What is half delivered is made whole by the next delivery.
    ///
    /// # Cancel safety
    ///
    /// It goes on to its end, whoever waits for it.
    pub async fn deliver(self) -> Result<(Present, Vec<Note>), Error> {
        blocking(move || self.put()).await
    }

    fn put(mut self) -> Result<(Present, Vec<Note>), Error> {
        let Self { folder, staging, delivered, is_fresh } = &mut self;
        let (before, interrupted) = match Delivered::load(folder) {
            Err(_) if *is_fresh => (None, None),
            loaded => loaded?,
        };
        let copy = folder.copy();
        let is_there = copy.is_dir();
        delivered.begin(folder)?;
        let notes = if is_there && !*is_fresh {
            let before = before.unwrap_or_default();
            let delivery = Delivery {
                copy: &copy,
                staged: &staging.top(),
                new: &delivered.items,
                before: &before,
                interrupted: interrupted.as_ref(),
            };
            let Outcome { beside, notes } = delivery.run()?;
            delivered.beside = beside;
            notes
        } else {
            Vec::new()
        };
        let Self { folder, staging, delivered, is_fresh } = self;
        if !is_there || is_fresh {
            staging.publish(&copy, is_there)?;
        }
        delivered.end(&folder)?;
        Ok((present(Some(&delivered)), notes))
    }
}
