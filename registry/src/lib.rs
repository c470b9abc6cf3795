//! The mesh's memory: what is registered is found without a round trip, and absence seen over a broken bus is no death.
//!
//! Records, leases and audit lie in the bus's store; each process reads them through a watch-fed [`Cache`], whose
//! [`Snapshot`] resolves names. Who is there is judged by an [`observer`] that watches leases move:
//!
//! ```
//! use std::time::{Duration, Instant};
//! use aigis_registry::{State, Timestamp, observer::Observer, record::Lease};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (beta, start) = ("beta".parse()?, Instant::now());
//! let mut observer = Observer::new(start);
//! observer.link(true, "bus-1");
//! observer.healed(start);
//! let lease = Lease { boot: "b1".into(), counter: 7, since_at: Timestamp::now(), goodbye: false };
//! observer.lease(start, &beta, &lease, Duration::ZERO);
//! assert_eq!(observer.judge(start, &beta), State::Live);
//!
//! // Our own link breaks: whatever is not heard now says nothing of beta.
//! observer.link(false, "bus-1");
//! assert_eq!(observer.judge(start + Duration::from_secs(3600), &beta), State::Unknown);
//! # Ok(())
//! # }
//! ```

pub mod app_state;
pub mod archive;
pub mod asking;
pub mod audit;
pub mod blobs;
pub mod cache;
pub mod dockerfile;
pub mod dockerignore;
pub mod dotenv;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod lease;
pub mod observer;
pub mod reach;
pub mod record;
pub mod report;
pub mod resolve;
pub mod row;
mod secrets;
mod shards;
pub mod shared;
pub mod snapshot;
mod spool;
pub mod store;
#[cfg(test)]
mod testing;
mod timestamp;
pub mod toml_file;
pub mod tree;

pub use app_state::AppState;
pub use asking::{Addressee, Asking};
pub use cache::Cache;
pub use lease::LeaseKeeper;
pub use reach::Reach;
pub use record::{Capacity, CiRecord, Container, Engine, Gateway, Kind, NodeRecord, SkillNote, State};
pub use report::Reporter;
pub use resolve::{Resolved, Service};
pub use row::{NodeRow, Row};
pub use secrets::Secrets;
pub use shared::Shared;
pub use snapshot::{Found, Sight, Snapshot};
pub use spool::OpenError;
pub use store::{Leaf, Registry};
pub use timestamp::Timestamp;
