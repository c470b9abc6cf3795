//! The admin of the host that brought the mesh up: whoever starts the issuer finds a credential there that is good, unless
//! that admin was revoked.

use std::path::Path;

use aigis_proxy::{
    Code, Error, Role, UserName,
    identity::{Credential, FileError, credential},
};
use aigis_registry::{Snapshot, Timestamp, record::UserRecord};

use super::Office;

impl Office {
    /// Sees to the credential in `file`: it is renewed when that is due, also where its time is over, and made where there
    /// is none; `usual` is the name that it is then for. The credential of an admin that was revoked is left as it is, for
    /// as long as there is another admin to make a new one.
    ///
    /// # Errors
    ///
    /// What the store says, and what keeps from writing.
    pub(crate) async fn first_admin(&self, file: &Path, usual: &UserName) -> Result<(), Error> {
        let found = match Credential::read_ended(file, Some(&self.keys.issuer())) {
            Ok(found) if found.role() == Role::Admin => Some(found),
            // A person of another role joined on this host.
            Ok(_) => return Ok(()),
            Err(credential::Error::File(FileError::Missing { .. }) | credential::Error::Flawed { .. }) => None,
            Err(error) => {
                tracing::warn!(%error, "the credential of this host's admin was left as it is");
                return Ok(());
            }
        };
        let name = found.as_ref().map_or(usual, Credential::name).clone();
        let known = match self.user(&name).await {
            Ok(known) => Some(known),
            Err(error) if error.code == Code::NotFound => None,
            Err(error) => return Err(error),
        };
        let ended = |found: &Credential| self.keys.revocations().contains(found.public());
        if known.as_ref().is_some_and(|known| known.revoked_at.is_some()) || found.as_ref().is_some_and(ended) {
            if let Some(other) = other_admin(&self.cache.snapshot(), &name) {
                tracing::warn!(
                    user = name.as_str(),
                    file = %file.display(),
                    "this admin was revoked, and gets no new credential here; {other} can make one: \
                     aish users create {name} --role admin"
                );
                return Ok(());
            }
            tracing::warn!(
                user = name.as_str(),
                "this admin was revoked, and no other is left: it gets a new credential"
            );
            return self.anew(file, &name).await;
        }
        let Some(found) = found else { return self.anew(file, &name).await };
        if !found.is_due(&self.keys.issuer()) {
            return self.note(&found).await;
        }
        let token = self.sign(&name, Role::Admin, found.public(), |_| Ok(())).await?;
        found.renew(&token, Some(&self.keys.issuer())).map_err(unusable)?;
        found.replace(file).map_err(|error| Error::precondition(error.to_string()))
    }

    /// Makes a credential with a new key, which ends the one that the name had.
    async fn anew(&self, file: &Path, name: &UserName) -> Result<(), Error> {
        let key = Credential::generate().map_err(|error| Error::internal(error.to_string()))?;
        self.supersede(name, key.public()).await?;
        let token = self.sign(name, Role::Admin, key.public(), |_| Ok(())).await?;
        let credential = Credential::new(&token, key, Some(&self.keys.issuer())).map_err(unusable)?;
        credential.write(file).map_err(|error| Error::precondition(error.to_string()))
    }
}

fn unusable(flaw: credential::Flaw) -> Error {
    Error::internal(format!("the token that was signed cannot be used: {flaw}"))
}

/// An admin beside the one of that name whose credential holds.
pub(super) fn other_admin(snapshot: &Snapshot, name: &UserName) -> Option<UserName> {
    let holds = |user: &UserRecord| user.revoked_at.is_none() && user.expires_at > Timestamp::now();
    let mut admins = snapshot.users().filter(|user| user.role == Role::Admin && user.name != *name && holds(user));
    admins.next().map(|user| user.name.clone())
}
