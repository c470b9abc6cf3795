//! The proposals that a host has shown, for a day: what is saved is what was seen.

use std::{
    fs, io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use aigis_deploy::{dockerfile::Proposal, fill::Filled};
use aigis_proxy::{Code, Error, quoted};
use serde::{Deserialize, Serialize};

/// How long a proposal is kept after it was shown last.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Most proposals that are kept; of more, the oldest go.
const MOST: usize = 1_000;
/// Of most projects that are called the same proposal.
const PROJECTS: usize = 64;
/// How an id begins; 16 digits follow.
const PREFIX: &str = "prop-";

/// A proposal, and of what it was shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Shown {
    /// The project, as it was called.
    pub(super) project: String,
    /// The application that was asked for.
    pub(super) application: Option<String>,
    /// With what its gaps were filled.
    #[serde(default)]
    pub(super) filled: Vec<Filled>,
    /// The proposal.
    pub(super) proposal: Proposal,
}

/// The proposals, each in a file that is called after its id. Several projects that hold the same share one.
#[derive(Debug, Clone)]
pub(super) struct Kept(PathBuf);

impl Kept {
    pub(super) fn of(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Keeps a proposal; those that were shown long ago go.
    pub(super) fn keep(&self, shown: Shown) -> Result<(), Error> {
        self.sweep(SystemTime::now());
        let path = self.path(&shown.proposal.id)?;
        let mut all = self.read(&shown.proposal.id)?;
        all.retain(|known| known.project != shown.project || known.application != shown.application);
        if all.len() >= PROJECTS {
            all.remove(0);
        }
        all.push(shown);
        let text = serde_json::to_vec(&all)
            .map_err(|error| Error::internal(format!("a proposal has no JSON form: {error}")))?;
        aigis_node::home::replace(&path, &text).map_err(|error| {
            Error::internal(format!("a proposal cannot be kept: {}", aigis_proxy::with_causes(&error)))
        })
    }

    /// A proposal by its id, and by its project where several have it.
    pub(super) fn find(&self, id: &str, project: Option<&str>) -> Result<Shown, Error> {
        self.sweep(SystemTime::now());
        let mut all = self.read(id)?;
        all.retain(|known| project.is_none_or(|project| known.project == project));
        let mut projects: Vec<&str> = all.iter().map(|known| known.project.as_str()).collect();
        projects.sort_unstable();
        projects.dedup();
        if projects.len() > 1 {
            let message = format!("{id} was proposed for {}", projects.join(", "));
            return Err(Error::precondition(message).hint("name one of them: project=NAME"));
        }
        all.pop().ok_or_else(|| {
            let of = project.map(|project| format!(" of {}", quoted(project))).unwrap_or_default();
            Error::new(Code::NotFound, format!("no proposal {id}{of} is kept here"))
                .hint("have it proposed again: dockerfile.propose; each is kept for a day")
        })
    }

    /// Those that were shown under an id, the last one last.
    fn read(&self, id: &str) -> Result<Vec<Shown>, Error> {
        let unreadable = |error: String| Error::internal(format!("the proposal {id} cannot be read: {error}"));
        match fs::read(self.path(id)?) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(unreadable(error.to_string())),
        }
    }

    fn path(&self, id: &str) -> Result<PathBuf, Error> {
        let digits = id.strip_prefix(PREFIX).filter(|digits| {
            digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        });
        match digits {
            Some(_) => Ok(self.0.join(format!("{id}.json"))),
            None => Err(Error::invalid(format!(
                "\"{}\" is no proposal; one is {PREFIX} and 16 digits of 0-9 a-f",
                quoted(id)
            ))),
        }
    }

    /// Removes what was shown long ago, and what is too much.
    fn sweep(&self, now: SystemTime) {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut all: Vec<(SystemTime, PathBuf)> =
            entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
        all.sort();
        let too_many = all.len().saturating_sub(MOST);
        for (index, (shown, path)) in all.into_iter().enumerate() {
            if index < too_many || now.duration_since(shown).is_ok_and(|age| age > KEPT) {
                // What stays is looked at again by the next.
                let _ = fs::remove_file(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(project: &str) -> Shown {
        let tree = aigis_deploy::Tree::of([("index.php", "<?php echo 1;")]);
        let wanted = aigis_deploy::dockerfile::Wanted {
            bases: aigis_deploy::settings::Settings::default().bases(),
            ..Default::default()
        };
        let (proposal, _) = aigis_deploy::dockerfile::propose(tree, &wanted, |_| None).unwrap();
        Shown { project: project.to_owned(), application: None, filled: Vec::new(), proposal }
    }

    #[test]
    fn pkg_70_a_proposal_is_kept_for_a_day_and_found_by_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::of(folder.path().to_owned());
        let one = shown("one");
        let id = one.proposal.id.clone();
        assert_eq!(kept.find(&id, None).unwrap_err().code, Code::NotFound);
        kept.keep(one.clone()).unwrap();
        kept.keep(one.clone()).unwrap();
        assert_eq!(kept.find(&id, None).unwrap(), one);
        kept.sweep(SystemTime::now() + KEPT - Duration::from_secs(60));
        assert_eq!(kept.find(&id, None).unwrap(), one);
        kept.sweep(SystemTime::now() + KEPT + Duration::from_secs(60));
        assert_eq!(kept.find(&id, None).unwrap_err().code, Code::NotFound);
    }

    #[test]
    fn pkg_70_of_two_projects_that_hold_the_same_one_has_to_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::of(folder.path().to_owned());
        let (one, two) = (shown("one"), shown("two"));
        let id = one.proposal.id.clone();
        kept.keep(one.clone()).unwrap();
        kept.keep(two.clone()).unwrap();
        let error = kept.find(&id, None).unwrap_err();
        assert_eq!((error.code, error.message.contains("one, two")), (Code::FailedPrecondition, true), "{error:?}");
        assert_eq!(kept.find(&id, Some("one")).unwrap(), one);
        assert_eq!(kept.find(&id, Some("three")).unwrap_err().code, Code::NotFound);
    }

    #[test]
    fn pkg_71_what_is_no_id_leads_to_no_file() {
        let kept = Kept::of(PathBuf::from("/nonexistent"));
        for id in ["", "prop-", "prop-../../etc/passwd", "prop-0123456789ABCDEF", "../prop-0123456789abcdef"] {
            assert_eq!(kept.find(id, None).unwrap_err().code, Code::InvalidArgument, "{id}");
        }
    }
}
