//! What a name means: the first rule that matches, over one snapshot, without a round trip.

use std::sync::Arc;

use aigis_proxy::{Address, Code, Error, Name, NodeName};

use crate::{
    record::{CiRecord, State},
    snapshot::{Found, Snapshot},
    timestamp::Timestamp,
};

mod path;

/// How many near names are told.
const NEAREST: usize = 3;
/// How many candidates are told.
const CANDIDATES: usize = 100;

/// What an address leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// One CI.
    One(Found),
    /// A service, which is as good as the best of its replicas.
    Service(Service),
}

/// The replicas of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The service's name.
    pub name: Name,
    /// Its replicas that are not gone, sorted by address.
    pub replicas: Vec<Found>,
}

impl Service {
    /// The replicas that calls may go to: live and running.
    pub fn running(&self) -> impl Iterator<Item = &Found> {
        self.replicas.iter().filter(|found| {
            found.state == State::Live
                && found.record.container.as_ref().is_some_and(|container| container.is_running())
        })
    }

    /// The replica whose turn it is.
    ///
    /// # Errors
    ///
    /// `unavailable` if none is live and running.
    pub fn pick(&self, turn: usize) -> Result<&Found, Error> {
        let running = self.running().count();
        turn.checked_rem(running).and_then(|turn| self.running().nth(turn)).ok_or_else(|| {
            let (name, total) = (&self.name, self.replicas.len());
            Error::unavailable(format!("none of the {total} replicas of {name} is running"))
                .hint(format!("see them: aish describe {name}"))
                .with("replicas", candidates(self.replicas.iter().map(|found| &found.record)))
                .sent(false)
        })
    }

    /// The error of a skill that changes something: it needs one replica by name.
    #[must_use]
    pub fn must_name_one(&self) -> Error {
        let name = &self.name;
        ambiguity(
            format!("{name} is a service of {} replicas, which only reads", self.replicas.len()),
            self.replicas.iter().map(|found| &found.record),
        )
        .hint(format!("name one replica, or each in turn; see: aish describe {name}"))
    }

    /// The best state of its replicas.
    #[must_use]
    pub fn state(&self) -> State {
        self.replicas.iter().map(|found| found.state).min().unwrap_or(State::Gone)
    }
}

impl Snapshot {
    /// What an address leads to.
    ///
    /// # Errors
    ///
    /// `failed_precondition` with `data.candidates` if several CIs bear the name, `unavailable` with
    /// `data.removed_at` if it is gone, `data_loss` if its record is damaged, and `not_found` with `data.kind` = `ci`
    /// and `data.nearest`.
    pub fn resolve(&self, address: &Address) -> Result<Resolved, Error> {
        let found = match &address.node {
            Some(node) => self.on_node(&address.name, node)?,
            None => self.anywhere(&address.name)?,
        };
        match found {
            Some(found) => Ok(found),
            None => Err(self.missing(address)),
        }
    }

    fn anywhere(&self, name: &Name) -> Result<Option<Resolved>, Error> {
        let named = self.names.get(name).map(Vec::as_slice).unwrap_or_default();
        if let Some(found) = self.only(name, named, CiRecord::owns_name)? {
            return Ok(Some(found));
        }
        if let Some(service) = self.service(name) {
            return Ok(Some(Resolved::Service(service)));
        }
        if let Some(found) = self.only(name, named, |record| !record.owns_name())? {
            return Ok(Some(found));
        }
        let aliased = self.aliases.get(name).map(Vec::as_slice).unwrap_or_default();
        if let Some(found) = self.only(name, aliased, CiRecord::owns_name)? {
            return Ok(Some(found));
        }
        self.only(name, aliased, |record| !record.owns_name())
    }

