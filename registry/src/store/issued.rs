//! What is changed by compare-and-set: what only the issuer writes, users, join tokens, removed nodes, secrets, who vouches;
//! and how long a node's audit is.

use aigis_proxy::{
    Error, NodeName, UserName,
    identity::SignedIssuer,
    kv::{self, Bucket, Expect},
    secret::SecretName,
};

use super::{Content, Own, ROUNDS, Registry};
use crate::audit::Head;
use crate::record::{Key, RemovalRecord, SecretRecord, TokenRecord, UserRecord};

impl Registry {
    /// Changes a user's record. `change` gets it as it stands and says what it is to be; it is asked again where another
    /// write came between. Its error ends the change with nothing written.
    ///
    /// # Errors
    ///
    /// What `change` says, and what the store says.
    pub async fn change_user(
        &self,
        name: &UserName,
        mut change: impl FnMut(Option<&UserRecord>) -> Result<UserRecord, Error>,
    ) -> Result<UserRecord, Error> {
        let read = |content: &Content| match content {
            Content::User(record) => Some((**record).clone()),
            _ => None,
        };
        let key = Key::User(name.clone(), self.node.clone());
        let changed = self.change(&key, |content| Ok(Content::User(Box::new(change(read(content).as_ref())?)))).await?;
        read(&changed).ok_or_else(|| Error::internal("the user's record was not kept"))
    }

    /// Changes a join token's record, as [`Registry::change_user`] does a user's: of all that use a token at once, each
    /// use counts.
    ///
    /// # Errors
    ///
    /// What `change` says, and what the store says.
    pub async fn change_token(
        &self,
        id: &UserName,
        mut change: impl FnMut(Option<&TokenRecord>) -> Result<TokenRecord, Error>,
    ) -> Result<TokenRecord, Error> {
        let read = |content: &Content| match content {
            Content::Token(record) => Some((**record).clone()),
            _ => None,
        };
        let key = Key::Token(id.clone(), self.node.clone());
        let changed =
            self.change(&key, |content| Ok(Content::Token(Box::new(change(read(content).as_ref())?)))).await?;
        read(&changed).ok_or_else(|| Error::internal("the token's record was not kept"))
    }

    /// Says that a node was removed: what it wrote until then counts as gone.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn remove_node(&self, record: RemovalRecord) -> Result<(), Error> {
        let key = Key::Removed(record.node.clone(), self.node.clone());
        self.change(&key, |_| Ok(Content::Removal(Box::new(record.clone())))).await.map(drop)
    }

    /// Says who vouches for the users of the mesh.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn vouch(&self, record: SignedIssuer) -> Result<(), Error> {
        let key = Key::Vouches(self.node.clone());
        self.change(&key, |_| Ok(Content::Vouches(Box::new(record.clone())))).await.map(drop)
    }

    /// Says how long this node's audit is.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn put_audit(&self, head: Head) -> Result<(), Error> {
        let key = Key::Audit(self.node.clone());
        self.change(&key, |_| Ok(Content::Audit(Box::new(head.clone())))).await.map(drop)
    }

    /// Takes back that a node was removed, because it joins again; says whether it was.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn readmit_node(&self, node: &NodeName) -> Result<bool, Error> {
        self.delete(&Key::Removed(node.clone(), self.node.clone())).await
    }

    /// Changes a secret's record, as [`Registry::change_user`] does a user's: of all that set it at once, each follows
    /// another.
    ///
    /// # Errors
    ///
    /// What `change` says, and what the store says.
    pub async fn change_secret(
        &self,
        name: &SecretName,
        mut change: impl FnMut(Option<&SecretRecord>) -> Result<SecretRecord, Error>,
    ) -> Result<(), Error> {
        let key = Key::Secret(name.clone(), self.node.clone());
        let change = |content: &Content| {
            let known = match content {
                Content::Secret(record) => Some(&**record),
                _ => None,
            };
            Ok(Content::Secret(Box::new(change(known)?)))
        };
        self.change(&key, change).await.map(drop)
    }

    /// Removes a secret's record; says whether there was one. What was sealed is gone from the store.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn remove_secret(&self, name: &SecretName) -> Result<bool, Error> {
        let key = Key::Secret(name.clone(), self.node.clone());
        let was_there = self.delete(&key).await?;
        // The store keeps the version before the newest one: after a second mark that is a mark too. It is also made
        // for a secret that is gone already: whoever removed it may not have come this far.
        self.mark_removed(&key).await?;
        Ok(was_there)
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<bool, Error> {
        let place = self.place(&key.to_string());
        let mut own = place.lock().await;
        self.look_up(key, &mut own).await?;
        if own.content == Content::Nothing {
            return Ok(false);
        }
        self.remove(key, &mut own).await?;
        Ok(true)
    }

    /// Puts a mark on one that is there already.
    async fn mark_removed(&self, key: &Key) -> Result<(), Error> {
        let place = self.place(&key.to_string());
        let mut own = place.lock().await;
        self.look_up(key, &mut own).await?;
        match own.content == Content::Nothing && own.revision > 0 {
            true => self.remove(key, &mut own).await,
            false => Ok(()),
        }
    }

    async fn remove(&self, key: &Key, own: &mut Own) -> Result<(), Error> {
        let expect = Expect::Revision(own.revision);
        let revision = kv::delete(&self.bus, Bucket::Records, &key.to_string(), expect, kv::PATIENCE).await?;
        *own = Own { revision, content: Content::Nothing };
        Ok(())
    }

    async fn change(
        &self,
        key: &Key,
        mut change: impl FnMut(&Content) -> Result<Content, Error>,
    ) -> Result<Content, Error> {
        let place = self.place(&key.to_string());
        let mut own = place.lock().await;
        for _ in 0..ROUNDS {
            // Another process may have been this node meanwhile: a change stands on what the bus holds.
            self.look_up(key, &mut own).await?;
            let content = change(&own.content)?;
            if content == own.content {
                return Ok(content);
            }
            let body = content.seal()?.into();
            let expect = Expect::Revision(own.revision);
            match kv::put(&self.bus, Bucket::Records, &key.to_string(), body, expect, kv::PATIENCE).await {
                Ok(revision) => {
                    *own = Own { revision, content: content.clone() };
                    return Ok(content);
                }
                Err(kv::Error::WrongRevision { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::unavailable(format!("\"{key}\" changes too often; try again")).sent(false))
    }

    async fn look_up(&self, key: &Key, own: &mut Own) -> Result<(), Error> {
        let stored = kv::get(&self.bus, Bucket::Records, &key.to_string(), kv::PATIENCE).await?;
        *own = match stored {
            Some(entry) => Own { revision: entry.revision, content: Content::read(key, &entry) },
            None => Own::default(),
        };
        Ok(())
    }
}
