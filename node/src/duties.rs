//! What admins have asked of the node at run time: to take nothing new, to be emptied, to bear other labels. It stands on
//! the node's disk, and so outlives a restart.
//!
//! Whoever hosts something here for others follows [`Duties::watch`]: on a cordoned node nothing new is taken in, and on
//! one that is drained what is there is ended in order.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aigis_proxy::{Error, text_file};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::home;

/// Most labels, and longest key and value.
const MAX_LABELS: usize = 64;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 1024;

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    cordoned: bool,
    draining: bool,
    /// Labels that were set, and those that were removed.
    labels: BTreeMap<String, Option<String>>,
}

/// What holds for the node now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether nothing new is to be placed on it.
    pub(crate) cordoned: bool,
    /// Whether it is being emptied, or is empty and stays so.
    pub(crate) draining: bool,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
}

/// A change of what holds.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Nothing new is taken in.
    Cordon,
    /// Things are taken in again.
    Uncordon,
    /// Nothing new is taken in, and what is there goes.
    Drain,
    /// These labels are set, and those removed.
    Label(BTreeMap<String, String>, Vec<String>),
}

/// What is asked of the node.
#[derive(Debug)]
pub(crate) struct Duties {
    file: PathBuf,
    /// The labels that the node was started with.
    given: BTreeMap<String, String>,
    asked: Mutex<Asked>,
    standing: watch::Sender<Standing>,
    /// What the node's record says.
    recorded: watch::Sender<Option<Standing>>,
}

impl Duties {
    /// Reads what was asked before. `given` are the labels of the command line and of the configuration: what was set
    /// or removed at run time goes before them.
    ///
    /// # Errors
    ///
    /// The file holds something else, or cannot be had.
    pub(crate) fn open(file: PathBuf, given: BTreeMap<String, String>) -> Result<Self, home::Error> {
        let asked = match text_file::read_json(&file) {
            Ok(asked) => asked,
            Err(text_file::Error::Missing { .. }) => Asked::default(),
            Err(error) => return Err(error.into()),
        };
        let standing = watch::Sender::new(standing(&asked, &given));
        Ok(Self { file, given, asked: Mutex::new(asked), standing, recorded: watch::Sender::new(None) })
    }

    /// What holds, now and after each change.
    pub(crate) fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// What holds now.
    pub(crate) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Makes a change, which is on the disk when this returns; says whether it changed anything.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for labels that are none, `resource_exhausted` if the disk does not take it: then nothing
    /// has changed.
    pub(crate) fn change(&self, change: Change) -> Result<bool, Error> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = asked.clone();
        match change {
            Change::Cordon => next.cordoned = true,
            Change::Uncordon => (next.cordoned, next.draining) = (false, false),
            Change::Drain => (next.cordoned, next.draining) = (true, true),
            Change::Label(set, removed) => {
                check(&set, &removed)?;
                next.labels.extend(removed.into_iter().map(|key| (key, None)));
                next.labels.extend(set.into_iter().map(|(key, value)| (key, Some(value))));
                // Nothing need be remembered of a label that nobody gives.
                next.labels.retain(|key, value| value.is_some() || self.given.contains_key(key));
            }
        }
        let after = standing(&next, &self.given);
        if after.labels.len() > MAX_LABELS {
            return Err(Error::invalid(format!("a node bears at most {MAX_LABELS} labels")));
        }
        let changed = after != *self.standing.borrow();
        if next != *asked {
            let text = serde_json::to_vec_pretty(&next).unwrap_or_default();
            home::replace(&self.file, &text).map_err(|error| {
                let reason = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
                Error::new(aigis_proxy::Code::ResourceExhausted, format!("{error}{reason}"))
                    .hint("nothing was changed; look at the disk of the node's data directory")
            })?;
            *asked = next;
        }
        self.standing.send_if_modified(|standing| {
            *standing = after;
            changed
        });
        Ok(changed)
    }

    /// Notes what the node's record says.
    pub(crate) fn recorded(&self, standing: Standing) {
        self.recorded.send_replace(Some(standing));
    }

    /// Waits until the mesh can read what holds now; says whether it can.
    pub(crate) async fn told(&self, within: Duration) -> bool {
        let wanted = self.standing();
        let mut recorded = self.recorded.subscribe();
        let told = recorded.wait_for(|recorded| recorded.as_ref() == Some(&wanted));
        tokio::time::timeout(within, told).await.is_ok_and(|told| told.is_ok())
    }
}

