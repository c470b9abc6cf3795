//! The keys of a mesh, as the issuer keeps them, and the accounts and users that they vouch for.
//!
//! One directory of mode 0700 holds an operator key, the keys of the system, mesh and store accounts, and a signing
//! key for each role. Whoever holds it owns the mesh. Nothing of it ever leaves the issuer but account tokens, which
//! the bus needs, and user tokens, which hold no secret.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::{
    accounts,
    charter::Charter,
    credential::Issuer,
    jwt::{self, Body, Claims},
    key::Key,
    private_file,
    signed::{self, SignedIssuer},
    vouched::Revocations,
};
use crate::{MeshName, Role, SiteName, sync::lock};
use rotation::Signing;

mod directory;
mod error;
mod rotation;
mod sites;
mod users;

pub use error::Error;
pub(crate) use sites::ANSWERS;
pub use users::{LIFETIME, Login};

/// A token of an account, as the bus stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountToken {
    /// The account's public key.
    pub account: String,
    /// The token.
    pub jwt: String,
}

/// The signing key of each role.
#[derive(Debug)]
struct RoleKeys {
    viewer: Key,
    operator: Key,
    admin: Key,
    node: Key,
    plugin: Key,
    join: Key,
}

impl RoleKeys {
    fn make(key: impl Fn(Role) -> Result<Key, Error>) -> Result<Self, Error> {
        Ok(Self {
            viewer: key(Role::Viewer)?,
            operator: key(Role::Operator)?,
            admin: key(Role::Admin)?,
            node: key(Role::Node)?,
            plugin: key(Role::Plugin)?,
            join: key(Role::Join)?,
        })
    }

    fn of(&self, role: Role) -> &Key {
        match role {
            Role::Viewer => &self.viewer,
            Role::Operator => &self.operator,
            Role::Admin => &self.admin,
            Role::Node => &self.node,
            Role::Plugin => &self.plugin,
            Role::Join => &self.join,
        }
    }

    fn iter(&self) -> impl Iterator<Item = (Role, &Key)> {
        Role::ALL.into_iter().map(|role| (role, self.of(role)))
    }
}

/// All keys of a mesh, open for issuing.
#[derive(Debug)]
pub struct MeshKeys {
    directory: PathBuf,
    mesh: MeshName,
    operator: Key,
    system: Key,
    account: Key,
    store: Key,
    /// What signs users; a rotation changes it.
    signing: Mutex<Arc<Signing>>,
    operator_token: String,
    /// The public key of each site's server.
    sites: Mutex<BTreeMap<SiteName, String>>,
    /// As the server's files and the server itself must have them; a revocation changes one.
    accounts: Mutex<[AccountToken; 3]>,
}

impl MeshKeys {
    /// The mesh.
    #[must_use]
    pub fn mesh(&self) -> &MeshName {
        &self.mesh
    }

    /// The operator's token, which the bus starts with.
    #[must_use]
    pub fn operator_token(&self) -> &str {
        &self.operator_token
    }

    /// The operator's public key.
    #[must_use]
    pub fn operator(&self) -> &str {
        self.operator.public()
    }

    /// The system account's public key.
    #[must_use]
    pub fn system_account(&self) -> &str {
        self.system.public()
    }

    /// The tokens of the three accounts: system, mesh, store.
    #[must_use]
    pub fn accounts(&self) -> [AccountToken; 3] {
        lock(&self.accounts).clone()
    }

    /// What a bus server has to know of this mesh.
    #[must_use]
    pub fn charter(&self) -> Charter {
        Charter {
            operator: self.operator().to_owned(),
            operator_token: self.operator_token().to_owned(),
            system_account: self.system_account().to_owned(),
            accounts: self.accounts().to_vec(),
        }
    }

    /// Who vouches for the users of this mesh: what a credential is checked against. Join tokens are no users.
    #[must_use]
    pub fn issuer(&self) -> Issuer {
        let signing = self.signing();
        let of_users = signing.roles.iter().filter(|(role, _)| Role::GIVEN.contains(role));
        Issuer {
            mesh: self.mesh.clone(),
            account: self.account.public().to_owned(),
            roles: of_users.map(|(role, key)| (key.public().to_owned(), role)).collect(),
            former: signing.former().filter(|(_, role)| Role::GIVEN.contains(role)).collect(),
            serial: signing.rotation.serial,
        }
    }

