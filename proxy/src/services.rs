//! The typed services of the mesh, as traits: who serves one, and who asks, need not know each other's crate.

use serde::{Deserialize, Serialize};

use crate::{
    blob::{Content, Digest, Index, Life, Part},
    error::Error,
    name::{NodeName, UserName},
    role::Role,
};

/// The service name of [`Blobs`], which all nodes share.
pub const BLOBS: &str = "blobs";

/// The service name of [`Issuer`]; its target is the node that holds the mesh's signing keys.
pub const ISSUER: &str = "users";

/// A user that was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// The user.
    pub name: UserName,
    /// Whether it was not before.
    pub changed: bool,
    /// When it was, in RFC 3339.
    pub revoked_at: String,
}

/// The issuer: the node that holds the mesh's signing keys.
#[tarpc::service(derive = [serde::Serialize, serde::Deserialize])]
pub trait Issuer {
    /// Issues a credential for a user's public key, made on the user's own machine; answers with the signed token. If
    /// the user had another key, that one is revoked.
    async fn issue(name: UserName, role: Role, public_key: String) -> Result<String, Error>;
    /// Ends a user: its connections, its calls, and its credential.
    async fn revoke(name: UserName) -> Result<Revoked, Error>;
    /// Renews the caller's own credential, for the key that it has; answers with the signed token.
    async fn renew() -> Result<String, Error>;
    /// Removes a node that is offline: its user is revoked, what it wrote counts as gone, and its names are free.
    async fn remove_node(node: NodeName) -> Result<(), Error>;
}

/// A node that stores blobs for those who may not write to their bucket.
#[tarpc::service(derive = [serde::Serialize, serde::Deserialize])]
pub trait Blobs {
    /// Stores a chunk under its digest.
    async fn put_chunk(life: Life, digest: Digest, content: Content) -> Result<(), Error>;
    /// Stores the index of a blob whose chunks are stored.
    async fn put_index(life: Life, digest: Digest, index: Index) -> Result<(), Error>;
    /// Looks at a chunk that a reader found damaged, and removes it if it is.
    async fn doubt(life: Life, chunk: Part) -> Result<(), Error>;
}
