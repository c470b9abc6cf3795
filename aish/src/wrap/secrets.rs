//! The secrets of a wrapped program: files in memory, kept as the mesh has them, and masked in what the program prints.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use aigis_node::{
    mask::{Mask, Masks},
    secrets::undumpable,
    shelf::{self, Shelf},
};
use aigis_proxy::{
    Error,
    secret::SecretName,
    socket::{Given, GivenSecret},
    with_causes,
};
use tokio::sync::watch;

use super::logs::{Logs, Source};

/// Where a program finds the directory.
pub(crate) const VARIABLE: &str = "AIGIS_SECRETS";
/// How many former values are still masked.
const FORMER: usize = 64;

/// A secret that a program is to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: SecretName,
    /// The name of its file.
    pub(crate) file: String,
    /// The variable that it is to be too, if it is.
    pub(crate) variable: Option<String>,
}

impl Wanted {
    /// Reads `NAME[=FILE]`.
    pub(crate) fn file(text: &str) -> Result<Self, String> {
        let (name, file) = text.split_once('=').map_or((text, None), |(name, file)| (name, Some(file)));
        let name = SecretName::parse(name).map_err(|error| error.to_string())?;
        let file = match file {
            None => name.file_name().to_owned(),
            // A name of one part is what a file may be called.
            Some(file) => match SecretName::parse(file) {
                Ok(file) if !file.as_str().contains('/') => file.to_string(),
                _ => return Err("FILE is 1 to 64 of A-Z a-z 0-9 . _ -".to_owned()),
            },
        };
        Ok(Self { name, file, variable: None })
    }

    /// Reads `NAME=VARIABLE`.
    pub(crate) fn variable(text: &str) -> Result<Self, String> {
        let (name, variable) = text.split_once('=').ok_or("write NAME=VARIABLE")?;
        let good = |(index, byte): (usize, u8)| {
            byte == b'_' || byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit())
        };
        if variable.is_empty() || !variable.bytes().enumerate().all(good) {
            return Err("VARIABLE is of A-Z a-z 0-9 _, and does not begin with a digit".to_owned());
        }
        Ok(Self { variable: Some(variable.to_owned()), ..Self::file(name)? })
    }
}

/// The files of a program.
pub(crate) struct Files {
    shelf: Shelf,
    wanted: Vec<Wanted>,
    masks: Masks,
    given: Arc<Given>,
    former: VecDeque<GivenSecret>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("shelf", &self.shelf).finish_non_exhaustive()
    }
}

impl Files {
    /// Puts the secrets where the program finds them.
    ///
    /// # Errors
    ///
    /// `failed_precondition` where this host has no place in memory for them.
    pub(crate) fn make(wanted: Vec<Wanted>, given: &Arc<Given>, masks: Masks) -> Result<Self, Error> {
        undumpable();
        let unplaced = |error: shelf::Error| {
            Error::precondition(with_causes(&error)).hint("set XDG_RUNTIME_DIR to a directory of yours on tmpfs")
        };
        let shelf = Shelf::make().map_err(unplaced)?;
        let mut files = Self { shelf, wanted, masks, given: Arc::default(), former: VecDeque::new() };
        files.take(given).map_err(unplaced)?;
        Ok(files)
    }

    /// The directory.
    pub(crate) fn directory(&self) -> &Path {
        self.shelf.directory()
    }

    /// The variables that are to be made of files.
    pub(crate) fn variables(&self) -> Vec<(String, PathBuf)> {
        let of = |wanted: &Wanted| Some((wanted.variable.clone()?, self.directory().join(&wanted.file)));
        self.wanted.iter().filter_map(of).collect()
    }

    /// Keeps the files as the mesh has the secrets, and says in the log what changed, until dropped.
    pub(crate) async fn keep(&mut self, mut given: watch::Receiver<Option<Arc<Given>>>, logs: &Logs) {
        while given.changed().await.is_ok() {
            let Some(now) = given.borrow_and_update().clone() else { continue };
            match self.take(&now) {
                Ok(changed) => changed.iter().for_each(|line| logs.say(Source::Wrap, line.as_bytes())),
                Err(error) => logs.say(Source::Wrap, with_causes(&error).as_bytes()),
            }
        }
        std::future::pending::<()>().await;
    }

