//! Why no connection to the bus was made, and what that is to a caller.

use super::Untrusted;
use crate::{
    error::{Code, Error},
    identity::credential::Term,
    name::UserName,
};

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing answered there.
    #[error("no bus answers at {url}")]
    Unreachable {
        /// The address tried.
        url: String,
        /// What the attempt met.
        #[source]
        source: async_nats::ConnectError,
    },
    /// It is not taken for the mesh's bus.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The server refused the credential.
    #[error("the bus at {url} refuses the credential of \"{user}\"{}", .term.map(|term| format!(": {term}")).unwrap_or_default())]
    Refused {
        /// The address tried.
        url: String,
        /// The user named in the credential.
        user: UserName,
        /// When the credential ends, if it does. The bus judges it by its own clock, which it tells to nobody whom it refuses.
        term: Option<Term>,
    },
    /// The server is too old.
    #[error("the bus at {url} is nats-server {found}; {floor} or newer is required")]
    TooOld {
        /// The address tried.
        url: String,
        /// Its version.
        found: String,
        /// The oldest version that works.
        floor: &'static str,
    },
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        match &error {
            ConnectError::Untrusted(untrusted) => untrusted.clone().into(),
            ConnectError::Unreachable { .. } => Self::unavailable(error.to_string())
                .hint("start it here with: aish up; or name another with --bus URL")
                .sent(false),
            ConnectError::Refused { .. } => Self::new(Code::PermissionDenied, error.to_string()).hint(
                "it may have expired by the clock of the bus, which may be ahead, been revoked, or been signed by keys that \
                     were rotated since; compare the clocks, and ask an admin for a new one (aish users create), or for a \
                     join token where this is a node's",
            ),
            ConnectError::TooOld { .. } => Self::precondition(error.to_string()).hint("update the server of that bus"),
        }
    }
}