    /// Who vouches for the users, signed by the mesh's account: whoever knows that key knows the issuer.
    #[must_use]
    pub fn signed_issuer(&self) -> SignedIssuer {
        SignedIssuer::sign(self.issuer(), &self.account)
    }

    /// Signs for a store, which the mesh accepts as that of this generation.
    #[must_use]
    pub fn sign_store(&self, id: &str, generation: u64) -> String {
        signed::sign_store(&self.mesh, id, generation, &self.account)
    }

    /// Ends all tokens of a user's key that were issued until now, and returns the account token that every server
    /// must be given for it to take effect.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the new token cannot be stored; then nothing is revoked.
    pub fn revoke(&self, public_key: &str) -> Result<AccountToken, Error> {
        // Held to the end: of two revocations at once, neither may sign over the other.
        let mut accounts = lock(&self.accounts);
        let [_, mesh, _] = &mut *accounts;
        let file = self.directory.join("mesh.jwt");
        let mut claims = jwt::decode(&mesh.jwt).map_err(|source| Error::Damaged { file, source })?;
        if let Body::Account(account) = &mut claims.nats {
            account.revocations.insert(public_key.to_owned(), jwt::seconds(SystemTime::now()));
        }
        let token = self.sign_account("mesh", self.account.public(), claims.nats)?;
        *mesh = token.clone();
        Ok(token)
    }

    /// Whose tokens count no more, as the mesh account's own token says.
    #[must_use]
    pub fn revocations(&self) -> Revocations {
        let [_, mesh, _] = &self.accounts();
        match jwt::decode(&mesh.jwt).map(|claims| claims.nats) {
            Ok(Body::Account(account)) => Revocations::new(account.revocations),
            _ => Revocations::default(),
        }
    }

    /// Signs and stores the accounts whose claims differ from `stored` (system, mesh, store).
    fn sign_accounts(&self, stored: &[Claims]) -> Result<(), Error> {
        let signing = self.signing();
        let former: Vec<_> = signing.former().collect();
        let roles = signing.roles.iter().map(|(role, key)| (role, key.public()));
        let all = roles.chain(former.iter().map(|(key, role)| (*role, key.as_str())));
        let has_sites = !lock(&self.sites).is_empty();
        let mesh_account = accounts::mesh(&self.mesh, self.account.public(), &self.store, all, has_sites)
            .map_err(|source| Error::Token { kind: "activation", source })?;
        let wanted = [
            ("system", self.system.public().to_owned(), accounts::system()),
            ("mesh", self.account.public().to_owned(), mesh_account),
            ("store", self.store.public().to_owned(), accounts::store(&self.mesh)),
        ];
        for (index, (name, key, mut account)) in wanted.into_iter().enumerate() {
            let before = stored.get(index).and_then(|claims| match &claims.nats {
                Body::Account(account) => Some(account.as_ref()),
                _ => None,
            });
            account.revocations = before.map(|account| account.revocations.clone()).unwrap_or_default();
            if before.is_some_and(|before| accounts::say_the_same(before, &account)) {
                continue;
            }
            let token = self.sign_account(name, &key, Body::Account(Box::new(account)))?;
            if let Some(place) = lock(&self.accounts).get_mut(index) {
                *place = token;
            }
        }
        Ok(())
    }

    fn signing(&self) -> Arc<Signing> {
        lock(&self.signing).clone()
    }

    fn sign_account(&self, name: &str, key: &str, body: Body) -> Result<AccountToken, Error> {
        let title = if name == "mesh" { self.mesh.to_string() } else { format!("{}-{name}", self.mesh) };
        let jwt = Claims::new(title, key, body)
            .encode(&self.operator)
            .map_err(|source| Error::Token { kind: "account", source })?;
        private_file::write(&self.directory.join(format!("{name}.jwt")), &jwt)?;
        Ok(AccountToken { account: key.to_owned(), jwt })
    }
}

#[cfg(test)]
mod tests;
