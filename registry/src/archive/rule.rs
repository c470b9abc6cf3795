//! The rules of trees that an entry may break.

use super::{MAX_DEPTH, MAX_PART, MAX_PATH};

/// Longest text that a message shows of a path, in characters.
const SHOWN: usize = 200;

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
    /// A PAX record or a GNU name says other than the header, which could have said it.
    #[error("what is said of its \"{0}\" contradicts its header")]
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
