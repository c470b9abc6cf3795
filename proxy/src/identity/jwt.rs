//! NATS JSON Web Tokens, version 2: operator, account, user and activation claims, signed with Ed25519.
//!
//! Only what a mesh needs is modelled. [`decode`] refuses everything else before any claim is believed.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::{self, Key, Kind};
use crate::json;

/// Longest token that is read; an account's with every role is about 12 KiB.
pub const MAX_TOKEN: usize = 256 * 1024;
/// The version of the claims that are written and read.
pub const VERSION: u8 = 2;
const ALGORITHM: &str = "ed25519-nkey";
const UNLIMITED: i64 = -1;

/// Why a token is refused. No variant shows the token's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than any token of a mesh.
    #[error("the token is {length} bytes long; at most {MAX_TOKEN} are read")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Not header, claims and signature.
    #[error("the token has {parts} parts; it must have three: header, claims, signature")]
    Parts {
        /// How many parts it has.
        parts: usize,
    },
    /// A part is not base64url.
    #[error("the token's {part} is not base64url without padding")]
    Base64 {
        /// Which part.
        part: &'static str,
    },
    /// A part is not the JSON object that it must be.
    #[error("the token's {part} is not a JSON object of the expected form")]
    Json {
        /// Which part.
        part: &'static str,
    },
    /// Signed by another method, or by none.
    #[error("the token's claim alg is not \"{ALGORITHM}\"; tokens signed otherwise, or not signed, are refused")]
    Algorithm,
    /// Another kind of token, or another version of it.
    #[error("the token's claim {claim} is not that of a NATS token, version 2")]
    Version {
        /// Which claim.
        claim: &'static str,
    },
    /// The signer or the holder is not a key of the kind that this token needs.
    #[error("the token's claim {claim} is not a public key of kind {expected}")]
    KeyKind {
        /// Which claim.
        claim: &'static str,
        /// The kind of key that stands there in such a token.
        expected: Kind,
    },
    /// The signature is not the issuer's over these claims.
    #[error("the token's signature does not fit its claims and its claim iss; the token was altered or forged")]
    Signature,
}

#[derive(Serialize, Deserialize)]
struct Header {
    typ: String,
    alg: String,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Digest of the other claims.
    #[serde(default)]
    pub jti: String,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// From when on it holds, in seconds since 1970; always if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Until when it holds, in seconds since 1970; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// The public key that signed it.
    #[serde(default)]
    pub iss: String,
    /// The name of the subject.
    #[serde(default)]
    pub name: String,
    /// The public key that it is about.
    pub sub: String,
    /// The part that depends on the kind of token.
    pub nats: Body,
}

/// The claims of one kind of token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Body {
    /// An operator, signed by itself.
    Operator(Operator),
    /// An account, signed by its operator.
    Account(Box<Account>),
    /// A user, signed by its account or one of the account's signing keys.
    User(User),
    /// An account's leave to import, signed by the exporting account.
    Activation(Activation),
}

/// The claims of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// The account that observes and steers the servers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub system_account: String,
    /// The version of the claims: 2.
    pub version: u8,
}

/// The claims of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What it takes from other accounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<Import>,
    /// What it offers to other accounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<Export>,
    /// How much it may use.
    pub limits: Limits,
    /// The keys that may sign users in its name, one for each role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signing_keys: Vec<Scope>,
    /// Users whose tokens issued until then count no more, in seconds since 1970.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub revocations: BTreeMap<String, i64>,
    /// What a user may do whose token says nothing about it; kept empty.
    #[serde(default)]
    pub default_permissions: Permissions,
    /// The version of the claims: 2.
    pub version: u8,
}

/// Whether messages flow one way or are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flow {
    /// Messages flow from the exporter to the importer.
    Stream,
    /// Requests flow to the exporter, answers come back.
    Service,
}

/// Something that an account offers to others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// A name for people.
    pub name: String,
    /// The subject, which may hold wildcards.
    pub subject: String,
    /// Stream or service.
    #[serde(rename = "type")]
    pub flow: Flow,
    /// Whether importing it takes an activation token.
    #[serde(default)]
    pub token_req: bool,
}

