//! The sites of a mesh: servers of others that are joined to its bus as leaf nodes, each by a credential of its own.
//!
//! What is noted in `sites.json` is each one's public key. The private half stands in the credential alone, which goes to
//! the site.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    AccountToken, Error, Login, MeshKeys,
    users::{login, unscoped},
};
use crate::{
    SiteName,
    identity::{
        accounts::OfSite,
        credential,
        jwt::{self, Account, Allow, Body, Claims, ConnectionType, Permissions, User},
        key::{Key, Kind},
        permissions, private_file,
    },
    sync::lock,
};

/// Where those answer who were told of accounts.
pub(crate) const ANSWERS: &str = "_INBOX.*.accounts";

impl MeshKeys {
    /// The sites.
    #[must_use]
    pub fn sites(&self) -> Vec<SiteName> {
        lock(&self.sites).keys().cloned().collect()
    }

    /// Makes that a site of the mesh, unless it is one, and writes the credential of its server, which `file` must hold for
    /// it to be written anew: a site's key is made once, and may have been moved to the site.
    ///
    /// # Errors
    ///
    /// What cannot be signed or written, and then there is no such site.
    pub fn add_site(&self, site: &SiteName, file: &Path) -> Result<(), Error> {
        let known = lock(&self.sites).get(site).cloned();
        let key = match (&known, private_file::read(file)) {
            (Some(known), Ok(text)) => match credential::seed(&text) {
                Some(key) if key.public() == known.as_str() => key,
                _ => return Ok(()),
            },
            (Some(_), Err(_)) => return Ok(()),
            (None, _) => Key::generate(Kind::User).map_err(Error::Key)?,
        };
        let user = User {
            allowed_connection_types: vec![ConnectionType::LeafNode],
            ..unscoped(permissions::of_site(&self.mesh, site))
        };
        // Without an end: nobody at the site could renew it. It holds until the site is ended.
        let claims = Claims::new(format!("site-{site}"), key.public(), Body::User(user));
        let token = claims.encode(&self.account).map_err(|source| Error::Token { kind: "user", source })?;
        private_file::write(file, &credential::to_text(&token, &key, &format!("the server of the site {site}")))?;
        if known.is_none() {
            self.note_sites(|sites| drop(sites.insert(site.clone(), key.public().to_owned())))?;
            self.sign_mesh_account()?;
        }
        Ok(())
    }

    /// Takes a site's access away, and returns the account token that every server must be given for it to take effect.
    ///
    /// # Errors
    ///
    /// [`Error::NoSite`]; what cannot be written, and then it can be done again.
    pub fn end_site(&self, site: &SiteName) -> Result<AccountToken, Error> {
        let key = lock(&self.sites).get(site).cloned().ok_or_else(|| Error::NoSite { site: site.clone() })?;
        self.revoke(&key)?;
        self.note_sites(|sites| drop(sites.remove(site)))?;
        self.sign_mesh_account()
    }

    /// The tokens of the three accounts as a site's server has them: system, mesh, store.
    ///
    /// # Errors
    ///
    /// What cannot be signed.
    pub fn accounts_of_site(&self, site: &SiteName) -> Result<[AccountToken; 3], Error> {
        let of = OfSite { mesh: &self.mesh, site, system: &self.system, store: &self.store };
        let sign = |name: String, key: &Key, account: Account| {
            let claims = Claims::new(name, key.public(), Body::Account(Box::new(account)));
            let jwt = claims.encode(&self.operator).map_err(|source| Error::Token { kind: "account", source })?;
            Ok::<_, Error>(AccountToken { account: key.public().to_owned(), jwt })
        };
        let [_, mesh, _] = self.accounts();
        let damaged = |source| Error::Damaged { file: self.directory.join("mesh.jwt"), source };
        let Body::Account(at_the_bus) = jwt::decode(&mesh.jwt).map_err(damaged)?.nats else {
            return Err(Error::Foreign { file: self.directory.join("mesh.jwt") });
        };
        let account = of
            .mesh(*at_the_bus, self.account.public())
            .map_err(|source| Error::Token { kind: "activation", source })?;
        Ok([
            sign(format!("{}-system", self.mesh), &self.system, of.system())?,
            sign(self.mesh.to_string(), &self.account, account)?,
            sign(format!("{}-store", self.mesh), &self.store, of.store())?,
        ])
    }

