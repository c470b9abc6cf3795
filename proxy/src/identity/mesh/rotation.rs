//! The rotation of the keys that sign users. New ones take their place, and those of before count beside them until every
//! user has a token of the new ones; then they are removed.
//!
//! What is noted in `rotation.json` goes before what is done: a rotation that was interrupted anywhere goes on where it was.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::{
    AccountToken, Error, MeshKeys, RoleKeys,
    directory::{role_file, seed_file},
};
use crate::{
    Role,
    identity::{
        jwt::{self, Claims},
        key::{Key, Kind},
        private_file,
    },
    sync::lock,
};

/// What signs users now.
#[derive(Debug)]
pub(super) struct Signing {
    pub(super) roles: RoleKeys,
    pub(super) rotation: Rotation,
}

/// What is noted of rotations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// How often anything about the signing keys has changed.
    pub(super) serial: u64,
    /// When the last one began, in seconds since 1970.
    since: i64,
    /// The keys of before, while they count.
    former: BTreeMap<String, Role>,
}

impl Rotation {
    pub(super) fn read(directory: &Path) -> Result<Self, Error> {
        let file = file(directory);
        match private_file::read(&file) {
            Ok(text) => serde_json::from_str(&text).map_err(|source| Error::Rotation { file, source }),
            Err(private_file::Error::Missing { .. }) => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&self, directory: &Path) -> Result<(), Error> {
        Ok(private_file::write(&file(directory), &serde_json::to_string(self).unwrap_or_default())?)
    }
}

impl Signing {
    /// The keys that signed before, and still count.
    pub(super) fn former(&self) -> impl Iterator<Item = (String, Role)> {
        let is_current = |key: &str| self.roles.iter().any(|(_, current)| current.public() == key);
        let former = self.rotation.former.iter().filter(move |(key, _)| !is_current(key));
        former.map(|(key, role)| (key.clone(), *role))
    }

    /// Whether a role is still signed for by a key that is to be replaced.
    fn is_unfinished(&self) -> bool {
        self.roles.iter().any(|(_, key)| self.rotation.former.contains_key(key.public()))
    }
}

impl MeshKeys {
    /// When the rotation began that is under way, if one is: for as long as former keys count.
    #[must_use]
    pub fn rotating_since(&self) -> Option<SystemTime> {
        let signing = self.signing();
        let since = u64::try_from(signing.rotation.since).unwrap_or_default();
        (!signing.rotation.former.is_empty()).then(|| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(since))
    }

    /// Makes new keys for the signing of users, or goes on where that was interrupted; those of before count beside them.
    /// Returns the account token that every server must be given for it to take effect, which is the one that it has if
    /// a rotation is under way already.
    ///
    /// # Errors
    ///
    /// What cannot be written: then the former keys sign, or the new ones do, and it can be done again.
    pub fn rotate(&self) -> Result<AccountToken, Error> {
        let mut signing = lock(&self.signing);
        let mut rotation = signing.rotation.clone();
        let roles = self.read_roles()?;
        if rotation.former.is_empty() {
            rotation.since = jwt::seconds(SystemTime::now());
            rotation.former = roles.iter().map(|(role, key)| (key.public().to_owned(), role)).collect();
        }
        let mut noted = Signing { roles, rotation };
        if noted.is_unfinished() {
            noted.rotation.serial += 1;
            noted.rotation.write(&self.directory)?;
            noted.roles = RoleKeys::make(|role| {
                let key = noted.roles.of(role);
                if !noted.rotation.former.contains_key(key.public()) {
                    return Ok(key.clone());
                }
                let key = Key::generate(Kind::Account).map_err(Error::Key)?;
                private_file::write(&seed_file(&self.directory, &role_file(role)), key.seed())?;
                Ok(key)
            })?;
        }
        *signing = Arc::new(noted);
        drop(signing);
        self.sign_mesh_account()
    }

    /// Removes the keys of before: what they signed counts no more. Returns the account token that every server must be
    /// given for it to take effect.
    ///
    /// # Errors
    ///
    /// What cannot be written; then it can be done again.
    pub fn end_rotation(&self) -> Result<AccountToken, Error> {
        let mut signing = lock(&self.signing);
        if !signing.rotation.former.is_empty() && !signing.is_unfinished() {
            let Rotation { serial, since, .. } = signing.rotation.clone();
            let rotation = Rotation { serial: serial + 1, since, former: BTreeMap::new() };
            rotation.write(&self.directory)?;
            *signing = Arc::new(Signing { roles: self.read_roles()?, rotation });
        }
        drop(signing);
        self.sign_mesh_account()
    }