/// Something that an account takes from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// A name for people.
    pub name: String,
    /// The exporter's subject.
    pub subject: String,
    /// The subject under which it appears here; the exporter's if empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub local_subject: String,
    /// The exporter's public key.
    pub account: String,
    /// The activation token.
    pub token: String,
    /// Stream or service.
    #[serde(rename = "type")]
    pub flow: Flow,
}

/// How much an account may use; -1 is without limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Subscriptions.
    pub subs: i64,
    /// Bytes in all.
    pub data: i64,
    /// Bytes a message.
    pub payload: i64,
    /// Imports.
    pub imports: i64,
    /// Exports.
    pub exports: i64,
    /// Whether exports may hold wildcards.
    pub wildcards: bool,
    /// Whether tokens that need no key are refused.
    pub disallow_bearer: bool,
    /// Connections.
    pub conn: i64,
    /// Leaf nodes.
    pub leaf: i64,
    /// Bytes of streams in memory; without this and the next, the account has no JetStream.
    #[serde(default)]
    pub mem_storage: i64,
    /// Bytes of streams on disk.
    #[serde(default)]
    pub disk_storage: i64,
    /// Streams.
    #[serde(default)]
    pub streams: i64,
    /// Consumers.
    #[serde(default)]
    pub consumer: i64,
}

impl Limits {
    /// No limits but: no JetStream, no leaf nodes, no bearer tokens.
    #[must_use]
    pub fn open() -> Self {
        Self {
            subs: UNLIMITED,
            data: UNLIMITED,
            payload: UNLIMITED,
            imports: UNLIMITED,
            exports: UNLIMITED,
            wildcards: true,
            disallow_bearer: true,
            conn: UNLIMITED,
            leaf: 0,
            mem_storage: 0,
            disk_storage: 0,
            streams: 0,
            consumer: 0,
        }
    }

    /// The same, with leaf nodes.
    #[must_use]
    pub fn with_leaf_nodes(self) -> Self {
        Self { leaf: UNLIMITED, ..self }
    }

    /// The same, with JetStream.
    #[must_use]
    pub fn with_jetstream(self) -> Self {
        Self { mem_storage: UNLIMITED, disk_storage: UNLIMITED, streams: UNLIMITED, consumer: UNLIMITED, ..self }
    }
}

/// A signing key of an account, with the permissions of all whom it signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Always `user_scope`.
    pub kind: ScopeKind,
    /// The public key.
    pub key: String,
    /// The role's name.
    pub role: String,
    /// What its users may do.
    pub template: Template,
}

/// The one kind of scope that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeKind {
    /// The scope of users.
    UserScope,
}

/// Permissions and limits of users; subjects may hold `{{name()}}` and `{{tag(KEY)}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// What they may publish and subscribe to.
    #[serde(flatten)]
    pub permissions: Permissions,
    /// How many subscriptions each may hold.
    pub subs: i64,
    /// Bytes in all; -1 is without limit.
    pub data: i64,
    /// Bytes a message; -1 is the server's limit.
    pub payload: i64,
}

/// Subjects that may be published and subscribed to. There is no field for response permissions: their holder could
/// send itself a request with any reply subject and then publish there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// What may be published to.
    #[serde(rename = "pub", default)]
    pub publish: Allow,
    /// What may be subscribed to.
    #[serde(rename = "sub", default)]
    pub subscribe: Allow,
}

/// A list of subjects; empty is without restriction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allow {
    /// The subjects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}

/// The claims of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The account, if a signing key of it signed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub issuer_account: String,
    /// Limits of a user that no scoped key signed. A scoped key refuses a token that brings its own.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Template>,
    /// The ways in which it may connect; every one if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_connection_types: Vec<ConnectionType>,
    /// `role:…` and `mesh:…`, for people and for our own messages; the bus goes by the signing key. `serves:…` of a
    /// plugin's user, which the bus goes by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The version of the claims: 2.
    pub version: u8,
}

/// A way in which a user may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ConnectionType {
    /// As a server that is a leaf node.
    LeafNode,
}

/// The claims of an activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// The subject that may be imported.
    pub subject: String,
    /// Stream or service.
    pub kind: Flow,
    /// The version of the claims: 2.
    pub version: u8,
}

