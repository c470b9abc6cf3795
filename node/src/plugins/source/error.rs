//! Why a plugin was not brought.

use std::{io, path::PathBuf};

use aigis_proxy::{Code, text_file::shown, with_causes};
use aigis_registry::archive;

use crate::home;

/// Why a plugin was not brought. What there was before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path leads nowhere.
    #[error("the source {} does not exist", shown(.0))]
    Missing(PathBuf),
    /// The path leads to something else.
    #[error("the source {} is no directory", shown(.0))]
    NoDirectory(PathBuf),
    /// Copying would never end.
    #[error("the source {} holds the place that it is to be copied to", shown(.0))]
    Within(PathBuf),
    /// A link that leads nowhere.
    #[error("{} is a link that leads nowhere", shown(.0))]
    Dangling(PathBuf),
    /// A link that leads back to where it stands.
    #[error("{} is a link that leads in a circle", shown(.0))]
    Circular(PathBuf),
    /// What no copy holds.
    #[error("{} is no file and no directory", shown(.0))]
    Special(PathBuf),
    /// What may not be read, or breaks off.
    #[error("{} cannot be read", shown(.path))]
    Unreadable {
        /// What.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is larger than a plugin may be.
    #[error("the source has more than {most} {of}")]
    Large {
        /// How much it may have.
        most: u64,
        /// Of what.
        of: &'static str,
    },
    /// What was brought, or what is known of it, cannot be written.
    #[error("{} cannot be written", shown(.path))]
    Write {
        /// What.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The disk refuses what is staged.
    #[error(transparent)]
    Staging(#[from] archive::Error),
    /// The plugin's folder cannot be made.
    #[error(transparent)]
    Folder(#[from] home::Error),
    /// There is no git on this host.
    #[error("git cannot be run")]
    NoGit(#[source] io::Error),
    /// Git took too long, or said nothing for too long.
    #[error("{0}")]
    Slow(String),
    /// Git failed.
    #[error("git {what} failed: {said}")]
    Git {
        /// At what.
        what: &'static str,
        /// Its last words.
        said: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("the repository has no branch, tag or commit \"{0}\"")]
    NoRevision(String),
    /// There is nothing in the repository.
    #[error("the repository has no commit")]
    Empty,
    /// The directory within the source is not there.
    #[error("the source has no directory \"{0}\"")]
    NoSubdirectory(String),
    /// What is known of the copy is damaged.
    #[error("{} is damaged: {reason}", shown(.path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// A part of our own ended early.
    #[error("the copying was broken off")]
    Broken,
}

impl Error {
    pub(super) fn write(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Write { path: path.into(), source: source.into() }
    }

    pub(super) fn unreadable(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Unreadable { path: path.into(), source }
    }

    /// The kind of failure, as a call tells it.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Missing(_) | Self::NoRevision(_) | Self::NoSubdirectory(_) | Self::Empty => Code::NotFound,
            Self::Large { .. } => Code::ResourceExhausted,
            Self::Slow(_) => Code::DeadlineExceeded,
            Self::Damaged { .. } => Code::DataLoss,
            Self::Git { .. } => Code::Unavailable,
            _ => Code::FailedPrecondition,
        }
    }
}

impl From<Error> for aigis_proxy::Error {
    fn from(error: Error) -> Self {
        let failure = Self::new(error.code(), with_causes(&error));
        match error {
            Error::Damaged { .. } => failure.hint("take all anew: aish plugins reload NAME --fresh"),
            Error::NoGit(_) => failure.hint("install git on this host"),
            _ => failure,
        }
    }
}
