//! What may become of packages, wherever they are known: how they are registered, named, followed and removed.
//!
//! A record is never there without what it follows. So a child enters its parents' children first, and then its record is
//! created, at the revision that was seen before; whoever removes a parent first takes away each child that entered and is
//! not there yet, then marks the parent removed, at the revision that was seen before. Either of both that comes second
//! finds that something was written meanwhile, and looks again.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use aigis_proxy::{Code, Error};
use aigis_registry::Timestamp;

use super::{
    Ancestor, Build, Known, Parents, Place, Record, Registered, Registration, State,
    records::{Records, Sizes},
};
use crate::Digest;

/// How often something is looked at again because another wrote meanwhile: of those who write at once, each time one gets on.
const ROUNDS: usize = 100;
/// How much later than what it follows a package is said to be made, at least.
const LATER: std::time::Duration = std::time::Duration::from_millis(1);

/// All packages, by project and time.
pub(super) async fn list(records: &dyn Records) -> Result<Vec<Known>, Error> {
    let mut all = records.all().await?;
    all.retain(|known| !known.state.removed);
    let follow: HashSet<(Digest, Digest)> =
        all.iter().flat_map(|known| known.record.parents.iter().map(|parent| (*parent, known.record.id))).collect();
    for known in &mut all {
        // Some entered, and then were given up, or turned out to follow another.
        known.state.children.retain(|child| follow.contains(&(known.record.id, *child)));
    }
    all.sort_by(|a, b| {
        let key = |known: &Known| (known.record.project.clone(), known.record.created_at, known.record.id);
        key(a).cmp(&key(b))
    });
    Ok(all)
}

/// Adds a build of a package that is on record.
pub(super) async fn add_build(records: &dyn Records, build: &Build) -> Result<(), Error> {
    let _turn = records.turn().await?;
    agrees(records, build).await?;
    records.add_build(build).await
}

/// What a package follows, the newest first: itself, and all above it.
pub(super) async fn lineage(records: &dyn Records, id: Digest) -> Result<Vec<Ancestor>, Error> {
    let mut line: Vec<Ancestor> = Vec::new();
    let mut seen = HashSet::new();
    let mut waiting = VecDeque::from([id]);
    while let Some(id) = waiting.pop_front() {
        if !seen.insert(id) {
            continue;
        }
        let (record, _) = records.record(&id).await?;
        waiting.extend(record.iter().flat_map(|record| &record.parents));
        line.push(Ancestor { id, external: record.is_none(), record });
    }
    Ok(line)
}

/// Registers a package: a record that is there stays as it is, and gets one more build.
pub(super) async fn register(
    records: &dyn Records,
    registration: Registration,
    sizes: &Sizes,
) -> Result<Registered, Error> {
    let _turn = records.turn().await?;
    let Registration { record, build, tags, labels, description, parents } = registration;
    if let Some(build) = &build {
        agrees(records, build).await?;
    }
    let registered = stand(records, record, sizes, description, &parents).await?;
    name(records, &registered.record, &tags, &labels).await?;
    if let Some(build) = &build {
        records.add_build(build).await?;
    }
    Ok(registered)
}