impl Claims {
    /// Claims about `subject`, issued now, without an end.
    #[must_use]
    pub fn new(name: impl Into<String>, subject: impl Into<String>, nats: Body) -> Self {
        Self {
            jti: String::new(),
            iat: seconds(SystemTime::now()),
            nbf: None,
            exp: None,
            iss: String::new(),
            name: name.into(),
            sub: subject.into(),
            nats,
        }
    }

    /// Signs the claims and returns the token.
    ///
    /// # Errors
    ///
    /// [`Error::KeyKind`] if such a token is not signed by that kind of key; [`Error::Json`] if encoding fails.
    pub fn encode(mut self, signer: &Key) -> Result<String, Error> {
        let (issuer, _) = self.nats.kinds();
        if signer.kind() != issuer {
            return Err(Error::KeyKind { claim: "iss", expected: issuer });
        }
        self.iss = signer.public().to_owned();
        self.jti = String::new();
        let unnamed = serde_json::to_vec(&self).map_err(|_| Error::Json { part: "claims" })?;
        self.jti = BASE32_NOPAD.encode(ring::digest::digest(&ring::digest::SHA512_256, &unnamed).as_ref());
        let header = Header { typ: "JWT".to_owned(), alg: ALGORITHM.to_owned() };
        let header = serde_json::to_vec(&header).map_err(|_| Error::Json { part: "header" })?;
        let claims = serde_json::to_vec(&self).map_err(|_| Error::Json { part: "claims" })?;
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = signer.sign(signed.as_bytes());
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl Body {
    /// The kinds of key that sign such a token, and that it is about.
    fn kinds(&self) -> (Kind, Kind) {
        match self {
            Self::Operator(_) => (Kind::Operator, Kind::Operator),
            Self::Account(_) => (Kind::Operator, Kind::Account),
            Self::User(_) => (Kind::Account, Kind::User),
            Self::Activation(_) => (Kind::Account, Kind::Account),
        }
    }

    fn version(&self) -> u8 {
        match self {
            Self::Operator(body) => body.version,
            Self::Account(body) => body.version,
            Self::User(body) => body.version,
            Self::Activation(body) => body.version,
        }
    }
}

/// Reads a token and verifies that its claim `iss` signed it. Whether that issuer is trusted, and whether the token
/// holds now, is for the caller to say.
///
/// # Errors
///
/// Names the first thing that is wrong, without showing the token.
pub fn decode(token: &str) -> Result<Claims, Error> {
    if token.len() > MAX_TOKEN {
        return Err(Error::TooLong { length: token.len() });
    }
    let parts = token.split('.').count();
    let mut split = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) = (split.next(), split.next(), split.next(), split.next())
    else {
        return Err(Error::Parts { parts });
    };
    let header: Header =
        serde_json::from_value(object(header, "header")?).map_err(|_| Error::Json { part: "header" })?;
    if header.alg != ALGORITHM {
        return Err(Error::Algorithm);
    }
    if !header.typ.eq_ignore_ascii_case("jwt") {
        return Err(Error::Version { claim: "typ" });
    }
    let decoded: Claims =
        serde_json::from_value(object(claims, "claims")?).map_err(|_| Error::Json { part: "claims" })?;
    if decoded.nats.version() != VERSION {
        return Err(Error::Version { claim: "version" });
    }
    let (issuer, subject) = decoded.nats.kinds();
    if Kind::of(&decoded.iss) != Some(issuer) {
        return Err(Error::KeyKind { claim: "iss", expected: issuer });
    }
    if Kind::of(&decoded.sub) != Some(subject) {
        return Err(Error::KeyKind { claim: "sub", expected: subject });
    }
    let signature = bytes(signature, "signature")?;
    let signed = token.rsplit_once('.').map_or("", |(signed, _)| signed);
    if !key::verifies(&decoded.iss, signed.as_bytes(), &signature) {
        return Err(Error::Signature);
    }
    Ok(decoded)
}

fn bytes(part: &str, name: &'static str) -> Result<Vec<u8>, Error> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Error::Base64 { part: name })
}

fn object(part: &str, name: &'static str) -> Result<Value, Error> {
    let value = json::read(&bytes(part, name)?).map_err(|_| Error::Json { part: name })?;
    if value.is_object() { Ok(value) } else { Err(Error::Json { part: name }) }
}

/// Whole seconds since 1970; 0 for anything before.
pub(crate) fn seconds(instant: SystemTime) -> i64 {
    let since = instant.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
