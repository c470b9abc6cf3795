//! Packages: what is recorded of them, and where a host without a mesh keeps them.

mod archive;
mod blobs;
mod compare;
mod find;
mod record;
mod store;
mod verify;

pub use archive::{export, import};
pub use blobs::{Blobs, Writing};
pub use compare::{Change, Differences, FileDifference, ImageDifference, LockDifference};
pub use find::Known;
pub use record::{Build, ImageRecord, Origin, Place, RULES_VERSION, Record, Reproducible, State, is_tag};
pub use store::{Ancestor, Parents, Registered, Registration, Store};

#[cfg(test)]
mod tests;
