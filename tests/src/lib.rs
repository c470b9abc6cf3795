//! What whole-mesh tests stand on: a mesh of the real binary in a directory of its own, and containers on the real
//! engine, each ended with the test that made it.

mod aish;
mod cases;
mod completions;
mod container;
mod disk;
mod engine;
mod events;
mod foreign;
mod golden;
mod lab;
mod process;
mod registry;
mod relay;
mod running;
mod speaking;
mod wait;

pub use aish::{Mesh, Ran};
pub use cases::Cases;
pub use completions::{Completions, Reply};
pub use container::{Container, docker, now};
pub use disk::Disk;
pub use engine::PrivateEngine;
pub use events::Events;
pub use foreign::{ForeignBus, ForeignCluster};
pub use golden::{GOLDEN, GOLDEN_MANIFEST, golden};
pub use lab::{Alone, Fleet, Held, inside};
pub use process::{cpu_seconds, resident_bytes};
pub use registry::Registry;
pub use relay::Relay;
pub use running::Running;
pub use speaking::{SPEAKER, SPEAKER_PORTS, forwarded, noise, speak};
pub use wait::until;

/// A word that no other test and no earlier run has used.
#[must_use]
pub fn nonce() -> String {
    uuid::Uuid::new_v4().simple().to_string().split_off(20)
}
