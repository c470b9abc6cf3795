//! A host whose bus server is one of several, but which is not the issuer: it enrols, and asks again from time to time
//! for what changed about the accounts, and for a new certificate before the one it has ends.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aigis_proxy::{
    Bus, Error, NodeName,
    identity::{CaCertificate, Charter, Issuer, ca, ca::ServerKey, server::Tls},
    rpc::{self, Asker},
    services::{Enrolled, ISSUER, IssuerClient, Station},
    task,
};
use tarpc::context;
use tokio::sync::{Notify, watch};

use super::Cluster;

/// How often the issuer is asked while servers are missing.
const SOON: Duration = Duration::from_secs(1);
/// How often afterwards.
const LATER: Duration = Duration::from_secs(60);
/// How old a certificate may be.
const OLD: Duration = Duration::from_secs(ca::SERVER_LIFE.as_secs() / 2);

/// What enrolling needs.
pub(crate) struct Member {
    /// The node's connection.
    pub(crate) bus: Bus,
    /// Whom it asks.
    pub(crate) issuer: NodeName,
    /// What the accounts are checked by.
    pub(crate) vouches: Issuer,
    /// What is known of the cluster.
    pub(crate) cluster: Arc<Cluster>,
    /// The server's certificate and key.
    pub(crate) tls: Tls,
    /// The CA's certificate.
    pub(crate) ca_file: PathBuf,
    /// The server, once it runs.
    pub(crate) running: Option<Running>,
    /// Told when the node must start anew.
    pub(crate) restart: watch::Sender<bool>,
}

/// The server that runs.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    /// What its next start begins with.
    pub(crate) charter: Arc<Mutex<Charter>>,
    /// Makes it read its certificate anew.
    pub(crate) reload: Arc<Notify>,
}

impl Member {
    /// Asks until the returned value is dropped.
    pub(crate) fn start(self) -> task::Owned {
        task::Owned::spawn("bus-member", async move {
            let mut said = false;
            loop {
                let before = self.cluster.servers();
                match self.enroll().await {
                    Ok(())
                        if self.cluster.is_complete()
                            && (self.running.is_none() || before != self.cluster.servers()) =>
                    {
                        tracing::info!("all servers of the bus are known; the node starts anew with its own");
                        self.restart.send_replace(true);
                        return;
                    }
                    Ok(()) => said = false,
                    Err(error) => {
                        if !std::mem::replace(&mut said, true) {
                            tracing::warn!(%error, issuer = %self.issuer, "the bus server is not enrolled; trying again");
                        }
                    }
                }
                tokio::time::sleep(if self.running.is_some() { LATER } else { SOON }).await;
            }
        })
    }

    async fn enroll(&self) -> Result<(), Error> {
        let own = self.cluster.own().ok_or_else(|| Error::internal("this host's server is not known"))?;
        let key = ServerKey::open(&self.tls.key).map_err(|error| Error::precondition(error.to_string()))?;
        let client = IssuerClient::from(Asker::new(&self.bus, self.issuer.as_str(), ISSUER));
        let answer = rpc::answered(client.enroll(context::current(), own.clone(), key.public()).await);
        let Enrolled { servers, charter, certificate, ca, .. } = answer?;
        let charter = charter.verify(&self.vouches).map_err(|error| Error::precondition(error.to_string()))?;
        if !servers.contains(&own) {
            return Err(Error::precondition("the issuer's servers are without this host's"));
        }
        self.trust(&ca)?;
        if self.is_due() {
            let written = key.write_certificate(&certificate, &self.tls);
            written.map_err(|error| Error::precondition(error.to_string()))?;
            if let Some(Running { reload, .. }) = &self.running {
                tracing::info!("the bus server has a new certificate");
                reload.notify_one();
            }
        }
        if let Some(Running { charter: known, .. }) = &self.running {
            known.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&charter);
        }
        self.cluster.learn(servers, charter).map_err(|error| Error::precondition(error.to_string()))
    }

    /// Takes the CA that the servers trust, unless this host knows another.
    fn trust(&self, text: &str) -> Result<(), Error> {
        let ca = CaCertificate::from_text(text).map_err(|error| Error::precondition(error.to_string()))?;
        if !self.ca_file.exists() {
            return ca.write(&self.ca_file).map_err(|error| Error::precondition(error.to_string()));
        }
        let known = CaCertificate::read(&self.ca_file).map_err(|error| Error::precondition(error.to_string()))?;
        if known == ca { Ok(()) } else { Err(Error::precondition("the issuer names another CA than this host trusts")) }
    }

    /// Whether the certificate is missing, or has had half of its time.
    fn is_due(&self) -> bool {
        let made = std::fs::metadata(&self.tls.certificate).and_then(|metadata| metadata.modified());
        made.map_or(true, |made| SystemTime::now().duration_since(made).map_or(true, |age| age >= OLD))
    }
}

/// Whether the addresses of a server can be those of one of a bus.
pub(crate) fn is_sound(station: &Station, issuer: &Station) -> bool {
    let (listen, routes) = (station.listen, station.routes);
    !listen.ip().is_unspecified()
        && listen.ip() == routes.ip()
        && listen.port() != 0
        && routes.port() != 0
        && listen.ip().is_loopback() == issuer.listen.ip().is_loopback()
}
