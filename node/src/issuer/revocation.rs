//! The end of a user: its key is revoked at the bus first, then its record says so to every callee.

use std::time::Duration;

use aigis_proxy::{Error, Role, UserName, services::Revoked, task};
use aigis_registry::{Cache, Registry, Timestamp, record::UserRecord};
use tokio::sync::{OwnedMutexGuard, oneshot};

use super::{Office, broken_keys, first::other_admin};
use crate::cluster::messenger::Away;

/// How long the record may take until its asker is told that it is still being written: where the server that leads the
/// registry is the one that is away, another is chosen first, which takes longer than a revocation may.
const NOTED: Duration = Duration::from_millis(1_500);
/// How long the issuer's own copy of the records may take to show a revocation.
const SEEN: Duration = Duration::from_secs(5);

impl Office {
    /// Revokes a user; one that was revoked before stays so.
    ///
    /// # Errors
    ///
    /// `not_found` for an unknown user, `failed_precondition` for the last admin; `unavailable` if no server of the bus
    /// was told, and then to be tried again.
    pub(super) async fn revoke(&self, name: &UserName) -> Result<Revoked, Error> {
        self.revoke_for(name, false).await
    }

    /// As [`Office::revoke`]; of a plugin that `is_removed` the name stays free for another.
    ///
    /// # Errors
    ///
    /// As [`Office::revoke`].
    pub(super) async fn revoke_for(&self, name: &UserName, is_removed: bool) -> Result<Revoked, Error> {
        let alone = self.revoking.clone().lock_owned().await;
        let user = self.user(name).await?;
        let revoked = |at: Timestamp, changed, Away { servers: away, sites: sites_away }, noted| {
            let (name, revoked_at) = (name.clone(), at.to_string());
            Revoked { name, changed, revoked_at, away, noted, sites_away }
        };
        // What an admin revokes stays so, also where the plugin was removed before.
        if let Some(at) = user.revoked_at.filter(|_| is_removed || !user.is_removed) {
            return Ok(revoked(at, false, Away { servers: Vec::new(), sites: Vec::new() }, true));
        }
        if name.as_str() == self.node.as_str() {
            let message = format!("{name} is the node that issues the mesh's credentials, and cannot revoke itself");
            return Err(Error::precondition(message).hint("to end it: aish down, on that host"));
        }
        if user.role == Role::Admin && other_admin(&self.cache.snapshot(), name).is_none() {
            let message = format!("{name} is the last admin of the mesh: nobody could make another user");
            return Err(Error::precondition(message).hint("first: aish users create NAME --role admin"));
        }
        let away = self.end(&user.public_key).await?;
        let now = Timestamp::now();
        let (told, written) = oneshot::channel();
        let record = UserRecord { revoked_at: Some(now), is_removed, ..user };
        // It goes on without its asker, and ends with the store's patience.
        drop(task::spawn("revocation", note(self.registry.clone(), self.cache.clone(), record, told, alone)));
        match tokio::time::timeout(NOTED, written).await {
            Ok(Ok(written)) => written.map(|()| revoked(now, true, away, true)),
            Ok(Err(_)) => Err(Error::internal("the record of the revocation was given up")),
            Err(_) => Ok(revoked(now, true, away, false)),
        }
    }

    /// Revokes the key that a user had, if another one takes its place: one name, one key.
    pub(super) async fn supersede(&self, name: &UserName, public_key: &str) -> Result<(), Error> {
        let _alone = self.revoking.lock().await;
        match self.user(name).await {
            Ok(user) if user.public_key != public_key && user.revoked_at.is_none() => {
                self.end(&user.public_key).await.map(drop)
            }
            Err(error) if error.code != aigis_proxy::Code::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Ends a key at the bus: written down first, so that a server that starts meanwhile knows, then told to those that
    /// run. Gives those that did not answer.
    async fn end(&self, public_key: &str) -> Result<Away, Error> {
        let token = self.keys.revoke(public_key).map_err(broken_keys)?;
        let away = self.messenger.tell(&token).await?;
        tracing::info!(public_key, ?away, "a key was revoked");
        Ok(away)
    }
}

/// Writes the record by which every node refuses the user, tells who asked, and holds up the next revocation until the
/// issuer's own copy shows it, by which the last admin is known.
async fn note(
    registry: Registry,
    cache: Cache,
    record: UserRecord,
    told: oneshot::Sender<Result<(), Error>>,
    _alone: OwnedMutexGuard<()>,
) {
    let name = record.name.clone();
    let written = registry.change_user(&name, |_| Ok(record.clone())).await.map(drop);
    if let Err(error) = &written {
        tracing::error!(user = name.as_str(), %error, "a revocation is not on record; revoke that user again");
    }
    let is_written = written.is_ok();
    // Who asked may have been told that it takes longer.
    let _ = told.send(written);
    if !is_written {
        return;
    }
    let mut snapshots = cache.changed();
    let shown = snapshots.wait_for(|now| now.user(&name).is_some_and(|user| user.revoked_at.is_some()));
    if tokio::time::timeout(SEEN, shown).await.is_err() {
        tracing::warn!(user = name.as_str(), "the record of a revocation has not come back yet");
    }
}
