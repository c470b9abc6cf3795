//! Secrets as the issuer keeps them: ciphertext that an admin's own process made. It opens none that is not for this node.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Code, Error, NodeName, Role, UserName,
    blob::{Blob, Life},
    secret::{MAX_VALUE, Sealed, SealedKey, SecretName, SignedSealing},
    services::{ListedSecret, WantedSecret},
};
use aigis_registry::{
    NodeRecord, Snapshot, Timestamp,
    record::{SecretCopy, SecretRecord},
};
use serde_json::{Value, json};

use super::Office;

/// How much longer an encrypted value may be than the value.
const FILLED: usize = 1024;
/// How long the own copy of the records may take to show what was written.
const SEEN: Duration = Duration::from_secs(5);

/// What is put on record of a secret that is set: nothing of its value, not even encrypted.
pub(super) fn shown(wanted: &WantedSecret) -> Value {
    let nodes: Vec<&NodeName> = wanted.sealed.keys.keys().collect();
    json!({"name": wanted.name, "version": wanted.version, "for": wanted.selectors, "nodes": nodes})
}

impl Office {
    /// Keeps the next value of a secret.
    ///
    /// # Errors
    ///
    /// `failed_precondition` where it does not follow the last one, or is sealed to what is no node of the mesh.
    pub(super) async fn set_secret(&self, by: &UserName, wanted: WantedSecret) -> Result<(), Error> {
        let WantedSecret { name, version, selectors, sealed: Sealed { content, keys } } = wanted;
        if content.0.len() > MAX_VALUE + FILLED {
            let message = format!("the encrypted value of {name} is {} bytes", content.0.len());
            return Err(Error::new(Code::ResourceExhausted, message).hint("a value has at most 1 MiB"));
        }
        let snapshot = self.cache.snapshot();
        let copies = keys.into_iter().map(|(node, sealed)| copy(&snapshot, node, sealed)).collect::<Result<_, _>>()?;
        let content: Blob = self.blobs.put(Life::Kept, &content.0[..]).await?.blob;
        let set_at = Timestamp::now();
        let record =
            SecretRecord { name: name.clone(), version, set_by: by.clone(), set_at, selectors, content, copies };
        let following = |known: Option<&SecretRecord>| {
            follows(&name, version, known.map_or(0, |known| known.version)).map(|()| record.clone())
        };
        self.registry.change_secret(&name, following).await?;
        self.shows(&name, |known| known.is_some_and(|known| known.version >= version)).await;
        Ok(())
    }

    /// Removes a secret: nobody can open it any more, and nodes take away what they have delivered.
    ///
    /// # Errors
    ///
    /// `not_found`, and what the store says.
    pub(super) async fn remove_secret(&self, name: &SecretName) -> Result<(), Error> {
        if !self.registry.remove_secret(name).await? {
            let message = format!("there is no secret {name}");
            return Err(Error::new(Code::NotFound, message).hint("which there are: aish secrets list"));
        }
        self.shows(name, |known| known.is_none()).await;
        Ok(())
    }

    /// Waits until the own copy of the records shows what was written, by which the next question is answered.
    async fn shows(&self, name: &SecretName, is_so: impl Fn(Option<&Arc<SecretRecord>>) -> bool) {
        let mut snapshots = self.cache.changed();
        if tokio::time::timeout(SEEN, snapshots.wait_for(|now| is_so(now.secret(name)))).await.is_err() {
            tracing::warn!(secret = %name, "the record of a secret has not come back yet");
        }
    }

    /// What is told of all secrets.
    pub(super) fn secrets(&self) -> Vec<ListedSecret> {
        let snapshot = self.cache.snapshot();
        snapshot.secrets().values().map(|secret| listed(&snapshot, secret)).collect()
    }
}

fn listed(snapshot: &Snapshot, secret: &SecretRecord) -> ListedSecret {
    let SecretRecord { name, version, set_by, set_at, selectors, copies, .. } = secret.clone();
    // A node that has lost its key, or has joined anew, has another one now.
    let opens = |node: &NodeRecord| {
        let sealing = node.sealing.as_ref().map(SignedSealing::unverified);
        copies.get(&node.name).is_some_and(|copy| Some(copy.sealed.to) == sealing)
    };
    let lacking = snapshot.selected(&selectors).filter(|node| !opens(node)).map(|node| node.name.clone());
    ListedSecret {
        lacking: lacking.collect(),
        due: snapshot.due(secret),
        name,
        version,
        set_by,
        set_at: set_at.to_string(),
        selectors,
        nodes: copies.into_keys().collect(),
    }
}

/// The copy for a node that the mesh knows, and no other.
fn copy(snapshot: &Snapshot, node: NodeName, sealed: SealedKey) -> Result<(NodeName, SecretCopy), Error> {
    let user = snapshot.user(&node.user()).filter(|user| user.role == Role::Node && user.revoked_at.is_none());
    let user = user.filter(|_| snapshot.removal(&node).is_none());
    let unknown = || {
        Error::precondition(format!("{node} is no node of the mesh that a secret could be for"))
            .hint("which there are: aish nodes")
    };
    Ok((node.clone(), SecretCopy { user: user.ok_or_else(unknown)?.public_key.clone(), sealed }))
}

/// Whether a value follows the last one.
fn follows(name: &SecretName, version: u64, last: u64) -> Result<(), Error> {
    if version == last + 1 {
        return Ok(());
    }
    let message = format!("the secret {name} was set meanwhile: its version is {last}");
    Err(Error::precondition(message).hint("set it again").with("version", last))
}
