//! What stands under a key, by the newest version of it that is believed.
//!
//! A node may write what it likes to the bucket, also past the check of the version that it follows. The store keeps with each
//! version what it was checked against, and the version's signature is bound to the same: so each can be judged by itself. What
//! is not believed is passed over, and the version before it stands.

use aigis_proxy::{
    Code, Error, Role,
    kv::{self, Bucket, Entry, Operation},
};

use super::{Key, Raw, Shared, version};
use crate::record::Damage;

/// What stands under a key.
#[derive(Debug)]
pub(super) enum Standing {
    /// Nothing ever did.
    Nothing,
    /// The mark of a deletion, at the key's newest revision.
    Deleted(u64),
    /// A record, at the key's newest revision.
    Record(Raw),
}

impl Standing {
    fn at(content: Option<Raw>, revision: u64) -> Self {
        content.map_or(Self::Deleted(revision), |raw| Self::Record(Raw { revision, ..raw }))
    }
}

impl Shared {
    /// What stands under a key now.
    pub(super) async fn standing(&self, key: &Key) -> Result<Standing, Error> {
        match kv::get(&self.bus, Bucket::Shared, &key.to_string(), kv::PATIENCE).await? {
            Some(entry) => self.of_entry(key, &entry).await,
            None => Ok(Standing::Nothing),
        }
    }

    /// What stands under a key whose newest version is that.
    pub(super) async fn of_entry(&self, key: &Key, entry: &Entry) -> Result<Standing, Error> {
        let damage = match self.check(key, entry) {
            Ok(content) => return Ok(Standing::at(content, entry.revision)),
            Err(damage) => damage,
        };
        let versions = kv::history(&self.bus, Bucket::Shared, &key.to_string(), kv::PATIENCE).await?;
        let newest = versions.last().map_or(entry.revision, |newest| newest.revision);
        let believed = versions.iter().rev().find_map(|version| self.check(key, version).ok());
        let is_left = believed.is_some();
        tracing::warn!(
            %key, revision = entry.revision, %damage, is_left,
            "a version of a record is passed over: look for who wrote it, and revoke that node: aish users revoke"
        );
        believed.map(|content| Standing::at(content, newest)).ok_or_else(|| {
            Error::new(Code::DataLoss, format!("the record {key} is damaged, and no version before is left: {damage}"))
                .hint("see what the nodes say of it: aish logs NODE")
        })
    }

    /// Checks a version as it came from the store; `None` for the mark of a deletion.
    pub(super) fn check(&self, key: &Key, entry: &Entry) -> Result<Option<Raw>, Damage> {
        let public_key = |node: &aigis_proxy::NodeName| {
            let snapshot = self.cache.snapshot();
            snapshot.user(&node.user()).filter(|user| user.role == Role::Node).map(|user| user.public_key.clone())
        };
        let content = version::open(key, &entry.value, entry.follows, public_key)?;
        Ok((entry.operation == Operation::Put).then_some(Raw { revision: entry.revision, content }))
    }
}
