//! Packages: what is recorded of them, and where a host without a mesh keeps them.

mod archive;
mod blobs;
mod find;
mod record;
mod store;
mod verify;

pub use archive::{export, import};
pub use blobs::{Blobs, Writing};
pub use find::Known;
pub use record::{Build, ImageRecord, Origin, Place, RULES_VERSION, Record, State};
pub use store::{Ancestor, Parents, Registered, Registration, Store};
