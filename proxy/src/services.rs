//! The typed services of the mesh, as traits: who serves one, and who asks, need not know each other's crate.

use crate::{error::Error, name::UserName, role::Role};

/// The service name under which [`Issuer`] is served by the user `issuer`.
pub const ISSUER: &str = "users";
/// The target that the issuer serves its services under.
pub const ISSUER_TARGET: &str = "issuer";

/// The issuer: the node that holds the mesh's signing keys.
#[tarpc::service(derive = [serde::Serialize, serde::Deserialize])]
pub trait Issuer {
    /// Issues a credential for a user's public key, made on the user's own machine; answers with the signed token.
    async fn issue(name: UserName, role: Role, public_key: String) -> Result<String, Error>;
}
