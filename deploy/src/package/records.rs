//! Where packages are known: what a directory of a host and the records of a mesh have in common.

use std::{any::Any, collections::BTreeMap, fmt};

use aigis_proxy::Error;
use futures::future::BoxFuture;

use super::{Build, Known, Record, State};
use crate::Digest;

/// What is being asked.
pub(super) type Asked<'a, T> = BoxFuture<'a, Result<T, Error>>;
/// What stands somewhere, and the revision that whatever is written there next follows.
pub(super) type At<T> = (Option<T>, u64);
/// All that a package consists of, with sizes in bytes.
pub(super) type Sizes = BTreeMap<Digest, u64>;
/// Kept while nobody else may write by the same hand.
pub(super) type Turn = Box<dyn Any + Send>;

/// The records of packages. What is written names the revision that it follows: it is refused if another was written
/// meanwhile.
pub(super) trait Records: fmt::Debug + Send + Sync {
    /// All packages with what changes of them, in no order; also those whose removal ended half-way.
    fn all(&self) -> Asked<'_, Vec<Known>>;
    /// The package of that id.
    fn record<'a>(&'a self, id: &'a Digest) -> Asked<'a, At<Record>>;
    /// What changes of a package.
    fn state<'a>(&'a self, id: &'a Digest) -> Asked<'a, At<State>>;
    /// The builds of these inputs, in the order in which they were put on record.
    fn builds<'a>(&'a self, inputs: &'a Digest) -> Asked<'a, Vec<Build>>;
    /// Waits until nobody else writes by the same hand.
    fn turn(&self) -> Asked<'_, Turn>;
    /// Writes a record that is not there; says whether it still was not.
    fn create<'a>(&'a self, record: &'a Record, sizes: &'a Sizes, follows: u64) -> Asked<'a, bool>;
    /// Takes a record away; says whether it stood as it was seen. Where none stood, nobody who saw that can create one any
    /// more without looking again.
    fn delete<'a>(&'a self, id: &'a Digest, seen: u64) -> Asked<'a, bool>;
    /// Writes what changes of a package; says whether it still stood as it was seen.
    fn set_state<'a>(&'a self, id: &'a Digest, state: &'a State, follows: u64) -> Asked<'a, bool>;
    /// Adds a build.
    fn add_build<'a>(&'a self, build: &'a Build) -> Asked<'a, ()>;
}
