//! The typed services of the mesh, as traits: who serves one, and who asks, need not know each other's crate.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    blob::{Content, Digest, Index, Life, Part},
    error::Error,
    identity::{Charter, SignedIssuer},
    name::{NodeName, SiteName, UserName},
    role::{Grant, Role},
    secret::{Sealed, SecretName, Selector},
};

pub mod builds;
pub mod chains;
pub mod deployments;
pub mod instances;
pub mod projects;
pub mod steps;

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
    /// The nodes whose bus servers did not answer; they are told as soon as they are back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub away: Vec<NodeName>,
    /// Whether the record says so by which every node refuses the user. If not, it is being written: the servers of the
    /// bus choose who leads the registry.
    #[serde(default = "yes")]
    pub noted: bool,
    /// The sites whose servers did not answer: likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites_away: Vec<SiteName>,
}

fn yes() -> bool {
    true
}

/// One of the servers of a clustered bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Station {
    /// The node that supervises it.
    pub node: NodeName,
    /// Where clients reach it.
    pub listen: SocketAddr,
    /// Where the other servers reach it.
    pub routes: SocketAddr,
}

/// What a node needs to run one of the servers of the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The servers that are known so far, the issuer's first.
    pub servers: Vec<Station>,
    /// How many there are to be.
    pub wanted: usize,
    /// The operator and the accounts.
    pub charter: Charter,
    /// The certificate for the server's key, with that of the CA, as PEM.
    pub certificate: String,
    /// The CA that vouches for the servers to each other, as text.
    pub ca: String,
}

/// How far a rotation of the signing keys is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Whether it has just begun.
    pub began: bool,
    /// Since when there are former keys, in RFC 3339; none if they were removed.
    pub former_keys_since: Option<String>,
    /// Until when they count at most.
    pub former_keys_until: Option<String>,
    /// Users, and join tokens, that still stand on them.
    pub waiting: Vec<UserName>,
}

/// The target of [`Admission`]: the issuer, whichever node that is. No user is given this name.
pub const ADMISSION: &str = "issuer";

/// The service name of [`Admission`].
pub const JOIN: &str = "join";

/// The issuer: the node that holds the mesh's signing keys. But for the
/// renewal of one's own, and what nodes ask for what they host, for admins alone.
#[tarpc::service(derive = [serde::Serialize, serde::Deserialize])]
pub trait Issuer {
    /// Issues a credential for a user's public key, made on the user's own machine; answers with the signed token. If
    /// the user had another key, that one is revoked.
    async fn issue(name: UserName, role: Role, public_key: String) -> Result<String, Error>;
    /// Ends a user: its connections, its calls, and its credential.
    async fn revoke(name: UserName) -> Result<Revoked, Error>;
    /// Says what a plugin may do, on which CIs; what was said before counts no more.
    async fn grant(name: UserName, grants: Vec<Grant>) -> Result<(), Error>;
    /// Issues the credential of a user that the calling node hosts, for a key made there: `plugin-NAME` of a plugin whose
    /// home it is, or its own `core-NODE`; says what that user may do, and answers with the signed token.
    async fn host_plugin(name: UserName, public_key: String, grants: Vec<Grant>) -> Result<String, Error>;
    /// Ends the user of a plugin that its home, the calling node, removes: its connections, its calls, and its credential. A
    /// plugin that is added under that name later gets a user again, unless an admin revoked this one.
    async fn end_plugin(name: UserName) -> Result<(), Error>;
    /// Renews the caller's own credential, for the key that it has; answers with the signed token.
    async fn renew() -> Result<String, Error>;
    /// Makes a join token for a public key, made on the admin's own machine.
    async fn create_token(public_key: String, wanted: WantedToken) -> Result<GrantedToken, Error>;
    /// Ends a join token.
    async fn revoke_token(id: UserName) -> Result<(), Error>;
    /// Takes the calling node's server as one of the bus, if the issuer was told to; `public_key` is that of the
    /// server's certificate. To be asked again for what has changed since.
    async fn enroll(station: Station, public_key: String) -> Result<Enrolled, Error>;
    /// Takes the store that the bus has for the mesh's, whatever it was before; answers with its id.
    async fn accept_store() -> Result<String, Error>;
    /// Has new keys sign users from now on; those of before count until every user has a token of the new ones, or, with
    /// `end`, count no more. Answers with how far that is.
    async fn rotate_keys(end: bool) -> Result<Rotation, Error>;
    /// Removes a node that is offline: its user is revoked, what it wrote counts as gone, and its names are free.
    async fn remove_node(node: NodeName) -> Result<(), Error>;
    /// Keeps the next value of a secret, which was sealed before it came here.
    async fn set_secret(secret: WantedSecret) -> Result<(), Error>;
    /// Removes a secret, wherever it was delivered too.
    async fn remove_secret(name: SecretName) -> Result<(), Error>;
    /// Lists the secrets, sorted by name; no value is among what it tells.
    async fn secrets() -> Result<Vec<ListedSecret>, Error>;
}

/// The next value of a secret, sealed by the admin who sets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedSecret {
    /// The secret.
    pub name: SecretName,
    /// Which of its values this is: one more than the last.
    pub version: u64,
    /// Which nodes it is for, as it was asked for.
    pub selectors: Vec<Selector>,
    /// The value.
    pub sealed: Sealed,
}

/// What is told of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedSecret {
    /// Its name.
    pub name: SecretName,
    /// Which value it has.
    pub version: u64,
    /// Who set that.
    pub set_by: UserName,
    /// When, in RFC 3339.
    pub set_at: String,
    /// Which nodes it is for, as it was asked for.
    pub selectors: Vec<Selector>,
    /// The nodes that can open it.
    pub nodes: Vec<NodeName>,
    /// Nodes that it is for by now, and that cannot open it: it was set before they were.
    pub lacking: Vec<NodeName>,
    /// Why it is due for change; not due, if empty.
    pub due: Vec<String>,
}

/// What a join token is to give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedToken {
    /// The role.
    pub role: Role,
    /// The name, if it is for one name alone.
    pub name: Option<UserName>,
    /// How long it can be used.
    pub ttl_s: u64,
    /// How often it can be used.
    pub uses: u32,
}

/// A join token that the issuer has signed, and what else its text says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedToken {
    /// Its id.
    pub id: UserName,
    /// What logs in at the bus, with the key that stays with the admin.
    pub jwt: String,
    /// When it ends: RFC 3339.
    pub expires_at: String,
    /// The bus's address.
    pub bus: String,
    /// Who vouches for the bus, where that speaks TLS, as text.
    pub ca: Option<String>,
    /// The issuer.
    pub issuer: NodeName,
    /// The public key of the mesh's account.
    pub account: String,
}

/// The issuer, as the holder of a join token may ask it.
#[tarpc::service(derive = [serde::Serialize, serde::Deserialize])]
pub trait Admission {
    /// Admits whoever holds the private half of `public_key`, under the wanted name.
    async fn join(public_key: String, wanted_name: UserName) -> Result<Admitted, Error>;
}

/// What a new member needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// The member's signed token.
    pub jwt: String,
    /// The node that issues.
    pub node: NodeName,
    /// Who vouches for the users of the mesh.
    pub issuer: SignedIssuer,
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
