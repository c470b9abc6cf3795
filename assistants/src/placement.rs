//! Finds the place for a step, a build or an app: all nodes that could take it are asked at once, and the best bid is taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aigis_proxy::{
    Bus, Code, Error, NodeName,
    rpc::{self, Asker},
    services::steps::{Bid, STEPS, StepsClient, Wanted},
};
use aigis_registry::{
    NodeRecord, Snapshot, State,
    shared::{Offer, PlacementNote},
};
use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};

/// How long a place may take to hear that it was not chosen.
const TOLD: Duration = Duration::from_millis(500);
/// How long a place may take to say what it has to offer.
const WITHIN: Duration = Duration::from_secs(2);

/// What came of looking for a place.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// A place, with its bid.
    Place(NodeName, Bid),
    /// Nobody has room now, or cannot be seen well enough: it is worth waiting.
    Later(Error),
    /// Nobody can take it.
    Nobody(Error),
}

/// Whether a node is one of those that `on` selects: each is a label `KEY=VALUE`, or a node's name; all must hold.
#[must_use]
pub fn selects(on: &[String], node: &NodeName, labels: &BTreeMap<String, String>) -> bool {
    on.iter().all(|one| match one.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|label| label == value),
        None => one == node.as_str(),
    })
}

/// Says which node of `on` the mesh does not have.
///
/// # Errors
///
/// `not_found` with its name.
pub fn known(on: &[String], snapshot: &Snapshot) -> Result<(), Error> {
    for one in on.iter().filter(|one| *one != "any" && !one.contains('=')) {
        let is_node = NodeName::parse(one).is_ok_and(|node| snapshot.node(&node).is_some());
        if !is_node {
            let message = format!("the mesh has no node {}", aigis_proxy::quoted(one));
            return Err(Error::new(Code::NotFound, message).hint("see: aish nodes list"));
        }
    }
    Ok(())
}

/// Why a node is not asked at all, if so.
#[must_use]
pub fn unfit(node: &NodeRecord, state: State, on: &[String]) -> Option<String> {
    if !selects(on, &node.name, &node.labels) {
        return Some(format!("is not {}", on.join(" and ")));
    }
    match &node.engine {
        None => return Some("has no engine".to_owned()),
        Some(engine) if !engine.reachable => return Some("its engine does not answer".to_owned()),
        Some(_) => {}
    }
    if node.draining {
        return Some("is being drained".to_owned());
    }
    if node.cordoned {
        return Some("is cordoned".to_owned());
    }
    (state != State::Live).then(|| format!("is {state}"))
}

/// The best of what was offered, and why: it fits, has the inputs, has the image, has most free memory; then by name.
/// `lost` are places that failed before, which are taken only if nobody else offers.
#[must_use]
pub fn best<'a>(offers: &'a [Offer], lost: &[NodeName]) -> Option<(&'a NodeName, &'a Bid, String)> {
    let mut bids: Vec<(&NodeName, &Bid)> =
        offers.iter().filter_map(|offer| Some((&offer.node, offer.bid.as_ref()?))).collect();
    bids.sort_by(|(a, left), (b, right)| {
        let was_lost = |node: &NodeName| lost.contains(node);
        (was_lost(a).cmp(&was_lost(b)))
            .then(right.blobs.cmp(&left.blobs))
            .then(right.images.cmp(&left.images))
            .then(right.free_memory_bytes.cmp(&left.free_memory_bytes))
            .then(a.cmp(b))
    });
    let (node, bid) = *bids.first()?;
    let reason = match bids.get(1) {
        None => "the only one that offered".to_owned(),
        Some((other, _)) if lost.contains(other) && !lost.contains(node) => "the others failed before".to_owned(),
        Some((_, next)) if bid.blobs > next.blobs => format!("has {} of the inputs", bid.blobs),
        Some((_, next)) if bid.images > next.images => "has the image".to_owned(),
        Some((_, next)) if bid.free_memory_bytes > next.free_memory_bytes => "has most free memory".to_owned(),
        Some(_) => "the first by name".to_owned(),
    };
    Some((node, bid, reason))
}

