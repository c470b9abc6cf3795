//! The issuer: signs credentials for users, makes join tokens and admits their holders, renews and revokes, removes nodes
//! that are dead, keeps secrets, and puts each on record.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Address, Bus, Code, Effect, Error, Grant, NodeName, Request, Role, SkillPath, UserName,
    blob::Store,
    dispatch::{Begun, Deed, Journal, Outcome},
    identity::{CaCertificate, Credential, MeshCa, MeshKeys, jwt},
    rpc,
    secret::SecretName,
    services::{
        ADMISSION, Admission as _, Enrolled, GrantedToken, ISSUER, Issuer, JOIN, ListedSecret, Revoked, Rotation,
        Station, WantedSecret, WantedToken,
    },
    subject::Caller,
    task,
};
use aigis_registry::{Cache, Registry, Timestamp, record::UserRecord};
use futures::FutureExt;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tarpc::{context::Context, server::Serve};
use tokio::sync::Mutex;

use crate::{
    cluster::{Cluster, messenger::Messenger},
    upkeep::StoreKeeper,
};

mod admission;
mod enrolment;
mod first;
mod grants;
mod hosted;
mod removal;
mod revocation;
mod rotation;
mod secrets;
mod tokens;

/// What the issuer works with.
pub(crate) struct Office {
    /// The signing keys.
    pub(crate) keys: Arc<MeshKeys>,
    /// Where each deed is put down.
    pub(crate) journal: Arc<dyn Journal>,
    /// The node that this is.
    pub(crate) node: NodeName,
    /// Which store of the bus is the mesh's.
    pub(crate) store: StoreKeeper,
    /// The bus's address, as others are told it.
    pub(crate) url: String,
    /// Who vouches for it, where it speaks TLS.
    pub(crate) ca: Option<CaCertificate>,
    /// The way to its servers.
    pub(crate) messenger: Arc<Messenger>,
    /// Its cluster, and the CA that vouches for the servers of it.
    pub(crate) cluster: Option<(Arc<Cluster>, MeshCa)>,
    /// Writes the records of users and tokens.
    pub(crate) registry: Registry,
    /// What is known of the mesh.
    pub(crate) cache: Cache,
    /// Where encrypted values of secrets are kept.
    pub(crate) blobs: Store,
    /// How long a credential holds.
    pub(crate) credential_life: Duration,
    /// Held while the account's token is changed: of two admins that revoke each other, one stays.
    pub(crate) revoking: Arc<Mutex<()>>,
}

/// A request, and whose it is.
#[derive(Clone)]
struct Desk {
    office: Arc<Office>,
    caller: Caller,
}

/// Serves users under the node's own name, and who joins under the issuer's, until the returned values are dropped.
///
/// # Errors
///
/// As [`Bus::subscribe`].
pub(crate) async fn serve(bus: &Bus, office: Office) -> Result<[task::Owned; 3], Error> {
    let target = office.node.to_string();
    let office = Arc::new(office);
    let door = Arc::new(admission::Door::new(office.clone()));
    let rotation = rotation::keep(office.clone());
    let journal = office.journal.clone();
    let users = rpc::serve(bus, &target, ISSUER, journal.clone(), move |caller, context, request| {
        let desk = Desk { office: office.clone(), caller };
        desk.serve().serve(context, request).boxed()
    });
    let joining = rpc::serve(bus, ADMISSION, JOIN, journal, move |caller, context, request| {
        let newcomer = admission::Newcomer { door: door.clone(), caller };
        async move { newcomer.serve().serve(context, request).await }.boxed()
    });
    Ok([users.await?, joining.await?, rotation])
}

