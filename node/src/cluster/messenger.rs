//! Tells all servers of the bus what changed about the mesh's accounts, and those that are away as soon as they are back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aigis_proxy::{
    Error, NodeName, SiteName,
    identity::{CaCertificate, MeshKeys, mesh::AccountToken},
    servers, task,
};
use tokio::sync::Notify;

use super::Cluster;
use crate::{issuer::broken_keys, mesh::server_name};

/// How long the login holds by which the servers are told.
const LOGIN_LIFE: Duration = Duration::from_secs(60);
/// How often those are tried that were away.
const AGAIN: Duration = Duration::from_secs(1);
/// The same for sites, which may be away for days.
const SITES_AGAIN: Duration = Duration::from_secs(5);
/// After how long sites are told again what they know: a server that was set up anew has what its file said.
const REPEATED: Duration = Duration::from_secs(120);

/// Who did not answer.
#[derive(Debug)]
pub(crate) struct Away {
    /// The nodes of the bus's servers.
    pub(crate) servers: Vec<NodeName>,
    /// The sites.
    pub(crate) sites: Vec<SiteName>,
}

/// The issuer's way to the bus's servers, and to those of sites.
#[derive(Debug)]
pub(crate) struct Messenger {
    keys: Arc<MeshKeys>,
    url: String,
    ca: Option<CaCertificate>,
    cluster: Option<Arc<Cluster>>,
    /// The servers that have not the newest token of the mesh's account.
    untold: Mutex<BTreeSet<NodeName>>,
    /// The sites of which the same is so.
    sites: Mutex<BTreeSet<SiteName>>,
    /// The token that sites were told last, with that of the bus of which it was made: the same is not signed twice.
    signed: Mutex<BTreeMap<SiteName, (AccountToken, AccountToken)>>,
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
        let sites = Mutex::new(keys.sites().into_iter().collect());
        let (untold, signed) = (Mutex::default(), Mutex::default());
        let messenger = Self { keys, url, ca, cluster, untold, sites, signed, news: Notify::new() };
        *messenger.untold() = messenger.servers();
        messenger
    }

    /// Gives every server that answers an account's token, and says which nodes' and sites' servers did not.
    ///
    /// # Errors
    ///
    /// `unavailable` if none answers, or one of them refuses.
    pub(crate) async fn tell(&self, token: &AccountToken) -> Result<Away, Error> {
        let login = self.keys.system_credential(LOGIN_LIFE).map_err(broken_keys)?;
        let all = self.servers();
        // Noted first: what is told half-way is told again.
        self.untold().clone_from(&all);
        self.sites().extend(self.keys.sites());
        self.news.notify_one();
        let servers = servers::update(&self.url, self.ca.as_ref(), &login, token, all.len());
        let (told, sites) = tokio::join!(Box::pin(servers), Box::pin(self.tell_sites()));
        let told = told?;
        if let Err(error) = sites {
            tracing::warn!(%error, "the sites were not told; they are told again");
        }
        let away = all.into_iter().filter(|node| !told.contains(&server_name(self.keys.mesh(), node)));
        let away: BTreeSet<NodeName> = away.collect();
        self.untold().clone_from(&away);
        let sites = self.sites().clone();
        tracing::info!(servers = ?told, ?away, ?sites, "the servers were told of the accounts");
        Ok(Away { servers: away.into_iter().collect(), sites: sites.into_iter().collect() })
    }

    /// Tells the sites that have not the newest token; those that answer are no longer owed anything, unless something is
    /// new by then.
    async fn tell_sites(&self) -> Result<(), Error> {
        let waiting = self.sites().clone();
        if waiting.is_empty() {
            return Ok(());
        }
        let [_, before, _] = self.keys.accounts();
        let tokens = waiting.into_iter().map(|site| {
            let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, token)) = signed.get(&site).filter(|(of, _)| *of == before) {
                return Ok((site, token.clone()));
            }
            let [_, token, _] = self.keys.accounts_of_site(&site)?;
            signed.insert(site.clone(), (before.clone(), token.clone()));
            Ok((site, token))
        });
        let tokens: Vec<_> = tokens.collect::<Result<_, _>>().map_err(broken_keys)?;
        let login = self.keys.sites_credential(LOGIN_LIFE).map_err(broken_keys)?;
        let told = servers::update_sites(&self.url, self.ca.as_ref(), &login, self.keys.mesh(), &tokens).await?;
        let [_, newest, _] = self.keys.accounts();
        if newest == before {
            self.sites().retain(|site| !told.contains(site));
        }
        Ok(())
    }

    fn sites(&self) -> MutexGuard<'_, BTreeSet<SiteName>> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn untold(&self) -> MutexGuard<'_, BTreeSet<NodeName>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owes_servers(&self) -> bool {
        !self.untold().is_empty()
    }

    /// Tells those that were away, as soon as they are back, until the returned value is dropped.
    pub(crate) fn start(self: &Arc<Self>) -> task::Owned {
        let messenger = self.clone();
        task::Owned::spawn("messenger", async move {
            loop {
                if !messenger.owes_servers() && messenger.sites().is_empty() {
                    let news = tokio::time::timeout(REPEATED, messenger.news.notified()).await;
                    if news.is_err() {
                        messenger.sites().extend(messenger.keys.sites());
                    }
                }
                tokio::time::sleep(if messenger.owes_servers() { AGAIN } else { SITES_AGAIN }).await;
                if messenger.owes_servers() {
                    let [_, mesh, _] = messenger.keys.accounts();
                    if let Err(error) = messenger.again(&mesh).await {
                        tracing::debug!(%error, "the servers were not told; trying again");
                    }
                }
                if let Err(error) = messenger.tell_sites().await {
                    tracing::debug!(%error, "the sites were not told; trying again");
                }
            }
        })
    }

    /// Tells all; those that answer are no longer owed anything, unless something is new by then.
    async fn again(&self, token: &AccountToken) -> Result<(), Error> {
        let login = self.keys.system_credential(LOGIN_LIFE).map_err(broken_keys)?;
        let told = servers::update(&self.url, self.ca.as_ref(), &login, token, 1).await?;
        let [_, newest, _] = self.keys.accounts();
        if newest == *token {
            let mut untold = self.untold();
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
