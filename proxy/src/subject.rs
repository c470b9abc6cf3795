//! The subjects of the mesh as types: built here, parsed here, and nowhere else.
//!
//! The caller's role and name stand in the subject, where the bus enforces them; see `docs/specs/subjects.md`.

use std::{cell::RefCell, fmt};

use ring::rand::{SecureRandom, SystemRandom};

use crate::{
    name::{MeshName, Name, NodeName, SkillPath, UserName},
    role::Role,
};

/// Who calls: as the bus vouches for it, never as a body says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The caller's role.
    pub role: Role,
    /// The caller's user name.
    pub name: UserName,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.role, self.name)
    }
}

/// The 128 random bits that tell one reply, stream or handle from all others, as 22 characters of base64url.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token([u8; Self::LENGTH]);

impl Token {
    /// Characters of a token.
    pub const LENGTH: usize = 22;

    /// Draws a fresh token.
    ///
    /// # Panics
    ///
    /// Panics if the operating system has no random numbers: nothing safe can be done then.
    #[must_use]
    pub fn random() -> Self {
        let bits = random_bits();
        let mut text = [0; Self::LENGTH];
        data_encoding::BASE64URL_NOPAD.encode_mut(&bits, &mut text);
        Self(text)
    }

    /// Reads a token from a subject.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; Self::LENGTH] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')).then_some(Self(bytes))
    }

    /// The token as one subject token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Draws 128 random bits. They are taken from the operating system for 32 tokens at a time: asking for each
