//! The state directory of a pushed directory: what the app's assistants remember, and whose project it is.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use aigis_proxy::{Error, Name, blob::Store, chain::Tree, text_file};
use aigis_registry::{AppState, archive::Limits, tree};

use crate::{
    exit::Failure,
    scratch::{self, Scratch},
};

pub(crate) mod back;

/// What it is called.
const OWN: &str = ".aigis";
/// What it may be called instead.
const OTHER: &str = ".ayup";
/// What in it is ours, and no state.
const OURS: [&str; 2] = ["app", "id"];
/// Where files go that an assistant and the user both changed.
const CONFLICTS: &str = "conflicts";
/// The version that made the directory.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The state directory of a pushed directory; it need not be there yet.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    path: PathBuf,
    /// Whether there is one of the other name too, which does not count.
    pub(crate) has_both: bool,
}

impl StateDir {
    /// The one of that directory.
    pub(crate) fn of(root: &Path) -> Self {
        let (own, other) = (root.join(OWN), root.join(OTHER));
        let has_both = own.is_dir() && other.is_dir();
        let path = if other.is_dir() && !own.is_dir() { other } else { own };
        Self { path, has_both }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it is called.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The id of the project.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a file that holds none.
    pub(crate) fn id(&self) -> Result<Option<String>, Error> {
        let Some(text) = self.line("id")? else { return Ok(None) };
        match uuid::Uuid::parse_str(&text) {
            Ok(id) => Ok(Some(id.to_string())),
            Err(_) => Err(Error::invalid(format!("{}/id: \"{}\" is no UUID", self.name(), aigis_proxy::quoted(&text)))
                .hint("remove the file: the directory is then a project of its own")),
        }
    }

    /// The name of the app, where the directory says it.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a file that holds none.
    pub(crate) fn app(&self) -> Result<Option<Name>, Error> {
        let Some(text) = self.line("app")? else { return Ok(None) };
        let wrong =
            |error| Error::invalid(format!("{}/app: {error}", self.name())).hint("name it: aish push --name NAME");
        Name::choose(&text).map(Some).map_err(wrong)
    }

    fn line(&self, file: &str) -> Result<Option<String>, Error> {
        let path = self.path.join(file);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::invalid(format!("{} cannot be read: {error}", text_file::shown(&path)))),
        }
    }

    /// The state, checked, as it is to be uploaded; and what was left out.
    ///
    /// # Errors
    ///
    /// `invalid_argument` with file and value.
    pub(crate) fn read(&self) -> Result<(AppState, Vec<String>), Error> {
        let unreadable =
            |error: io::Error| Error::invalid(format!("{} cannot be read: {error}", text_file::shown(&self.path)));
        let (mut state, left_out) = AppState::read(&self.path).map_err(unreadable)?;
        state.take_next();
        OURS.into_iter().for_each(|file| state.clear(file));
        // What it holds besides state needs no word.
        let ours = |line: &String| line.starts_with('.') || line.starts_with(&format!("{CONFLICTS}:"));
        let named = |line: String| format!("{}/{line}", self.name());
        let left_out = left_out.into_iter().filter(|line| !ours(line)).map(named).collect();
        state.check()?;
        Ok((state, left_out))
    }

    /// Makes what is not there yet; answers with the project's id.
    ///
    /// # Errors
    ///
    /// What cannot be written.
    pub(crate) fn make(&self, app: &Name) -> Result<String, Error> {
        self.id()?;
        let _turn = self.prepare(app).map_err(|error| self.unwritable(&error))?;
        if let Some(id) = self.id()? {
            return Ok(id);
        }
        let id = uuid::Uuid::now_v7().to_string();
        self.write("id", format!("{id}\n").as_bytes()).map_err(|error| self.unwritable(&error))?;
        Ok(id)
    }

    /// As [`StateDir::make`], as the directory of a project that is known.
    ///
    /// # Errors
    ///
    /// As [`StateDir::make`].
    pub(crate) fn adopt(&self, app: &Name, project: &str) -> Result<(), Error> {
        let _turn = self.prepare(app).map_err(|error| self.unwritable(&error))?;
        self.write("id", format!("{project}\n").as_bytes()).map_err(|error| self.unwritable(&error))
    }

    /// Makes all but the id. While the returned file is open nobody else does: of two first pushes, one names the project.
    fn prepare(&self, app: &Name) -> io::Result<File> {
        match fs::DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.path.is_dir() => {}
            made => made?,
        }
        let turn = File::open(&self.path)?;
        turn.lock()?;
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o700))?;
        if !self.path.join(".gitignore").exists() {
            self.write(".gitignore", b"*\n")?;
        }
        if !self.path.join("version").exists() {
            self.write("version", VERSION.as_bytes())?;
        }
        self.write("app", format!("{app}\n").as_bytes())?;
        Ok(turn)
    }

    fn unwritable(&self, error: &io::Error) -> Error {
        Error::precondition(format!("{} cannot be written: {error}", text_file::shown(&self.path)))
            .hint("the directory of an app has to be writable, since its state lies there")
    }

    /// Sets a file of state, or clears it.
    ///
    /// # Errors
    ///
    /// What cannot be written.
    pub(crate) fn set(&self, file: &str, content: Option<&str>) -> Result<(), Error> {
        let done = match content {
            Some(content) => self.write(file, content.as_bytes()),
            None => remove(&self.path.join(file)),
        };
        done.map_err(|error| self.unwritable(&error))
    }

    /// Writes the state of a chain's end; what the chain did not change since it was uploaded stays as it is now.
    ///
    /// # Errors
    ///
    /// What cannot be written.
    pub(crate) fn write_back(&self, uploaded: &AppState, now: &AppState) -> Result<(), Error> {
        let names: BTreeSet<&str> = uploaded.files().chain(now.files()).map(|(name, _)| name).collect();
        let kept = |name: &&str| !OURS.contains(name) && *name != "next";
        for name in names.into_iter().filter(kept) {
            let done = match (uploaded.get(name), now.get(name)) {
                (before, after) if before == after => Ok(()),
                (_, Some(after)) => self.write(name, after),
                // It was cleared. What was written here meanwhile is the user's.
                (before, None) if fs::read(self.path.join(name)).ok().as_deref() == before => {
                    remove(&self.path.join(name))
                }
                (_, None) => Ok(()),
            };
            done.map_err(|error| self.unwritable(&error))?;
        }
        Ok(())
    }

    /// Writes a file in one go, so that nobody reads half of it.
    fn write(&self, file: &str, content: &[u8]) -> io::Result<()> {
        use io::Write as _;
        let part = self.path.join(scratch::name());
        let put = || {
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?.write_all(content)?;
            fs::rename(&part, self.path.join(file))
        };
        put().inspect_err(|_| drop(fs::remove_file(&part)))
    }

    /// Where a file goes that an assistant and the user both changed.
    pub(crate) fn conflict(&self, path: &str) -> PathBuf {
        self.path.join(CONFLICTS).join(path)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Stores a state as a tree.
///
/// # Errors
///
/// What the store says.
pub(crate) async fn store(blobs: &Store, state: &AppState) -> Result<Tree, Failure> {
    let scratch = Scratch::temporary().map_err(local)?;
    state.write(scratch.path()).map_err(local)?;
    let kept = tree::store(blobs, scratch.path(), |_, _| true, Limits::TREE).await?;
    Ok(kept.tree)
}

/// Reads a state that was stored.
///
/// # Errors
///
/// What the store says.
pub(crate) async fn fetch(blobs: &Store, tree: &Tree) -> Result<AppState, Failure> {
    let scratch = Scratch::temporary().map_err(local)?;
    let directory = scratch.path().join("state");
    tree::fetch(blobs, tree, &directory).await?;
    Ok(AppState::read(&directory).map_err(local)?.0)
}

/// Why a file of this host cannot be used.
pub(crate) fn local(error: io::Error) -> Error {
    Error::precondition(format!("a file of this host cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> Name {
        Name::parse("web").unwrap()
    }

    #[test]
    fn chn_16_the_other_name_is_kept_and_the_own_counts() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(StateDir::of(root.path()).name(), ".aigis");
        fs::create_dir(root.path().join(".ayup")).unwrap();
        let other = StateDir::of(root.path());
        assert_eq!((other.name().as_str(), other.has_both), (".ayup", false));
        fs::create_dir(root.path().join(".aigis")).unwrap();
        let both = StateDir::of(root.path());
        assert_eq!((both.name().as_str(), both.has_both), (".aigis", true));
    }

    #[test]
    fn it_is_made_for_its_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::of(root.path());
        let id = dir.make(&app()).unwrap();
        assert_eq!(dir.make(&app()).unwrap(), id, "and made once");
        assert_eq!((dir.id().unwrap(), dir.app().unwrap()), (Some(id), Some(app())));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(dir.path()), mode(&dir.path().join("id"))), (0o700, 0o600));
        assert_eq!(fs::read_to_string(dir.path().join(".gitignore")).unwrap(), "*\n");
        let (state, left_out) = dir.read().unwrap();
        assert_eq!(state.files().map(|(name, _)| name).collect::<Vec<_>>(), ["version"], "ours is no state");
        assert!(left_out.is_empty(), "{left_out:?}");
    }

    #[test]
    fn chn_11_chn_15_state_is_checked_and_next_ignored() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::of(root.path());
        dir.make(&app()).unwrap();
        dir.set("next", Some("builtin:exec")).unwrap();
        dir.set("mykey", Some("x")).unwrap();
        let (state, _) = dir.read().unwrap();
        assert_eq!((state.get("next"), state.get("mykey")), (None, Some(&b"x"[..])));
        for (file, value) in
            [("ports", "[0]"), ("ports", "[70000]"), ("ports", "\"x\""), ("cmd", "[\"\"]"), ("version", "v1")]
        {
            dir.set(file, Some(value)).unwrap();
            let error = dir.read().unwrap_err();
            assert!(error.message.starts_with(&format!("{file}: ")), "{}", error.message);
            dir.set(file, None).unwrap();
        }
        fs::write(dir.path().join("id"), "x").unwrap();
        assert!(dir.make(&app()).unwrap_err().message.contains("no UUID"));
    }

    #[test]
    fn chn_10_what_the_chain_changed_comes_back() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::of(root.path());
        dir.make(&app()).unwrap();
        for (file, content) in [("cmd", "[\"a\"]"), ("edited", "mine"), ("same", "s"), ("first", "local:x")] {
            dir.set(file, Some(content)).unwrap();
        }
        let (uploaded, _) = dir.read().unwrap();
        let mut now = uploaded.clone();
        now.clear("cmd");
        now.clear("edited");
        now.set("ports", "[1]");
        dir.set("edited", Some("mine now")).unwrap();
        dir.set("first", Some("local:y")).unwrap();
        dir.write_back(&uploaded, &now).unwrap();
        let text = |file: &str| fs::read_to_string(dir.path().join(file)).ok();
        assert_eq!(text("cmd"), None, "cleared");
        assert_eq!(text("ports").as_deref(), Some("[1]"));
        assert_eq!(text("edited").as_deref(), Some("mine now"), "the user's");
        assert_eq!(text("first").as_deref(), Some("local:y"), "the chain did not change it");
    }
}