/// Sees to it that the record is there.
async fn stand(
    records: &dyn Records,
    mut record: Record,
    sizes: &Sizes,
    description: Option<String>,
    parents: &Parents,
) -> Result<Registered, Error> {
    let id = record.id;
    for _ in 0..ROUNDS {
        // Before its parents know of it: see above.
        let (known, seen) = records.record(&id).await?;
        let (state, follows) = records.state(&id).await?;
        let was_removed = state.as_ref().is_some_and(|state| state.removed);
        match known {
            Some(known) if !was_removed => {
                expect_parents(&known, parents)?;
                return Ok(Registered { record: known, created: false });
            }
            Some(_) => {
                // Its removal ended half-way.
                records.delete(&id, seen).await?;
                continue;
            }
            None => {}
        }
        let above = wanted(records, &record, parents).await?;
        let mut refused = None;
        for parent in &above {
            if !enter(records, parent, &id, *parents != Parents::Recorded).await? {
                refused = Some(*parent);
                break;
            }
        }
        match refused {
            // Another may be the newest by now.
            Some(_) if *parents == Parents::Newest => continue,
            Some(parent) => {
                return Err(Error::precondition(format!("the package {parent} was removed, so nothing can follow it")));
            }
            None => {}
        }
        record.parents = above;
        if *parents != Parents::Recorded {
            record.created_at = later(records, &record).await?;
        }
        if state.is_none() || was_removed {
            // First what it must not stand without.
            let state = State { description: description.clone(), ..State::default() };
            if !records.set_state(&id, &state, follows).await? {
                continue;
            }
        }
        if records.create(&record, sizes, seen).await? {
            return Ok(Registered { record, created: true });
        }
    }
    Err(contended(&id))
}

/// Refuses to know a package that follows others than those that are named.
fn expect_parents(known: &Record, parents: &Parents) -> Result<(), Error> {
    let Parents::Named(parent) = parents else { return Ok(()) };
    if known.parents == [*parent] {
        return Ok(());
    }
    let follows = known.parents.iter().map(Digest::to_string).collect::<Vec<_>>().join(", ");
    let follows = if follows.is_empty() { "nothing".to_owned() } else { follows };
    let message = format!("the package {} is known, and follows {follows}, not {parent}", known.id);
    Err(Error::new(Code::AlreadyExists, message).hint("leave out --parent"))
}

/// What a new package is to follow.
async fn wanted(records: &dyn Records, record: &Record, parents: &Parents) -> Result<Vec<Digest>, Error> {
    Ok(match parents {
        Parents::Recorded => record.parents.clone(),
        Parents::Named(parent) => vec![*parent],
        Parents::Newest => {
            let all = list(records).await?;
            let before =
                all.iter().rev().find(|known| known.record.project == record.project && known.record.id != record.id);
            before.map(|known| known.record.id).into_iter().collect()
        }
    })
}

/// Tells a parent of its child, unless it was removed, or has to be known and is not; says whether the child may follow it.
async fn enter(records: &dyn Records, parent: &Digest, child: &Digest, must_be: bool) -> Result<bool, Error> {
    for _ in 0..ROUNDS {
        let (known, _) = records.record(parent).await?;
        let (state, follows) = records.state(parent).await?;
        let mut state = state.unwrap_or_default();
        if state.removed || parent == child || known.is_none() && must_be {
            return Ok(false);
        }
        if known.is_none() {
            return Ok(true);
        }
        state.children.insert(*child);
        // Also where it has entered already: who removes the parent must see that somebody was here.
        if records.set_state(parent, &state, follows).await? {
            return Ok(true);
        }
    }
    Err(contended(parent))
}

/// When it was made: not before what it follows, whatever the clocks of hosts say.
async fn later(records: &dyn Records, record: &Record) -> Result<Timestamp, Error> {
    let mut made = record.created_at;
    for parent in &record.parents {
        let (parent, _) = records.record(parent).await?;
        made = made.max(parent.map_or(made, |parent| Timestamp::from(parent.created_at.time() + LATER)));
    }
    Ok(made)
}

/// Gives a package its tags, which leave the others of its project, and its labels.
async fn name(
    records: &dyn Records,
    record: &Record,
    tags: &BTreeSet<String>,
    labels: &BTreeMap<String, String>,
) -> Result<(), Error> {
    for other in list(records).await?.into_iter().filter(|known| known.record.project == record.project) {
        if other.record.id != record.id && !other.state.tags.is_disjoint(tags) {
            edit(records, &other.record.id, |state| state.tags.retain(|tag| !tags.contains(tag))).await?;
        }
    }
    edit(records, &record.id, |state| {
        state.tags.extend(tags.iter().cloned());
        state.labels.extend(labels.clone());
    })
    .await
}

