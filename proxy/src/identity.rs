//! Who may do what: the mesh's keys, its accounts at the bus, the roles' permissions, and the users' credentials.
//!
//! The bus itself enforces identity. An operator key vouches for three accounts (system, mesh and store), each role
//! of the mesh has a scoped signing key that carries the role's permissions, and every user holds a key made on its
//! own machine. What a user may publish and subscribe to follows from its name and its signing key alone.

mod accounts;
pub mod ca;
pub mod certificate;
mod charter;
pub mod credential;
pub mod foreign;
mod join_token;
pub mod jwt;
pub(crate) mod key;
mod mandate;
pub mod mesh;
pub mod permissions;
pub(crate) mod private_file;
pub mod server;
mod signed;
pub mod site;
mod vouched;

pub use ca::MeshCa;
pub use certificate::CaCertificate;
pub use charter::{Charter, NotTheMeshs};
pub use credential::{Credential, Issuer};
pub use join_token::{Damaged, JoinToken};
pub use key::{Key, KeyError, Kind, verifies};
pub use mandate::{Mandate, Purpose, Wish};
pub use mesh::{Login, MeshKeys};
pub use private_file::Error as FileError;
pub use server::{ServerFiles, ServerOptions};
pub use signed::SignedIssuer;
pub use vouched::{Revocations, Vouched};
