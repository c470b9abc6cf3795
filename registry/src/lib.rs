//! The mesh's memory: records, leases, a watch-fed cache that resolves names without a round trip, and audit.

pub mod audit;
pub mod cache;
pub mod lease;
pub mod observer;
pub mod record;
pub mod resolve;
pub mod row;
mod shards;
pub mod snapshot;
pub mod store;
#[cfg(test)]
mod testing;
mod timestamp;

pub use cache::Cache;
pub use lease::LeaseKeeper;
pub use record::{Capacity, CiRecord, Container, Engine, Kind, NodeRecord, SkillNote, State};
pub use resolve::{Resolved, Service};
pub use row::{NodeRow, Row};
pub use snapshot::{Found, Sight, Snapshot};
pub use store::Registry;
pub use timestamp::Timestamp;
