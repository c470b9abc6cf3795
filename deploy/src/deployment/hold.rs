//! What holds deployments back.

use std::{fmt, str::FromStr};

use aigis_proxy::{Error, Name, NodeName, UserName, quoted};
use aigis_registry::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What a hold is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Everything.
    All,
    /// What would be changed on that node.
    Node(NodeName),
    /// A project.
    Project(Name),
    /// A container of a project.
    Container(Name, Name),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Node(node) => write!(f, "node={node}"),
            Self::Project(project) => write!(f, "{project}"),
            Self::Container(project, container) => write!(f, "{project}/{container}"),
        }
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |_| {
            Error::invalid(format!("\"{}\" is nothing that can be held", quoted(text)))
                .hint("say PROJECT, PROJECT/CONTAINER, node=NAME or all")
        };
        if text == "all" {
            return Ok(Self::All);
        }
        if let Some(node) = text.strip_prefix("node=") {
            return NodeName::parse(node).map(Self::Node).map_err(wrong);
        }
        match text.split_once('/') {
            None => Name::parse(text).map(Self::Project).map_err(wrong),
            Some((project, container)) => {
                let project = Name::parse(project).map_err(wrong)?;
                Ok(Self::Container(project, Name::parse(container).map_err(wrong)?))
            }
        }
    }
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: Error| serde::de::Error::custom(error.message))
    }
}

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// On what.
    pub target: Target,
    /// Whose it is.
    pub by: UserName,
    /// Why.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when, if it ends by itself.
    pub until: Option<Timestamp>,
}

/// All holds of the mesh, under `deployment_holds`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// One for each target at most.
    pub holds: Vec<Hold>,
}

impl Holds {
    /// Those that are not over.
    pub fn live(&self, now: Timestamp) -> impl Iterator<Item = &Hold> {
        self.holds.iter().filter(move |hold| hold.until.is_none_or(|until| until > now))
    }

    /// Adds a hold, in place of another on the same target; what is over is forgotten.
    pub fn add(&mut self, hold: Hold, now: Timestamp) {
        self.holds.retain(|other| other.target != hold.target && other.until.is_none_or(|until| until > now));
        self.holds.push(hold);
    }

    /// Ends the hold on a target; says whether there was one.
    pub fn end(&mut self, target: &Target, now: Timestamp) -> bool {
        let was = self.live(now).any(|hold| hold.target == *target);
        self.holds.retain(|hold| hold.target != *target && hold.until.is_none_or(|until| until > now));
        was
    }

    /// Refuses a change of a project: of all of it, and of those containers on those nodes.
    ///
    /// # Errors
    ///
    /// `failed_precondition` that says who holds it, why, since when and until when.
    pub fn permit<'a>(
        &self,
        now: Timestamp,
        project: &Name,
        changes: impl IntoIterator<Item = (&'a Name, &'a NodeName)> + Clone,
    ) -> Result<(), Error> {
        let covers = |target: &Target| match target {
            Target::All => true,
            Target::Project(held) => held == project,
            Target::Container(held, container) => {
                held == project && changes.clone().into_iter().any(|(changed, _)| changed == container)
            }
            Target::Node(node) => changes.clone().into_iter().any(|(_, changed)| changed == node),
        };
        match self.live(now).find(|hold| covers(&hold.target)) {
            None => Ok(()),
            Some(hold) => Err(hold.refusal()),
        }
    }
}

impl Hold {
    fn refusal(&self) -> Error {
        let Self { target, by, why, since, until } = self;
        let until = until.map_or_else(|| "it is resumed".to_owned(), |until| until.to_string());
        Error::precondition(format!("{target} is held by {by} since {since} until {until}: {why}"))
            .hint(format!("wait, or: aish deployments resume {target}"))
            .with("hold", json!(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn hold(target: &str, until: Option<&str>) -> Hold {
        Hold {
            target: target.parse().unwrap(),
            by: UserName::parse("ops").unwrap(),
            why: "the bus moves".to_owned(),
            since: time("2026-01-01T00:00:00Z"),
            until: until.map(time),
        }
    }

    #[test]
    fn pkg_66_targets_read_back_and_what_is_none_is_refused() {
        for text in ["all", "node=beta", "shop", "shop/api"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for bad in ["", "node=", "Shop", "shop/", "/api", "a/b/c", "node=*"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn pkg_66_a_hold_covers_what_it_names_until_it_ends() {
        let (shop, api, db) = (Name::parse("shop").unwrap(), Name::parse("api").unwrap(), Name::parse("db").unwrap());
        let (alpha, beta) = (NodeName::parse("alpha").unwrap(), NodeName::parse("beta").unwrap());
        let now = time("2026-06-01T00:00:00Z");
        // target, what changes, whether it is refused
        for (target, changes, refused) in [
            ("all", vec![], true),
            ("shop", vec![], true),
            ("store", vec![(&api, &alpha)], false),
            ("shop/api", vec![(&api, &alpha)], true),
            ("shop/api", vec![(&db, &alpha)], false),
            ("shop/api", vec![], false),
            ("node=beta", vec![(&db, &beta)], true),
            ("node=beta", vec![(&db, &alpha)], false),
        ] {
            let mut holds = Holds::default();
            holds.add(hold(target, None), now);
            assert_eq!(holds.permit(now, &shop, changes.clone()).is_err(), refused, "{target} {changes:?}");
        }
        let mut holds = Holds::default();
        holds.add(hold("shop", Some("2026-06-01T00:00:20Z")), now);
        let error = holds.permit(now, &shop, []).unwrap_err();
        assert_eq!(error.code, aigis_proxy::Code::FailedPrecondition);
        for word in ["ops", "the bus moves", "2026-01-01T00:00:00", "2026-06-01T00:00:20"] {
            assert!(error.message.contains(word), "{} lacks {word}", error.message);
        }
        assert!(holds.permit(time("2026-06-01T00:00:20Z"), &shop, []).is_ok(), "it ended");
        assert!(holds.end(&"shop".parse().unwrap(), now) && !holds.end(&"shop".parse().unwrap(), now));
        assert!(holds.permit(now, &shop, []).is_ok());
    }
}
