//! All of a change before it begins: who is to stand where, and what that takes.

use std::collections::BTreeSet;

use aigis_proxy::{Code, Error, Name};

use super::{
    Action, Host, Part, Parts, Placements, Replicas, Row, Sources, place, plan, replicas,
    wanted::{source, wanted},
};

/// A change that could begin.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Where each replica is to stand.
    pub placements: Placements,
    /// What each node is given.
    pub replicas: Replicas,
    /// What has to be done.
    pub plan: Vec<Row>,
}

/// What a project is to be of: all containers of the package of `own`, and nothing else; or only those that are named, beside
/// what `former` has.
///
/// # Errors
///
/// `not_found` for a container that the package has not; `invalid_argument` for the package of another project.
pub fn parts(
    project: &Name,
    own: &Part,
    containers: &[Name],
    former: &Parts,
    sources: &Sources,
) -> Result<Parts, Error> {
    let source = source(sources, &own.package)?;
    if source.record.project != project.as_str() {
        let of = &source.record.project;
        return Err(Error::invalid(format!("{} is a package of {of}, not of {project}", own.package)));
    }
    let (mut parts, chosen) = match containers {
        [] => (Parts::new(), source.document.manifest.containers.keys().collect::<Vec<_>>()),
        some => (former.clone(), some.iter().collect()),
    };
    for name in chosen {
        source.container(name)?;
        parts.insert(name.clone(), own.clone());
    }
    Ok(parts)
}

/// The names that the containers of these parts have in engines.
///
/// # Errors
///
/// As [`wanted`].
pub fn names(parts: &Parts, sources: &Sources) -> Result<BTreeSet<Name>, Error> {
    Ok(wanted(parts, sources)?.into_iter().map(|unit| unit.name).collect())
}

/// Prepares what is to run.
///
/// # Errors
///
/// As [`wanted`], [`place`] and [`replicas`]; `already_exists` where a container of somebody else has a name that is needed.
pub fn prepare(
    project: &Name,
    parts: &Parts,
    sources: &Sources,
    hosts: &[Host],
    known: &Placements,
) -> Result<Prepared, Error> {
    let units = wanted(parts, sources)?;
    let placements = place(&units, sources, hosts, known)?;
    for (name, placement) in &placements {
        let node = &placement.node;
        let survey = hosts.iter().find(|host| host.name == *node).and_then(|host| host.survey.as_ref().ok());
        if survey.is_some_and(|survey| survey.foreign.contains(name)) {
            let message = format!("{node} has a container {name} that is not of the project {project}");
            return Err(Error::new(Code::AlreadyExists, message)
                .hint(format!("rename or remove it there, or name the container of {project} otherwise")));
        }
    }
    let replicas = replicas(project, &units, sources, &placements, hosts)?;
    let plan = plan(&replicas, hosts);
    Ok(Prepared { placements, replicas, plan })
}

impl Prepared {
    /// The containers that are changed, and where.
    pub fn changes(&self) -> impl Iterator<Item = (&Name, &aigis_proxy::NodeName)> + Clone {
        self.plan.iter().filter(|row| row.action != Action::Keep).map(|row| (&row.container, &row.node))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SHOP, host, parts as of, shop, sources};
    use super::*;

    #[test]
    fn pkg_63_only_the_named_containers_are_of_the_new_package() {
        let (mut known, older) = sources(SHOP);
        let newer = crate::Digest::of(b"newer");
        let mut source = known[&older].clone();
        source.record.id = newer;
        known.insert(newer, source);
        let former = of(&["api", "db"], older);
        let own = Part { package: newer, ..former.values().next().unwrap().clone() };
        let api = Name::parse("api").unwrap();
        let packages = |containers: &[Name]| {
            let parts = parts(&shop(), &own, containers, &former, &known).unwrap();
            parts.into_iter().map(|(name, part)| (name.to_string(), part.package)).collect::<Vec<_>>()
        };
        let all = |api, db| vec![("api".to_owned(), api), ("db".to_owned(), db)];
        assert_eq!(packages(&[]), all(newer, newer));
        assert_eq!(packages(&[api]), all(newer, older));
        let nosuch = [Name::parse("nosuch").unwrap()];
        assert_eq!(parts(&shop(), &own, &nosuch, &former, &known).unwrap_err().code, Code::NotFound);
        let other = Name::parse("other").unwrap();
        assert_eq!(parts(&other, &own, &[], &former, &known).unwrap_err().code, Code::InvalidArgument);
    }

    #[test]
    fn pkg_67_a_container_of_somebody_else_is_in_the_way() {
        let (sources, id) = sources(SHOP);
        let parts = of(&["api", "db"], id);
        assert_eq!(names(&parts, &sources).unwrap().len(), 2);
        let mut alpha = host("alpha");
        let none = Placements::new();
        let prepared = prepare(&shop(), &parts, &sources, &[alpha.clone()], &none).unwrap();
        assert_eq!(prepared.changes().count(), 2);
        alpha.survey.as_mut().unwrap().foreign.insert(Name::parse("api").unwrap());
        let error = prepare(&shop(), &parts, &sources, &[alpha.clone()], &none).unwrap_err();
        assert_eq!(error.code, Code::AlreadyExists);
        // On another node it is in nobody's way.
        let mut beta = host("beta");
        beta.survey.as_mut().unwrap().free_memory_bytes *= 2;
        assert!(prepare(&shop(), &parts, &sources, &[alpha, beta], &none).is_ok());
    }
}
