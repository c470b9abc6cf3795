//! Why an archive is refused: each refusal names where it was met.

use std::{io, path::PathBuf, time::Duration};

use aigis_proxy::Code;

use super::rule::{Rule, escaped};

/// Why an archive was not taken, or not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An entry breaks a rule.
    #[error("entry {number} of the archive, \"{path}\": {rule}")]
    Entry {
        /// Its number, from 1.
        number: u64,
        /// Its path, escaped.
        path: String,
        /// What it breaks.
        rule: Rule,
    },
    /// Something in a tree that is to be packed breaks a rule.
    #[error("\"{path}\" cannot be packed: {rule}")]
    Tree {
        /// Its path, escaped.
        path: String,
        /// What it breaks.
        rule: Rule,
    },
    /// It is no archive, or a broken one.
    #[error("the archive is unusable at byte {offset}: {form}")]
    Form {
        /// Where, in bytes of the plain archive.
        offset: u64,
        /// What is wrong.
        form: Form,
    },
    /// Its compression is broken.
    #[error("the compressed archive is unusable after {read} bytes: {form}")]
    Compression {
        /// How many compressed bytes were read.
        read: u64,
        /// What is wrong.
        form: Form,
    },
    /// A limit was reached.
    #[error("{reached}, after {read} bytes of the archive{}", place(at.as_ref()))]
    Limit {
        /// Which.
        reached: Reached,
        /// How many bytes were read, as they came.
        read: u64,
        /// The number and the path, escaped, of the entry that reached it.
        at: Option<(u64, String)>,
    },
    /// There is nothing in it.
    #[error("there is nothing in it: a tree has at least one entry")]
    Empty,
    /// There is something at the destination already.
    #[error("{} exists already", path.display())]
    Exists {
        /// The destination.
        path: PathBuf,
    },
    /// The destination is something that is never replaced.
    #[error("{} is {what}, which is never replaced", path.display())]
    Destination {
        /// The destination.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// The disk is full.
    #[error("there is no room for {}", path.display())]
    Full {
        /// What was to be written.
        path: PathBuf,
    },
    /// A file was changed while it was packed.
    #[error("\"{path}\" was changed while it was read")]
    Changed {
        /// Its path, escaped.
        path: String,
    },
    /// Something of a tree cannot be read.
    #[error("\"{path}\" cannot be read")]
    Unreadable {
        /// Its path, escaped.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive cannot be read or written where it comes from or goes.
    #[error("the archive cannot be read or written")]
    Stream(#[source] io::Error),
    /// What was unpacked cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(super) fn write(path: impl Into<PathBuf>, error: impl Into<io::Error>) -> Self {
        let (path, source) = (path.into(), error.into());
        if is_full(&source) { Self::Full { path } } else { Self::Write { path, source } }
    }

    pub(super) fn unreadable(path: &str, error: impl Into<io::Error>) -> Self {
        Self::Unreadable { path: escaped(path.as_bytes()), source: error.into() }
    }
}

impl From<Error> for aigis_proxy::Error {
    fn from(error: Error) -> Self {
        let mut text = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            text = format!("{text}: {source}");
        }
        let code = match &error {
            Error::Limit { .. } | Error::Full { .. } => Code::ResourceExhausted,
            Error::Stream(error) if is_full(error) => Code::ResourceExhausted,
            Error::Exists { .. } => Code::AlreadyExists,
            Error::Destination { .. } => Code::FailedPrecondition,
            Error::Stream(_) | Error::Write { .. } => Code::Internal,
            _ => Code::InvalidArgument,
        };
        let changed = matches!(error, Error::Changed { .. });
        let made = Self::new(code, text);
        // Whoever packs a tree that others write to may try again.
        if changed { made.with("changed", true) } else { made }
    }
}

/// Whether a disk has no room for what was to be written.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What is wrong with an archive as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Form {
    /// Something else.
    #[error("this is no header of a ustar, PAX or GNU tar")]
    NoTar,
    /// A flipped bit.
    #[error("the checksum of the header is wrong")]
    Checksum,
    /// Cut within a header.
    #[error("it is cut off within a header")]
    CutHeader,
    /// Cut within content.
    #[error("it is cut off within an entry")]
    CutData,
    /// Cut before its end.
    #[error("it has no end: two empty blocks are missing")]
    NoEnd,
    /// More behind its end.
    #[error("more follows after its end")]
    Trailing,
    /// More behind the compressed content.
    #[error("more follows after the compressed content")]
    Junk,
    /// Two compressed contents.
    #[error("it has a second compressed member")]
    SecondMember,
    /// The compressed content is cut.
    #[error("it is cut off")]
    Cut,
    /// It cannot be decompressed, or not to what it was.
    #[error("it is damaged")]
    Damaged,
}

/// A limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reached {
    /// Entries.
    #[error("there are more than {0} entries")]
    Entries(u64),
    /// Bytes of a file.
    #[error("a file has more than {0} bytes")]
    FileBytes(u64),
    /// Bytes of all files.
    #[error("the files have more than {0} bytes together")]
    TotalBytes(u64),
    /// Bytes of names and records.
    #[error("names and records have more than {0} bytes together")]
    Metadata(u64),
    /// Time.
    #[error("it took longer than {0:?}")]
    Time(Duration),
    /// Compression.
    #[error("it unpacks to more than {0} times its size")]
    Ratio(u64),
    /// Memory for decompression.
    #[error("its zstd window is larger than {0} bytes")]
    Window(u64),
}

fn place(at: Option<&(u64, String)>) -> String {
    at.map(|(number, path)| format!(" (entry {number}, \"{path}\")")).unwrap_or_default()
}
