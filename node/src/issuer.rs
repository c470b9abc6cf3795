//! The issuer: signs credentials for users, renews and revokes them, removes nodes that are
//! dead, and puts each on record.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Address, Bus, Code, Effect, Error, NodeName, Request, Role, SkillPath, UserName,
    dispatch::{Begun, Deed, Journal},
    identity::{CaCertificate, Credential, MeshKeys},
    rpc,
    services::{ISSUER, Issuer, Revoked},
    subject::Caller,
    task,
};
use aigis_registry::{Cache, Registry, Timestamp, record::UserRecord};
use futures::FutureExt;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tarpc::{context::Context, server::Serve};
use tokio::sync::Mutex;

mod removal;
mod revocation;

/// What the issuer works with.
pub(crate) struct Office {
    /// The signing keys.
    pub(crate) keys: Arc<MeshKeys>,
    /// Where each deed is put down.
    pub(crate) journal: Arc<dyn Journal>,
    /// The node that this is.
    pub(crate) node: NodeName,
    /// The bus's address.
    pub(crate) url: String,
    /// Who vouches for it, where it speaks TLS.
    pub(crate) ca: Option<CaCertificate>,
    /// Writes the records of users.
    pub(crate) registry: Registry,
    /// What is known of the mesh.
    pub(crate) cache: Cache,
    /// How long a credential holds.
    pub(crate) credential_life: Duration,
    /// Held while a key is revoked: of two admins that revoke each other, one stays.
    pub(crate) revoking: Mutex<()>,
}

/// A request, and whose it is.
#[derive(Clone)]
struct Desk {
    office: Arc<Office>,
    caller: Caller,
}

/// Serves the issuer's service under the node's own name until the returned value is dropped.
///
/// # Errors
///
/// As [`Bus::subscribe`].
pub(crate) async fn serve(bus: &Bus, office: Office) -> Result<task::Owned, Error> {
    let target = office.node.to_string();
    let office = Arc::new(office);
    rpc::serve(bus, &target, ISSUER, move |caller, context, request| {
        let desk = Desk { office: office.clone(), caller };
        async move { desk.serve().serve(context, request).await }.boxed()
    })
    .await
}

impl Office {
    /// Puts users on record whose credentials were made without being asked for.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub(crate) async fn note(&self, users: [&Credential; 2]) -> Result<(), Error> {
        let instant = |time| Timestamp::from(time::OffsetDateTime::from(time));
        for user in users {
            let issued_at = instant(user.issued());
            let record = UserRecord {
                name: user.name().clone(),
                role: user.role(),
                public_key: user.public().to_owned(),
                issued_at,
                expires_at: user.expires().map_or(issued_at, instant),
                revoked_at: None,
            };
            // Who was revoked stays so, whatever a start of this host made anew.
            let kept = |known: Option<&UserRecord>| known.filter(|known| known.revoked_at.is_some()).cloned();
            self.registry.change_user(user.name(), |known| Ok(kept(known).unwrap_or_else(|| record.clone()))).await?;
        }
        Ok(())
    }

    /// Signs a token for a user and puts it on record, as far as its record permits.
    async fn sign(
        &self,
        name: &UserName,
        role: Role,
        public_key: &str,
        permit: impl Fn(Option<&UserRecord>) -> Result<(), Error>,
    ) -> Result<String, Error> {
        let token = self.keys.issue(name, role, public_key, self.credential_life);
        let token = token.map_err(|error| Error::invalid(error.to_string()))?;
        let issued_at = Timestamp::now();
        let record = UserRecord {
            name: name.clone(),
            role,
            public_key: public_key.to_owned(),
            issued_at,
            expires_at: Timestamp::from(issued_at.time() + self.credential_life),
            revoked_at: None,
        };
        let written = self.registry.change_user(name, |known| permit(known).map(|()| record.clone()));
        written.await.map(|_| token)
    }

    /// A user's record as the bus holds it, which the cache may not have heard of yet.
    async fn user(&self, name: &UserName) -> Result<UserRecord, Error> {
        let unknown = || {
            Error::new(Code::NotFound, format!("the mesh has no user \"{name}\"")).hint("who there is: aish users list")
        };
        self.registry.change_user(name, |known| known.cloned().ok_or_else(unknown)).await
    }
}

impl Desk {
    /// Does what admins alone may have done, with its beginning and its end on record. What is `shown` of its outcome
    /// goes there, and is what a repeat of the same call is answered.
    async fn audited<T: Serialize + DeserializeOwned>(
        &self,
        path: &str,
        kwargs: Value,
        deed: impl Future<Output = Result<T, Error>>,
        shown: impl Fn(&T) -> Value,
    ) -> Result<T, Error> {
        let (office, path) = (&self.office, SkillPath::parse(path)?);
        let address = Address { name: office.node.ci(), node: Some(office.node.clone()) };
        if self.caller.role != Role::Admin {
            let reason = format!("{path} needs the role admin; {} is {}", self.caller.name, self.caller.role);
            office.journal.refused(&self.caller, &format!("{address} {path}"), &reason).await;
            return Err(Error::new(Code::PermissionDenied, reason).hint("ask an admin of this mesh"));
        }
        let kwargs = kwargs.as_object().cloned().unwrap_or_default();
        let request = Request { kwargs, ..Request::default() };
        let noted = Deed { caller: &self.caller, ci: &address, path: &path, effect: Effect::Admin, request: &request };
        if let Begun::Repeat(outcome) = office.journal.begin(noted).await? {
            return serde_json::from_value(outcome?).map_err(|_| Error::internal("the first answer is lost"));
        }
        let result = deed.await;
        office.journal.end(noted, &result.as_ref().map(shown).map_err(Clone::clone)).await;
        result
    }
}

impl Issuer for Desk {
    async fn issue(self, _: Context, name: UserName, role: Role, public_key: String) -> Result<String, Error> {
        let kwargs = json!({"name": name, "role": role, "public_key": public_key});
        let issued = async {
            let name = UserName::choose(name.as_str())?;
            self.office.supersede(&name, &public_key).await?;
            self.office.sign(&name, role, &public_key, |_| Ok(())).await
        };
        // The token itself stays out of the record: it is half of a credential.
        self.audited("users.create", kwargs, issued, |_| Value::Null).await
    }

    async fn revoke(self, _: Context, name: UserName) -> Result<Revoked, Error> {
        let revoked = self.office.revoke(&name);
        self.audited("users.revoke", json!({"name": name}), revoked, |revoked| json!(revoked)).await
    }

    async fn remove_node(self, _: Context, node: NodeName) -> Result<(), Error> {
        let kwargs = json!({"node": node});
        let removed = self.office.remove_node(&self.caller.name, node);
        self.audited("nodes.remove", kwargs, removed, |()| Value::Null).await
    }

    async fn renew(self, _: Context) -> Result<String, Error> {
        let Caller { role, name } = &self.caller;
        let key = self.office.user(name).await?.public_key;
        let renewed = self.office.sign(name, *role, &key, |known| match known {
            Some(known) if known.revoked_at.is_none() && known.role == *role && known.public_key == key => Ok(()),
            _ => Err(Error::new(Code::PermissionDenied, format!("the user {name} was revoked"))),
        });
        let renewed = renewed.await;
        if let Err(error) = &renewed {
            self.office.journal.refused(&self.caller, "users.renew", &error.message).await;
        }
        renewed
    }
}
