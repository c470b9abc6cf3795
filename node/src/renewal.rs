//! The renewal of the node's own credential, long before its end: the issuer may be away for days.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aigis_proxy::{
    Bus, Error, NodeName,
    identity::{Credential, Issuer},
    rpc::{self, Asker},
    services::{ISSUER, IssuerClient},
    task,
};
use tarpc::context;

/// How often is looked whether it is time: a clock may leap, and a host may have slept.
const LOOK: Duration = Duration::from_secs(60 * 60);
/// How soon a renewal that failed is tried again, at most: a half of it is at random, for the nodes of a whole mesh may
/// wait for one issuer.
const AGAIN: Duration = Duration::from_secs(30);

/// What a renewal needs.
pub(crate) struct Renewal {
    /// The node's connection, which logs in with the credential.
    pub(crate) bus: Bus,
    /// The credential, shared with all that use it.
    pub(crate) credential: Arc<Credential>,
    /// Its file.
    pub(crate) file: PathBuf,
    /// Who renews it.
    pub(crate) issuer: NodeName,
    /// What its tokens are checked by.
    pub(crate) vouches: Issuer,
}

impl Renewal {
    /// Renews whenever it is time, until the returned value is dropped.
    pub(crate) fn start(self) -> task::Owned {
        task::Owned::spawn("renewal", async move {
            loop {
                let Some(due) = self.credential.due() else { return };
                match due.duration_since(SystemTime::now()) {
                    Ok(left) if !left.is_zero() => tokio::time::sleep(left.min(LOOK)).await,
                    _ => match self.renew().await {
                        Ok(()) => tracing::info!("the node's credential was renewed"),
                        Err(error) => {
                            tracing::warn!(%error, issuer = %self.issuer, "the credential was not renewed; trying again");
                            tokio::time::sleep(again()).await;
                        }
                    },
                }
            }
        })
    }

    async fn renew(&self) -> Result<(), Error> {
        let client = IssuerClient::from(Asker::new(&self.bus, self.issuer.as_str(), ISSUER));
        let answer = client.renew(context::current()).await;
        let token = answer.map_err(|error| rpc::error(&error)).and_then(|answer| answer)?;
        let unusable = |flaw| Error::internal(format!("the renewed token cannot be used: {flaw}"));
        self.credential.renew(&token, Some(&self.vouches)).map_err(unusable)?;
        self.credential.write(&self.file).map_err(|error| Error::internal(error.to_string()))
    }
}

fn again() -> Duration {
    let half = AGAIN / 2;
    let random = uuid::Uuid::now_v7().as_u128() % half.as_millis();
    half + Duration::from_millis(u64::try_from(random).unwrap_or_default())
}
