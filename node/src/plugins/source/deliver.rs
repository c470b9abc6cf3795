//! Putting what was brought into the runtime copy: what the plugin wrote there stays, whatever the source does.
//!
//! Each file is compared with what was delivered before. What is about to be delivered is written down first, so that what an
//! interrupted delivery has put there is not taken for the plugin's own work by the next one.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use aigis_proxy::text_file::shown;
use serde::{Deserialize, Serialize};

use super::{
    Error,
    index::{Count, Index, Item, look},
};
use crate::{
    home,
    plugins::{Folder, Note},
};

/// How many conflicts are told one by one.
const TOLD: usize = 20;
/// How many files of one name may lie beside one another.
const BESIDE: usize = 100;

/// What was delivered into a runtime copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Delivered {
    /// The commit, of a git source.
    pub(super) revision: Option<String>,
    /// The digest of all items.
    pub(super) digest: String,
    pub(super) items: Index,
    /// What was put beside what the plugin had changed.
    #[serde(default)]
    pub(super) beside: Index,
}

impl Delivered {
    /// Reads what was delivered, and what was being delivered when that was interrupted.
    pub(super) fn load(folder: &Folder) -> Result<(Option<Self>, Option<Self>), Error> {
        Ok((read(&folder.delivered())?, read(&folder.delivering())?))
    }

    /// Writes down what is about to be delivered.
    pub(super) fn begin(&self, folder: &Folder) -> Result<(), Error> {
        let path = folder.delivering();
        let text = serde_json::to_vec(self).map_err(|error| Error::write(&path, error))?;
        home::write_whole(&path, &text).map_err(|source| Error::write(&path, source))
    }

    /// Writes down that it is delivered.
    pub(super) fn end(&self, folder: &Folder) -> Result<(), Error> {
        self.begin(folder)?;
        fs::rename(folder.delivering(), folder.delivered()).map_err(|source| Error::write(folder.delivered(), source))
    }
}

fn read(path: &Path) -> Result<Option<Delivered>, Error> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|source| Error::unreadable(path, source))?,
    };
    let damaged = |error: serde_json::Error| Error::Damaged { path: path.to_owned(), reason: error.to_string() };
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

/// A delivery into a runtime copy that is there already.
pub(super) struct Delivery<'a> {
    /// The runtime copy.
    pub(super) copy: &'a Path,
    /// Where what is new lies; files are taken from there.
    pub(super) staged: &'a Path,
    /// What it holds.
    pub(super) new: &'a Index,
    /// What was delivered before.
    pub(super) before: &'a Delivered,
    /// What an interrupted delivery may have put there.
    pub(super) interrupted: Option<&'a Delivered>,
}

/// What could not be put in its place.
#[derive(Debug, Default)]
struct Beside {
    /// What was put, and where.
    items: Index,
    /// What is to be told: what was changed, and where the new one lies.
    conflicts: Vec<(PathBuf, PathBuf)>,
    /// The directories in whose place something of the plugin's stands, and what is put in their stead, once anything is.
    blocked: BTreeMap<PathBuf, Option<PathBuf>>,
}

impl Beside {
    /// The directory above a path that has no place.
    fn above(&self, path: &Path) -> Option<PathBuf> {
        path.ancestors().skip(1).find(|above| self.blocked.contains_key(*above)).map(Path::to_owned)
    }
}

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) beside: Index,
    pub(super) notes: Vec<Note>,
}

/// What becomes of something that the source has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// What is there stays.
    Kept,
    /// It takes its place.
    Placed,
    /// It is put beside what the plugin has changed.
    Beside,
    /// It is a directory, and the plugin has put something else there: what was to be in it goes beside that.
    Blocked,
}