/// by itself costs a system call.
#[expect(clippy::expect_used, reason = "without randomness every reply could be forged")]
fn random_bits() -> [u8; 16] {
    thread_local! {
        static STOCK: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
    }
    STOCK.with_borrow_mut(|stock| {
        if stock.is_empty() {
            let mut fresh = [[0; 16]; 32];
            SystemRandom::new().fill(fresh.as_flattened_mut()).expect("the operating system gives random numbers");
            stock.extend(fresh);
        }
        stock.pop().expect("the stock was filled")
    })
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which CI a call by hand names: `NAME` or `NAME@NODE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandTarget {
    /// The CI's name.
    pub name: Name,
    /// The node, where the caller said it.
    pub node: Option<NodeName>,
}

impl HandTarget {
    fn parse(text: &str) -> Result<Self, crate::name::Error> {
        let (name, node) = match text.split_once('@') {
            Some((name, node)) => (name, Some(NodeName::parse(node)?)),
            None => (text, None),
        };
        Ok(Self { name: Name::parse(name)?, node })
    }
}

/// What a subject that a callee hears asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A skill of a CI.
    Skill {
        /// The CI, as the caller addressed it.
        target: HandTarget,
        /// The skill.
        path: SkillPath,
    },
    /// A skill of a CI, in a form that names none: the caller is told.
    Malformed(crate::name::Error),
    /// The end of a call that this caller began, named by its reply token.
    Cancel(Token),
    /// More frames for a stream of this caller, named by its reply token.
    Credit(Token),
    /// The calls in the body, each with a reply token of its own.
    Pack,
}

/// A subject under `to` or `call`, as a callee reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Who sent it.
    pub caller: Caller,
    /// What it asks for.
    pub asked: Asked,
    /// Whether it came by hand (`call`) instead of by `to`.
    pub by_hand: bool,
}

/// The subjects of one mesh.
#[derive(Debug, Clone)]
pub struct Subjects {
    prefix: String,
}

impl Subjects {
    /// The subjects of that mesh: all begin with `aigis.v1.<mesh>.`.
    #[must_use]
    pub fn new(mesh: &MeshName) -> Self {
        Self { prefix: format!("aigis.v1.{mesh}.") }
    }

    /// A skill call as `aish` and the SDKs send it.
    #[must_use]
    pub fn to(&self, server: &UserName, caller: &Caller, ci: &Name, path: &SkillPath) -> String {
        format!("{}to.{server}.{caller}.{ci}.{path}", self.prefix)
    }

    /// A call's cancel or credit subject.
    #[must_use]
    pub fn control(&self, server: &UserName, caller: &Caller, verb: Control, token: &Token) -> String {
        format!("{}to.{server}.{caller}._.{verb}.{}", self.prefix, token.as_str())
    }

    /// Several skill calls in one message, for a server that has shown that it reads packs.
    #[must_use]
    pub fn pack(&self, server: &UserName, caller: &Caller) -> String {
        format!("{}to.{server}.{caller}._.pack", self.prefix)
    }

    /// Everything that is sent to one server.
    #[must_use]
    pub fn served_by(&self, server: &UserName) -> String {
        format!("{}to.{server}.>", self.prefix)
    }

    /// Calls by hand to one CI; `target` is `NAME` or `NAME@NODE`.
    #[must_use]
    pub fn by_hand(&self, target: &str) -> String {
        format!("{}call.*.*.{target}.>", self.prefix)
    }

    /// Cancels and credits of calls by hand, which every callee hears.
    #[must_use]
    pub fn by_hand_control(&self) -> String {
        format!("{}call.*.*._.>", self.prefix)
    }

    /// A typed service, as a caller asks it.
    #[must_use]
    pub fn rpc(&self, caller: &Caller, target: &str, service: &str) -> String {
        format!("{}rpc.{caller}.{target}.{service}", self.prefix)
    }

    /// A typed service, as its server hears it.
    #[must_use]
    pub fn rpc_served(&self, target: &str, service: &str) -> String {
        format!("{}rpc.*.*.{target}.{service}", self.prefix)
    }

    /// An event of that kind by that publisher.
    #[must_use]
    pub fn event(&self, kind: &str, publisher: &UserName, rest: &str) -> String {
        format!("{}event.{kind}.{publisher}.{rest}", self.prefix)
    }

    /// All events of that kind.
    #[must_use]
    pub fn events(&self, kind: &str) -> String {
        format!("{}event.{kind}.>", self.prefix)
    }

    /// Log lines of that publisher, from one source.
    #[must_use]
    pub fn log(&self, publisher: &UserName, source: &str) -> String {
        format!("{}log.{publisher}.{source}", self.prefix)
    }

    /// All log lines of that publisher, or of all if it is `*`.
    #[must_use]
    pub fn logs(&self, publisher: &str) -> String {
        format!("{}log.{publisher}.>", self.prefix)
    }

    /// A side of a tunnel, as the other side sends to it: the hub of its process, and the connection there.
    #[must_use]
    pub fn tunnel(&self, receiver: &UserName, hub: &Token, connection: &Token) -> String {
        format!("{}tunnel.{receiver}.{}.{}", self.prefix, hub.as_str(), connection.as_str())
    }

    /// All that is sent to one hub.
    #[must_use]
    pub fn tunnels(&self, receiver: &UserName, hub: &Token) -> String {
        format!("{}tunnel.{receiver}.{}.*", self.prefix, hub.as_str())
    }

    /// Reads the caller of a typed service's request.
    #[must_use]
    pub fn rpc_caller(&self, subject: &str) -> Option<Caller> {
        let mut tokens = subject.strip_prefix(&self.prefix)?.strip_prefix("rpc.")?.split('.');
        caller(&mut tokens)
    }

    /// Reads a subject under `to` or `call`; `None` if it is none of ours, or malformed.
    #[must_use]
    pub fn read(&self, subject: &str) -> Option<Heard> {
        let rest = subject.strip_prefix(&self.prefix)?;
        let (by_hand, rest) = match rest.strip_prefix("call.") {
            Some(rest) => (true, rest),
            None => (false, rest.strip_prefix("to.")?.split_once('.')?.1),
        };
        let mut tokens = rest.splitn(4, '.');
        let caller = caller(&mut tokens)?;
        let (target, path) = (tokens.next()?, tokens.next().unwrap_or_default());
        let asked = if target == "_" && path == "pack" && !by_hand {
            Asked::Pack
        } else if target == "_" {
            let (verb, token) = path.split_once('.')?;
            let token = Token::parse(token)?;
            match verb {
                "cancel" => Asked::Cancel(token),
                "credit" => Asked::Credit(token),
                _ => return None,
            }
        } else {
            match HandTarget::parse(target).and_then(|target| Ok((target, SkillPath::parse(path)?))) {
                Ok((target, path)) => Asked::Skill { target, path },
                Err(error) => Asked::Malformed(error),
            }
        };
        Some(Heard { caller, asked, by_hand })
    }
}

fn caller<'a>(tokens: &mut impl Iterator<Item = &'a str>) -> Option<Caller> {
    Some(Caller { role: tokens.next()?.parse().ok()?, name: UserName::parse(tokens.next()?).ok()? })
}

/// Reads `<ci>.<skill…>`, as it stands at the end of a subject, in a request over the node's socket and in a pack.
///
/// # Errors
///
/// Says what is no name, node or skill path.
pub(crate) fn read_tail(tail: &str) -> Result<(HandTarget, SkillPath), crate::name::Error> {
    let (target, path) = tail.split_once('.').unwrap_or((tail, ""));
    Ok((HandTarget::parse(target)?, SkillPath::parse(path)?))
}

/// What can be asked of a running call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// End it.
    Cancel,
    /// Let its stream go on.
    Credit,
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancel => "cancel",
            Self::Credit => "credit",
        })
    }
}

/// The prefix below which a user's replies lie: `_INBOX.<user>`.
#[must_use]
pub fn inbox(user: &UserName) -> String {
    format!("_INBOX.{user}")
}

/// Why a request is dropped that does not keep to [`may_reply`], as audit tells it.
pub(crate) const NOT_OWN_INBOX: &str = "the reply subject is not below the caller's own inbox";

/// The rule for replies: a request runs only if its reply subject lies under its caller's own inbox, is within
/// bounds and has no wildcard; anything else could make a callee send its answer to a subject of the asker's choice.
#[must_use]
pub fn may_reply(caller: &UserName, reply: &str) -> bool {
    reply
        .strip_prefix("_INBOX.")
        .and_then(|rest| rest.strip_prefix(caller.as_str()))
        .and_then(|rest| rest.strip_prefix('.'))
        .is_some_and(|rest| {
            !rest.is_empty()
                && rest.len() <= 256
                && rest.bytes().all(|b| b.is_ascii_graphic() && b != b'*' && b != b'>')
        })
}

/// The token of a reply subject: its last part, if it is one of ours.
#[must_use]
pub fn reply_token(reply: &str) -> Option<Token> {
    reply.rsplit('.').next().and_then(Token::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects() -> Subjects {
        Subjects::new(&MeshName::parse("main").unwrap())
    }

    fn olga() -> Caller {
        Caller { role: Role::Operator, name: UserName::parse("olga").unwrap() }
    }

    #[test]
    fn a_call_reads_back() {
        let subject = subjects().to(
            &UserName::parse("alpha").unwrap(),
            &olga(),
            &Name::parse("web").unwrap(),
            &SkillPath::parse("optimize.apply").unwrap(),
        );
        assert_eq!(subject, "aigis.v1.main.to.alpha.operator.olga.web.optimize.apply");
        let heard = subjects().read(&subject).unwrap();
        assert_eq!((heard.caller, heard.by_hand), (olga(), false));
        assert!(matches!(heard.asked, Asked::Skill { path, .. } if path.as_str() == "optimize.apply"));
    }

    #[test]
    fn bad_04_malformed_subjects_are_none_of_ours() {
        for bad in [
            "aigis.v1.main.call.root.olga.web.status",
            "aigis.v1.main.to.alpha.operator.olga",
            "aigis.v1.main.to.alpha.operator.olga._.burn.x",
            "aigis.v1.other.call.operator.olga.web.status",
        ] {
            assert_eq!(subjects().read(bad), None, "{bad}");
        }
        for (bad, named) in [
            ("aigis.v1.main.to.alpha.operator.olga.web", "skill path"),
            ("aigis.v1.main.call.operator.olga.WEB.status", "'W' at position 1"),
            ("aigis.v1.main.call.operator.olga.web@.status", "node name"),
            ("aigis.v1.main.call.operator.olga.web.a.$JS", "'$' at position 3"),
        ] {
            let heard = subjects().read(bad).unwrap();
            assert_eq!(heard.caller, olga());
            assert!(matches!(heard.asked, Asked::Malformed(error) if error.to_string().contains(named)), "{bad}");
        }
    }

    #[test]
    fn replies_lie_under_the_callers_own_inbox() {
        let user = UserName::parse("olga").unwrap();
        assert!(may_reply(&user, "_INBOX.olga.abc.def"));
        for bad in ["_INBOX.adam.x", "_INBOX.olga", "_INBOX.olga.", "_INBOX.olgax.y", "$KV.records.x", "_INBOX.olga.>"]
        {
            assert!(!may_reply(&user, bad), "{bad}");
        }
    }

    #[test]
    fn tokens_read_back() {
        let token = Token::random();
        assert_eq!(Token::parse(token.as_str()), Some(token));
    }

    proptest::proptest! {
        #[test]
        fn bad_04_any_subject_is_read_or_refused(subject in "aigis\\.v1\\.main\\.(to|call)\\.[ -~]{0,60}") {
            let _ = subjects().read(&subject);
        }
    }
}
