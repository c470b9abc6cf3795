//! Why an archive is refused: each refusal names where it was met.

use std::{io, path::PathBuf, time::Duration};

use aigis_proxy::Code;

use super::{MAX_DEPTH, MAX_PART, MAX_PATH};

/// Longest text that a message shows of a path, in characters.
const SHOWN: usize = 200;

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
    #[error("{reached}, after {read} bytes of the archive{}", at.as_ref().map(|(number, path)| format!(" (entry {number}, \"{path}\")")).unwrap_or_default())]
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
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Write { path, source },
        }
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
            Error::Exists { .. } => Code::AlreadyExists,
            Error::Destination { .. } => Code::FailedPrecondition,
            Error::Stream(_) | Error::Write { .. } => Code::Internal,
            _ => Code::InvalidArgument,
        };
        Self::new(code, text)
    }
}

/// A rule that an entry breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// Its path.
    #[error("{0}")]
    Path(#[from] PathFault),
    /// Its type.
    #[error("its type is {0}; a tree holds files, directories and links")]
    Type(String),
    /// Where it leads.
    #[error("its target \"{target}\" {fault}")]
    Link {
        /// The target, escaped.
        target: String,
        /// What is wrong with it.
        fault: LinkFault,
    },
    /// It stands in the way of an earlier one.
    #[error("it {clash} entry {number}, \"{path}\"")]
    Clash {
        /// How.
        clash: &'static str,
        /// The earlier entry's number.
        number: u64,
        /// The earlier entry's path, escaped.
        path: String,
    },
    /// What is said of it beside its header, or in the header's fields.
    #[error("{0}")]
    Metadata(#[from] MetadataFault),
}

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// Nothing.
    #[error("the path is empty")]
    Empty,
    /// It begins at the root of the host.
    #[error("the path is absolute")]
    Absolute,
    /// It has a part that is `..`.
    #[error("the path has a part \"..\"")]
    Parent,
    /// It has a part that is `.` or nothing.
    #[error("the path has a part that is \".\" or empty")]
    Dot,
    /// It has a backslash, which parts paths on other hosts.
    #[error("the path has a backslash")]
    Backslash,
    /// It begins with the letter of a drive.
    #[error("the path names a drive")]
    Drive,
    /// Not every host could name it.
    #[error("the path is not UTF-8")]
    Encoding,
    /// A terminal would obey it.
    #[error("the path has a control character")]
    Control,
    /// Too long.
    #[error("the path is longer than {MAX_PATH} bytes")]
    Long,
    /// A part is too long.
    #[error("the path has a part longer than {MAX_PART} bytes")]
    LongPart,
    /// Too many parts.
    #[error("the path has more than {MAX_DEPTH} parts")]
    Deep,
    /// A file's path ends like that of a directory.
    #[error("the path of what is no directory ends in a slash")]
    Slash,
}

/// What is wrong with a link's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkFault {
    /// It cannot be a path at all.
    #[error("is unusable: {0}")]
    Path(PathFault),
    /// It leads out.
    #[error("leads out of the tree")]
    Leaves,
    /// It leads to itself.
    #[error("leads in a circle, or over more than 40 links")]
    Loop,
    /// A hard link to what is not there, or not yet.
    #[error("is no earlier entry of the archive")]
    Missing,
    /// A hard link to what is no file.
    #[error("is no regular file")]
    NoFile,
}

/// What is wrong with an entry's fields and the records before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataFault {
    /// A field of the header is no number.
    #[error("the field \"{0}\" of its header is no number")]
    Number(&'static str),
    /// A number that no file has.
    #[error("the field \"{field}\" says {value}, which nothing has")]
    Absurd {
        /// The field.
        field: &'static str,
        /// What it says.
        value: i128,
    },
    /// What has no content claims some.
    #[error("it is no file, and its field \"size\" claims {0} bytes")]
    Size(i128),
    /// Something was said for all entries.
    #[error("it is a global PAX header, which trees do not have")]
    Global,
    /// A record that is not of the form of one.
    #[error("its PAX records are broken: {0}")]
    Records(&'static str),
    /// A record says other than the header.
    #[error("its PAX record \"{0}\" contradicts its header")]
    Contradiction(&'static str),
    /// A key twice.
    #[error("it has two of \"{0}\"")]
    Twice(String),
    /// More than it takes.
    #[error("its field \"{field}\" has {size} bytes; at most {limit} are taken")]
    Large {
        /// Which.
        field: &'static str,
        /// How many bytes it claims.
        size: u64,
        /// How many it may have.
        limit: u64,
    },
    /// A file with holes.
    #[error("it is a sparse file (field \"{0}\")")]
    Sparse(String),
    /// Records that belong to no entry.
    #[error("its \"{0}\" belongs to no entry")]
    Orphan(&'static str),
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

/// A path as a message shows it: control characters and what is no UTF-8 are escaped, and what is long is cut.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut left = SHOWN;
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if left == 0 {
                return text + "…";
            }
            left -= 1;
            if character.is_control() || character == '"' || character == '\\' {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
