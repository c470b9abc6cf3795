//! The issuer: signs credentials for users, for admins alone, and puts each on record.

use std::sync::Arc;

use aigis_proxy::{
    Address, Bus, Code, Effect, Error, NodeName, Request, Role, SkillPath, UserName,
    dispatch::{Begun, Deed, Journal},
    identity::MeshKeys,
    rpc,
    services::{ISSUER, Issuer},
    subject::Caller,
    task,
};
use futures::FutureExt;
use serde_json::{Map, Value, json};
use tarpc::{context::Context, server::Serve};

use crate::mesh::CREDENTIAL_LIFE;

/// What the issuer needs.
#[derive(Clone)]
struct Signer {
    keys: Arc<MeshKeys>,
    journal: Arc<dyn Journal>,
    node: NodeName,
    caller: Caller,
}

/// Serves the issuer's service under the node's own name until the returned value is dropped.
///
/// # Errors
///
/// As [`Bus::subscribe`].
pub(crate) async fn serve(
    bus: &Bus,
    keys: Arc<MeshKeys>,
    journal: Arc<dyn Journal>,
    node: NodeName,
) -> Result<task::Owned, Error> {
    let target = node.to_string();
    rpc::serve(bus, &target, ISSUER, move |caller, context, request| {
        let signer = Signer { keys: keys.clone(), journal: journal.clone(), node: node.clone(), caller };
        async move { signer.serve().serve(context, request).await }.boxed()
    })
    .await
}

impl Issuer for Signer {
    async fn issue(self, _: Context, name: UserName, role: Role, public_key: String) -> Result<String, Error> {
        let path = SkillPath::parse("users.create")?;
        let address = Address { name: self.node.ci(), node: Some(self.node.clone()) };
        if self.caller.role != Role::Admin {
            let reason = format!("making a user needs the role admin; {} is {}", self.caller.name, self.caller.role);
            self.journal.refused(&self.caller, &format!("{address} {path}"), &reason).await;
            return Err(Error::new(Code::PermissionDenied, reason).hint("ask an admin of this mesh"));
        }
        let name = UserName::choose(name.as_str())?;
        let kwargs = Map::from_iter([
            ("name".to_owned(), json!(name)),
            ("role".to_owned(), json!(role)),
            ("public_key".to_owned(), json!(public_key)),
        ]);
        let request = Request { kwargs, ..Request::default() };
        let deed = Deed { caller: &self.caller, ci: &address, path: &path, effect: Effect::Admin, request: &request };
        if let Begun::Repeat(outcome) = self.journal.begin(deed).await? {
            let token = outcome?;
            return token.as_str().map(str::to_owned).ok_or_else(|| Error::internal("the first answer is lost"));
        }
        let issued = self.keys.issue(&name, role, &public_key, CREDENTIAL_LIFE);
        let issued = issued.map_err(|error| Error::invalid(error.to_string()));
        // The token itself stays out of the record: it is half of a credential.
        let outcome = issued.as_ref().map(|_| Value::Null).map_err(Clone::clone);
        self.journal.end(deed, &outcome).await;
        issued
    }
}
