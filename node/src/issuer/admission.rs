//! Joining: whoever holds a join token gets its role under a name that is free, as often as the token says.

use std::sync::Arc;

use aigis_proxy::{
    Code, Error, NodeName, Role, UserName,
    services::{ADMISSION, Admission, Admitted},
    subject::Caller,
};
use aigis_registry::{
    Snapshot, Timestamp,
    record::{TokenRecord, UserRecord},
};
use serde_json::json;
use tarpc::context::Context;
use tokio::sync::Mutex;

use super::{Office, hosted, nothing, unsigned};

/// The name under which it is put on record.
const PATH: &str = "join";
const ASK: &str = "ask an admin for a new one: aish tokens create";

/// Admits one after another, so that no name is looked up by two at once.
pub(super) struct Door {
    office: Arc<Office>,
    turn: Mutex<()>,
}

impl Door {
    pub(super) fn new(office: Arc<Office>) -> Self {
        Self { office, turn: Mutex::new(()) }
    }
}

/// Somebody at the door.
pub(super) struct Newcomer {
    pub(super) door: Arc<Door>,
    pub(super) caller: Caller,
}

impl Admission for Newcomer {
    async fn join(self, _: Context, public_key: String, wanted_name: UserName) -> Result<Admitted, Error> {
        let office = &self.door.office;
        let Caller { role, name } = &self.caller;
        if *role != Role::Join {
            let reason = format!("joining needs a join token; {name} is {role}");
            return Err(office.refuse(&self.caller, PATH, reason, ASK).await);
        }
        let _turn = self.door.turn.lock().await;
        // What is known to be of no use is turned away at once; what counts is the look below.
        let snapshot = office.cache.snapshot();
        let known = snapshot.tokens().find(|token| token.id == *name).cloned();
        let repeat = is_repeat(&snapshot, &wanted_name, &public_key);
        if let Some(reason) = known.and_then(|token| useless(&token, &wanted_name, repeat)) {
            return Err(office.refuse(&self.caller, PATH, reason, ASK).await);
        }
        let kwargs = json!({"name": wanted_name, "public_key": public_key});
        let admitted = self.admit(&wanted_name, &public_key, repeat, &snapshot);
        office.audited(&self.caller, PATH, kwargs, admitted, nothing).await
    }
}

impl Newcomer {
    async fn admit(&self, name: &UserName, key: &str, repeat: bool, seen: &Snapshot) -> Result<Admitted, Error> {
        let office = &self.door.office;
        UserName::choose(name.as_str())?;
        hosted::is_free(name)?;
        let mut signed = None;
        let using = |token: Option<&TokenRecord>| {
            let denied = |reason: String| Error::new(Code::PermissionDenied, reason).hint(ASK);
            let token = token.ok_or_else(|| denied("the join token is not known here".to_owned()))?;
            if let Some(reason) = useless(token, name, repeat) {
                return Err(denied(reason));
            }
            if !repeat {
                is_free(name, seen)?;
                office.hears_alone(name, token.role)?;
            }
            signed = Some(office.keys.issue(name, token.role, key, office.credential_life).map_err(unsigned)?);
            Ok(TokenRecord { used: token.used + u32::from(!repeat), ..token.clone() })
        };
        let token = office.registry.change_token(&self.caller.name, using).await?;
        let jwt = signed.ok_or_else(|| Error::internal("nothing was signed"))?;
        let record = office.record(name, token.role, key, &jwt);
        let held = |known: Option<&UserRecord>| match known.filter(|known| known.public_key != key) {
            Some(known) if !was_removed(known, seen) => Err(taken(name, &format!("the user {name}, {}", known.role))),
            _ => Ok(record.clone()),
        };
        office.registry.change_user(name, held).await?;
        if token.role == Role::Node
            && let Ok(node) = NodeName::parse(name.as_str())
        {
            office.registry.readmit_node(&node).await?;
        }
        Ok(Admitted { jwt, node: office.node.clone(), issuer: office.keys.signed_issuer() })
    }
}

/// Whether the same key was admitted under that name before, and its answer was lost.
fn is_repeat(seen: &Snapshot, name: &UserName, key: &str) -> bool {
    seen.user(name).is_some_and(|user| user.public_key == key && user.revoked_at.is_none())
}

/// Why a token gives nothing to who asks for that name, if so.
fn useless(token: &TokenRecord, name: &UserName, repeat: bool) -> Option<String> {
    let spent = token.spent(Timestamp::now()).filter(|why| !repeat || *why == "revoked");
    match (spent, &token.name) {
        (Some(why), _) => Some(format!("the join token is {why}")),
        (None, Some(only)) if only != name => Some(format!("the join token is for the name {only}, not for {name}")),
        _ => None,
    }
}

/// Refuses a name that somebody bears.
fn is_free(name: &UserName, seen: &Snapshot) -> Result<(), Error> {
    if name.as_str() == ADMISSION {
        return Err(taken(name, "the issuer of the mesh"));
    }
    let node = NodeName::parse(name.as_str()).ok();
    if let Some(node) = node.as_ref().and_then(|node| seen.node(node)).filter(|node| seen.removal(&node.name).is_none())
    {
        let state = seen.sight(node.name.as_str()).state;
        let holder = format!("the node {name}, which is {state}");
        return Err(taken(name, &holder).with("node", name.as_str()).with("state", state.as_str()));
    }
    match seen.user(name).filter(|user| !was_removed(user, seen)) {
        Some(user) => Err(taken(name, &format!("the user {name}, {}", user.role))),
        None => Ok(()),
    }
}

/// Whether a user's name is free again, because its node was removed or its credential revoked.
fn was_removed(user: &UserRecord, seen: &Snapshot) -> bool {
    let node = NodeName::parse(user.name.as_str()).ok();
    user.revoked_at.is_some() || node.is_some_and(|node| seen.removal(&node).is_some())
}

fn taken(name: &UserName, holder: &str) -> Error {
    Error::new(Code::AlreadyExists, format!("the name {name} is held by {holder}"))
        .hint("choose another name: --name NAME")
        .with("holder", name.as_str())
}
