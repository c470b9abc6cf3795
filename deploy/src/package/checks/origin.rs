//! From where a package is.

use super::{
    super::{Build, Record},
    Found, Outcome,
};
use crate::manifest::Project;

pub(super) fn versioned(project: &Project) -> Found {
    match &project.version {
        Some(version) => (Outcome::Pass, vec![format!("aigis.json /project/version: {version}")]),
        None => (Outcome::Fail, vec!["aigis.json has no /project/version".to_owned()]),
    }
}

pub(super) fn sourced(project: &Project, builds: &[Build], record: &Record) -> Found {
    let Some(repository) = &project.repository else {
        return (Outcome::Fail, vec!["aigis.json has no /project/repository".to_owned()]);
    };
    let own: Vec<&Build> = builds.iter().filter(|build| build.package == record.id).collect();
    let at = own.iter().find_map(|build| Some((build, build.source.commit.as_ref()?)));
    match at {
        Some((build, commit)) => (Outcome::Pass, vec![format!("{repository} at {commit} ({})", build.id)]),
        None if own.is_empty() => (Outcome::Unknown, vec!["no build of it is stored here".to_owned()]),
        None => (Outcome::Fail, own.iter().map(|build| format!("{} names no commit", build.id)).collect()),
    }
}

/// One build of a commit as it is shows that all of the package is in it.
pub(super) fn clean(builds: &[Build], record: &Record) -> Found {
    let own: Vec<&Build> = builds.iter().filter(|build| build.package == record.id).collect();
    let of = |build: &&Build| build.source.commit.clone().zip(build.source.dirty).map(|at| (build.id.clone(), at));
    let looked: Vec<_> = own.iter().filter_map(of).collect();
    if let Some((build, (commit, _))) = looked.iter().find(|(_, (_, dirty))| !dirty) {
        return (Outcome::Pass, vec![format!("{build} is of {commit} as it is")]);
    }
    let evidence = |(build, (commit, _)): &(String, (String, bool))| format!("{build} differs from {commit}");
    match (looked.is_empty(), own.is_empty()) {
        (false, _) => (Outcome::Fail, looked.iter().map(evidence).collect()),
        (true, true) => (Outcome::Unknown, vec!["no build of it is stored here".to_owned()]),
        (true, false) => (Outcome::Fail, own.iter().map(|build| format!("{} names no commit", build.id)).collect()),
    }
}