    fn on_node(&self, name: &Name, node: &NodeName) -> Result<Option<Resolved>, Error> {
        for index in [&self.names, &self.aliases, &self.services] {
            let records = index.get(name).map(Vec::as_slice).unwrap_or_default();
            if let Some(found) = self.only(name, records, |record| record.node == *node)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The service of that name, if it has a replica that is not gone.
    #[must_use]
    pub fn service(&self, name: &Name) -> Option<Service> {
        let records = self.services.get(name)?;
        let mut replicas: Vec<Found> =
            records.iter().filter(|record| !record.is_gone()).map(|record| self.found(record)).collect();
        replicas.sort_by(|a, b| (&a.record.name, &a.record.node).cmp(&(&b.record.name, &b.record.node)));
        (!replicas.is_empty()).then(|| Service { name: name.clone(), replicas })
    }

    /// The one record that fits and is not gone.
    fn only(
        &self,
        name: &Name,
        records: &[Arc<CiRecord>],
        fits: impl Fn(&CiRecord) -> bool,
    ) -> Result<Option<Resolved>, Error> {
        let there = |record: &CiRecord| !record.is_gone() && self.replacement(record).is_none();
        let mut fitting = records.iter().filter(|record| there(record) && fits(record));
        let Some(first) = fitting.next() else { return Ok(None) };
        let Some(second) = fitting.next() else { return Ok(Some(Resolved::One(self.found(first)))) };
        Err(ambiguity(format!("{name} is ambiguous"), [first, second].into_iter().chain(fitting)))
    }

    fn missing(&self, address: &Address) -> Error {
        let on_node = |node: &NodeName| address.node.as_ref().is_none_or(|wanted| wanted == node);
        if let Some((key, reason)) = self.damaged.iter().find(|(key, _)| {
            let mut tokens = key.split('.');
            tokens.next() == Some("ci")
                && tokens.next() == Some(address.name.as_str())
                && address.node.as_ref().is_none_or(|node| tokens.next() == Some(node.as_str()))
        }) {
            return Error::new(Code::DataLoss, format!("the record \"{key}\" is damaged: {reason}"))
                .hint("its node writes it again within 60 s");
        }
        let gone = [&self.names, &self.aliases, &self.services]
            .into_iter()
            .find_map(|index| {
                let records = index.get(&address.name)?.iter().filter(|record| on_node(&record.node));
                records.max_by_key(|record| record.gone_at)
            })
            .and_then(|record| Some((record, record.gone_at?)));
        if let Some((record, gone)) = gone {
            return removed(&format!("{}@{}", record.name, record.node), gone);
        }
        let nearest = self.nearest(&address.name);
        let error = Error::new(Code::NotFound, format!("no CI is called {address}"))
            .with("kind", "ci")
            .with("nearest", nearest.iter().map(|name| name.as_str()).collect::<Vec<_>>());
        match nearest.as_slice() {
            [] => error.hint("see what there is: aish list"),
            names => {
                let names: Vec<&str> = names.iter().map(Name::as_str).collect();
                error.hint(format!("did you mean {}?", names.join(" or ")))
            }
        }
    }

    /// Up to three names that are nearly this one, the nearest first.
    fn nearest(&self, wanted: &Name) -> Vec<Name> {
        let named = self.names.iter().chain(self.services.iter());
        let alive = named.filter(|(_, records)| records.iter().any(|record| !record.is_gone()));
        let mut near: Vec<(usize, &Name)> =
            alive.filter_map(|(name, _)| Some((distance(wanted.as_str(), name.as_str())?, name))).collect();
        near.sort();
        near.dedup_by(|a, b| a.1 == b.1);
        near.into_iter().take(NEAREST).map(|(_, name)| name.clone()).collect()
    }
}

fn candidates<'a>(records: impl Iterator<Item = &'a Arc<CiRecord>>) -> Vec<String> {
    let mut addresses: Vec<String> = records.map(|record| format!("{}@{}", record.name, record.node)).collect();
    addresses.sort();
    addresses.truncate(CANDIDATES);
    addresses
}

fn ambiguity<'a>(message: String, records: impl IntoIterator<Item = &'a Arc<CiRecord>>) -> Error {
    let candidates = candidates(records.into_iter());
    Error::precondition(format!("{message}: {}", candidates.join(", ")))
        .hint("say which one: NAME@NODE")
        .with("candidates", candidates)
        .sent(false)
}

/// How far apart two names are, if they are near: at most two edits, or one begins with the other.
#[must_use]
pub fn distance(wanted: &str, name: &str) -> Option<usize> {
    let begins = name.starts_with(wanted) || (wanted.starts_with(name) && name.len() >= 3);
    if wanted.len().abs_diff(name.len()) > 2 {
        return begins.then_some(3);
    }
    let mut row: Vec<usize> = (0..=name.len()).collect();
    for (index, a) in wanted.bytes().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        for (place, b) in row.iter_mut().skip(1).zip(name.bytes()) {
            let above = *place;
            let value = (diagonal + usize::from(a != b)).min(above + 1).min(left + 1);
            (diagonal, left, *place) = (above, value, value);
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    let edits = row.last().copied().unwrap_or_default();
    if edits <= 2 { Some(edits) } else { begins.then_some(3) }
}

/// The error of a CI that is gone.
pub(crate) fn removed(address: &str, gone: Timestamp) -> Error {
    Error::unavailable(format!("{address} was removed at {gone}")).with("removed_at", gone.to_string()).sent(false)
}

#[cfg(test)]
mod tests;
