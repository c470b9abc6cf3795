//! What is pushed: a directory of this host, or a git repository.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use aigis_proxy::{Error, Name, quoted};

use crate::{exit::Failure, state_dir::StateDir};

/// What is pushed, and as which app.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The directory, if it is one.
    pub(super) directory: Option<Directory>,
    /// The app's name.
    pub(super) app: Name,
    /// Where it comes from: a path with its host, or a URL.
    pub(super) from: String,
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
        if is_url(path) {
            let last = path.split('#').next().unwrap_or(path).trim_end_matches('/').rsplit(['/', ':']).next();
            let last = last.unwrap_or(path).trim_end_matches(".git");
            let app = name.cloned().unwrap_or_else(|| made(last));
            return Ok(Self { directory: None, app, from: path.to_owned() });
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
        Ok(Self { directory: Some(Directory { root, state }), app, from })
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

/// Whether a path is a git URL.
fn is_url(path: &str) -> bool {
    let schemes = ["https://", "http://", "ssh://", "git://", "file://", "git@"];
    schemes.iter().any(|scheme| path.starts_with(scheme))
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
    fn a_git_url_names_its_app() {
        for (url, app) in [("https://git.example/a/shop.git#v1", "shop"), ("git@git.example:shop", "shop")] {
            let source = Source::of(url, None).unwrap();
            assert_eq!((source.app.as_str(), source.from.as_str()), (app, url));
            assert!(source.directory.is_none());
        }
        assert_eq!(Source::of("/nonexistent", None).unwrap_err().code(), 2);
    }
}