impl Office {
    /// Puts a user on record whose credential was made without being asked for.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub(crate) async fn note(&self, user: &Credential) -> Result<(), Error> {
        let instant = |time| Timestamp::from(time::OffsetDateTime::from(time));
        let issued_at = instant(user.issued());
        let record = UserRecord {
            name: user.name().clone(),
            role: user.role(),
            public_key: user.public().to_owned(),
            signer: user.signer(),
            issued_at,
            expires_at: user.expires().map_or(issued_at, instant),
            revoked_at: None,
            is_removed: false,
            grants: Vec::new(),
        };
        // Who was revoked stays so, whatever a start of this host made anew.
        let kept = |known: Option<&UserRecord>| known.filter(|known| known.revoked_at.is_some()).cloned();
        self.registry
            .change_user(user.name(), |known| Ok(kept(known).unwrap_or_else(|| record.clone())))
            .await
            .map(drop)
    }

    /// Signs a token for a user and puts it on record, as far as its record permits.
    async fn sign(
        &self,
        name: &UserName,
        role: Role,
        public_key: &str,
        permit: impl Fn(Option<&UserRecord>) -> Result<(), Error>,
    ) -> Result<String, Error> {
        self.hears_alone(name, role)?;
        let token = self.keys.issue(name, role, public_key, self.credential_life).map_err(unsigned)?;
        let record = self.record(name, role, public_key, &token);
        // A credential that is made anew changes nothing about what its holder was granted.
        let grants = |known: Option<&UserRecord>| known.map(|known| known.grants.clone()).unwrap_or_default();
        let written = self
            .registry
            .change_user(name, |known| permit(known).map(|()| UserRecord { grants: grants(known), ..record.clone() }));
        written.await.map(|_| token)
    }

    /// The record of a user whose credential is issued now.
    fn record(&self, name: &UserName, role: Role, public_key: &str, token: &str) -> UserRecord {
        UserRecord {
            name: name.clone(),
            role,
            public_key: public_key.to_owned(),
            // Of a token that was just made.
            signer: jwt::decode(token).map(|claims| claims.iss).unwrap_or_default(),
            issued_at: Timestamp::now(),
            expires_at: ends(self.credential_life),
            revoked_at: None,
            is_removed: false,
            grants: Vec::new(),
        }
    }

    /// A user's record as the bus holds it, which the cache may not have heard of yet.
    async fn user(&self, name: &UserName) -> Result<UserRecord, Error> {
        let unknown = || {
            Error::new(Code::NotFound, format!("the mesh has no user \"{name}\"")).hint("who there is: aish users list")
        };
        self.registry.change_user(name, |known| known.cloned().ok_or_else(unknown)).await
    }

    fn address(&self) -> Address {
        Address { name: self.node.ci(), node: Some(self.node.clone()) }
    }

    /// Puts a refusal on record.
    async fn refuse(&self, caller: &Caller, path: &str, reason: String, hint: &str) -> Error {
        self.journal.refused(caller, &format!("{} {path}", self.address()), &reason).await;
        Error::new(Code::PermissionDenied, reason).hint(hint)
    }

    /// Does something with its beginning and its end on record. What is `shown` of its outcome goes there, and is what
    /// a repeat of the same call is answered.
    async fn audited<T: DeserializeOwned>(
        &self,
        caller: &Caller,
        path: &str,
        kwargs: Value,
        deed: impl Future<Output = Result<T, Error>>,
        shown: impl Fn(&T) -> Value,
    ) -> Result<T, Error> {
        let (address, path) = (self.address(), SkillPath::parse(path)?);
        let kwargs = kwargs.as_object().cloned().unwrap_or_default();
        let request = Request { kwargs, ..Request::default() };
        let noted = Deed { caller, ci: &address, path: &path, effect: Effect::Admin, request: &request, body: None };
        if let Begun::Repeat(outcome) = self.journal.begin(noted).await? {
            return serde_json::from_value(outcome?).map_err(|_| Error::internal("the first answer is lost"));
        }
        let result = deed.await;
        let outcome = result.as_ref().map(shown).map_err(Clone::clone);
        self.journal.end(noted, Outcome::from(&outcome)).await;
        result
    }
}

/// What is shown on record of a secret, or of half of one.
fn nothing<T>(_: &T) -> Value {
    Value::Null
}

impl Desk {
    /// Does what admins alone may have done, on record.
    async fn audited<T: Serialize + DeserializeOwned>(
        &self,
        path: &str,
        kwargs: Value,
        deed: impl Future<Output = Result<T, Error>>,
        shown: impl Fn(&T) -> Value,
    ) -> Result<T, Error> {
        let Caller { role, name } = &self.caller;
        if *role != Role::Admin {
            let reason = format!("{path} needs the role admin; {name} is {role}");
            return Err(self.office.refuse(&self.caller, path, reason, "ask an admin of this mesh").await);
        }
        self.office.audited(&self.caller, path, kwargs, deed, shown).await
    }
}

impl Issuer for Desk {
    async fn issue(self, _: Context, name: UserName, role: Role, public_key: String) -> Result<String, Error> {
        let kwargs = json!({"name": name, "role": role, "public_key": public_key});
        let issued = async {
            let name = UserName::choose(name.as_str())?;
            hosted::is_free(&name)?;
            self.office.supersede(&name, &public_key).await?;
            self.office.sign(&name, role, &public_key, |_| Ok(())).await
        };
        Box::pin(self.audited("users.create", kwargs, issued, nothing)).await
    }

