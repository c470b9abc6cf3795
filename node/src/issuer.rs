//! The issuer: signs credentials for users, makes join tokens and admits their holders, and puts each on record.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Address, Bus, Code, Effect, Error, NodeName, Request, Role, SkillPath, UserName,
    dispatch::{Begun, Deed, Journal},
    identity::{CaCertificate, Credential, MeshKeys},
    rpc,
    services::{ADMISSION, Admission as _, GrantedToken, ISSUER, Issuer, JOIN, WantedToken},
    subject::Caller,
    task,
};
use aigis_registry::{Cache, Registry, Timestamp, record::UserRecord};
use futures::FutureExt;
use serde_json::{Map, Value, json};
use tarpc::{context::Context, server::Serve};

use crate::mesh::CREDENTIAL_LIFE;

mod admission;
mod tokens;

/// What the issuer works with.
#[derive(Clone)]
pub(crate) struct Office {
    /// The signing keys.
    pub(crate) keys: Arc<MeshKeys>,
    /// Where each deed is put down.
    pub(crate) journal: Arc<dyn Journal>,
    /// The node that this is.
    pub(crate) node: NodeName,
    /// The bus's address, as others are told it.
    pub(crate) url: String,
    /// Who vouches for the bus, where that speaks TLS.
    pub(crate) ca: Option<CaCertificate>,
    /// Writes the records of users and tokens.
    pub(crate) registry: Registry,
    /// What is known of the mesh.
    pub(crate) cache: Cache,
}

/// An admin's request.
struct Desk {
    office: Arc<Office>,
    caller: Caller,
}

/// Serves the issuer's services until the returned values are dropped.
///
/// # Errors
///
/// As [`Bus::subscribe`].
pub(crate) async fn serve(bus: &Bus, office: Office) -> Result<[task::Owned; 2], Error> {
    let target = office.node.to_string();
    let office = Arc::new(office);
    let door = Arc::new(admission::Door::new(office.clone()));
    let admins = rpc::serve(bus, &target, ISSUER, move |caller, context, request| {
        let desk = Desk { office: office.clone(), caller };
        async move { desk.serve().serve(context, request).await }.boxed()
    });
    let joining = rpc::serve(bus, ADMISSION, JOIN, move |caller, context, request| {
        let newcomer = admission::Newcomer { door: door.clone(), caller };
        async move { newcomer.serve().serve(context, request).await }.boxed()
    });
    Ok([admins.await?, joining.await?])
}

impl Office {
    /// Puts users on record whose credentials were made without being asked for.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub(crate) async fn note(&self, users: [&Credential; 2]) -> Result<(), Error> {
        for credential in users {
            let record = UserRecord {
                name: credential.name().clone(),
                role: credential.role(),
                public_key: credential.public().to_owned(),
                issued_at: Timestamp::from(time::OffsetDateTime::from(credential.issued())),
                expires_at: ends(CREDENTIAL_LIFE),
                revoked_at: None,
            };
            let expires = credential.expires().map(|end| Timestamp::from(time::OffsetDateTime::from(end)));
            let record = UserRecord { expires_at: expires.unwrap_or(record.expires_at), ..record };
            self.registry.change_user(credential.name(), |_| Ok(record.clone())).await?;
        }
        Ok(())
    }

    /// The record of a user whose credential is issued now.
    fn record(name: &UserName, role: Role, public_key: &str) -> UserRecord {
        UserRecord {
            name: name.clone(),
            role,
            public_key: public_key.to_owned(),
            issued_at: Timestamp::now(),
            expires_at: ends(CREDENTIAL_LIFE),
            revoked_at: None,
        }
    }

    fn address(&self) -> Address {
        Address { name: self.node.ci(), node: Some(self.node.clone()) }
    }

    /// Puts a refusal on record.
    async fn refuse(&self, caller: &Caller, path: &str, reason: String, hint: &str) -> Error {
        self.journal.refused(caller, &format!("{} {path}", self.address()), &reason).await;
        Error::new(Code::PermissionDenied, reason).hint(hint)
    }

    /// Does something with its beginning and its end on record.
    async fn audited<T>(
        &self,
        caller: &Caller,
        path: &str,
        kwargs: Value,
        deed: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let kwargs = match kwargs {
            Value::Object(kwargs) => kwargs,
            _ => Map::new(),
        };
        let (address, path) = (self.address(), SkillPath::parse(path)?);
        let request = Request { kwargs, ..Request::default() };
        let noted = Deed { caller, ci: &address, path: &path, effect: Effect::Admin, request: &request };
        if let Begun::Repeat(outcome) = self.journal.begin(noted).await? {
            return outcome.and_then(|_| Err(Error::internal("the first answer is lost")));
        }
        let result = deed.await;
        // What is given stays out of the record: it is half of a credential.
        let outcome = result.as_ref().map(|_| Value::Null).map_err(Clone::clone);
        self.journal.end(noted, &outcome).await;
        result
    }
}

impl Desk {
    async fn admins_alone(&self, path: &str, what: &str) -> Result<(), Error> {
        let Caller { role, name } = &self.caller;
        if *role == Role::Admin {
            return Ok(());
        }
        let reason = format!("{what} needs the role admin; {name} is {role}");
        Err(self.office.refuse(&self.caller, path, reason, "ask an admin of this mesh").await)
    }
}

impl Issuer for Desk {
    async fn issue(self, _: Context, name: UserName, role: Role, public_key: String) -> Result<String, Error> {
        const PATH: &str = "users.create";
        self.admins_alone(PATH, "making a user").await?;
        let name = UserName::choose(name.as_str())?;
        let kwargs = json!({"name": name, "role": role, "public_key": public_key});
        let office = &self.office;
        let issued = async {
            let token = office.keys.issue(&name, role, &public_key, CREDENTIAL_LIFE).map_err(unsigned)?;
            let record = Office::record(&name, role, &public_key);
            office.registry.change_user(&name, |_| Ok(record.clone())).await?;
            Ok(token)
        };
        office.audited(&self.caller, PATH, kwargs, issued).await
    }

    async fn create_token(self, _: Context, public_key: String, wanted: WantedToken) -> Result<GrantedToken, Error> {
        self.admins_alone(tokens::CREATE, "making a join token").await?;
        self.office.create_token(&self.caller, &public_key, wanted).await
    }

    async fn revoke_token(self, _: Context, id: UserName) -> Result<(), Error> {
        self.admins_alone(tokens::REVOKE, "ending a join token").await?;
        self.office.revoke_token(&self.caller, &id).await
    }
}

/// Why nothing is signed.
fn unsigned(error: aigis_proxy::identity::mesh::Error) -> Error {
    Error::invalid(error.to_string())
}

/// When what begins now ends.
fn ends(life: Duration) -> Timestamp {
    Timestamp::from(Timestamp::now().time() + life)
}
