//! The wire of the Aigis mesh.

mod error;
pub mod json;
mod name;
mod role;
pub mod task;

pub use error::{Code, Error};
pub use name::{Address, MeshName, Name, NodeName, RESERVED, SkillPath, UserName, quoted};
pub use role::{Effect, Role};
