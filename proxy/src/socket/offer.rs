//! What a peer of the node's socket offers to serve, and the CI that stands for it at the node.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture, stream};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{calls::Calls, frame::Kind};
use crate::{
    Name, NodeName, SkillPath, UserName,
    blob::Content,
    client::{self, ROOM, Response, Target},
    error::{Code, Error},
    json,
    name::quoted_within,
    secret::SecretName,
    skill::{self, Answer, Call, Ci, SkillInfo},
    subject::Caller,
    trace,
};

/// Most CIs that one connection may offer at once.
pub const MAX_OFFERS: usize = 16;
/// Most skills of an offered CI.
pub const MAX_SKILLS: usize = 256;
/// Most secrets of an offered CI: all of them travel in one frame.
pub const MAX_SECRETS: usize = 32;
/// The largest offer, so that the record made of it stays far below what the registry takes.
const MAX_OFFER: usize = 256 * 1024;

/// What an offered CI is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OfferKind {
    /// A program that `aish wrap` runs.
    Wrapped,
}

/// A skill that is offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfferedSkill {
    /// What is known of it without running it.
    #[serde(flatten)]
    pub info: SkillInfo,
    /// The deadline of a call that names none, in milliseconds, where it is not the usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl From<&SkillInfo> for OfferedSkill {
    fn from(info: &SkillInfo) -> Self {
        let timeout_ms = info.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        Self { info: info.clone(), timeout_ms }
    }
}

/// The process group behind an offered CI, by its leader: the number alone may have passed to another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessGroup {
    /// The leader's process id, which is the group's id.
    pub pid: i32,
    /// When the leader started, in clock ticks since the host did (field 22 of `/proc/PID/stat`).
    pub started: u64,
}

impl ProcessGroup {
    /// The group that this process leads, as `/proc` knows it now; `None` where there is no such process, or it leads
    /// no group.
    #[must_use]
    pub fn led_by(pid: i32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before may hold anything but ends in the last parenthesis; state, parent and group follow.
        let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
        let group: i32 = fields.get(2)?.parse().ok()?;
        let started = fields.get(19)?.parse().ok()?;
        (group == pid).then_some(Self { pid, started })
    }
}

/// A CI that a peer of the node's socket offers to serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// The name that it claims.
    pub name: Name,
    /// What it is.
    pub kind: OfferKind,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What can be called.
    pub skills: Vec<OfferedSkill>,
    /// Whether to take the name from a holder that is offline.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
    /// What the node ends if the peer dies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessGroup>,
    /// The secrets that its program needs; the node gives them, and tells of their changes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub secrets: BTreeSet<SecretName>,
}

/// The secrets of an offered CI as they stand: one that it asked for and that is not there was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// By their names.
    pub secrets: BTreeMap<SecretName, GivenSecret>,
}

/// A secret, open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenSecret {
    /// Which value it has.
    pub version: u64,
    /// The value.
    pub value: Content,
}

impl Offer {
    /// Reads an offer and checks it as far as that needs no knowledge of the mesh.
    ///
    /// # Errors
    ///
    /// `invalid_argument` that names the place, `resource_exhausted` beyond a limit.
    pub(super) fn read(body: &[u8]) -> Result<Self, Error> {
        if body.len() > MAX_OFFER {
            let message = format!("the offer is {} bytes; at most {MAX_OFFER} are taken", body.len());
            return Err(Error::new(Code::ResourceExhausted, message).hint("shorten what its skills say of themselves"));
        }
        let offer: Self = serde_path_to_error::deserialize(json::read(body)?).map_err(|error| {
            let (path, inner) = (error.path().to_string(), quoted_within(&error.into_inner().to_string()));
            Error::invalid(format!("the offer is unusable at {}: {inner}", crate::quoted(&path)))
        })?;
        Name::choose(offer.name.as_str())?;
        if offer.skills.len() > MAX_SKILLS {
            let message =
                format!("{} offers {} skills; at most {MAX_SKILLS} are taken", offer.name, offer.skills.len());
            return Err(Error::new(Code::ResourceExhausted, message));
        }
        if offer.secrets.len() > MAX_SECRETS {
            let (name, count) = (&offer.name, offer.secrets.len());
            let message = format!("{name} asks for {count} secrets; at most {MAX_SECRETS} are given");
            return Err(Error::new(Code::ResourceExhausted, message));
        }
        let mut paths = BTreeSet::new();
        if let Some(twice) = offer.skills.iter().find(|skill| !paths.insert(skill.info.path.as_str())) {
            return Err(Error::invalid(format!("{} offers the skill {} twice", offer.name, twice.info.path)));
        }
        Ok(offer)
    }
}