/// Why nobody has offered is no reason to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hope {
    /// Somebody cannot be seen well enough, or lacks something now.
    pub waits: bool,
    /// Somebody has only others before this one.
    pub is_full: bool,
}

/// What follows from what was offered. An error that says `full` is of places that do as much as they may.
#[must_use]
pub fn chosen(offers: Vec<Offer>, lost: &[NodeName], hope: Hope) -> (Found, PlacementNote) {
    if let Some((node, bid, reason)) = best(&offers, lost) {
        let found = Found::Place(node.clone(), bid.clone());
        let note = PlacementNote { chosen: Some(node.clone()), reason, bids: offers };
        return (found, note);
    }
    let told: Vec<String> = offers
        .iter()
        .map(|offer| format!("{} {}", offer.node, offer.refusal.as_deref().unwrap_or("says nothing")))
        .collect();
    let all = if told.is_empty() { "the mesh has no node".to_owned() } else { told.join("; ") };
    let is_elsewhere = |offer: &Offer| offer.refusal.as_deref().is_some_and(|refusal| refusal.starts_with("is not "));
    let hint = match !offers.is_empty() && offers.iter().all(is_elsewhere) {
        true => "where an app is to run is kept from push to push; to lift that: aish push --on any",
        false => "see: aish nodes; a node needs a Docker engine to take steps and apps",
    };
    let error = Error::unavailable(format!("no place takes it: {all}")).hint(hint);
    let error = if hope.is_full { error.with("full", true) } else { error };
    let note = PlacementNote { chosen: None, reason: error.message.clone(), bids: offers };
    (if hope.waits || hope.is_full { Found::Later(error) } else { Found::Nobody(error) }, note)
}

/// Asks all nodes that could take it. Where it may wait for room, the first that has some is taken; else the best of all.
pub async fn ask(
    bus: &Bus,
    snapshot: &Snapshot,
    wanted: &Wanted,
    on: &[String],
    lost: &[NodeName],
) -> (Found, PlacementNote) {
    if let Err(error) = known(on, snapshot) {
        let note = PlacementNote { reason: error.message.clone(), ..PlacementNote::default() };
        return (Found::Nobody(error), note);
    }
    let mut hope = Hope { waits: !snapshot.is_whole() || !snapshot.is_connected(), is_full: false };
    let (mut offers, mut asked) = (Vec::new(), Vec::new());
    for node in snapshot.nodes().filter(|node| snapshot.removal(&node.name).is_none()) {
        let state = snapshot.sight(node.name.as_str()).state;
        match unfit(node, state, on) {
            None => asked.push(node.name.clone()),
            Some(refusal) => {
                // Whoever cannot be judged yet may live.
                hope.waits |= state == State::Unknown && unfit(node, State::Live, on).is_none();
                offers.push(Offer { node: node.name.clone(), bid: None, refusal: Some(refusal) });
            }
        }
    }
    let mut bids: FuturesUnordered<_> = asked.iter().map(|node| bid(bus, node.clone(), wanted)).collect();
    let mut unheard: BTreeSet<&NodeName> = asked.iter().collect();
    while let Some((offer, more)) = bids.next().await {
        hope.waits |= more.waits;
        hope.is_full |= more.is_full;
        unheard.remove(&offer.node);
        let is_enough = wanted.patience_ms > 0 && offer.bid.is_some();
        offers.push(offer);
        if is_enough {
            break;
        }
    }
    drop(bids);
    let late = |node: &NodeName| Offer { node: node.clone(), bid: None, refusal: Some("had no room yet".to_owned()) };
    offers.extend(unheard.into_iter().map(late));
    offers.sort_by(|a, b| a.node.cmp(&b.node));
    let (found, note) = chosen(offers, lost, hope);
    if let Found::Place(chosen, _) = &found {
        // What the others keep for it would be in the way of those who wait there.
        join_all(asked.into_iter().filter(|node| node != chosen).map(|node| decline(bus, node, wanted))).await;
    }
    (found, note)
}

