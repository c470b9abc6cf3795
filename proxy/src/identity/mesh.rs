//! The keys of a mesh, as the issuer keeps them, and the accounts and users that they vouch for.
//!
//! One directory of mode 0700 holds an operator key, the keys of the system, mesh and store accounts, and a signing
//! key for each role. Whoever holds it owns the mesh. Nothing of it ever leaves the issuer but account tokens, which
//! the bus needs, and user tokens, which hold no secret.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use rotation::{Rotation, Signing};
use serde::{Deserialize, Serialize};

use super::{
    accounts,
    charter::Charter,
    credential::Issuer,
    jwt::{self, Body, Claims, Operator, Permissions, VERSION},
    key::{Key, KeyError, Kind},
    permissions, private_file,
    signed::{self, SignedIssuer},
    vouched::Revocations,
};
use crate::{MeshName, Role, SiteName, UserName, services::ADMISSION, sync::lock};

mod rotation;
mod sites;

pub(crate) use sites::ANSWERS;

/// How long a user's credential holds unless said otherwise.
pub const LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Why the keys of a mesh cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written, or others could.
    #[error(transparent)]
    File(#[from] private_file::Error),
    /// There are keys already.
    #[error("{directory} already holds something; open the keys that are there, or choose an empty directory")]
    Exists {
        /// The directory.
        directory: PathBuf,
    },
    /// A seed file holds no such seed.
    #[error("{file} holds no seed of kind {kind}; restore it from a backup of the keys")]
    Seed {
        /// The file.
        file: PathBuf,
        /// The kind of key that belongs there.
        kind: Kind,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// A token file is damaged.
    #[error("{file} holds no usable token; restore it from a backup of the keys")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: jwt::Error,
    },
    /// A token is well made, but not of these keys.
    #[error("{file} is not a token of the keys beside it; restore both from the same backup")]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// A token could not be made.
    #[error("cannot make a token of kind {kind}")]
    Token {
        /// The kind of token.
        kind: &'static str,
        /// Why not.
        #[source]
        source: jwt::Error,
    },
    /// A key could not be made.
    #[error("cannot make a key")]
    Key(#[source] KeyError),
    /// The public key to issue a credential for is not a user's.
    #[error(
        "the public key for {name} is not the public key of a user: such a key begins with U and has 56 characters"
    )]
    PublicKey {
        /// The user that the credential was for.
        name: UserName,
    },
    /// The name stands for something else in subjects.
    #[error("\"{name}\" stands for the issuer of the mesh in subjects; choose another name")]
    Name {
        /// The name.
        name: UserName,
    },
    /// The role is that of tokens.
    #[error("no user is given the role {0}")]
    Role(Role),
    /// What is noted of a rotation cannot be read.
    #[error("{file} does not say how the signing keys were rotated; restore it from a backup of the keys")]
    Rotation {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// What is noted of the sites cannot be read.
    #[error("{file} does not say which sites the mesh has; restore it from a backup of the keys")]
    Sites {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// There is no such site.
    #[error("the mesh has no site \"{site}\"")]
    NoSite {
        /// The site.
        site: SiteName,
    },
    /// The keys were made, but could not be put in their place.
    #[error("cannot put the new keys at {directory}")]
    Place {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

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
    /// Makes the keys of a new mesh in `directory`, which must not exist or be empty. It appears whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if there is something already; else what failed.
    pub fn create(directory: &Path, mesh: &MeshName) -> Result<Self, Error> {
        if fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Error::Exists { directory: directory.to_owned() });
        }
        let place = |source| Error::Place { directory: directory.to_owned(), source };
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        private_file::make_directory(parent)?;
        let staged = parent.join(format!(".keys-{}", uuid::Uuid::now_v7().simple()));
        let made = Self::fill(&staged, mesh).and_then(|()| {
            fs::rename(&staged, directory).map_err(place)?;
            Ok(private_file::sync_directory(parent)?)
        });
        if made.is_err() {
            // Seeds must not lie about; what made the making fail matters more than a failure here.
            let _ = fs::remove_dir_all(&staged);
        }
        made.and_then(|()| Self::open(directory))
    }

    fn fill(directory: &Path, mesh: &MeshName) -> Result<(), Error> {
        private_file::make_directory(directory)?;
        let key = |kind| Key::generate(kind).map_err(Error::Key);
        let roles = RoleKeys::make(|_| key(Kind::Account))?;
        let empty = || AccountToken { account: String::new(), jwt: String::new() };
        let keys = Self {
            directory: directory.to_owned(),
            mesh: mesh.clone(),
            operator: key(Kind::Operator)?,
            system: key(Kind::Account)?,
            account: key(Kind::Account)?,
            store: key(Kind::Account)?,
            signing: Mutex::new(Arc::new(Signing { roles, rotation: Rotation::default() })),
            operator_token: String::new(),
            sites: Mutex::default(),
            accounts: Mutex::new([empty(), empty(), empty()]),
        };
        let seeds =
            [("operator", &keys.operator), ("system", &keys.system), ("mesh", &keys.account), ("store", &keys.store)];
        for (name, key) in seeds {
            private_file::write(&seed_file(directory, name), key.seed())?;
        }
        for (role, key) in keys.signing().roles.iter() {
            private_file::write(&seed_file(directory, &role_file(role)), key.seed())?;
        }
        let operator = Operator { system_account: keys.system.public().to_owned(), version: VERSION };
        let claims = Claims::new(mesh.as_str(), keys.operator.public(), Body::Operator(operator));
        let token = claims.encode(&keys.operator).map_err(|source| Error::Token { kind: "operator", source })?;
        private_file::write(&directory.join("operator.jwt"), &token)?;
        keys.sign_accounts(&[])
    }

    /// Opens the keys of a mesh. If this version's permissions differ from those that the accounts carry, the
    /// accounts are signed anew; revocations stay. Keys that were made before there were tokens get the key of tokens.
    ///
    /// # Errors
    ///
    /// Names the file that is missing, damaged, open to others, or of other keys.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let read = |name: &str, kind| {
            let file = seed_file(directory, name);
            let seed = private_file::read(&file)?;
            Key::from_seed(seed.trim(), kind).map_err(|source| Error::Seed { file, kind, source })
        };
        let operator = read("operator", Kind::Operator)?;
        let roles = RoleKeys::make(|role| match read(&role_file(role), Kind::Account) {
            Err(Error::File(private_file::Error::Missing { file })) if role == Role::Join => {
                let key = Key::generate(Kind::Account).map_err(Error::Key)?;
                private_file::write(&file, key.seed())?;
                Ok(key)
            }
            read => read,
        })?;
        let (system, account, store) =
            (read("system", Kind::Account)?, read("mesh", Kind::Account)?, read("store", Kind::Account)?);

        let stored = |name: &str, subject: &Key| {
            let file = directory.join(format!("{name}.jwt"));
            let text = private_file::read(&file)?;
            let jwt = text.trim().to_owned();
            let claims = jwt::decode(&jwt).map_err(|source| Error::Damaged { file: file.clone(), source })?;
            if claims.iss != operator.public() || claims.sub != subject.public() {
                return Err(Error::Foreign { file });
            }
            Ok((claims, AccountToken { account: subject.public().to_owned(), jwt }))
        };
        let (_, operator_token) = stored("operator", &operator)?;
        let (system_claims, system_token) = stored("system", &system)?;
        let (account_claims, account_token) = stored("mesh", &account)?;
        let (store_claims, store_token) = stored("store", &store)?;
        let mesh =
            MeshName::parse(&account_claims.name).map_err(|_| Error::Foreign { file: directory.join("mesh.jwt") })?;

        let keys = Self {
            directory: directory.to_owned(),
            mesh,
            operator,
            system,
            account,
            store,
            signing: Mutex::new(Arc::new(Signing { roles, rotation: Rotation::read(directory)? })),
            operator_token: operator_token.jwt,
            sites: Mutex::new(sites::read(directory)?),
            accounts: Mutex::new([system_token, account_token, store_token]),
        };
        keys.sign_accounts(&[system_claims, account_claims, store_claims])?;
        Ok(keys)
    }

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

fn login(name: &str, account: &Key, permissions: Permissions, lifetime: Duration) -> Result<Login, Error> {
    let key = Key::generate(Kind::User).map_err(Error::Key)?;
    let jwt = user_token(name, key.public(), unscoped(permissions), account, lifetime)?;
    Ok(Login::new(jwt, key))
}

/// A user that the account itself vouches for.
fn unscoped(permissions: Permissions) -> jwt::User {
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

fn seed_file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.seed"))
}

fn role_file(role: Role) -> String {
    format!("role-{role}")
}

#[cfg(test)]
mod tests;
