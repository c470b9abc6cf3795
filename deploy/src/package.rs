//! Packages: what is recorded of them, and where: a mesh keeps them as records that nodes write and as blobs, a host without a
//! mesh in a directory. What may become of them is the same in both.

mod archive;
mod blobs;
mod catalogue;
mod checks;
mod compare;
mod content;
mod desk;
mod files;
mod find;
mod loaded;
mod member;
mod mesh;
mod phases;
mod pull;
mod push;
mod rebuild;
mod record;
mod records;
mod remote;
mod saved;
mod service;
mod store;
mod verify;

pub use archive::{engine_name, export, import};
pub use blobs::{Blobs, Writing};
pub use checks::{Check, Outcome, QUESTIONS, Question, checks};
pub use compare::{Change, Differences, FileDifference, ImageDifference, LockDifference};
pub use desk::serve;
pub use find::Known;
pub use member::Member;
pub use mesh::projects;
pub use pull::pull;
pub use push::{Pushed, push};
pub use rebuild::{Report, Verifier, verify};
pub use record::{
    Build, CONTEXT, ImageRecord, Layers, Origin, Place, RULES_VERSION, Record, Reproducible, State, is_tag,
};
pub use remote::{Login, Remote, reference};
pub use store::{Ancestor, Parents, Registered, Registration, Store};

#[cfg(test)]
mod tests;
