//! The rotation of the keys that sign users: new ones are made and told of, members renew under them, and those of before
//! are removed when nobody needs them any more, or when every token of theirs has ended.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{Error, UserName, services::Rotation, task};
use aigis_registry::Timestamp;

use super::{Office, broken_keys};

/// How often is looked whether a rotation can end.
const LOOK: Duration = Duration::from_secs(10);
/// How long the credential of a join token may hold: it cannot be renewed.
const TOKENS: Duration = Duration::from_secs(25 * 60 * 60);

impl Office {
    /// Begins a rotation, or goes on with the one that is under way; with `end` removes the former keys, whoever still
    /// stands on them.
    ///
    /// # Errors
    ///
    /// What cannot be written; `unavailable` if no server of the bus was told, and then to be tried again.
    pub(super) async fn rotate(&self, end: bool) -> Result<Rotation, Error> {
        let _alone = self.revoking.lock().await;
        let began = self.keys.rotating_since().is_none() && !end;
        let token = if end { self.keys.end_rotation() } else { self.keys.rotate() };
        // A server that is away is told as soon as it is back.
        self.messenger.tell(&token.map_err(broken_keys)?).await?;
        // First the servers, then the members: who renews at once is let in.
        self.registry.vouch(self.keys.signed_issuer()).await?;
        Ok(self.rotation(began))
    }

    /// How far the rotation is.
    fn rotation(&self, began: bool) -> Rotation {
        let since = self.keys.rotating_since().map(|since| Timestamp::from(time::OffsetDateTime::from(since)));
        let ends = since.map(|since| Timestamp::from(since.time() + self.grace()));
        let waiting = self.waiting();
        let (since, ends) = (since.map(|since| since.to_string()), ends.map(|ends| ends.to_string()));
        Rotation { began, former_keys_since: since, former_keys_until: ends, waiting }
    }

    /// Users and join tokens that still stand on former keys.
    fn waiting(&self) -> Vec<UserName> {
        if self.keys.rotating_since().is_none() {
            return Vec::new();
        }
        let (snapshot, now, signing) = (self.cache.snapshot(), Timestamp::now(), self.keys.issuer());
        let users = snapshot.users().filter(|user| user.revoked_at.is_none() && user.expires_at > now);
        let users = users.filter(|user| !signing.roles.contains_key(&user.signer)).map(|user| user.name.clone());
        let since = self.keys.rotating_since().map(|since| Timestamp::from(time::OffsetDateTime::from(since)));
        let tokens = snapshot.tokens().filter(|token| token.spent(now).is_none());
        let tokens = tokens.filter(|token| since.is_some_and(|since| token.made_at <= since));
        users.chain(tokens.map(|token| token.id.clone())).collect()
    }

    /// How long former keys count at most: no token of theirs lives longer.
    fn grace(&self) -> Duration {
        self.credential_life.max(TOKENS)
    }
}

/// Finishes what was interrupted, and removes former keys when that can be done, until the returned value is dropped.
pub(super) fn keep(office: Arc<Office>) -> task::Owned {
    task::Owned::spawn("rotation", async move {
        // A start may follow a rotation that was cut short anywhere; done again, a step changes nothing.
        let mut settled = office.keys.rotating_since().is_none() && office.keys.issuer().serial == 0;
        loop {
            if !settled {
                match office.rotate_on().await {
                    Ok(()) => settled = true,
                    Err(error) => tracing::warn!(%error, "the rotation of the signing keys goes on later"),
                }
            }
            tokio::time::sleep(LOOK).await;
            let Some(since) = office.keys.rotating_since() else { continue };
            let passed = since.elapsed().unwrap_or_default();
            // Who joined a moment before may not be known here yet.
            if passed > office.grace() || passed > LOOK && office.waiting().is_empty() {
                match office.rotate(true).await {
                    Ok(_) => tracing::info!("the former signing keys were removed"),
                    Err(error) => tracing::warn!(%error, "the former signing keys could not be removed yet"),
                }
            }
        }
    })
}

impl Office {
    /// Goes on with what a former process of this node began.
    async fn rotate_on(&self) -> Result<(), Error> {
        let end = self.keys.rotating_since().is_none();
        self.rotate(end).await.map(drop)
    }
}
