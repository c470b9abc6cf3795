//! Which part of the registry a cache follows.

use aigis_proxy::Name;

/// A part of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of it.
    Whole,
    /// What a node must know at all times.
    Issued,
    /// Who bears a name, or has it as an alias.
    Bearers(Name),
    /// The same, with what tells whether they are there.
    Holders(Name),
}

impl Scope {
    /// The keys of its records, as filters of which no two match the same.
    pub(super) fn records(&self) -> Vec<String> {
        match self {
            Self::Whole => vec![">".to_owned()],
            // No filter that ends in a node's name: the store would look through all keys for it whenever a node is back.
            Self::Issued => ["user.*.*", "removed.*.*", "secret.*.*", "vouches.*"].map(str::to_owned).to_vec(),
            Self::Bearers(name) => named(name),
            Self::Holders(name) => {
                let of_all = ["node.*", "bus.*.*", "removed.*.*"].map(str::to_owned);
                named(name).into_iter().chain(of_all).collect()
            }
        }
    }

    /// The keys of its leases, if there are any.
    pub(super) fn leases(&self) -> Option<&'static str> {
        match self {
            Self::Whole | Self::Holders(_) => Some("live.*"),
            Self::Issued | Self::Bearers(_) => None,
        }
    }
}

/// The records of that name, and those of which it is the alias `NAME-ci`.
fn named(name: &Name) -> Vec<String> {
    let base = name.as_str().strip_suffix("-ci");
    [Some(name.as_str()), base].into_iter().flatten().map(|name| format!("ci.{name}.*")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_asked_for_by_the_name_that_it_stands_for() {
        let name = |text: &str| Name::parse(text).unwrap();
        assert_eq!(Scope::Bearers(name("web")).records(), ["ci.web.*"]);
        assert_eq!(Scope::Bearers(name("web-ci")).records(), ["ci.web-ci.*", "ci.web.*"]);
    }
}