/// Tells a node that it was not chosen; one that does not hear it finds out by itself.
async fn decline(bus: &Bus, node: NodeName, wanted: &Wanted) {
    let asker = StepsClient::from(Asker::new(bus, node.as_str(), STEPS));
    let told = rpc::answered(asker.decline(rpc::within(TOLD), wanted.chain.clone()).await);
    if let Err(error) = told {
        tracing::debug!(%node, %error, "a bid is not declined");
    }
}

/// Asks a node; says also whether it only lacks room now, or did not answer.
async fn bid(bus: &Bus, node: NodeName, wanted: &Wanted) -> (Offer, Hope) {
    let asker = StepsClient::from(Asker::new(bus, node.as_str(), STEPS));
    let asking = asker.bid(rpc::within(WITHIN), wanted.clone());
    match rpc::answered(asking.await) {
        Ok(bid) => (Offer { node, bid: Some(bid), refusal: None }, Hope::default()),
        Err(error) => {
            let waits = matches!(error.code, Code::ResourceExhausted | Code::DeadlineExceeded | Code::Unavailable);
            let hope = Hope { waits, is_full: error.detail("full").is_some() };
            (Offer { node, bid: None, refusal: Some(error.message) }, hope)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bid(memory: u64, blobs: usize, images: usize) -> Bid {
        Bid {
            id: "b".to_owned(),
            free_cpus: 1.0,
            free_memory_bytes: memory,
            free_disk_bytes: 1,
            platform: "linux/amd64".to_owned(),
            blobs,
            images,
            running: 0,
        }
    }

    fn offer(node: &str, bid: Option<Bid>) -> Offer {
        let refusal = bid.is_none().then(|| "is full".to_owned());
        Offer { node: NodeName::parse(node).unwrap(), bid, refusal }
    }

    #[test]
    fn chn_54_bids_are_ordered_by_inputs_then_image_then_memory_then_name() {
        let name = |offers: &[Offer], lost: &[NodeName]| best(offers, lost).map(|(node, ..)| node.to_string());
        let all = [
            offer("alpha", Some(bid(9, 0, 0))),
            offer("beta", Some(bid(1, 1, 0))),
            offer("gamma", Some(bid(5, 0, 1))),
            offer("delta", None),
        ];
        assert_eq!(name(&all, &[]).as_deref(), Some("beta"));
        let beta = NodeName::parse("beta").unwrap();
        assert_eq!(name(&all, std::slice::from_ref(&beta)).as_deref(), Some("gamma"), "elsewhere if possible");
        assert_eq!(name(&all[1..2], &[beta]).as_deref(), Some("beta"), "the same if nowhere else");
        assert_eq!(name(&[all[0].clone(), offer("abel", Some(bid(9, 0, 0)))], &[]).as_deref(), Some("abel"));
        assert_eq!(name(&all[3..], &[]), None);
    }

    #[test]
    fn chn_54_nobody_says_why_for_each_node() {
        let offers = vec![offer("alpha", None), offer("beta", None)];
        let (found, note) = chosen(offers.clone(), &[], Hope::default());
        let Found::Nobody(error) = found else { panic!("{found:?}") };
        assert_eq!(error.code, Code::Unavailable);
        assert_eq!(error.message, "no place takes it: alpha is full; beta is full");
        assert_eq!((note.chosen, note.bids.len()), (None, 2));
        let (found, _) = chosen(offers, &[], Hope { waits: true, is_full: true });
        assert!(matches!(found, Found::Later(error) if error.detail("full").is_some()), "it waits in line");
    }

    #[test]
    fn chn_54_selectors_are_labels_or_a_node_and_all_must_hold() {
        let beta = NodeName::parse("beta").unwrap();
        let labels = BTreeMap::from([("zone".to_owned(), "x".to_owned())]);
        let on = |words: &[&str]| {
            let on: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            selects(&on, &beta, &labels)
        };
        assert!(on(&[]) && on(&["beta"]) && on(&["zone=x"]) && on(&["beta", "zone=x"]));
        assert!(!on(&["alpha"]) && !on(&["zone=y"]) && !on(&["beta", "zone=y"]) && !on(&["disk=x"]));
    }
}
