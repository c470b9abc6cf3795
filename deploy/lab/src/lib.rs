//! A lab is several hosts on one machine, to try a mesh on and to break it in.
//!
//! Each host is a network namespace with an address and a Docker engine of its own, joined to the others by a switch;
//! the bus has a namespace too, so that it stays when a host dies. Links can be cut, made deaf on one side, slowed and
//! thinned; engines can be killed and frozen.
//!
//! ```no_run
//! # fn main() -> Result<(), aigis_lab::Error> {
//! use aigis_lab::{Direction, Lab};
//!
//! let lab = Lab::start(&["alpha", "beta"])?;
//! lab.start_engines()?;
//! lab.cut("beta")?;
//! lab.heal("beta")?;
//! lab.drop_packets("beta", Direction::In)?;
//! lab.clear("beta")?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is left behind
//!
//! Nothing. Everything that a lab runs lives in its namespaces and below its directory, and by these it is found and
//! removed, never by name: [`remove`] does that. A lab of [`Lab::start`] has a process beside it that does it when its
//! owner ends, however that ends; a lab of [`Lab::create`] stays until somebody calls [`Lab::down`].

mod engine;
mod error;
mod faults;
mod host;
mod lab;
mod link;
mod namespace;
mod process;
mod program;
mod remove;
mod state;
pub mod wire;

pub use engine::Engine;
pub use error::Error;
pub use faults::Direction;
pub use host::Host;
pub use lab::{Lab, abandoned};
pub use link::{Link, Share};
pub use namespace::Namespace;
pub use process::Process;
pub use remove::{reap, remove};
