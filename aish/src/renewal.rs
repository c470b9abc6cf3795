//! The renewal of a person's own credential, beside whatever command runs: due once a third of its life is over.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aigis_node::{
    Home,
    renewal::{Reach, Renewal, again},
    trust,
};
use aigis_proxy::{
    Error, NodeName, Role,
    client::Client,
    identity::{Credential, Issuer},
    task,
};
use tokio::sync::watch;

/// How long a command that is done waits for a renewal that is under way.
const LAST: Duration = Duration::from_millis(250);

/// A renewal beside a command; it ends with this.
#[derive(Debug)]
pub(crate) struct Beside {
    _task: task::Owned,
    asking: watch::Receiver<bool>,
}

/// Whose credential, and who renews it.
pub(crate) struct Person {
    pub(crate) credential: Arc<Credential>,
    pub(crate) file: PathBuf,
    pub(crate) issuer: NodeName,
    pub(crate) pinned: watch::Sender<Issuer>,
    pub(crate) home: Home,
}

impl Person {
    /// What the renewal takes.
    pub(crate) fn renewal(self, reach: Reach) -> Renewal {
        let Self { credential, file, issuer, pinned, .. } = self;
        Renewal { reach, credential, file, issuer, vouches: pinned.subscribe() }
    }
}

impl Beside {
    /// Renews the credential when it is due, asking by way of `reach`. What runs over `client` goes on under the new token
    /// before the old one ends.
    pub(crate) fn begin(person: Person, reach: Reach, client: Option<Client>) -> Option<Self> {
        // A node renews its own, and a token is used once.
        if matches!(person.credential.role(), Role::Node | Role::Join) {
            return None;
        }
        let (asking, asks) = watch::channel(false);
        let (home, pinned) = (person.home.clone(), person.pinned.clone());
        let look = move || trust::look(&home, &pinned);
        let task = task::Owned::spawn("renewal", run(person.renewal(reach), client, asking, look));
        Some(Self { _task: task, asking: asks })
    }

    /// Waits for an answer that is under way, but not for long.
    pub(crate) async fn settle(&self) {
        let mut asking = self.asking.clone();
        let answered = asking.wait_for(|asking| !*asking);
        // Whoever is not renewed now is at the next command.
        let _ = tokio::time::timeout(LAST, answered).await;
    }
}

async fn run(renewal: Renewal, client: Option<Client>, asking: watch::Sender<bool>, look: impl Fn() + Send + Sync) {
    let credential = renewal.credential.clone();
    let mut shown = Shown::of(&credential);
    let mut rest = None;
    loop {
        let due = async {
            if let Some(rest) = rest {
                tokio::time::sleep(rest).await;
            }
            renewal.due().await;
        };
        tokio::select! {
            () = due => {
                asking.send_replace(true);
                look();
                let renewed = renewal.renew().await;
                asking.send_replace(false);
                rest = renewed.is_err().then(again);
                if let Err(error) = renewed {
                    tell(&credential, &renewal.issuer, &error);
                }
            }
            () = shown.ends_soon(&renewal), if client.is_some() && shown.jwt != credential.jwt() => {
                let Some(client) = &client else { continue };
                match client.renewed().await {
                    Ok(()) => shown = Shown::of(&credential),
                    Err(error) => {
                        tracing::debug!(%error, "the bus was not told of the renewed credential; trying again");
                        tokio::time::sleep(again().min(shown.margin / 4)).await;
                    }
                }
            }
        }
    }
}

/// The token that stands behind the connections in use.
struct Shown {
    jwt: String,
    signer: String,
    ends: Option<SystemTime>,
    /// How long before its end another takes its place: long enough for a clock that is late.
    margin: Duration,
}

impl Shown {
    fn of(credential: &Credential) -> Self {
        let ends = credential.expires();
        let life = ends.and_then(|ends| ends.duration_since(credential.issued()).ok()).unwrap_or_default();
        Self { jwt: credential.jwt(), signer: credential.signer(), ends, margin: life / 6 }
    }

    async fn ends_soon(&self, renewal: &Renewal) {
        // Those that former keys signed may end at any time.
        if renewal.vouches.borrow().is_former(&self.signer) {
            return;
        }
        let Some(ends) = self.ends else { return std::future::pending().await };
        let left = ends.duration_since(SystemTime::now()).unwrap_or_default();
        tokio::time::sleep(left.saturating_sub(self.margin)).await;
    }
}

/// Says that a renewal failed, once that begins to matter: when two thirds of a life are over.
fn tell(credential: &Credential, issuer: &NodeName, error: &Error) {
    let Some(ends) = credential.expires() else { return };
    let life = ends.duration_since(credential.issued()).unwrap_or_default();
    let left = ends.duration_since(SystemTime::now()).unwrap_or_default();
    if left < life / 3 {
        let left = left.as_secs();
        tracing::warn!(%error, %issuer, "this credential ends in {left} s and was not renewed; see: aish doctor");
    } else {
        tracing::debug!(%error, %issuer, "the credential was not renewed; there is time");
    }
}