impl Delivery<'_> {
    /// Delivers.
    pub(super) fn run(self) -> Result<Outcome, Error> {
        self.remove()?;
        let mut beside = Beside::default();
        for (path, item) in &self.new.0 {
            if let Some(above) = beside.above(path) {
                if *item != Item::Directory && !self.is_unchanged(path, item) {
                    let to = self.beside_above(&above, path, item, &mut beside)?;
                    self.put_beside(path, to, item, &mut beside)?;
                }
                continue;
            }
            match self.way(path, item)? {
                Way::Kept => {}
                Way::Placed => self.put(path, path, item)?,
                Way::Beside => {
                    let to = self.aside(path, item)?;
                    beside.conflicts.push((path.clone(), to.clone()));
                    self.put_beside(path, to, item, &mut beside)?;
                }
                Way::Blocked => {
                    beside.blocked.insert(path.clone(), None);
                }
            }
        }
        // What lies beside from before, and is as it was put there, may be replaced the next time.
        for (path, item) in &self.before.beside.0 {
            beside.items.0.entry(path.clone()).or_insert_with(|| item.clone());
        }
        Ok(Outcome { beside: beside.items, notes: told(&beside.conflicts) })
    }

    /// Where something is put whose directory has no place.
    fn beside_above(&self, above: &Path, path: &Path, item: &Item, beside: &mut Beside) -> Result<PathBuf, Error> {
        let aside = match beside.blocked.get(above).cloned().flatten() {
            Some(aside) => aside,
            None => {
                let aside = self.aside(above, &Item::Directory)?;
                beside.conflicts.push((above.to_owned(), aside.clone()));
                beside.blocked.insert(above.to_owned(), Some(aside.clone()));
                aside
            }
        };
        let to = aside.join(path.strip_prefix(above).unwrap_or(path));
        if self.is_free(&to, item)? { Ok(to) } else { self.aside(&to, item) }
    }

    fn put_beside(&self, path: &Path, to: PathBuf, item: &Item, beside: &mut Beside) -> Result<(), Error> {
        self.put(path, &to, item)?;
        beside.items.0.insert(to, item.clone());
        Ok(())
    }

    /// Takes away what the source has no more, where the plugin left it as it was.
    fn remove(&self) -> Result<(), Error> {
        let gone = self.before.items.0.iter().filter(|(path, item)| {
            // A directory that becomes a file is in its way, and the other way round.
            let new = self.new.0.get(*path);
            new.is_none_or(|new| (**item == Item::Directory) != (*new == Item::Directory))
        });
        for (path, item) in gone.collect::<Vec<_>>().into_iter().rev() {
            let target = self.copy.join(path);
            if *item == Item::Directory {
                // What the plugin made in it keeps it.
                let _ = fs::remove_dir(&target);
            } else if self.now(path)?.is_some_and(|now| self.is_ours(path, &now)) {
                fs::remove_file(&target).map_err(|source| Error::write(&target, source))?;
            }
        }
        Ok(())
    }

    /// What stands at that path of the copy; nothing, where the plugin put a link in the place of a directory above it.
    fn now(&self, path: &Path) -> Result<Option<Item>, Error> {
        let mut above = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
        if above.any(|above| !fs::symlink_metadata(self.copy.join(above)).is_ok_and(|found| found.is_dir())) {
            return Ok(None);
        }
        // Each file is looked at by itself; the plugin's own are no part of the source's bounds.
        look(&self.copy.join(path), &mut Count::default())
    }

    /// Whether that is what was delivered there.
    fn is_ours(&self, path: &Path, now: &Item) -> bool {
        let delivered = [Some(self.before), self.interrupted];
        delivered.into_iter().flatten().any(|known| known.items.0.get(path).is_some_and(|item| item.is_like(now)))
    }

    /// Whether the source has it as it was delivered before.
    fn is_unchanged(&self, path: &Path, item: &Item) -> bool {
        self.before.items.0.get(path).is_some_and(|before| before.is_like(item))
    }

    /// What becomes of something that the source has.
    fn way(&self, path: &Path, item: &Item) -> Result<Way, Error> {
        let now = self.now(path)?;
        Ok(match (now.as_ref(), item) {
            (Some(now), _) if now == item => Way::Kept,
            (None | Some(Item::Directory), Item::Directory) => Way::Placed,
            (Some(_), Item::Directory) => Way::Blocked,
            // What the plugin took away stays away until the source changes it.
            (None, _) if self.is_unchanged(path, item) => Way::Kept,
            (None, _) => Way::Placed,
            (Some(now), _) if *now != Item::Directory && (now.is_like(item) || self.is_ours(path, now)) => Way::Placed,
            (Some(_), _) if self.is_unchanged(path, item) => Way::Kept,
            (Some(_), _) => Way::Beside,
        })
    }

    /// Where something can lie beside what the plugin has changed: nothing that it wrote is there.
    fn aside(&self, path: &Path, item: &Item) -> Result<PathBuf, Error> {
        for number in 1..=BESIDE {
            let mut name = path.as_os_str().to_owned();
            name.push(if number == 1 { OsString::from(".new") } else { format!(".new.{number}").into() });
            let aside = PathBuf::from(name);
            if self.is_free(&aside, item)? && !self.new.0.contains_key(&aside) {
                return Ok(aside);
            }
        }
        Err(Error::write(self.copy.join(path), io::Error::other(format!("{BESIDE} files lie beside it already"))))
    }

    /// Whether something can be put beside there, and nothing of the plugin's is lost by it.
    fn is_free(&self, aside: &Path, item: &Item) -> Result<bool, Error> {
        let Some(now) = self.now(aside)? else { return Ok(true) };
        if now == Item::Directory || *item == Item::Directory {
            return Ok(now == *item);
        }
        let put = [Some(self.before), self.interrupted].into_iter().flatten();
        let is_ours = put.filter_map(|known| known.beside.0.get(aside)).any(|known| known.is_like(&now));
        Ok(now.is_like(item) || is_ours)
    }

    /// Moves something from where it is staged to a place of the copy.
    fn put(&self, from: &Path, to: &Path, item: &Item) -> Result<(), Error> {
        let (from, to) = (self.staged.join(from), self.copy.join(to));
        let failed = |source| Error::write(&to, source);
        if let Some(above) = to.parent() {
            fs::create_dir_all(above).map_err(failed)?;
        }
        if *item != Item::Directory {
            return fs::rename(&from, &to).map_err(failed);
        }
        match fs::create_dir(&to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && to.is_dir() => {}
            made => made.map_err(failed)?,
        }
        let mode = fs::metadata(&from).map_err(failed)?.permissions();
        fs::set_permissions(&to, mode).map_err(failed)
    }
}

fn told(conflicts: &[(PathBuf, PathBuf)]) -> Vec<Note> {
    let one = |(path, aside): &(PathBuf, PathBuf)| {
        let (path, aside) = (shown(path), shown(aside));
        Note::Warning(format!("{path} was changed here and in the source: the new one lies beside it as {aside}"))
    };
    let mut notes: Vec<Note> = conflicts.iter().take(TOLD).map(one).collect();
    if conflicts.len() > TOLD {
        notes.push(Note::Warning(format!("so it is with {} more", conflicts.len() - TOLD)));
    }
    notes
}