    /// The account's token, signed anew if it says something else than what holds.
    pub(super) fn sign_mesh_account(&self) -> Result<AccountToken, Error> {
        let names = ["system", "mesh", "store"];
        let stored: Vec<Claims> = names
            .into_iter()
            .zip(self.accounts())
            .map(|(name, token)| {
                let file = self.directory.join(format!("{name}.jwt"));
                jwt::decode(&token.jwt).map_err(|source| Error::Damaged { file, source })
            })
            .collect::<Result<_, _>>()?;
        self.sign_accounts(&stored)?;
        let [_, mesh, _] = self.accounts();
        Ok(mesh)
    }

    fn read_roles(&self) -> Result<RoleKeys, Error> {
        RoleKeys::make(|role| {
            let file = seed_file(&self.directory, &role_file(role));
            let seed = private_file::read(&file)?;
            Key::from_seed(seed.trim(), Kind::Account).map_err(|source| Error::Seed {
                file,
                kind: Kind::Account,
                source,
            })
        })
    }
}

fn file(directory: &Path) -> PathBuf {
    directory.join("rotation.json")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{MeshName, UserName, identity::Credential};

    fn made() -> (tempfile::TempDir, MeshKeys) {
        let directory = tempfile::tempdir().unwrap();
        let keys = MeshKeys::create(&directory.path().join("keys"), &MeshName::parse("main").unwrap()).unwrap();
        (directory, keys)
    }

    fn signs(keys: &MeshKeys, token: &AccountToken) -> usize {
        assert!(keys.accounts().contains(token));
        match jwt::decode(&token.jwt).unwrap().nats {
            jwt::Body::Account(account) => account.signing_keys.len(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn former_keys_count_until_they_are_removed() {
        let (_directory, keys) = made();
        let vera = UserName::parse("vera").unwrap();
        let issue = |key: &Key| keys.issue(&vera, Role::Viewer, key.public(), Duration::from_secs(60)).unwrap();
        let (key, before) = (Credential::generate().unwrap(), keys.issuer());
        let old = issue(&key);
        assert_eq!(keys.rotating_since(), None);
        assert_eq!(signs(&keys, &keys.rotate().unwrap()), 12);
        let during = keys.issuer();
        assert!(during.follows(&before) && !before.follows(&during) && keys.rotating_since().is_some());
        let new = issue(&key);
        assert!(Credential::new(&old, key.clone(), Some(&during)).is_ok());
        assert!(Credential::new(&new, key.clone(), Some(&during)).is_ok());
        assert!(
            Credential::new(&new, key.clone(), Some(&before)).is_err(),
            "who was not told does not know the new ones"
        );

        assert_eq!(keys.rotate().unwrap(), keys.rotate().unwrap(), "once is enough");
        assert_eq!(keys.issuer(), during);
        assert_eq!(signs(&keys, &keys.end_rotation().unwrap()), 6);
        let after = keys.issuer();
        assert!(after.follows(&during) && after.former.is_empty() && after.roles == during.roles);
        assert!(Credential::new(&old, key.clone(), Some(&after)).is_err());
        assert!(Credential::new(&new, key, Some(&after)).is_ok());
    }

    #[test]
    fn a_rotation_that_was_interrupted_anywhere_goes_on() {
        let (directory, keys) = made();
        let before = keys.issuer();
        let noted: BTreeMap<_, _> =
            keys.signing().roles.iter().map(|(role, key)| (key.public().to_owned(), role)).collect();
        // Noted, and one of six keys replaced.
        let rotation = Rotation { serial: 1, since: 7, former: noted.clone() };
        rotation.write(&directory.path().join("keys")).unwrap();
        let fresh = Key::generate(Kind::Account).unwrap();
        private_file::write(&seed_file(&directory.path().join("keys"), "role-node"), fresh.seed()).unwrap();
        let keys = MeshKeys::open(&directory.path().join("keys")).unwrap();
        let half = keys.issuer();
        assert!(half.role_of(fresh.public()) == Some(Role::Node) && half.former.len() == 1);
        assert!(before.roles.keys().all(|key| half.role_of(key).is_some()), "nobody is locked out");
        assert_eq!(signs(&keys, &keys.rotate().unwrap()), 12);
        let whole = keys.issuer();
        assert!(whole.follows(&half) && whole.former == before.roles && whole.roles.contains_key(fresh.public()));

        // What was to be removed is removed at the next start, if the account was not signed anew.
        Rotation { serial: 3, since: 7, former: BTreeMap::new() }.write(&directory.path().join("keys")).unwrap();
        let keys = MeshKeys::open(&directory.path().join("keys")).unwrap();
        assert_eq!(signs(&keys, &keys.accounts()[1].clone()), 6);
        assert!(keys.issuer().former.is_empty());
    }
}
