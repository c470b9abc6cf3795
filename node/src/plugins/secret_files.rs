//! The secrets of a plugin, as the files in which it looks for them.
//!
//! They are handed in, or lie beside the config file as `secrets/NAME/KEY`. A file that the plugin has changed since is
//! left alone until the secret itself changes. Which value was put where is known by its version, and whether a file was
//! changed by what the file system says of it: no digest of a value is kept.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use aigis_proxy::{
    Code, Name,
    secret::{MAX_VALUE, SecretName},
    text_file::shown,
    with_causes,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Folder;
use crate::home;

/// The directory beside a config file in which secrets lie by the names of plugins.
const BESIDE: &str = "secrets";
/// The mode of a secret's file, if nothing else was said.
const MODE: u32 = 0o600;

/// A secret as it is stored.
pub struct Secret {
    /// The value.
    pub value: Zeroizing<Vec<u8>>,
    /// Which value that is: another one has another version.
    pub version: String,
    /// The mode that its file is to have.
    pub mode: u32,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Secrets by their keys.
pub type Stored = BTreeMap<SecretName, Secret>;

/// Why secrets are not where a plugin looks for them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are none.
    #[error("{}", missing(.name, .keys))]
    Missing {
        /// The plugin.
        name: Name,
        /// All keys that have no value.
        keys: Vec<SecretName>,
    },
    /// A link leads out of the runtime copy.
    #[error("the secret {} would be put out of the plugin's copy, to {}", .key.as_str(), shown(.path))]
    Outside {
        /// The secret.
        key: SecretName,
        /// Where.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{} cannot be used", shown(.path))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

fn missing(name: &Name, keys: &[SecretName]) -> String {
    let keys: Vec<&str> = keys.iter().map(SecretName::as_str).collect();
    let word = if keys.len() == 1 { "secret is" } else { "secrets are" };
    format!("the {word} missing for {name}: {}", keys.join(", "))
}

impl From<Error> for aigis_proxy::Error {
    fn from(error: Error) -> Self {
        let failure = Self::new(Code::FailedPrecondition, with_causes(&error));
        match error {
            Error::Missing { name, .. } => failure.hint(format!(
                "an admin sets each, then starts it again: aish secrets set plugin/{name} KEY; aish plugins reload {name}"
            )),
            _ => failure,
        }
    }
}

/// What was put where.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Ledger(BTreeMap<String, Line>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    file: PathBuf,
    version: String,
    seen: Look,
}

/// A file as the file system has it: one that was written to since looks different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Look {
    fn of(found: &Metadata) -> Self {
        Self { inode: found.ino(), size: found.size(), modified: (found.mtime(), found.mtime_nsec()) }
    }
}

/// The secrets of a plugin that lie beside the config file, or one level above it.
///
/// # Errors
///
/// One cannot be read, or is larger than a secret may be.
pub fn beside<'a>(
    config: &Path,
    plugin: &Name,
    keys: impl IntoIterator<Item = &'a SecretName>,
) -> Result<Stored, Error> {
    let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    let mut stored = Stored::new();
    for key in keys {
        for folder in config.ancestors().skip(1).take(2) {
            let path = folder.join(BESIDE).join(plugin.as_str()).join(key.as_str());
            if let Some(secret) = read(&path)? {
                stored.insert(key.clone(), secret);
                break;
            }
        }
    }
    Ok(stored)
}

fn read(path: &Path) -> Result<Option<Secret>, Error> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        opened => opened.map_err(failed)?,
    };
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(failed(io::Error::other("it is no file")));
    }
    let mut value =
        Zeroizing::new(Vec::with_capacity(usize::try_from(found.size()).unwrap_or_default().min(MAX_VALUE) + 1));
    file.take(MAX_VALUE as u64 + 1).read_to_end(&mut value).map_err(failed)?;
    if value.len() > MAX_VALUE {
        return Err(failed(io::Error::other(format!("it is larger than {MAX_VALUE} bytes"))));
    }
    let Look { inode, size, modified: (seconds, nanoseconds) } = Look::of(&found);
    let version = format!("file {inode} {size} {seconds}.{nanoseconds}");
    Ok(Some(Secret { value, version, mode: found.mode() & 0o777 }))
}

/// Checks that every secret that is wanted has a value.
///
/// # Errors
///
/// Some have none, and all of these are named.
pub fn complete(name: &Name, wanted: &BTreeMap<SecretName, PathBuf>, stored: &Stored) -> Result<(), Error> {
    let missing: Vec<SecretName> = wanted.keys().filter(|key| !stored.contains_key(*key)).cloned().collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Error::Missing { name: name.clone(), keys: missing }),
    }
}

