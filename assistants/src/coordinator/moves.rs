//! Apps whose place is lost or being emptied: they are run elsewhere, or stay and say why.

use std::time::Duration;

use aigis_proxy::{
    Error, NodeName,
    services::steps::{Room, Wanted},
};
use aigis_registry::{
    Snapshot, State, Timestamp,
    shared::{AppRecord, ChainRecord, StepRecord},
};

use super::{
    Core,
    records::{now, patiently},
};
use crate::{
    machine,
    placement::{self, Found},
};

/// How long the place of an app may be away before the app is moved.
const AWAY: Duration = Duration::from_secs(60);
/// How long after it was found that nobody takes an app before somebody is looked for again, in seconds.
const AGAIN: i64 = 60;

/// What is to be done about the place of an app that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is to serve elsewhere, since its place is this.
    Leaves(String),
    /// It stays, and this is why.
    Stays(String),
    /// Its place keeps it again.
    Well,
}

/// What is known of an app's place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// Why it cannot keep the app, if so.
    cause: Option<String>,
    /// Whether the place answers, and takes things in.
    is_well: bool,
    /// Whether another node could take the app, as far as its record says.
    has_others: bool,
    /// Whether somebody is to be looked for although nobody was found before.
    is_time: bool,
}

/// What follows from what is seen of an app's place.
fn turn(app: &AppRecord, node: &NodeName, seen: Seen) -> Option<Turn> {
    let Some(cause) = seen.cause else { return (app.stranded.is_some() && seen.is_well).then_some(Turn::Well) };
    let stays = |why: String| (app.stranded.as_ref() != Some(&why)).then_some(Turn::Stays(why));
    if app.on.iter().any(|one| !one.contains('=')) {
        return stays(format!("{node} {cause}, and the app is bound to it: aish push --on any"));
    }
    if app.stranded.as_deref() == Some(&with_volumes(node, &cause)) {
        return None;
    }
    if !seen.has_others {
        return stays(format!("{node} {cause}, and no other node could take it"));
    }
    (app.stranded.is_none() || seen.is_time).then_some(Turn::Leaves(cause))
}

fn with_volumes(node: &NodeName, cause: &str) -> String {
    format!("{node} {cause}, and its volumes are there")
}

/// Whether a node other than that could take what is bound so.
fn has_others(snapshot: &Snapshot, node: &NodeName, on: &[String]) -> bool {
    snapshot.nodes().any(|other| {
        let state = snapshot.sight(other.name.as_str()).state;
        other.name != *node && snapshot.removal(&other.name).is_none() && placement::unfit(other, state, on).is_none()
    })
}

/// Whether somebody is to be looked for again who takes an app, since its chain was written then.
pub(super) fn is_time(written: Timestamp) -> bool {
    (now().time() - written.time()).whole_seconds() >= AGAIN
}

impl Core {
    /// What is to be done about the place of an app. Where nobody took it before, somebody is looked for again if `is_time`.
    pub(super) fn turn(&self, app: &AppRecord, is_time: bool) -> Option<Turn> {
        let instance = app.instance.as_ref().filter(|_| app.candidate.is_none() && !app.stopped)?;
        let node = &instance.node;
        let snapshot = self.known.cache().snapshot();
        if !snapshot.is_whole() || !snapshot.is_connected() {
            return None;
        }
        let record = snapshot.node(node).filter(|_| snapshot.removal(node).is_none());
        let is_drained = record.is_some_and(|record| record.draining);
        let is_away = *node != self.parts.node && self.known.offline_for(node) >= AWAY;
        let cause = match record {
            None => Some("is no longer in the mesh"),
            Some(_) if is_drained => Some("is being drained"),
            Some(_) => is_away.then_some("is offline"),
        };
        let seen = Seen {
            cause: cause.map(str::to_owned),
            is_well: !is_drained && snapshot.sight(node.as_str()).state == State::Live,
            has_others: cause.is_some() && has_others(&snapshot, node, &app.on),
            is_time,
        };
        turn(app, node, seen)
    }

    /// Does what is to be done about the place of an app; the journal of its step if it goes elsewhere.
    pub(super) async fn turned(
        &self,
        record: &ChainRecord,
        journal: Option<&StepRecord>,
        steps: &[StepRecord],
        turn: Turn,
    ) -> Result<Option<StepRecord>, Error> {
        let cause = match turn {
            Turn::Well => return self.strand(record, |_| None).await.map(|()| None),
            Turn::Stays(why) => return self.strand(record, |_| Some(why.clone())).await.map(|()| None),
            Turn::Leaves(cause) => cause,
        };
        let has_volumes = steps.iter().any(|step| !step.volumes.is_empty());
        let Some(journal) = journal.filter(|_| !has_volumes) else {
            return self.strand(record, |node| Some(with_volumes(node, &cause))).await.map(|()| None);
        };
        if let Found::Nobody(error) = self.taker(record).await? {
            let why = error.message;
            return self.strand(record, |node| Some(format!("{node} {cause}: {why}"))).await.map(|()| None);
        }
        tracing::warn!(chain = %record.id, app = %record.app, "an app is moved: its place {cause}");
        Ok(Some(machine::moved(record, journal, steps, now())))
    }

