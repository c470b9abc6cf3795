//! Secrets: values that are sealed to the nodes that need them, by whoever sets them, before they leave that process.
//!
//! A value is encrypted once, with a key of its own, and that key is sealed to each node that may open it. What the bus
//! keeps is ciphertext; mesh, name, version and node are bound to it, so that no part can stand for another. The form is
//! specified in `docs/specs/secrets.md`.

mod hpke;
mod key;
mod name;
mod seal;
mod selector;

pub use key::{KeyFileError, SealingKey, SealingPublic, SignedSealing};
pub use name::{NameError, SecretName};
pub use seal::{Place, Sealed, SealedKey, check, open, seal};
pub use selector::{NotASelector, Selector};

/// The largest value, in bytes.
pub const MAX_VALUE: usize = 1024 * 1024;
