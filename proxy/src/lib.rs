//! The wire of the Aigis mesh: whatever has a name can be called, and the bus itself vouches for who calls.
//!
//! A skill is a typed function with an effect and a sentence of documentation. The same table serves it in this
//! process, over the bus ([`serve`]) and to a client by hand; the same errors, deadline and permission hold everywhere.
//!
//! ```
//! use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
//! use aigis_proxy::{Effect, Error, Name, Request, Role, SkillPath, UserName};
//! use aigis_proxy::skill::{Answer, Call, Nothing, Table};
//! use aigis_proxy::subject::Caller;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut table = Table::<AtomicU64>::new();
//! table.value("next", Effect::Write, "Counts one up.", async |count: Arc<AtomicU64>, _call, _: Nothing| {
//!     Ok::<_, Error>(count.fetch_add(1, Ordering::Relaxed) + 1)
//! });
//!
//! let call = Call {
//!     caller: Caller { role: Role::Operator, name: UserName::parse("olga")? },
//!     addressed: Name::parse("counter")?,
//!     request: Request::read(br#"{"meta": {"timeout_ms": 1000}}"#)?,
//!     body: Default::default(),
//!     deadline: tokio::time::Instant::now() + std::time::Duration::from_secs(1),
//!     cancelled: Default::default(),
//! };
//! let answer = table.run(Arc::new(AtomicU64::new(41)), &SkillPath::parse("next")?, call).await?;
//! assert!(matches!(answer, Answer::Value(value) if value == 42));
//! # Ok(())
//! # }
//! ```

pub mod blob;
pub mod body;
pub mod bridge;
pub mod bus;
pub mod chain;
pub mod client;
pub mod dispatch;
pub mod envelope;
mod error;
pub mod fault;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod headers;
pub mod identity;
pub mod json;
pub mod kv;
mod name;
pub mod plugin;
mod role;
pub mod rpc;
pub mod secret;
pub mod serve;
pub mod servers;
pub mod service_info;
pub mod services;
pub mod skill;
pub mod socket;
pub mod subject;
pub mod sync;
mod tags;
pub mod task;
pub mod text_file;
pub mod trace;
pub mod tunnel;

pub use bus::Bus;
pub use envelope::{Meta, Request};
pub use error::{Code, Error, with_causes};
pub use name::{
    Address, Error as NameError, MeshName, Name, NodeName, RESERVED, SiteName, SkillPath, UserName, quoted,
    quoted_within,
};
pub use role::{Effect, Grant, Granted, NoGrant, Role, UnknownRole};