/// Puts each secret into its directory: all of them, or none.
///
/// # Errors
///
/// Some have no value, and all of these are named; or the operating system refuses. Then no file was changed.
pub fn deliver(folder: &Folder, wanted: &BTreeMap<SecretName, PathBuf>, stored: &Stored) -> Result<(), Error> {
    let missing: Vec<SecretName> = wanted.keys().filter(|key| !stored.contains_key(*key)).cloned().collect();
    if !missing.is_empty() {
        return Err(Error::Missing { name: folder.name().clone(), keys: missing });
    }
    let mut ledger = load(folder)?;
    for (key, directory) in wanted {
        stays(folder, key, directory)?;
    }
    let mut fresh = Fresh::default();
    for (key, directory) in wanted {
        let Some(secret) = stored.get(key) else { continue };
        let file = directory.join(key.file_name());
        let is_known =
            ledger.0.get(key.as_str()).is_some_and(|line| line.file == file && line.version == secret.version);
        // What is there may be the plugin's own by now; what it took away it gets again.
        if is_known && fs::symlink_metadata(&file).is_ok() {
            continue;
        }
        let failed = |source| Error::Io { path: file.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let seen = fresh.write(&file, secret).map_err(failed)?;
        ledger.0.insert(key.as_str().to_owned(), Line { file, version: secret.version.clone(), seen });
    }
    fresh.publish()?;
    let gone: Vec<String> =
        ledger.0.keys().filter(|key| !wanted.keys().any(|wanted| wanted.as_str() == *key)).cloned().collect();
    for key in gone {
        ledger.0.remove(&key).iter().for_each(take_back);
    }
    save(folder, &ledger)
}

/// Takes a plugin's secrets away, changed or not.
///
/// # Errors
///
/// The operating system refuses.
pub fn withdraw(folder: &Folder) -> Result<(), Error> {
    for line in load(folder)?.0.values() {
        match fs::remove_file(&line.file) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Error::Io { path: line.file.clone(), source });
            }
            _ => {}
        }
    }
    match fs::remove_file(folder.secrets()) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Io { path: folder.secrets(), source }),
        _ => Ok(()),
    }
}

/// Checks that no link leads a secret out of the runtime copy.
fn stays(folder: &Folder, key: &SecretName, directory: &Path) -> Result<(), Error> {
    let copy = folder.copy();
    let top = copy.canonicalize().map_err(|source| Error::Io { path: copy.clone(), source })?;
    // What is not there yet is judged by what holds it.
    let real = directory.ancestors().find_map(|path| path.canonicalize().ok());
    let is_inside = directory.starts_with(&copy) && real.as_ref().is_some_and(|real| real.starts_with(&top));
    let outside = || Error::Outside { key: key.clone(), path: real.clone().unwrap_or_else(|| directory.to_owned()) };
    if is_inside { Ok(()) } else { Err(outside()) }
}

/// Files that are written and not in their places yet; dropped, they are gone.
#[derive(Debug, Default)]
struct Fresh(Vec<(PathBuf, PathBuf)>);

impl Fresh {
    fn write(&mut self, file: &Path, secret: &Secret) -> io::Result<Look> {
        let name = format!(".{}", uuid::Uuid::now_v7().simple());
        let fresh = file.with_file_name(name);
        let mut written = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&fresh)?;
        self.0.push((fresh, file.to_owned()));
        written.write_all(&secret.value)?;
        written.set_permissions(Permissions::from_mode(secret.mode))?;
        Ok(Look::of(&written.metadata()?))
    }

    fn publish(mut self) -> Result<(), Error> {
        for (fresh, file) in std::mem::take(&mut self.0) {
            fs::rename(&fresh, &file).map_err(|source| Error::Io { path: file, source })?;
        }
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        for (fresh, _) in &self.0 {
            // Half a delivery is of no use to anyone.
            let _ = fs::remove_file(fresh);
        }
    }
}

/// Removes what is wanted no more, unless the plugin has made it its own.
fn take_back(line: &Line) {
    if fs::symlink_metadata(&line.file).is_ok_and(|found| Look::of(&found) == line.seen) {
        // What cannot be removed goes with the runtime copy.
        let _ = fs::remove_file(&line.file);
    }
}

fn load(folder: &Folder) -> Result<Ledger, Error> {
    let path = folder.secrets();
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ledger::default()),
        // Without it, all are put anew.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
        Err(source) => Err(Error::Io { path, source }),
    }
}

fn save(folder: &Folder, ledger: &Ledger) -> Result<(), Error> {
    let path = folder.secrets();
    let failed = |source| Error::Io { path: path.clone(), source };
    let text = serde_json::to_vec(ledger).map_err(|error| failed(error.into()))?;
    home::write_whole(&path, &text).map_err(failed)
}

#[cfg(test)]
mod tests;