    /// Who would take the app of a chain.
    async fn taker(&self, record: &ChainRecord) -> Result<Found, Error> {
        let wanted = Wanted {
            chain: record.id.clone(),
            step: record.step,
            room: Room::App,
            blobs: Vec::new(),
            images: Vec::new(),
            limits: record.options.limits.clone(),
            patience_ms: 0,
        };
        let cache = patiently(|| self.known.whole()).await?;
        let asked = placement::ask(&self.parts.bus, &cache.snapshot(), &wanted, &record.on, &[]).await;
        Ok(asked.0)
    }

    /// Notes why an app stays where it cannot be kept, or that this is over.
    async fn strand(&self, record: &ChainRecord, why: impl Fn(&NodeName) -> Option<String>) -> Result<(), Error> {
        let change = |app: &AppRecord| {
            let stranded = app.instance.as_ref().and_then(|instance| why(&instance.node));
            Ok((app.stranded != stranded).then(|| AppRecord { stranded, ..app.clone() }))
        };
        patiently(|| self.records.change_app(&record.app, change)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(on: &[&str], stranded: Option<&str>) -> AppRecord {
        AppRecord {
            name: "web".parse().unwrap(),
            project: "p".to_owned(),
            pushed_by: "olga".parse().unwrap(),
            pushed_at: now(),
            chain: aigis_proxy::chain::ChainId::new(),
            source: aigis_registry::shared::Source { tree: None, from: "alpha:/web".to_owned() },
            on: on.iter().map(|one| (*one).to_owned()).collect(),
            stopped: false,
            instance: None,
            candidate: None,
            app_tree: None,
            state_tree: None,
            trouble: None,
            stranded: stranded.map(str::to_owned),
        }
    }

    fn seen(cause: Option<&str>) -> Seen {
        Seen { cause: cause.map(str::to_owned), is_well: cause.is_none(), has_others: true, is_time: false }
    }

    #[test]
    fn chn_55_an_app_leaves_a_place_that_cannot_keep_it() {
        let beta = NodeName::parse("beta").unwrap();
        let turn = |app: &AppRecord, seen| turn(app, &beta, seen);
        let leaves = |cause: &str| Some(Turn::Leaves(cause.to_owned()));
        assert_eq!(turn(&app(&[], None), seen(None)), None);
        assert_eq!(turn(&app(&[], None), seen(Some("is offline"))), leaves("is offline"));
        assert_eq!(turn(&app(&["zone=x"], None), seen(Some("is being drained"))), leaves("is being drained"));
        let alone = Seen { has_others: false, ..seen(Some("is offline")) };
        let Some(Turn::Stays(why)) = turn(&app(&[], None), alone.clone()) else { panic!("it stays") };
        assert_eq!(turn(&app(&[], Some(&why)), alone), None, "it is said once");
        let others = seen(Some("is offline"));
        assert_eq!(turn(&app(&[], Some(&why)), others.clone()), None, "not all the time");
        assert_eq!(turn(&app(&[], Some(&why)), Seen { is_time: true, ..others }), leaves("is offline"));
    }

    #[test]
    fn chn_56_an_app_that_is_bound_stays_and_says_why_until_its_place_is_back() {
        let beta = NodeName::parse("beta").unwrap();
        let Some(Turn::Stays(why)) = turn(&app(&["beta"], None), &beta, seen(Some("is offline"))) else {
            panic!("it stays")
        };
        assert_eq!(why, "beta is offline, and the app is bound to it: aish push --on any");
        assert_eq!(turn(&app(&["beta"], Some(&why)), &beta, seen(Some("is offline"))), None);
        assert_eq!(turn(&app(&["beta"], Some(&why)), &beta, Seen { is_well: false, ..seen(None) }), None);
        assert_eq!(turn(&app(&["beta"], Some(&why)), &beta, seen(None)), Some(Turn::Well));
        let kept = with_volumes(&beta, "is offline");
        let again = Seen { is_time: true, ..seen(Some("is offline")) };
        assert_eq!(turn(&app(&[], Some(&kept)), &beta, again), None, "its volumes do not travel");
    }
}
