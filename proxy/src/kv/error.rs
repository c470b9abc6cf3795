//! Why a key could not be read or written, and what that is to a caller.

use super::{MAX_KEY, MAX_VALUE, setup::StoreId};
use crate::error::Code;

/// Why a key could not be read or written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Someone else wrote first.
    #[error("\"{key}\" was changed meanwhile; read it again and repeat")]
    WrongRevision {
        /// The key.
        key: String,
        /// The newest revision, where the store said it.
        newest: Option<u64>,
    },
    /// The key is none.
    #[error("\"{key}\" is no key: tokens of letters, digits, _ - = / @ joined by dots, at most {MAX_KEY} bytes")]
    Key {
        /// The key, escaped and cut.
        key: String,
    },
    /// The value is larger than a bucket takes.
    #[error("the value of \"{key}\" is {size} bytes; at most {MAX_VALUE} are stored")]
    TooLarge {
        /// The key.
        key: String,
        /// The value's size in bytes.
        size: usize,
    },
    /// The bus does not permit it.
    #[error("the bus does not let \"{user}\" use \"{key}\"")]
    Denied {
        /// Who asked.
        user: String,
        /// The key or stream.
        key: String,
    },
    /// The store has no room.
    #[error("the store is full: {reason}; free some room on the disk of the bus")]
    Full {
        /// The store's words.
        reason: String,
    },
    /// The bucket or stream is not there.
    #[error("the store has no \"{stream}\"; start the node that made this mesh: aish up")]
    Missing {
        /// The stream.
        stream: String,
    },
    /// The store is not that of the mesh: its disk was lost or exchanged.
    #[error("the bus holds {}, but the store of this mesh is \"{known}\"; nothing is read or written", other(.found.as_ref()))]
    OtherStore {
        /// The mesh's store.
        known: StoreId,
        /// The one that is there, if there is one.
        found: Option<StoreId>,
    },
    /// The store, or the bus, is away.
    #[error("the store does not answer: {reason}")]
    Unavailable {
        /// What was met last.
        reason: String,
        /// Whether the write may have been done nevertheless.
        sent: bool,
    },
    /// The store refused for another reason.
    #[error("the store refused \"{key}\": {reason} ({code})")]
    Refused {
        /// The key or stream.
        key: String,
        /// The store's words.
        reason: String,
        /// The store's own number.
        code: u64,
    },
    /// The store's answer makes no sense.
    #[error("the store's answer about \"{key}\" cannot be read")]
    Malformed {
        /// The key or stream.
        key: String,
    },
}

impl Error {
    /// Whether the store may answer soon: nothing was decided yet.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Missing { .. } | Self::OtherStore { found: None, .. })
    }
}

/// The store that was found in place of the mesh's.
fn other(found: Option<&StoreId>) -> String {
    found.map_or_else(|| "no store".to_owned(), |found| format!("another store, \"{found}\""))
}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::WrongRevision { .. } => Self::precondition(text),
            Error::Key { .. } => Self::invalid(text),
            Error::TooLarge { .. } | Error::Full { .. } => Self::new(Code::ResourceExhausted, text),
            Error::Denied { .. } => Self::new(Code::PermissionDenied, text),
            Error::Missing { .. } => Self::unavailable(text).sent(false),
            Error::OtherStore { known, found } => Self::new(Code::DataLoss, text)
                .hint(
                    "was the disk of the bus exchanged? bring it back; if it is lost for good, an admin accepts the new one: \
                     aish up --new-store",
                )
                .with("store", known.as_str())
                .with("found", found.map(|found| found.to_string()))
                .sent(false),
            Error::Unavailable { sent, .. } => Self::unavailable(text).sent(sent),
            Error::Refused { .. } | Error::Malformed { .. } => Self::internal(text),
        }
    }
}