fn standing(asked: &Asked, given: &BTreeMap<String, String>) -> Standing {
    let mut labels = given.clone();
    for (key, value) in &asked.labels {
        match value {
            Some(value) => labels.insert(key.clone(), value.clone()),
            None => labels.remove(key),
        };
    }
    Standing { cordoned: asked.cordoned, draining: asked.draining, labels }
}

fn check(set: &BTreeMap<String, String>, removed: &[String]) -> Result<(), Error> {
    let plain = |text: &str, most: usize| text.len() <= most && !text.chars().any(char::is_control);
    for key in set.keys().chain(removed) {
        if key.is_empty() || key.contains('=') || !plain(key, MAX_KEY) {
            let shown = aigis_proxy::quoted(key);
            return Err(Error::invalid(format!(
                "\"{shown}\" is no label's key: 1 to {MAX_KEY} bytes without = and control characters"
            )));
        }
    }
    if let Some((key, _)) = set.iter().find(|(_, value)| !plain(value, MAX_VALUE)) {
        return Err(Error::invalid(format!(
            "the value of the label \"{key}\" is no label's: at most {MAX_VALUE} bytes without control characters"
        )));
    }
    match removed.iter().find(|key| set.contains_key(*key)) {
        Some(key) => Err(Error::invalid(format!("the label \"{key}\" is to be both set and removed"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn open(directory: &tempfile::TempDir, given: &[(&str, &str)]) -> Duties {
        Duties::open(directory.path().join("duties.json"), labels(given)).unwrap()
    }

    fn label(duties: &Duties, set: &[(&str, &str)], removed: &[&str]) -> Result<bool, Error> {
        duties.change(Change::Label(labels(set), removed.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn what_was_asked_outlives_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let duties = open(&directory, &[]);
        assert!(duties.change(Change::Cordon).unwrap());
        assert!(!duties.change(Change::Cordon).unwrap(), "once is enough");
        let again = open(&directory, &[]);
        assert!(again.standing().cordoned && !again.standing().draining);
        assert!(again.change(Change::Drain).unwrap() && open(&directory, &[]).standing().draining);
        assert!(again.change(Change::Uncordon).unwrap());
        assert_eq!(open(&directory, &[]).standing(), Standing::default());
    }

    #[test]
    fn labels_of_run_time_go_before_those_given_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let given = [("zone", "a"), ("disk", "ssd")];
        let duties = open(&directory, &given);
        assert!(label(&duties, &[("zone", "b"), ("gpu", "1")], &["disk", "nothing"]).unwrap());
        assert!(!label(&duties, &[("zone", "b")], &["disk"]).unwrap());
        let again = open(&directory, &[("zone", "c"), ("disk", "hdd"), ("rack", "7")]);
        assert_eq!(again.standing().labels, labels(&[("zone", "b"), ("gpu", "1"), ("rack", "7")]));
        assert!(label(&again, &[("disk", "hdd")], &["gpu"]).unwrap());
        assert_eq!(open(&directory, &[]).standing().labels, labels(&[("zone", "b"), ("disk", "hdd")]));
    }

    #[test]
    fn what_is_no_label_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let duties = open(&directory, &[]);
        let long = "x".repeat(MAX_VALUE + 1);
        for (set, removed) in [
            (&[("", "x")][..], &[][..]),
            (&[("a=b", "x")], &[]),
            (&[("a", "\u{1b}[2J")], &[]),
            (&[("a", long.as_str())], &[]),
            (&[("a", "x")], &["a"]),
            (&[], &["\n"]),
        ] {
            assert_eq!(label(&duties, set, removed).unwrap_err().code, aigis_proxy::Code::InvalidArgument, "{set:?}");
        }
        assert_eq!(duties.standing(), Standing::default());
        assert!(!directory.path().join("duties.json").exists());
    }

    #[test]
    fn a_file_that_holds_something_else_is_named() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("duties.json"), "{\"cordoned\": 3}").unwrap();
        let error = Duties::open(directory.path().join("duties.json"), BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("duties.json:1:"), "{error}");
    }
}
