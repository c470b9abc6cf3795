//! Chains of assistants: a pushed source tree becomes a running app, whichever process dies on the way.
//!
//! A chain is a record in the mesh's registry. A *coordinator* runs beside every node; whichever claims a chain holds it, and
//! a record whose holder's node is gone is claimed by another. What happens next is decided by a [`machine`] that does
//! nothing itself; the [`coordinator`] does what it says, at the places that [`placement`] found.

pub mod builtin;
pub mod coordinator;
pub mod desk;
pub mod folder;
pub mod library;
pub mod machine;
pub mod name;
pub mod placement;
pub mod selection;
