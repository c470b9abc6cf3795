//! Writing what was proposed: all of it or nothing, and nothing that somebody changed meanwhile.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::Proposed;
use crate::Digest;

/// Most bytes of a file that is replaced.
const MOST: u64 = 16 * 1024 * 1024;

/// What was done with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Its path, relative to the tree's root.
    pub path: String,
    /// Whether it was written: not where it held the very same.
    pub written: bool,
    /// Where what it held before is kept.
    pub kept: Option<PathBuf>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// A link, or something else that is no file, or below a link that leads out of the project.
    #[error("{path} is {what}: nothing is written through it; move it away")]
    NoFile {
        /// The file.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// Somebody wrote to it since the proposal was made.
    #[error("{path} was changed since it was looked at: propose anew")]
    Changed {
        /// The file.
        path: String,
    },
    /// It holds something else, and was not to be replaced.
    #[error("{path} holds something else")]
    Exists {
        /// The file.
        path: String,
        /// From what it holds to what was proposed.
        diff: String,
    },
    /// The file system refused.
    #[error("{path} cannot be written")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A file that is about to be put in its place.
struct Staged<'a> {
    file: &'a Proposed,
    target: PathBuf,
    part: PathBuf,
    former: Option<Vec<u8>>,
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // Renamed, or of no use.
        let _ = fs::remove_file(&self.part);
    }
}

/// Writes the files of a proposal below the root of its tree. What another file held is kept below `keep`, by its digest.
///
/// # Errors
///
/// What keeps from it. Nothing was written then.
pub fn save(root: &Path, files: &[Proposed], replace: bool, keep: &Path) -> Result<Vec<Saved>, SaveError> {
    let mut staged = Vec::new();
    let mut saved = Vec::new();
    for file in files {
        let target = target(root, &file.path)?;
        let former = present(&target).map_err(|source| failed(file, source))?;
        let same = former.as_deref() == Some(file.content.as_bytes());
        saved.push(Saved { path: file.path.clone(), written: !same, kept: None });
        if same {
            continue;
        }
        if former.as_deref().map(|bytes| Digest::of(bytes).to_string()) != file.replaces {
            return Err(SaveError::Changed { path: file.path.clone() });
        }
        if former.is_some() && !replace {
            return Err(SaveError::Exists { path: file.path.clone(), diff: file.diff.clone() });
        }
        let part = part(&target, file);
        write(&part, file.content.as_bytes(), 0o644).map_err(|source| failed(file, source))?;
        staged.push(Staged { file, target, part, former });
    }
    for one in &staged {
        let kept = one.former.as_deref().map(|former| kept(keep, former)).transpose();
        let kept = kept.map_err(|source| SaveError::Io { path: keep.display().to_string(), source })?;
        if let Some(known) = saved.iter_mut().find(|known| known.path == one.file.path) {
            known.kept = kept;
        }
    }
    for (index, one) in staged.iter().enumerate() {
        if let Err(source) = fs::rename(&one.part, &one.target) {
            staged.iter().take(index).for_each(undo);
            return Err(failed(one.file, source));
        }
    }
    Ok(saved)
}

/// Puts back what stood there.
fn undo(one: &Staged<'_>) {
    // Where even this fails, what was kept is still there.
    let _ = match &one.former {
        Some(former) => write(&one.part, former, 0o644).and_then(|()| fs::rename(&one.part, &one.target)),
        None => fs::remove_file(&one.target),
    };
}

/// Where a file is to be written: below the root, and through no link.
fn target(root: &Path, path: &str) -> Result<PathBuf, SaveError> {
    let refuse = |what| SaveError::NoFile { path: path.to_owned(), what };
    if Path::new(path).components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
        return Err(refuse("outside the project"));
    }
    let target = root.join(path);
    let real = |path: &Path| {
        fs::canonicalize(path).map_err(|source| SaveError::Io { path: path.display().to_string(), source })
    };
    if !real(target.parent().unwrap_or(root))?.starts_with(real(root)?) {
        return Err(refuse("below a link that leads out of the project"));
    }
    match fs::symlink_metadata(&target) {
        Ok(found) if found.is_symlink() => Err(refuse("a link")),
        Ok(found) if !found.is_file() => Err(refuse("no file")),
        _ => Ok(target),
    }
}

/// What a file holds, if there is one; a link is not followed.
///
/// # Errors
///
/// What the file system says; a file that is too large for a Dockerfile.
pub fn present(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.len() > MOST => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is over 16 MiB")),
        Ok(found) if found.is_file() => fs::read(path).map(Some),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A name beside a file that is not yet what it is to be.
fn part(target: &Path, file: &Proposed) -> PathBuf {
    let digest = file.sha256.rsplit(':').next().and_then(|hex| hex.get(..12)).unwrap_or_default();
    target.with_file_name(format!(".aigis-part-{digest}-{}", std::process::id()))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The mode is what is meant, whatever the surroundings take off.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Keeps what is replaced, by its digest; where.
fn kept(keep: &Path, former: &[u8]) -> io::Result<PathBuf> {
    let path = keep.join(Digest::of(former).hex());
    fs::create_dir_all(keep)?;
    match write(&path, former, 0o600) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(path),
        done => done.map(|()| path),
    }
}

fn failed(file: &Proposed, source: io::Error) -> SaveError {
    SaveError::Io { path: file.path.clone(), source }
}