    /// Takes in how the secrets are; a value is masked before the program can read it. Says what changed.
    fn take(&mut self, now: &Arc<Given>) -> Result<Vec<String>, shelf::Error> {
        let before = std::mem::replace(&mut self.given, now.clone());
        let gone = before.secrets.iter().filter(|(name, given)| now.secrets.get(*name) != Some(*given));
        self.former.extend(gone.map(|(_, given)| given.clone()));
        self.former.drain(..self.former.len().saturating_sub(FORMER));
        let values = now.secrets.values().chain(&self.former);
        self.masks.set(Mask::of(values.map(|given| &given.value.0[..])));
        let mut changed = Vec::new();
        for Wanted { name, file, variable } in &self.wanted {
            match (now.secrets.get(name), before.secrets.get(name)) {
                (Some(given), former) if former != Some(given) => {
                    self.shelf.put(file, &given.value.0)?;
                    changed.push(format!("the secret {name} has version {}", given.version));
                }
                (None, Some(_)) => {
                    self.shelf.remove(file)?;
                    changed.push(format!("the secret {name} was removed"));
                }
                _ => continue,
            }
            if let Some(variable) = variable {
                changed.push(format!("{variable} is as it was until the program is started again"));
            }
        }
        Ok(changed)
    }
}

/// The secrets by their names; an error for two that would have one file.
pub(crate) fn named(wanted: &[Wanted]) -> Result<BTreeMap<&str, &SecretName>, String> {
    let mut files: BTreeMap<&str, &SecretName> = BTreeMap::new();
    for Wanted { name, file, .. } in wanted {
        if let Some(other) = files.insert(file, name).filter(|other| *other != name) {
            return Err(format!("the secrets {other} and {name} would both be the file {file}"));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use aigis_proxy::blob::Content;

    use super::*;

    fn given(secrets: &[(&str, u64, &'static str)]) -> Arc<Given> {
        let one = |(name, version, value): &(&str, u64, &'static str)| {
            let value = Content(value.as_bytes().into());
            (SecretName::parse(name).unwrap(), GivenSecret { version: *version, value })
        };
        Arc::new(Given { secrets: secrets.iter().map(one).collect() })
    }

    #[test]
    fn files_follow_the_secrets() {
        let wanted = vec![Wanted::file("plugin/db=password").unwrap(), Wanted::variable("api.key=KEY").unwrap()];
        let masks = Masks::default();
        let first = given(&[("plugin/db", 1, "value-one"), ("api.key", 1, "key-of-one")]);
        let mut files = Files::make(wanted, &first, masks.clone()).unwrap();
        let read = |files: &Files, name: &str| fs::read_to_string(files.directory().join(name)).ok();
        assert_eq!(read(&files, "password").as_deref(), Some("value-one"));
        assert_eq!(files.variables(), [("KEY".to_owned(), files.directory().join("api.key"))]);
        let changed = files.take(&given(&[("plugin/db", 2, "value-two")])).unwrap().join("\n");
        assert!(changed.contains("plugin/db has version 2") && changed.contains("api.key was removed"), "{changed}");
        assert_eq!((read(&files, "password").as_deref(), read(&files, "api.key")), (Some("value-two"), None));
        // The value of before may still be printed.
        assert_eq!(masks.current().text("value-one value-two key-of-one"), "*** *** ***");
        assert!(files.take(&given(&[("plugin/db", 2, "value-two")])).unwrap().is_empty());
    }

    #[test]
    fn bad_71_what_is_wanted_is_read_or_refused() {
        for bad in ["", "../x", "a=../x", "a=", "a=b/c", "a=.."] {
            assert!(Wanted::file(bad).is_err(), "{bad}");
        }
        for bad in ["a", "a=", "a=1X", "a=X-Y", "/a=X"] {
            assert!(Wanted::variable(bad).is_err(), "{bad}");
        }
        let twice = [Wanted::file("a/key").unwrap(), Wanted::file("b/key").unwrap()];
        assert!(named(&twice).unwrap_err().contains("a/key and b/key"));
        let same = [Wanted::file("a/key").unwrap(), Wanted::variable("a/key=KEY").unwrap()];
        assert_eq!(named(&same).unwrap().len(), 1);
    }
}