/// Who offers.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Tells its connection from all others that the node has had.
    pub connection: u64,
    /// Its name and role, as its credential proved them.
    pub caller: Caller,
    /// Its process, where the operating system says.
    pub pid: Option<i32>,
}

/// Where a node takes what its socket's peers offer.
pub trait Offers: fmt::Debug + Send + Sync + 'static {
    /// The node that offered CIs stand on.
    fn node(&self) -> &NodeName;
    /// Takes an offer, or what changed about one that this peer made: `ci` answers for it from now on.
    ///
    /// # Errors
    ///
    /// `permission_denied`, `already_exists`, and what the registry says.
    fn take<'a>(&'a self, peer: &'a Peer, offer: Offer, ci: Arc<OfferedCi>) -> BoxFuture<'a, Result<(), Error>>;
    /// Lets go of a CI that this peer offered.
    fn withdraw<'a>(&'a self, peer: &'a Peer, name: &'a Name) -> BoxFuture<'a, ()>;
    /// Hears that a peer's connection has ended. Not called when the node itself ends it by ending.
    fn hung_up<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, ()>;
}

/// An offered CI as the node serves it: each call goes over the connection that the offer came on.
pub struct OfferedCi {
    name: Name,
    node: NodeName,
    server: UserName,
    skills: BTreeMap<SkillPath, Arc<SkillInfo>>,
    calls: Arc<Calls>,
    id: u32,
}

impl fmt::Debug for OfferedCi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferedCi").field("name", &self.name).field("node", &self.node).finish_non_exhaustive()
    }
}

impl OfferedCi {
    pub(super) fn new(offer: &Offer, node: NodeName, server: UserName, calls: Arc<Calls>, id: u32) -> Self {
        let skills = offer.skills.iter().map(|skill| {
            let timeout = skill.timeout_ms.map(Duration::from_millis);
            (skill.info.path.clone(), Arc::new(SkillInfo { timeout, ..skill.info.clone() }))
        });
        Self { name: offer.name.clone(), node, server, skills: skills.collect(), calls, id }
    }

    /// Tells the peer that its offer stands no more, and why.
    pub fn refuse(&self, error: &Error) {
        // On a connection that ended there is nobody left to be told.
        let _ = self.calls.link().push(Kind::Error, self.id, &[&serde_json::to_vec(error).unwrap_or_default()]);
    }

    /// Gives the peer the secrets of its offer, as they stand from now on.
    pub fn give(&self, given: &Given) {
        let body = Zeroizing::new(serde_json::to_vec(given).unwrap_or_default());
        // On a connection that ended there is nobody left to be given anything.
        let _ = self.calls.link().push(Kind::Value, self.id, &[&body]);
    }

