//! All of a change before it begins: who is to stand where, and what that takes.

use std::collections::BTreeSet;

use aigis_proxy::{Code, Error, Name};

use super::{Action, Host, Parts, Placements, Replicas, Row, Sources, place, plan, replicas, wanted};

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
    use super::super::testing::{SHOP, host, parts, shop, sources};
    use super::*;

    #[test]
    fn pkg_67_a_container_of_somebody_else_is_in_the_way() {
        let (sources, id) = sources(SHOP);
        let parts = parts(&["api", "db"], id);
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
