//! The typed services of the mesh, as traits: who serves one, and who asks, need not know each other's crate.

use crate::{error::Error, name::UserName, role::Role};

/// The service name of [`Issuer`]; its target is the node that holds the mesh's signing keys.
pub const ISSUER: &str = "users";

/// The issuer: the node that holds the mesh's signing keys.
#[tarpc::service(derive = [serde::Serialize, serde::Deserialize])]
pub trait Issuer {
    /// Issues a credential for a user's public key, made on the user's own machine; answers with the signed token.
    async fn issue(name: UserName, role: Role, public_key: String) -> Result<String, Error>;
}
