//! The host agent: one per host, it owns the host's engine and serves the CIs of its containers.

pub mod bus_server;
pub mod container;
mod directory;
pub mod engine;
pub mod grammar;
pub mod home;
pub mod host;
mod issuer;
pub mod mesh;
mod message;
pub mod naming;
pub mod node;
mod own;
mod reconcile;
pub mod redact;
mod registrar;
pub mod services;
mod socket;
mod upkeep;
pub mod usage;

pub use container::text;
pub use home::{Home, MeshFile};
pub use node::{Node, Options};
