//! The directory that holds the keys of a mesh: how it is made, whole or not at all, and opened.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use super::{
    AccountToken, Error, MeshKeys, RoleKeys,
    rotation::{Rotation, Signing},
    sites,
};
use crate::{
    MeshName, Role,
    identity::{
        jwt::{self, Body, Claims, Operator, VERSION},
        key::{Key, Kind},
        private_file,
    },
};

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
}

pub(super) fn seed_file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.seed"))
}

pub(super) fn role_file(role: Role) -> String {
    format!("role-{role}")
}
