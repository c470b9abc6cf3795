//! Roles of callers and effects of skills.

use std::{collections::BTreeMap, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::Name;

/// What a skill does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Only looks.
    Read,
    /// Changes something that an operator may change.
    Write,
    /// Needs an administrator.
    Admin,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

/// The role of a user, which the bus enforces by the user's scoped signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads and writes.
    Operator,
    /// Everything.
    Admin,
    /// A host agent.
    Node,
    /// A plugin host.
    Plugin,
    /// A join token, which is nobody yet: it can ask the issuer for a credential, and nothing else.
    Join,
}

impl Role {
    /// Every role that stands in subjects.
    pub const ALL: [Self; 6] = [Self::Viewer, Self::Operator, Self::Admin, Self::Node, Self::Plugin, Self::Join];
    /// The roles that users are given, in the order in which they are listed to people.
    pub const GIVEN: [Self; 5] = [Self::Viewer, Self::Operator, Self::Admin, Self::Node, Self::Plugin];

    /// Reads a role that somebody chooses for a user.
    ///
    /// # Errors
    ///
    /// Names the roles that there are.
    pub fn choose(text: &str) -> Result<Self, UnknownRole> {
        let role = text.parse()?;
        if Self::GIVEN.contains(&role) { Ok(role) } else { Err(UnknownRole(crate::name::quoted(text))) }
    }

    /// The role's word, as it stands in subjects.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Node => "node",
            Self::Plugin => "plugin",
            Self::Join => "join",
        }
    }

    /// Whether this role may run a skill of that effect on any CI.
    ///
    /// Nodes read here; what they may do on their own CIs beyond that is the callee's to decide. So is on which CIs a
    /// plugin may do it: see [`Grant`].
    #[must_use]
    pub fn permits(self, effect: Effect) -> bool {
        match self {
            Self::Viewer | Self::Node => effect == Effect::Read,
            Self::Operator | Self::Plugin => effect <= Effect::Write,
            Self::Admin => true,
            Self::Join => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no role; the roles are viewer, operator, admin, node, plugin")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| UnknownRole(crate::name::quoted(text)))
    }
}

/// What a plugin may do on some CIs: everything of that effect or a smaller one. Written `WHOM:EFFECT`, where `WHOM` is a CI's
/// name, `kind=KIND`, or a label `KEY=VALUE`.
///
/// ```
/// use std::collections::BTreeMap;
/// use aigis_proxy::{Effect, Grant, Granted, Name};
/// let (web, labels) = (Name::parse("web").unwrap(), BTreeMap::new());
/// let web = Granted { ci: &web, kind: "container", labels: &labels };
/// let grant: Grant = "web:read".parse().unwrap();
/// assert!(grant.covers(web, Effect::Read) && !grant.covers(web, Effect::Write));
/// assert!("kind=container:write".parse::<Grant>().unwrap().covers(web, Effect::Write));
/// assert!("web:admin".parse::<Grant>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Grant {
    whom: Whom,
    effect: Effect,
}

/// Whom a grant is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Whom {
    /// One CI.
    Ci(Name),
    /// All CIs of a kind.
    Kind(String),
    /// All CIs that bear a label.
    Label(String, String),
}

/// What a grant is judged by: a CI, as its record tells of it.
#[derive(Debug, Clone, Copy)]
pub struct Granted<'a> {
    /// Its name.
    pub ci: &'a Name,
    /// The word for its kind.
    pub kind: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
}

impl Grant {
    /// Whether it permits something of that effect on that CI.
    #[must_use]
    pub fn covers(&self, granted: Granted<'_>, effect: Effect) -> bool {
        let is_meant = match &self.whom {
            Whom::Ci(name) => name == granted.ci,
            Whom::Kind(kind) => kind == granted.kind,
            Whom::Label(key, value) => granted.labels.get(key) == Some(value),
        };
        is_meant && effect <= self.effect
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.whom {
            Whom::Ci(name) => write!(f, "{name}:{}", self.effect),
            Whom::Kind(kind) => write!(f, "kind={kind}:{}", self.effect),
            Whom::Label(key, value) => write!(f, "{key}={value}:{}", self.effect),
        }
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> Self {
        grant.to_string()
    }
}

impl TryFrom<String> for Grant {
    type Error = NoGrant;