    /// Makes a login that can tell sites of accounts, and nothing else. Its key lives in this process alone.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] or [`Error::Token`].
    pub fn sites_credential(&self, lifetime: Duration) -> Result<Login, Error> {
        let publish = lock(&self.sites).keys().map(|site| permissions::site_subject(&self.mesh, site)).collect();
        let subscribe = vec![ANSWERS.to_owned()];
        let permissions = Permissions { publish: Allow { allow: publish }, subscribe: Allow { allow: subscribe } };
        login(&format!("{}-sites", self.mesh), &self.account, permissions, lifetime)
    }

    /// Writes down what changes about the sites, before it is so.
    fn note_sites(&self, change: impl FnOnce(&mut BTreeMap<SiteName, String>)) -> Result<(), Error> {
        let mut sites = lock(&self.sites);
        let mut changed = sites.clone();
        change(&mut changed);
        private_file::write(&file(&self.directory), &serde_json::to_string(&changed).unwrap_or_default())?;
        *sites = changed;
        Ok(())
    }
}

/// Reads the sites that are noted.
pub(super) fn read(directory: &Path) -> Result<BTreeMap<SiteName, String>, Error> {
    let file = file(directory);
    match private_file::read(&file) {
        Ok(text) => serde_json::from_str(&text).map_err(|source| Error::Sites { file, source }),
        Err(private_file::Error::Missing { .. }) => Ok(BTreeMap::new()),
        Err(error) => Err(error.into()),
    }
}

fn file(directory: &Path) -> PathBuf {
    directory.join("sites.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MeshName, identity::Credential};

    fn made() -> (tempfile::TempDir, MeshKeys, PathBuf, SiteName) {
        let directory = tempfile::tempdir().unwrap();
        let keys = MeshKeys::create(&directory.path().join("keys"), &MeshName::parse("main").unwrap()).unwrap();
        let file = directory.path().join("site.creds");
        (directory, keys, file, SiteName::parse("paris").unwrap())
    }

    fn account(token: &AccountToken) -> Account {
        match jwt::decode(&token.jwt).unwrap().nats {
            Body::Account(account) => *account,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn leaf_nodes_may_connect_while_there_are_sites() {
        let (directory, keys, file, paris) = made();
        let leaf = |keys: &MeshKeys| account(&keys.accounts()[1]).limits.leaf;
        assert_eq!((leaf(&keys), keys.sites()), (0, Vec::new()));
        assert!(matches!(keys.end_site(&paris), Err(Error::NoSite { .. })));
        keys.add_site(&paris, &file).unwrap();
        let first = private_file::read(&file).unwrap();
        assert_eq!((leaf(&keys), keys.sites()), (-1, vec![paris.clone()]));

        let again = MeshKeys::open(&directory.path().join("keys")).unwrap();
        assert_eq!((leaf(&again), again.sites()), (-1, vec![paris.clone()]));
        again.add_site(&paris, &file).unwrap();
        let second = private_file::read(&file).unwrap();
        let key = |text: &str| credential::seed(text).unwrap().public().to_owned();
        assert_eq!(key(&first), key(&second), "the key stays");
        std::fs::remove_file(&file).unwrap();
        again.add_site(&paris, &file).unwrap();
        assert!(!file.exists(), "a key that was moved to its site is made once");

        let token = again.end_site(&paris).unwrap();
        assert!(account(&token).revocations.contains_key(&key(&first)));
        assert_eq!((leaf(&again), again.sites()), (0, Vec::new()));
    }

    #[test]
    fn a_site_has_the_users_of_the_bus_and_nothing_of_its_store() {
        let (_directory, keys, file, paris) = made();
        keys.add_site(&paris, &file).unwrap();
        let revoked = Credential::generate().unwrap();
        keys.revoke(revoked.public()).unwrap();
        let [system, mesh, store] = keys.accounts_of_site(&paris).unwrap();
        let at_the_bus = account(&keys.accounts()[1]);
        let (system, mesh, store) = (account(&system), account(&mesh), account(&store));
        assert_eq!((&mesh.signing_keys, &mesh.revocations), (&at_the_bus.signing_keys, &at_the_bus.revocations));
        let subjects: Vec<_> = mesh.imports.iter().map(|import| import.subject.as_str()).collect();
        assert_eq!(subjects, ["$JS.API.INFO", "$SYS.REQ.CLAIMS.UPDATE"]);
        assert_eq!(mesh.imports[1].local_subject, "aigis.v1.main.site.paris.accounts");
        assert!(system.exports.iter().all(|export| export.token_req) && store.limits.streams == 0);

        let text = private_file::read(&file).unwrap();
        let token = text.lines().nth(1).unwrap();
        let Body::User(user) = jwt::decode(token).unwrap().nats else { panic!("no user") };
        assert_eq!(user.allowed_connection_types, [ConnectionType::LeafNode]);
    }
}
