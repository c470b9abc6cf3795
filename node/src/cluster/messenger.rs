//! Tells all servers of the bus what changed about the mesh's accounts, and those that are away as soon as they are back.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aigis_proxy::{
    Error, NodeName,
    identity::{CaCertificate, MeshKeys, mesh::AccountToken},
    servers, task,
};
use tokio::sync::Notify;

use super::Cluster;
use crate::mesh::server_name;

/// How long the login holds by which the servers are told.
const LOGIN_LIFE: Duration = Duration::from_secs(60);
/// How often those are tried that were away.
const AGAIN: Duration = Duration::from_secs(1);

/// The issuer's way to the bus's servers.
#[derive(Debug)]
pub(crate) struct Messenger {
    keys: Arc<MeshKeys>,
    url: String,
    ca: Option<CaCertificate>,
    cluster: Option<Arc<Cluster>>,
    /// The servers that have not the newest token of the mesh's account.
    untold: Mutex<BTreeSet<NodeName>>,
    news: Notify,
}

impl Messenger {
    /// Makes it. Until a server has answered once, it may have missed something.
    pub(crate) fn new(
        keys: Arc<MeshKeys>,
        url: String,
        ca: Option<CaCertificate>,
        cluster: Option<Arc<Cluster>>,
    ) -> Self {
        let messenger = Self { keys, url, ca, cluster, untold: Mutex::default(), news: Notify::new() };
        *messenger.untold.lock().unwrap_or_else(PoisonError::into_inner) = messenger.servers();
        messenger
    }

    /// Gives every server that answers an account's token, and says which nodes' servers did not.
    ///
    /// # Errors
    ///
    /// `unavailable` if none answers, or one of them refuses.
    pub(crate) async fn tell(&self, token: &AccountToken) -> Result<Vec<NodeName>, Error> {
        let failed = |error: aigis_proxy::identity::mesh::Error| Error::internal(error.to_string());
        let login = self.keys.system_credential(LOGIN_LIFE).map_err(failed)?;
        let all = self.servers();
        // Noted first: what is told half-way is told again.
        self.untold.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&all);
        self.news.notify_one();
        let told = servers::update(&self.url, self.ca.as_ref(), &login, token, all.len()).await?;
        let away = all.into_iter().filter(|node| !told.contains(&server_name(self.keys.mesh(), node)));
        let away: BTreeSet<NodeName> = away.collect();
        self.untold.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&away);
        tracing::info!(servers = ?told, ?away, "the servers were told of the accounts");
        Ok(away.into_iter().collect())
    }

    /// Tells those that were away, as soon as they are back, until the returned value is dropped.
    pub(crate) fn start(self: &Arc<Self>) -> task::Owned {
        let messenger = self.clone();
        task::Owned::spawn("messenger", async move {
            loop {
                let waiting = !messenger.untold.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
                if !waiting {
                    messenger.news.notified().await;
                }
                tokio::time::sleep(AGAIN).await;
                if messenger.untold.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                    continue;
                }
                let [_, mesh, _] = messenger.keys.accounts();
                if let Err(error) = messenger.again(&mesh).await {
                    tracing::debug!(%error, "the servers were not told; trying again");
                }
            }
        })
    }

    /// Tells all; those that answer are no longer owed anything, unless something is new by then.
    async fn again(&self, token: &AccountToken) -> Result<(), Error> {
        let failed = |error: aigis_proxy::identity::mesh::Error| Error::internal(error.to_string());
        let login = self.keys.system_credential(LOGIN_LIFE).map_err(failed)?;
        let told = servers::update(&self.url, self.ca.as_ref(), &login, token, 1).await?;
        let [_, newest, _] = self.keys.accounts();
        if newest == *token {
            let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
            untold.retain(|node| !told.contains(&server_name(self.keys.mesh(), node)));
        }
        Ok(())
    }

    /// The nodes of the servers that the bus has as a cluster.
    fn servers(&self) -> BTreeSet<NodeName> {
        let cluster = self.cluster.as_ref().filter(|cluster| cluster.phase() == super::Phase::Grown);
        cluster.map(|cluster| cluster.servers().into_iter().map(|server| server.node).collect()).unwrap_or_default()
    }
}
