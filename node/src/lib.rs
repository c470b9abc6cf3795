//! The host agent: one for each host, it makes every container of the host's engine a CI that answers.
//!
//! A [`Node`] brings the bus up, watches the engine, and serves its CIs until it is stopped. What is free text in a
//! call is decided by a small fixed [`grammar`], so that the same words always do the same thing:
//!
//! ```
//! use aigis_node::grammar::{Decision, Offered, decide};
//! use aigis_proxy::Effect;
//!
//! let skills = [
//!     Offered { path: "health", effect: Effect::Read, stream: false, required_input: false },
//!     Offered { path: "restart", effect: Effect::Write, stream: false, required_input: false },
//! ];
//! assert_eq!(decide("are you healthy?", &["web"], &skills), Decision::Run(vec!["health".into()]));
//! assert_eq!(decide("restart", &["web"], &skills), Decision::NeedsYes("restart".into()));
//! assert_eq!(decide("do not restart", &["web"], &skills), Decision::Negated);
//! ```

mod apps;
mod builds;
pub mod bus_server;
mod cluster;
pub mod container;
mod deployed;
mod directory;
mod duties;
pub mod engine;
mod filling;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod gateway;
pub mod grammar;
pub mod home;
pub mod host;
mod hosting;
mod issuer;
mod listening;
mod loading;
pub mod logs;
mod mandate;
pub mod mask;
pub mod mesh;
mod message;
mod metrics;
pub mod naming;
mod networks;
pub mod node;
mod offered;
mod own;
mod owned;
pub mod plugin_host;
pub mod plugins;
pub mod process;
mod reconcile;
pub mod redact;
mod registrar;
pub mod renewal;
mod revocations;
pub mod secrets;
pub mod services;
pub mod shelf;
mod socket;
mod steps;
pub mod supply;
pub mod text;
pub mod trust;
mod upkeep;
pub mod usage;
mod witness;

pub use home::{Home, MeshFile};
pub use logs::LogTap;
pub use node::{Node, Options};
