//! Which replicas there are to be, by what packages say, and in which order they begin.

use std::collections::{BTreeMap, BTreeSet};

use aigis_proxy::{Code, Error, Name};

use super::Parts;
use crate::{
    Digest,
    manifest::{Container, Document},
    package::{ImageRecord, Record, Reproducible},
};

/// A package, as a deployment needs to know it.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its record.
    pub record: Record,
    /// Its manifest.
    pub document: Document,
    /// Whether independent builds agreed.
    pub reproducible: Reproducible,
}

/// The packages of a deployment, by their ids.
pub type Sources = BTreeMap<Digest, Source>;

/// One replica that there is to be, wherever it comes to stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name in the engine: `api`, or `api-2`.
    pub name: Name,
    /// The container of the manifest.
    pub container: Name,
    /// The name of its CI.
    pub ci_name: Name,
    /// The CI that it shares with its like.
    pub service: Option<Name>,
    /// Of which package it is.
    pub package: Digest,
}

impl Source {
    /// A container of its manifest.
    ///
    /// # Errors
    ///
    /// `not_found`, with those that there are.
    pub fn container(&self, name: &Name) -> Result<&Container, Error> {
        self.document.manifest.containers.get(name).ok_or_else(|| {
            let all: Vec<&str> = self.document.manifest.containers.keys().map(Name::as_str).collect();
            let message = format!("the package {} has no container {name}", self.record.id);
            Error::new(Code::NotFound, message).hint(format!("it has {}", all.join(", ")))
        })
    }

    /// The image of a container for a platform: `linux/amd64`.
    #[must_use]
    pub fn image(&self, container: &Name, platform: &str) -> Option<&ImageRecord> {
        let images = self.record.images.iter();
        images.into_iter().find(|image| image.container == container.as_str() && image.platform.to_string() == platform)
    }

    /// The platforms for which it has an image of a container.
    pub(super) fn platforms(&self, container: &Name) -> Vec<String> {
        let images = self.record.images.iter().filter(|image| image.container == container.as_str());
        images.map(|image| image.platform.to_string()).collect()
    }
}

/// The package of a part.
pub(super) fn source<'a>(sources: &'a Sources, package: &Digest) -> Result<&'a Source, Error> {
    sources.get(package).ok_or_else(|| unknown(package))
}

pub(super) fn unknown(package: &Digest) -> Error {
    Error::precondition(format!("the package {package} is not known any more"))
        .hint("build it again, or deploy another: aish packages list")
}

/// The replicas of these parts, in the order in which they begin: what others depend on first, then by name.
///
/// # Errors
///
/// `failed_precondition` for what depends on a container that is not deployed; `not_found` for a container that its package
/// has not; `invalid_argument` for two replicas of one name.
pub fn wanted(parts: &Parts, sources: &Sources) -> Result<Vec<Unit>, Error> {
    let mut units = Vec::new();
    let mut names = BTreeSet::new();
    for name in order(parts, sources)? {
        let Some(part) = parts.get(name) else { continue };
        let container = source(sources, &part.package)?.container(name)?;
        let ci_name = container.ci_name.as_ref().unwrap_or(name);
        for number in 1..=container.replicas {
            let is_one = container.replicas == 1;
            let numbered = |base: &Name| match is_one {
                true => Ok(base.clone()),
                false => Name::parse(&format!("{base}-{number}")).map_err(|error| Error::invalid(error.to_string())),
            };
            let unit = Unit {
                name: numbered(name)?,
                container: name.clone(),
                ci_name: numbered(ci_name)?,
                service: (!is_one).then(|| ci_name.clone()),
                package: part.package,
            };
            if !names.insert(unit.name.clone()) {
                return Err(Error::invalid(format!("two replicas of the project would be named {}", unit.name))
                    .hint("give one of their containers another name in aigis.json, and build again"));
            }
            units.push(unit);
        }
    }
    Ok(units)
}

/// The containers of these parts, each behind all that it depends on.
fn order<'a>(parts: &'a Parts, sources: &Sources) -> Result<Vec<&'a Name>, Error> {
    let mut waiting: BTreeMap<&Name, BTreeSet<Name>> = BTreeMap::new();
    for (name, part) in parts {
        let needs = &source(sources, &part.package)?.container(name)?.depends_on;
        if let Some(missing) = needs.iter().find(|need| !parts.contains_key(*need)) {
            return Err(Error::precondition(format!("{name} depends on {missing}, which is not deployed"))
                .hint(format!("deploy it too: --container {missing}")));
        }
        waiting.insert(name, needs.iter().cloned().collect());
    }
    let mut order = Vec::new();
    // Each round takes one, so there are as many as containers.
    while let Some(next) = waiting.iter().find(|(_, needs)| needs.is_empty()).map(|(name, _)| *name) {
        waiting.remove(next);
        for needs in waiting.values_mut() {
            needs.remove(next);
        }
        order.push(next);
    }
    match waiting.keys().next() {
        None => Ok(order),
        // Each package has none, but these may be of several.
        Some(name) => Err(Error::precondition(format!("{name} depends on itself, by way of others"))
            .hint("deploy all containers of one package")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SHOP, names, parts, sources};
    use super::*;

    #[test]
    fn pkg_60_what_others_depend_on_begins_first_then_by_name() {
        let given = [
            ("api", "\"depends_on\": [\"db\", \"cache\"], \"replicas\": 3, \"ci_name\": \"api-ci\""),
            ("db", ""),
            ("cache", ""),
            ("aaa", "\"depends_on\": [\"api\"]"),
        ];
        let (sources, id) = sources(&given);
        let units = wanted(&parts(&names(&given), id), &sources).unwrap();
        let told: Vec<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(told, ["cache", "db", "api-1", "api-2", "api-3", "aaa"]);
        let api = &units[2];
        assert_eq!((api.ci_name.as_str(), api.service.as_ref().map(Name::as_str)), ("api-ci-1", Some("api-ci")));
        let db = &units[1];
        assert_eq!((db.ci_name.as_str(), &db.service), ("db", &None));
    }

    #[test]
    fn pkg_60_what_cannot_be_is_refused() {
        let (known, id) = sources(SHOP);
        let error = wanted(&parts(&["api"], id), &known).unwrap_err();
        assert!(error.message.contains("depends on db") && error.hint.is_some(), "{}", error.message);
        assert_eq!(wanted(&parts(&["web"], id), &known).unwrap_err().code, Code::NotFound);
        let given = [("api", "\"replicas\": 2"), ("api-1", "")];
        let (known, id) = sources(&given);
        assert_eq!(wanted(&parts(&["api", "api-1"], id), &known).unwrap_err().code, Code::InvalidArgument);
        assert!(wanted(&parts(&["api"], Digest::of(b"other")), &known).is_err());
    }
}
