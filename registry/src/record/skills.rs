//! The skills that a record names. Most containers have the same ones, so a process keeps each list once.

use std::{
    collections::HashMap,
    ops::Deref,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;

use super::SkillNote;

/// How many lists are kept once. More of them are read like any other content.
const KNOWN: usize = 64;
/// The longest list that is, in bytes as written.
const LONGEST: usize = 16 * 1024;

/// The lists that were read, by what was written.
static LISTS: LazyLock<Mutex<HashMap<Box<str>, SkillNotes>>> = LazyLock::new(Mutex::default);

fn lists() -> MutexGuard<'static, HashMap<Box<str>, SkillNotes>> {
    LISTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a record tells of its skills, sorted by path. A copy costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SkillNotes(Arc<[SkillNote]>);

impl Deref for SkillNotes {
    type Target = [SkillNote];

    fn deref(&self) -> &[SkillNote] {
        &self.0
    }
}

impl From<Vec<SkillNote>> for SkillNotes {
    fn from(notes: Vec<SkillNote>) -> Self {
        Self(notes.into())
    }
}

impl FromIterator<SkillNote> for SkillNotes {
    fn from_iter<I: IntoIterator<Item = SkillNote>>(notes: I) -> Self {
        Self(notes.into_iter().collect())
    }
}

impl Serialize for SkillNotes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// Reads JSON text, as a record is stored; no other form.
impl<'de> Deserialize<'de> for SkillNotes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = <&RawValue>::deserialize(deserializer)?.get();
        if let Some(known) = lists().get(written) {
            return Ok(known.clone());
        }
        let notes: Self = serde_json::from_str::<Vec<SkillNote>>(written).map_err(D::Error::custom)?.into();
        let mut known = lists();
        if known.len() < KNOWN && written.len() <= LONGEST {
            known.insert(written.into(), notes.clone());
        }
        Ok(notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::{CiRecord, open, seal},
        testing::container,
    };

    #[test]
    fn equal_lists_are_one() {
        let read = |name: &str| open::<CiRecord>(&seal(&container(name, "alpha")).unwrap()).unwrap();
        let (web, db) = (read("web"), read("db"));
        assert_eq!(web.skills, container("web", "alpha").skills);
        assert!(Arc::ptr_eq(&web.skills.0, &db.skills.0));
        assert!(serde_json::from_str::<SkillNotes>("[{\"path\": 5}]").is_err());
    }
}