    async fn pass(self: Arc<Self>, path: SkillPath, call: Call) -> Result<Answer, Error> {
        let (name, Caller { role, name: caller }) = (&self.name, &call.caller);
        let info = self.skills.get(&path).ok_or_else(|| skill::unknown(&path, &self.skills()))?;
        let remaining = call.remaining();
        let mut request = call.request;
        // A stream without a deadline of its own goes on for as long as its reader does.
        if !info.stream || request.meta.timeout.is_some() {
            request.meta.timeout = Some(remaining);
        }
        // What it does for this call is part of the node's span, where there is one.
        request.meta.traceparent = trace::current().or(request.meta.traceparent);
        let closed = || Error::unavailable(format!("{name} has just let go of its connection")).sent(false);
        self.calls.link().room().await;
        let head = format!("{role}.{caller}.{name}.{path}\n");
        let (ongoing, replies) = self.calls.begin(&head, &request.to_bytes(), ROOM).ok_or_else(closed)?;
        let target = Target { server: self.server.clone(), ci: name.clone(), path, timeout: None };
        match client::passed(ongoing, replies, &target, call.deadline).await? {
            Response::Value(value) => Ok(Answer::Value(value)),
            Response::Stream(frames) => {
                let next = async |mut frames: Box<client::Frames>| frames.next().await.map(|frame| (frame, frames));
                Ok(Answer::Stream(Box::pin(stream::unfold(frames, move |frames| next(frames).boxed()))))
            }
        }
    }
}

impl Ci for OfferedCi {
    fn name(&self) -> &Name {
        &self.name
    }

    fn node(&self) -> &NodeName {
        &self.node
    }

    fn skills(&self) -> Vec<Arc<SkillInfo>> {
        self.skills.values().cloned().collect()
    }

    fn skill(&self, path: &str) -> Option<Arc<SkillInfo>> {
        self.skills.get(path).cloned()
    }

    fn run(self: Arc<Self>, path: SkillPath, call: Call) -> BoxFuture<'static, Result<Answer, Error>> {
        self.pass(path, call).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn offer() -> Value {
        json!({"name": "solo", "kind": "wrapped", "skills": [
            {"path": "message", "effect": "write", "stream": false, "doc": "", "input": {}, "output": {}, "timeout_ms": 5},
        ]})
    }

    fn refused(change: impl Fn(&mut Value)) -> Error {
        let mut offer = offer();
        change(&mut offer);
        Offer::read(offer.to_string().as_bytes()).unwrap_err()
    }

    #[test]
    fn an_offer_reads_back() {
        let read = Offer::read(offer().to_string().as_bytes()).unwrap();
        assert_eq!((read.name.as_str(), read.skills[0].timeout_ms, read.replace), ("solo", Some(5), false));
        assert_eq!(Offer::read(&serde_json::to_vec(&read).unwrap()).unwrap(), read);
    }

    #[test]
    fn bad_24_offers_that_cannot_be_used_say_where() {
        for (key, value, said) in [
            ("name", json!("list"), "reserved"),
            ("name", json!("a.b"), "name"),
            ("name", json!(7), "name"),
            ("kind", json!("container"), "kind"),
            ("colour", json!(1), "colour"),
            ("process", json!({"pid": "x", "started": 1}), "process.pid"),
            ("secrets", json!(["../x"]), "secrets[0]"),
            ("skills", json!([{"path": "a..b"}]), "skills[0]: skill path"),
        ] {
            let error = refused(|offer| offer[key] = value.clone());
            assert_eq!(error.code, Code::InvalidArgument, "{key} {value}");
            assert!(error.message.contains(said), "{key} {value}: {error}");
        }
        let doubled = refused(|offer| {
            let skill = offer["skills"][0].clone();
            offer["skills"].as_array_mut().unwrap().push(skill);
        });
        assert!(doubled.message.contains("twice"), "{doubled}");
        let large = refused(|offer| offer["description"] = "x".repeat(MAX_OFFER).into());
        assert_eq!(large.code, Code::ResourceExhausted);
    }

    proptest::proptest! {
        #[test]
        fn bad_24_any_offer_is_read_or_refused(body in "\\{\"(name|kind|skills|process)\":[\\[\\]{}:,\"a0 ]{0,60}\\}?|.{0,40}") {
            if let Err(error) = Offer::read(body.as_bytes()) {
                proptest::prop_assert!(!error.message.chars().any(char::is_control));
            }
        }
    }
}
