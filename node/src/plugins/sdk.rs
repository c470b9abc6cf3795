//! The Python package `aigis`, which this program carries with it: put where the interpreters of plugins find it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aigis_registry::archive::Staging;
use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};

use crate::home;

/// Its files, by their paths within a folder of `sys.path`.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));
/// How many bytes of their digest name a version.
const KEY: usize = 8;

/// Why the package cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] home::Error),
    /// Its files.
    #[error("the Python package aigis cannot be put into {}", aigis_proxy::text_file::shown(.path))]
    Write {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl From<Error> for aigis_proxy::Error {
    fn from(error: Error) -> Self {
        Self::precondition(aigis_proxy::with_causes(&error))
    }
}

/// The folder for `PYTHONPATH` in which the package lies, put there if it is not yet: `DATA/sdk/VERSION`.
///
/// # Errors
///
/// It cannot be written.
pub fn install(data: &Path) -> Result<PathBuf, Error> {
    let mut digest = Context::new(&SHA256);
    for (name, content) in FILES {
        digest.update(name.as_bytes());
        digest.update(&(content.len() as u64).to_be_bytes());
        digest.update(content);
    }
    let digest = digest.finish();
    let key = digest.as_ref().get(..KEY).unwrap_or(digest.as_ref());
    let all = data.join("sdk");
    let path = all.join(HEXLOWER.encode(key));
    // It is renamed into place as a whole.
    if path.is_dir() {
        return Ok(path);
    }
    home::make_directory(&all)?;
    // What killed processes left is no more than room that is taken.
    let _ = aigis_registry::archive::sweep(&all);
    let failed = |source| Error::Write { path: path.clone(), source };
    let staging = Staging::new(&all).map_err(|error| failed(io::Error::other(error)))?;
    for (name, content) in FILES {
        let file = staging.top().join(name);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        fs::write(&file, content).map_err(failed)?;
    }
    match staging.publish(&path, false) {
        // Another process of this host was faster, with the same files.
        Err(_) if path.is_dir() => Ok(path),
        Err(error) => Err(failed(io::Error::other(error))),
        Ok(()) => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_put_there_once_and_python_imports_it() {
        let data = tempfile::tempdir().unwrap();
        let path = install(data.path()).unwrap();
        let made = path.metadata().unwrap().modified().unwrap();
        assert_eq!(install(data.path()).unwrap(), path);
        assert_eq!(path.metadata().unwrap().modified().unwrap(), made);
        let mut python = std::process::Command::new("python3");
        let run = python.env("PYTHONPATH", &path).env("PYTHONDONTWRITEBYTECODE", "1");
        let run = run.args(["-c", "import aigis._host.core, aigis.sdk; print(aigis.__file__)"]).output().unwrap();
        assert!(run.status.success(), "{run:?}");
        let file = String::from_utf8(run.stdout).unwrap();
        assert_eq!(Path::new(file.trim()), path.join("aigis/__init__.py"));
        assert_eq!(fs::read_dir(data.path().join("sdk")).unwrap().count(), 1);
    }
}