    fn try_from(text: String) -> Result<Self, NoGrant> {
        text.parse()
    }
}

/// A word that is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{shown}\" is no grant: {why}; write NAME:read or NAME:write, with kind=KIND or KEY=VALUE for NAME if need be"
)]
pub struct NoGrant {
    shown: String,
    why: String,
}

impl FromStr for Grant {
    type Err = NoGrant;

    fn from_str(text: &str) -> Result<Self, NoGrant> {
        let flaw = |why: String| NoGrant { shown: crate::name::quoted(text), why };
        let (whom, effect) = text.rsplit_once(':').ok_or_else(|| flaw("it names no effect".to_owned()))?;
        let effect = match effect {
            "read" => Effect::Read,
            "write" => Effect::Write,
            "admin" => return Err(flaw("a plugin is never granted admin".to_owned())),
            _ => return Err(flaw("its effect is neither read nor write".to_owned())),
        };
        let whom = match whom.split_once('=') {
            Some(("", _) | (_, "")) => return Err(flaw("a label has a key and a value".to_owned())),
            Some((key, value)) if key.chars().chain(value.chars()).any(char::is_control) => {
                return Err(flaw(format!(
                    "the label {} has a control character",
                    crate::name::quoted(&format!("{key}={value}"))
                )));
            }
            Some(("kind", kind)) => Whom::Kind(kind.to_owned()),
            Some((key, value)) => Whom::Label(key.to_owned(), value.to_owned()),
            None => Whom::Ci(Name::parse(whom).map_err(|error| flaw(error.to_string()))?),
        };
        Ok(Self { whom, effect })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_permit_effects_by_the_table() {
        assert!(Role::Viewer.permits(Effect::Read) && !Role::Viewer.permits(Effect::Write));
        assert!(Role::Operator.permits(Effect::Write) && !Role::Operator.permits(Effect::Admin));
        assert!(Role::Admin.permits(Effect::Admin));
        assert!(!Role::Node.permits(Effect::Write));
        assert!(!Role::Join.permits(Effect::Read));
        assert_eq!("root".parse::<Role>().unwrap_err().to_string().split(';').next(), Some("\"root\" is no role"));
    }

    #[test]
    fn atk_16_a_grant_covers_its_own_ci_up_to_its_effect() {
        let (web, other) = (Name::parse("web").unwrap(), Name::parse("web2").unwrap());
        let labels = BTreeMap::from([("zone".to_owned(), "a:b".to_owned())]);
        let [web, other] = [&web, &other].map(|ci| Granted { ci, kind: "plugin", labels: &labels });
        let grant: Grant = "web:write".parse().unwrap();
        assert!(grant.covers(web, Effect::Read) && grant.covers(web, Effect::Write));
        assert!(!grant.covers(web, Effect::Admin) && !grant.covers(other, Effect::Read));
        for (text, covered) in
            [("kind=plugin:write", true), ("kind=node:write", false), ("zone=a:b:read", true), ("zone=a:read", false)]
        {
            let grant: Grant = text.parse().unwrap();
            assert_eq!((grant.covers(other, Effect::Read), grant.to_string().as_str()), (covered, text));
        }
        assert_eq!(serde_json::to_string(&grant).unwrap(), "\"web:write\"");
        for bad in [
            "web",
            "web:",
            ":read",
            "*:read",
            "web:admin",
            "web:Read",
            "web@alpha:read",
            "web:read:x",
            "=a:read",
            "kind=:read",
            "k=\u{1b}:read",
            "",
        ] {
            assert!(bad.parse::<Grant>().unwrap_err().to_string().contains("write NAME:read"), "{bad}");
        }
    }

    #[test]
    fn nobody_chooses_to_be_a_token() {
        assert_eq!("join".parse::<Role>(), Ok(Role::Join));
        assert!(Role::choose("join").unwrap_err().to_string().contains("viewer, operator, admin, node, plugin"));
        assert_eq!(Role::choose("admin"), Ok(Role::Admin));
    }
}
