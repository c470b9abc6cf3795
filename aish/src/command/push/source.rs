//! What is pushed: a directory of this host, or a git repository.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use aigis_node::plugins::source::{GitUrl, Location, NoSource};
use aigis_proxy::{Error, Name, blob::Digest, quoted};

use crate::{exit::Failure, state_dir::StateDir};

/// What is pushed, and as which app.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The directory, if it is one.
    pub(super) directory: Option<Directory>,
    /// The app's name.
    pub(super) app: Name,
    /// Where it comes from: a path with its host, or a URL without its password.
    pub(super) from: String,
    /// The repository, if it is one.
    pub(super) repository: Option<Repository>,
}

/// A git repository.
#[derive(Debug, Clone)]
pub(super) struct Repository {
    /// Its URL and the reference, as the state file `git` holds them.
    pub(super) source: String,
    /// Whether a password stands in the URL.
    pub(super) has_password: bool,
    /// The id of the project: the same for every push of this repository, from wherever.
    pub(super) project: String,
}

/// A directory of this host.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    /// Its path.
    pub(super) root: PathBuf,
    /// Its state.
    pub(super) state: StateDir,
}

impl Source {
    /// What a path of the command line means; `name` is what the app is to be called.
    ///
    /// # Errors
    ///
    /// A usage error for what is no directory; `invalid_argument` for one that names no app.
    pub(super) fn of(path: &str, name: Option<&Name>) -> Result<Self, Failure> {
        if let Some(url) = git_url(path)? {
            let last = url.repository();
            let last = last.rsplit(['/', ':']).next().unwrap_or(path);
            let app = name.cloned().unwrap_or_else(|| made(last));
            let reference = path.split_once('#').map(|(_, reference)| format!("#{reference}")).unwrap_or_default();
            let repository = Repository {
                source: path.to_owned(),
                has_password: url.has_password(),
                project: project(&url.repository()),
            };
            return Ok(Self { directory: None, app, from: format!("{url}{reference}"), repository: Some(repository) });
        }
        let root = Path::new(path).canonicalize().ok().filter(|root| root.is_dir()).ok_or_else(|| {
            Failure::usage(
                format!("\"{}\" is no directory", quoted(path)),
                "name the directory of the app: aish push PATH",
            )
        })?;
        let state = StateDir::of(&root);
        let app = match name {
            Some(name) => name.clone(),
            None => named(&root)?,
        };
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let from = format!("{}:{}", host.trim(), root.display());
        Ok(Self { directory: Some(Directory { root, state }), app, from, repository: None })
    }
}

/// The name of the app that a directory holds: what its state says, else what the directory is called.
///
/// # Errors
///
/// `invalid_argument` for a state that says what is no name.
pub(in crate::command) fn named(root: &Path) -> Result<Name, Error> {
    if let Some(app) = StateDir::of(root).app()? {
        return Ok(app);
    }
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    Ok(made(&root.file_name().unwrap_or_default().to_string_lossy()))
}

/// The repository that a path names: by the rules of plugins' sources, unless there is a directory of that name.
///
/// # Errors
///
/// `invalid_argument` for a URL that git is not let take.
fn git_url(path: &str) -> Result<Option<GitUrl>, Error> {
    if Path::new(path).is_dir() {
        return Ok(None);
    }
    let url = path.split('#').next().unwrap_or(path);
    match Location::parse(url, Path::new("/")) {
        Ok(Location::Git(url)) => Ok(Some(url)),
        Err(error @ NoSource::Scheme(_)) => Err(Error::invalid(error.to_string())),
        // It is a path, or none that there is.
        _ => Ok(None),
    }
}

/// The id of the project that a repository is: always the same one.
fn project(repository: &str) -> String {
    let digest = Digest::of(format!("git {repository}").as_bytes()).to_string();
    let digits = digest.rsplit(':').next().and_then(|digits| digits.get(..32)).unwrap_or_default();
    let number = u128::from_str_radix(digits, 16).unwrap_or_default();
    uuid::Builder::from_custom_bytes(number.to_be_bytes()).into_uuid().to_string()
}

/// A name of that, as containers' names are made names of CIs.
fn made(name: &str) -> Name {
    let name = if name.is_empty() { "app" } else { name };
    aigis_node::naming::ci_name(name, &BTreeMap::new()).name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_called_as_its_directory_or_as_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("My Shop");
        std::fs::create_dir(&root).unwrap();
        let path = root.to_str().unwrap();
        let source = Source::of(path, None).unwrap();
        assert_eq!(source.app.as_str(), "my-shop");
        assert!(source.from.ends_with("/My Shop"), "{}", source.from);
        source.directory.unwrap().state.make(&Name::parse("other").unwrap()).unwrap();
        assert_eq!(Source::of(path, None).unwrap().app.as_str(), "other");
        assert_eq!(Source::of(path, Some(&Name::parse("third").unwrap())).unwrap().app.as_str(), "third");
    }

    #[test]
    fn a_git_url_names_its_app_and_its_project() {
        for (url, app) in [
            ("https://git.example/a/shop.git#v1", "shop"),
            ("git@git.example:shop", "shop"),
            ("deploy@git.example:a/shop.git", "shop"),
        ] {
            let source = Source::of(url, None).unwrap();
            assert_eq!((source.app.as_str(), source.from.as_str()), (app, url));
            assert!(source.directory.is_none());
        }
        let of = |url: &str| Source::of(url, None).unwrap();
        let project = |url: &str| of(url).repository.unwrap().project;
        let once = project("https://git.example/a/shop.git#v1");
        assert_eq!(uuid::Uuid::parse_str(&once).unwrap().to_string(), once);
        for same in ["https://git.example/a/shop", "https://me:hush-hush@git.example/a/shop#main"] {
            assert_eq!(project(same), once, "a push of it again is an update");
        }
        assert_ne!(project("https://git.example/b/shop"), once);
        let secret = of("https://me:hush-hush@git.example/a/shop#main");
        assert_eq!(secret.from, "https://me:***@git.example/a/shop#main");
        assert!(secret.repository.unwrap().has_password);
        assert_eq!(Source::of("/nonexistent", None).unwrap_err().code(), 2);
        assert_eq!(Source::of("ext::sh", None).unwrap_err().code(), 2);
        assert_eq!(Source::of("ftp://x/y", None).unwrap_err().code(), 65);
    }
}