/// Notes where a package was pushed to; where something else of it lay there, that is forgotten.
pub(super) async fn place(records: &dyn Records, id: &Digest, place: &Place) -> Result<(), Error> {
    let _turn = records.turn().await?;
    if records.record(id).await?.0.is_none() {
        return Err(gone(id));
    }
    edit(records, id, |state| {
        state.places.retain(|known| (&known.reference, &known.layers) != (&place.reference, &place.layers));
        state.places.push(place.clone());
        state.places.sort_by(|a, b| (&a.reference, &a.layers).cmp(&(&b.reference, &b.layers)));
    })
    .await
}

fn gone(id: &Digest) -> Error {
    Error::new(Code::NotFound, format!("there is no package {id}")).hint("see: aish packages list")
}

/// Changes what changes of a package, unless it was removed.
async fn edit(records: &dyn Records, id: &Digest, change: impl Fn(&mut State) + Send + Sync) -> Result<(), Error> {
    for _ in 0..ROUNDS {
        let (state, follows) = records.state(id).await?;
        let state = state.unwrap_or_default();
        let mut changed = state.clone();
        change(&mut changed);
        if state.removed || changed == state || records.set_state(id, &changed, follows).await? {
            return Ok(());
        }
    }
    Err(contended(id))
}

/// Whether builds of the same inputs gave the same, where nothing could make a difference.
async fn agrees(records: &dyn Records, build: &Build) -> Result<(), Error> {
    let other = records.builds(&build.inputs).await?.into_iter().find(|known| {
        known.tier == 0 && build.tier == 0 && (known.package, &known.outputs) != (build.package, &build.outputs)
    });
    let Some(other) = other else { return Ok(()) };
    let message = format!(
        "the inputs {} gave {} here and {} before ({}), though nothing but this program made them",
        build.inputs, build.package, other.package, other.id
    );
    Err(Error::new(Code::DataLoss, message).hint("look at the disk and the memory of this host"))
}

/// Removes a package that nothing follows.
pub(super) async fn remove(records: &dyn Records, id: &Digest) -> Result<(), Error> {
    let _turn = records.turn().await?;
    for _ in 0..ROUNDS {
        let (record, seen) = records.record(id).await?;
        if record.is_none() {
            return Err(gone(id));
        }
        let (state, follows) = records.state(id).await?;
        let state = state.unwrap_or_default();
        if !state.removed {
            let Some(children) = children(records, id, &state).await? else { continue };
            if !children.is_empty() {
                let message = format!("the package {id} is followed by {}", children.join(", "));
                return Err(Error::precondition(message).hint("remove these first: aish packages rm ID"));
            }
            // Tags of what is gone are nobody's; that it was there is known.
            let gone = State { removed: true, ..State::default() };
            if !records.set_state(id, &gone, follows).await? {
                continue;
            }
        }
        // If not, somebody takes it away to make it anew. So it stays among its parents' children: a child counts as long as
        // its record is there.
        return records.delete(id, seen).await.map(drop);
    }
    Err(contended(id))
}

/// The packages that follow one, where none can appear any more of those that have entered; `None` if one just did.
async fn children(records: &dyn Records, id: &Digest, state: &State) -> Result<Option<Vec<String>>, Error> {
    let mut found = Vec::new();
    for child in &state.children {
        let (record, seen) = records.record(child).await?;
        let is_removed = records.state(child).await?.0.is_some_and(|state| state.removed);
        match record {
            Some(record) if record.parents.contains(id) && !is_removed => found.push(child.to_string()),
            Some(_) => {}
            None if records.delete(child, seen).await? => {}
            None => return Ok(None),
        }
    }
    Ok(Some(found))
}

fn contended(id: &Digest) -> Error {
    Error::unavailable(format!("others changed what is known of the package {id} each time it was to be written"))
        .hint("try again")
}

#[cfg(test)]
mod tests;