    async fn revoke(self, _: Context, name: UserName) -> Result<Revoked, Error> {
        let revoked = self.office.revoke(&name);
        Box::pin(self.audited("users.revoke", json!({"name": name}), revoked, |revoked| json!(revoked))).await
    }

    async fn grant(self, _: Context, name: UserName, grants: Vec<Grant>) -> Result<(), Error> {
        let kwargs = json!({"name": name, "grants": grants});
        let granted = self.office.grant(&name, grants);
        Box::pin(self.audited("users.grant", kwargs, granted, nothing)).await
    }

    async fn host_plugin(
        self,
        _: Context,
        name: UserName,
        public_key: String,
        grants: Vec<Grant>,
    ) -> Result<String, Error> {
        Box::pin(self.office.host_plugin(&self.caller, name, public_key, grants)).await
    }

    async fn end_plugin(self, _: Context, name: UserName) -> Result<(), Error> {
        Box::pin(self.office.end_plugin(&self.caller, name)).await
    }

    async fn remove_node(self, _: Context, node: NodeName) -> Result<(), Error> {
        let kwargs = json!({"node": node});
        let removed = self.office.remove_node(&self.caller.name, node);
        Box::pin(self.audited("nodes.remove", kwargs, removed, nothing)).await
    }

    async fn accept_store(self, _: Context) -> Result<String, Error> {
        let accepted = async {
            self.office.store.ensure(true).await?;
            let known = self.office.store.pin.guard().known();
            known.map(|known| known.store.to_string()).ok_or_else(|| Error::internal("the store has no id"))
        };
        Box::pin(self.audited("store.accept", json!({}), accepted, |id| json!(id))).await
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

    async fn enroll(self, _: Context, station: Station, public_key: String) -> Result<Enrolled, Error> {
        Box::pin(self.office.enroll(&self.caller, station, &public_key)).await
    }

    async fn rotate_keys(self, _: Context, end: bool) -> Result<Rotation, Error> {
        let rotated = self.office.rotate(end);
        Box::pin(self.audited("users.rotate_keys", json!({"end": end}), rotated, |rotation| json!(rotation))).await
    }

    async fn create_token(self, _: Context, public_key: String, wanted: WantedToken) -> Result<GrantedToken, Error> {
        let (id, kwargs) = tokens::begin(&wanted)?;
        let made = self.office.create_token(&self.caller.name, id, &public_key, wanted);
        self.audited("tokens.create", kwargs, made, nothing).await
    }

    async fn revoke_token(self, _: Context, id: UserName) -> Result<(), Error> {
        let revoked = self.office.revoke_token(&id);
        self.audited("tokens.revoke", json!({"id": id}), revoked, |()| Value::Null).await
    }

    async fn set_secret(self, _: Context, secret: WantedSecret) -> Result<(), Error> {
        let kwargs = secrets::shown(&secret);
        let of_assistant = secret.name.as_str().starts_with(OF_ASSISTANTS);
        let set = self.office.set_secret(&self.caller.name, secret);
        // Who may push an assistant may say what it knows.
        if of_assistant && self.caller.role == Role::Operator {
            return Box::pin(self.office.audited(&self.caller, "secrets.set", kwargs, set, nothing)).await;
        }
        Box::pin(self.audited("secrets.set", kwargs, set, nothing)).await
    }

    async fn remove_secret(self, _: Context, name: SecretName) -> Result<(), Error> {
        let removed = self.office.remove_secret(&name);
        self.audited("secrets.rm", json!({"name": name}), removed, nothing).await
    }

    async fn secrets(self, _: Context) -> Result<Vec<ListedSecret>, Error> {
        let listed = async { Ok(self.office.secrets()) };
        self.audited("secrets.list", json!({}), listed, nothing).await
    }
}

/// How the names of secrets begin that belong to assistants that were pushed.
const OF_ASSISTANTS: &str = "assistant/local/";

/// Why the keys cannot be used.
pub(crate) fn broken_keys(error: aigis_proxy::identity::mesh::Error) -> Error {
    Error::internal(error.to_string())
}

/// Why nothing is signed.
fn unsigned(error: aigis_proxy::identity::mesh::Error) -> Error {
    Error::invalid(error.to_string())
}

/// When what begins now ends.
fn ends(life: Duration) -> Timestamp {
    Timestamp::from(Timestamp::now().time() + life)
}
