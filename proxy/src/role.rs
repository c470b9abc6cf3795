//! Roles of callers and effects of skills.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Nodes read here; what they may do on their own CIs beyond that is the callee's to decide, as are the
    /// grants of plugins.
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
    fn nobody_chooses_to_be_a_token() {
        assert_eq!("join".parse::<Role>(), Ok(Role::Join));
        assert!(Role::choose("join").unwrap_err().to_string().contains("viewer, operator, admin, node, plugin"));
        assert_eq!(Role::choose("admin"), Ok(Role::Admin));
    }
}
