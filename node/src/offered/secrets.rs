//! Secrets of offered CIs: given over the connection of who offers, to nobody else, and never over the bus.

use aigis_proxy::{
    Address, Code, Effect, Error, Request, SkillPath,
    blob::Content,
    dispatch::{Deed, Outcome},
    socket::{Given, GivenSecret, Offer, Peer},
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Found, Room};

impl Room {
    /// Looks whether an offer's secrets can be given, and puts on record that they are. One that was given before goes on
    /// without those that were removed meanwhile.
    pub(super) async fn audit_secrets(&self, peer: &Peer, offer: &Offer, found: Found) -> Result<(), Error> {
        if offer.secrets.is_empty() || found == Found::Own {
            return Ok(());
        }
        match self.parts.vault.has(&offer.secrets).await {
            Err(error) if found == Found::Free || error.code == Code::Unavailable => return Err(error),
            _ => {}
        }
        let ci = Address { name: offer.name.clone(), node: Some(self.parts.node.clone()) };
        let kwargs = json!({ "names": offer.secrets }).as_object().cloned().unwrap_or_default();
        let (path, request) = (SkillPath::parse("secrets.give")?, Request { kwargs, ..Request::default() });
        let (caller, effect) = (&peer.caller, Effect::Write);
        let deed = Deed { caller, ci: &ci, path: &path, effect, request: &request, body: None };
        let journal = self.parts.server.journal();
        journal.begin(deed).await?;
        journal.end(deed, Outcome::Value(&Value::Null)).await;
        Ok(())
    }

    /// Gives programs their secrets, and what becomes of these, until dropped.
    pub(crate) async fn give(&self) {
        let mut changed = self.parts.vault.changed();
        loop {
            tokio::select! {
                alive = changed.changed() => if alive.is_err() { return },
                () = self.hungry.notified() => {}
            }
            for seat in self.seats().values_mut().filter(|seat| !seat.secrets.is_empty()) {
                let Some(ci) = &seat.ci else { continue };
                let values = self.parts.vault.values(&seat.secrets);
                if seat.given.as_ref() == Some(&values) {
                    continue;
                }
                let given = values.iter().map(|(name, value)| {
                    let bytes = Content(Bytes::copy_from_slice(&value.bytes));
                    (name.clone(), GivenSecret { version: value.version, value: bytes })
                });
                ci.give(&Given { secrets: given.collect() });
                seat.given = Some(values);
            }
        }
    }
}
