//! The wire of the Aigis mesh.

pub mod blob;
pub mod body;
pub mod bus;
pub mod client;
pub mod dispatch;
pub mod envelope;
mod error;
pub mod identity;
pub mod json;
pub mod kv;
mod name;
mod role;
pub mod rpc;
pub mod serve;
pub mod service_info;
pub mod services;
pub mod skill;
pub mod subject;
mod tags;
pub mod task;
pub mod trace;

pub use bus::Bus;
pub use envelope::{Meta, Request};
pub use error::{Code, Error};
pub use name::{Address, Error as NameError, MeshName, Name, NodeName, RESERVED, SkillPath, UserName, quoted};
pub use role::{Effect, Role, UnknownRole};
