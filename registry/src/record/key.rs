//! Under which key a record stands.

use std::fmt;

use aigis_proxy::{Name, NodeName, SkillPath, UserName, secret::SecretName};

/// The keys of the bucket of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Ci(Name, NodeName),
    Node(NodeName),
    Bus(String, NodeName),
    User(UserName, NodeName),
    Token(UserName, NodeName),
    Removed(NodeName, NodeName),
    Secret(SecretName, NodeName),
    Vouches(NodeName),
    Audit(NodeName),
    Claim(SkillPath, NodeName),
}

impl Key {
    /// Reads a key; `None` if it is of a kind that this version does not know.
    pub(crate) fn parse(key: &str) -> Option<Self> {
        let mut tokens = key.split('.');
        let parsed = match (tokens.next()?, tokens.next()?, tokens.next()) {
            ("ci", name, Some(node)) => Self::Ci(Name::parse(name).ok()?, NodeName::parse(node).ok()?),
            ("node", node, None) => Self::Node(NodeName::parse(node).ok()?),
            ("bus", server, Some(node)) => Self::Bus(server.to_owned(), NodeName::parse(node).ok()?),
            ("user", user, Some(node)) => Self::User(UserName::parse(user).ok()?, NodeName::parse(node).ok()?),
            ("token", id, Some(node)) => Self::Token(UserName::parse(id).ok()?, NodeName::parse(node).ok()?),
            ("removed", removed, Some(node)) => {
                Self::Removed(NodeName::parse(removed).ok()?, NodeName::parse(node).ok()?)
            }
            ("secret", name, Some(node)) => {
                Self::Secret(SecretName::from_token(name).ok()?, NodeName::parse(node).ok()?)
            }
            ("claim", leaf, Some(node)) => {
                // A leaf is one token of the key, so that no dot of it is left.
                Self::Claim(SkillPath::parse(&leaf.replace('/', ".")).ok()?, NodeName::parse(node).ok()?)
            }
            ("vouches", node, None) => Self::Vouches(NodeName::parse(node).ok()?),
            ("audit", node, None) => Self::Audit(NodeName::parse(node).ok()?),
            _ => return None,
        };
        tokens.next().is_none().then_some(parsed)
    }

    /// The keys of all claims to a leaf.
    pub(crate) fn claims_of(leaf: &SkillPath) -> String {
        format!("claim.{}.*", leaf.as_str().replace('.', "/"))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ci(name, node) => write!(f, "ci.{name}.{node}"),
            Self::Node(node) => write!(f, "node.{node}"),
            Self::Bus(server, node) => write!(f, "bus.{server}.{node}"),
            Self::User(user, node) => write!(f, "user.{user}.{node}"),
            Self::Token(id, node) => write!(f, "token.{id}.{node}"),
            Self::Removed(removed, node) => write!(f, "removed.{removed}.{node}"),
            Self::Secret(name, node) => write!(f, "secret.{}.{node}", name.to_token()),
            Self::Vouches(node) => write!(f, "vouches.{node}"),
            Self::Audit(node) => write!(f, "audit.{node}"),
            Self::Claim(leaf, node) => write!(f, "claim.{}.{node}", leaf.as_str().replace('.', "/")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        let keys = ["ci.web.alpha", "node.alpha", "bus.NABC.alpha", "user.olga.alpha", "token.t1.alpha"];
        let others = [
            "claim.cool/nolog.alpha",
            "removed.beta.alpha",
            "secret.plugin/web/api=key.alpha",
            "vouches.alpha",
            "audit.alpha",
        ];
        for key in keys.into_iter().chain(others) {
            assert_eq!(Key::parse(key).unwrap().to_string(), key);
        }
        for bad in [
            "ci.web",
            "ci.web.alpha.x",
            "ci.Web.alpha",
            "node.alpha.x",
            "user.olga",
            "claim./a.alpha",
            "claim.a-b.alpha",
            "claim.a.b.alpha",
            "secret./x.alpha",
            "",
        ] {
            assert_eq!(Key::parse(bad), None, "{bad}");
        }
    }
}
