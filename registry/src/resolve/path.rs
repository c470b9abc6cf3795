//! What a dotted path of the namespace means: a CI and its skill, else a leaf that a plugin claims.

use std::sync::Arc;

use aigis_proxy::{Address, Code, Error, Name, SkillPath};

use super::{Resolved, ambiguity};
use crate::{
    record::{ClaimRecord, Kind, SkillNote, State},
    snapshot::{Found, Snapshot},
};

impl Resolved {
    /// The skills that its record names; a service's are those of its replicas.
    #[must_use]
    pub fn skills(&self) -> &[SkillNote] {
        match self {
            Self::One(one) => &one.record.skills,
            Self::Service(service) => service.replicas.first().map_or(&[], |replica| &replica.record.skills),
        }
    }

    /// The error of a call of the CI itself, which is no skill.
    #[must_use]
    pub fn no_skill(&self) -> Error {
        let address = match self {
            Self::One(Found { record, .. }) => format!("{}@{}", record.name, record.node),
            Self::Service(service) => service.name.to_string(),
        };
        let skills: Vec<&str> = self.skills().iter().map(|skill| skill.path.as_str()).collect();
        Error::invalid(format!("{address} is no skill; its skills: {}", skills.join(", "))).with("skills", skills)
    }

    /// The path by which its record has a skill that is named `rest` after the CI's own name.
    fn has(&self, whole: &SkillPath, rest: &SkillPath) -> Option<SkillPath> {
        let named = |path: &SkillPath| self.skills().iter().any(|skill| skill.path == *path).then(|| path.clone());
        let is_plugin = matches!(self, Self::One(one) if one.record.kind == Kind::Plugin);
        named(rest).or_else(|| named(whole).filter(|_| is_plugin))
    }
}

impl Snapshot {
    /// Whose skill a path is, and its path there: of a CI that its first name names, if that has it, else of the plugin
    /// that claims it. So no plugin takes a skill from a CI that is not its own.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::resolve`] for a first name that nobody bears or claims; `not_found` with `data.skills` for a rest that
    /// is unknown, `invalid_argument` with `data.skills` for a CI alone, `permission_denied` for names with a leading `_`.
    pub fn resolve_path(&self, path: &SkillPath) -> Result<(Resolved, SkillPath), Error> {
        let (first, rest) = match path.as_str().split_once('.') {
            Some((first, rest)) => (first, Some(SkillPath::parse(rest)?)),
            None => (path.as_str(), None),
        };
        // What cannot be a name is no CI's, however it is written.
        let ci = match Name::parse(first) {
            Ok(name) => self.resolve(&Address { name, node: None }),
            Err(error) => Err(Error::new(Code::NotFound, format!("no CI is called {first}: {error}"))
                .hint("who there is: aish list; for other names: aigis[\"NAME\"]")
                .with("kind", "ci")),
        };
        if let Some(rest) = &rest
            && let Some(own) = ci.as_ref().ok().and_then(|ci| ci.has(path, rest))
        {
            return ci.map(|ci| (ci, own));
        }
        if let Some(owner) = self.claimed(path)? {
            return Ok((Resolved::One(owner), path.clone()));
        }
        if rest.as_ref().is_some_and(is_private) {
            let message = format!("{path} has a name with a leading _, which nobody reaches from outside");
            return Err(Error::new(Code::PermissionDenied, message));
        }
        match (ci, rest) {
            // Its record may be older than the skill: it knows best itself.
            (Ok(ci), Some(rest)) => Ok((ci, rest)),
            (Ok(ci), None) => Err(ci.no_skill()),
            (Err(none), _) => Err(self.unclaimed(path, first).unwrap_or(none)),
        }
    }

    /// The plugin that claims a path, or a leaf that is open for it.
    fn claimed(&self, path: &SkillPath) -> Result<Option<Found>, Error> {
        let claims = || self.standing(first_of(path));
        let exact: Vec<_> = claims().filter(|(claim, _)| claim.leaf == *path).collect();
        let found = if exact.is_empty() { claims().filter(|(claim, _)| claim.serves(path)).collect() } else { exact };
        match found.as_slice() {
            [] => Ok(None),
            [(_, owner)] => Ok(Some(owner.clone())),
            several => {
                let owners = several.iter().map(|(_, owner)| &owner.record);
                Err(ambiguity(format!("{path} is claimed more than once"), owners).with("kind", "ci"))
            }
        }
    }

    /// The error of a path of which others begin with the same name; `None` if there are none.
    fn unclaimed(&self, path: &SkillPath, first: &str) -> Option<Error> {
        let mut skills: Vec<&str> = self.standing(first).map(|(claim, _)| claim.leaf.as_str()).collect();
        skills.sort_unstable();
        skills.dedup();
        let (last, _) = skills.split_last()?;
        let hint = match skills.len() {
            1 => format!("there is {last}"),
            _ => format!("there are {}", skills.join(", ")),
        };
        Some(Error::new(Code::NotFound, format!("no skill is called {path}")).hint(hint).with("skills", skills))
    }

    /// The claims that count of leaves that begin with that name, each with its owner.
    fn standing<'a>(&'a self, first: &str) -> impl Iterator<Item = (&'a Arc<ClaimRecord>, Found)> {
        let claims = self.claims.get(first).map(Vec::as_slice).unwrap_or_default();
        claims.iter().filter_map(move |claim| {
            let record = self.ci(&claim.ci, &claim.node).filter(|record| record.kind == Kind::Plugin)?;
            let owner = self.found(record);
            // A holder that lives loses its leaf to nobody: who says so is a forger.
            let taken = || claims.iter().any(|other| other.has_replaced(claim)) && owner.state != State::Live;
            (owner.state != State::Gone && !taken()).then_some((claim, owner))
        })
    }

    /// Puts a claim in place of the former one of the same leaf and node.
    pub(crate) fn insert_claim(&mut self, claim: &Arc<ClaimRecord>) {
        self.remove_claim(claim);
        self.claims.change(&first_of(&claim.leaf).to_owned(), |place| {
            place.get_or_insert_default().push(claim.clone());
        });
    }

    pub(crate) fn remove_claim(&mut self, claim: &ClaimRecord) {
        self.claims.change(&first_of(&claim.leaf).to_owned(), |place| {
            if let Some(claims) = place {
                claims.retain(|other| other.leaf != claim.leaf || other.node != claim.node);
            }
            place.take_if(|claims| claims.is_empty());
        });
    }
}

fn first_of(path: &SkillPath) -> &str {
    path.as_str().split('.').next().unwrap_or_default()
}

/// Whether a name of it is no public one. Handles are reached by the name `_ref`, and looked at by who gave them.
fn is_private(rest: &SkillPath) -> bool {
    let mut names = rest.as_str().split('.');
    names.next().is_some_and(|name| name.starts_with('_') && name != "_ref") || names.any(|name| name.starts_with('_'))
}

#[cfg(test)]
mod tests;
