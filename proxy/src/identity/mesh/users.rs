//! The tokens of users, and what this process logs in with itself.

use std::time::Duration;

use super::{Error, MeshKeys};
use crate::{
    Role, UserName,
    identity::{
        jwt::{self, Body, Claims, Permissions, VERSION},
        key::{Key, Kind},
        permissions,
    },
    services::ADMISSION,
};

/// How long a user's credential holds unless said otherwise.
pub const LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What logs in at the bus: a user's token and the key that it is about.
#[derive(Debug, Clone)]
pub struct Login {
    jwt: String,
    key: Key,
}

impl Login {
    pub(crate) fn new(jwt: String, key: Key) -> Self {
        Self { jwt, key }
    }

    /// The token.
    #[must_use]
    pub fn jwt(&self) -> &str {
        &self.jwt
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> &str {
        self.key.public()
    }

    /// Signs the nonce that the bus sends at login.
    #[must_use]
    pub fn sign(&self, nonce: &[u8]) -> Vec<u8> {
        self.key.sign(nonce)
    }
}

impl MeshKeys {
    /// Issues a token to the user who holds the private half of `public_key`.
    ///
    /// # Errors
    ///
    /// [`Error::PublicKey`] if that is no user's key; [`Error::Name`] and [`Error::Role`] for what no user bears;
    /// [`Error::Token`] if signing fails.
    pub fn issue(&self, name: &UserName, role: Role, public_key: &str, lifetime: Duration) -> Result<String, Error> {
        if !Role::GIVEN.contains(&role) {
            return Err(Error::Role(role));
        }
        if name.as_str() == ADMISSION {
            return Err(Error::Name { name: name.clone() });
        }
        self.sign(name, role, public_key, lifetime)
    }

    /// Signs the credential of a join token: it can ask for one thing, its holder's own credential.
    ///
    /// # Errors
    ///
    /// [`Error::PublicKey`] or [`Error::Token`].
    pub fn issue_token(&self, id: &UserName, public_key: &str, lifetime: Duration) -> Result<String, Error> {
        self.sign(id, Role::Join, public_key, lifetime)
    }

    fn sign(&self, name: &UserName, role: Role, public_key: &str, lifetime: Duration) -> Result<String, Error> {
        if Kind::of(public_key) != Some(Kind::User) {
            return Err(Error::PublicKey { name: name.clone() });
        }
        let mut tags = vec![format!("role:{role}"), format!("mesh:{}", self.mesh)];
        tags.extend(permissions::serves(name, role));
        let user = jwt::User {
            issuer_account: self.account.public().to_owned(),
            own: None,
            allowed_connection_types: Vec::new(),
            tags,
            version: VERSION,
        };
        user_token(name.as_str(), public_key, user, self.signing().roles.of(role), lifetime)
    }

    /// Makes a login with every right in the store account: for making buckets and streams. Its key lives in this
    /// process alone.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] or [`Error::Token`].
    pub fn store_credential(&self, lifetime: Duration) -> Result<Login, Error> {
        login(&format!("{}-store", self.mesh), &self.store, Permissions::default(), lifetime)
    }

    /// Makes a login to the system account: for revocations and for watching the servers. Its key lives in this
    /// process alone.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] or [`Error::Token`].
    pub fn system_credential(&self, lifetime: Duration) -> Result<Login, Error> {
        login(&format!("{}-system", self.mesh), &self.system, Permissions::default(), lifetime)
    }
}

pub(super) fn login(name: &str, account: &Key, permissions: Permissions, lifetime: Duration) -> Result<Login, Error> {
    let key = Key::generate(Kind::User).map_err(Error::Key)?;
    let jwt = user_token(name, key.public(), unscoped(permissions), account, lifetime)?;
    Ok(Login::new(jwt, key))
}

/// A user that the account itself vouches for.
pub(super) fn unscoped(permissions: Permissions) -> jwt::User {
    jwt::User {
        issuer_account: String::new(),
        own: Some(jwt::Template { permissions, subs: -1, data: -1, payload: -1 }),
        allowed_connection_types: Vec::new(),
        tags: Vec::new(),
        version: VERSION,
    }
}

fn user_token(name: &str, public: &str, user: jwt::User, signer: &Key, lifetime: Duration) -> Result<String, Error> {
    let mut claims = Claims::new(name, public, Body::User(user));
    let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
    claims.exp = Some(claims.iat.saturating_add(seconds));
    claims.encode(signer).map_err(|source| Error::Token { kind: "user", source })
}
