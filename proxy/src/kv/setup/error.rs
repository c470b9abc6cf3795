//! Why the store could not be made.

use crate::{bus::Untrusted, identity::credential::Instant};

/// Why the store could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The server is not taken for the mesh's bus.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The server does not know the mesh's operator.
    #[error("the bus at {url} refuses the operator of the mesh")]
    Stranger {
        /// The address.
        url: String,
    },
    /// The server's clock and this machine's are so far apart that what is signed here has ended there.
    #[error(
        "the bus at {url} refuses a login that was signed just now: the clock of the bus says {bus}, and this machine's \
         clock says {own}"
    )]
    Clock {
        /// The address.
        url: String,
        /// The time at the bus.
        bus: Instant,
        /// The time here.
        own: Instant,
    },
    /// No connection.
    #[error("cannot log in to the store of the bus at {url}")]
    Connect {
        /// The address.
        url: String,
        /// What the attempt met.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The server is too old.
    #[error("the bus at {url} is nats-server {found}; {floor} or newer is required")]
    TooOld {
        /// The address.
        url: String,
        /// Its version.
        found: String,
        /// The oldest version that works.
        floor: &'static str,
    },
    /// The store refused.
    #[error("the store refused to make \"{stream}\": {reason}")]
    Refused {
        /// The stream.
        stream: &'static str,
        /// The store's words.
        reason: String,
    },
    /// Not all that was there has been taken over.
    #[error("of \"{stream}\", which reached to {known}, only what reaches to {found} is there")]
    Lost {
        /// The stream.
        stream: &'static str,
        /// The last message that was known.
        known: u64,
        /// The last that is there.
        found: u64,
    },
    /// The store did not answer.
    #[error("the store of the bus at {url} did not answer in time; see the log of the bus")]
    Silent {
        /// The address.
        url: String,
    },
}
