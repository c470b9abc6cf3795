//! The renewal of a credential that is in use, long before its end: the issuer may be away for days.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aigis_proxy::{
    Bus, Error, NodeName,
    identity::{Credential, Issuer},
    rpc::{self, Asker},
    services::{ISSUER, IssuerClient},
    task, with_causes,
};
use futures::future::BoxFuture;
use tarpc::context;
use tokio::sync::watch;

/// How often is looked whether it is time: a clock may leap, and a host may have slept.
const LOOK: Duration = Duration::from_secs(60 * 60);
/// How soon a renewal that failed is tried again, at most: a half of it is at random, for the nodes of a whole mesh may
/// wait for one issuer.
const AGAIN: Duration = Duration::from_secs(30);

/// How the bus is reached, by which the issuer is asked.
pub type Reach = Box<dyn Fn() -> BoxFuture<'static, Result<Bus, Error>> + Send + Sync>;

/// What the renewal of one credential takes.
pub struct Renewal {
    /// Reaches the bus.
    pub reach: Reach,
    /// The credential, shared with all that use it.
    pub credential: Arc<Credential>,
    /// Its file.
    pub file: PathBuf,
    /// Who renews it.
    pub issuer: NodeName,
    /// What its tokens are checked by.
    pub vouches: watch::Receiver<Issuer>,
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").field("file", &self.file).field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Renewal {
    /// Renews whenever it is time, until the returned value is dropped.
    pub(crate) fn start(self) -> task::Owned {
        task::Owned::spawn("renewal", async move {
            loop {
                self.due().await;
                match self.renew().await {
                    Ok(()) => {
                        tracing::info!("the node's credential was renewed");
                        // What answers calls is not to end with the token of before.
                        if let Ok(bus) = (self.reach)().await
                            && let Err(error) = bus.log_in_again().await
                        {
                            tracing::warn!(%error, "answers still go by the former connection");
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, issuer = %self.issuer, "the credential was not renewed; trying again");
                        tokio::time::sleep(again()).await;
                    }
                }
            }
        })
    }

    /// Resolves when it is time: when a third of the token's life is over, or the key that signed it signs no more. That
    /// may be never.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn due(&self) {
        let mut vouches = self.vouches.clone();
        loop {
            if vouches.borrow_and_update().is_former(&self.credential.signer()) {
                return;
            }
            let left = match self.credential.due() {
                Some(due) => due.duration_since(SystemTime::now()).unwrap_or_default(),
                None => LOOK,
            };
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left.min(LOOK)) => {}
                // Without whoever could say more, the clock alone tells.
                Ok(()) = vouches.changed() => {}
            }
        }
    }

    /// Renews the credential, for all that share it and in its file. Where another process has done so, its token is taken.
    ///
    /// # Errors
    ///
    /// The issuer's refusal, or that it is away; `failed_precondition` where the file is another's by now.
    pub async fn renew(&self) -> Result<(), Error> {
        if self.was_renewed()? {
            return Ok(());
        }
        let bus = (self.reach)().await?;
        let client = IssuerClient::from(Asker::new(&bus, self.issuer.as_str(), ISSUER));
        let token = rpc::answered(client.renew(context::current()).await)?;
        self.take(&token)?;
        self.credential.replace(&self.file).map_err(|error| Error::precondition(with_causes(&error)))
    }

    /// Takes the token that another process left in the file, if it is newer; says whether it did.
    fn was_renewed(&self) -> Result<bool, Error> {
        let found =
            Credential::read_ended(&self.file, None).map_err(|error| Error::precondition(with_causes(&error)))?;
        if (found.name(), found.public()) != (self.credential.name(), self.credential.public()) {
            let message = format!("{} holds the credential of another key by now", self.file.display());
            return Err(Error::precondition(message).hint("start again with that one"));
        }
        if found.is_due(&self.vouches.borrow()) || found.jwt() == self.credential.jwt() {
            return Ok(false);
        }
        self.take(&found.jwt())?;
        Ok(true)
    }

    fn take(&self, token: &str) -> Result<(), Error> {
        let unusable = |flaw| Error::internal(format!("the renewed token cannot be used: {flaw}"));
        self.credential.renew(token, Some(&self.vouches.borrow())).map_err(unusable)
    }
}

/// How soon a renewal that failed is to be tried again.
#[must_use]
pub fn again() -> Duration {
    let half = AGAIN / 2;
    let random = uuid::Uuid::now_v7().as_u128() % half.as_millis();
    half + Duration::from_millis(u64::try_from(random).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use aigis_proxy::{MeshName, Role, UserName, identity::MeshKeys};
    use futures::FutureExt as _;

    use super::*;

    struct Setting {
        directory: tempfile::TempDir,
        keys: MeshKeys,
        credential: Arc<Credential>,
    }

    impl Setting {
        fn new(life: u64) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let keys = MeshKeys::create(&directory.path().join("keys"), &MeshName::parse("main").unwrap()).unwrap();
            let key = Credential::generate().unwrap();
            let token = keys.issue(&vera(), Role::Viewer, key.public(), Duration::from_secs(life)).unwrap();
            let credential = Arc::new(Credential::new(&token, key, None).unwrap());
            Self { directory, keys, credential }
        }

        fn renewal(&self) -> Renewal {
            let reach: Reach = Box::new(|| async { Err(Error::unavailable("nobody is asked")) }.boxed());
            let vouches = watch::channel(self.keys.issuer()).1;
            let (credential, file) = (self.credential.clone(), self.directory.path().join("vera.creds"));
            Renewal { reach, credential, file, issuer: NodeName::parse("alpha").unwrap(), vouches }
        }
    }

    fn vera() -> UserName {
        UserName::parse("vera").unwrap()
    }

    #[tokio::test]
    async fn a_third_of_a_life_makes_a_credential_due() {
        let fresh = Setting::new(600);
        assert!(fresh.renewal().due().now_or_never().is_none());
        let short = Setting::new(3);
        tokio::time::timeout(Duration::from_secs(30), short.renewal().due()).await.unwrap();
    }

    #[tokio::test]
    async fn what_another_process_renewed_is_taken_from_the_file_and_nobody_is_asked() {
        let setting = Setting::new(600);
        let (renewal, before) = (setting.renewal(), setting.credential.jwt());
        setting.credential.write(&renewal.file).unwrap();
        assert_eq!(renewal.renew().await.unwrap_err().message, "nobody is asked");

        let other = Credential::read(&renewal.file, None).unwrap();
        let life = Duration::from_secs(700);
        let token = setting.keys.issue(&vera(), Role::Viewer, other.public(), life).unwrap();
        other.renew(&token, None).unwrap();
        fs::set_permissions(&renewal.file, fs::Permissions::from_mode(0o400)).unwrap();
        let link = setting.directory.path().join("link.creds");
        std::os::unix::fs::symlink(&renewal.file, &link).unwrap();
        other.replace(&link).unwrap();
        let mode = fs::metadata(&renewal.file).unwrap().permissions().mode();
        assert!(mode & 0o777 == 0o400 && fs::symlink_metadata(&link).unwrap().is_symlink(), "{mode:o}");
        renewal.renew().await.unwrap();
        assert!(setting.credential.jwt() == token && token != before);
    }

    #[tokio::test]
    async fn a_file_that_is_anothers_by_now_is_left_alone() {
        let (setting, other) = (Setting::new(600), Setting::new(600));
        let renewal = setting.renewal();
        other.credential.write(&renewal.file).unwrap();
        assert_eq!(renewal.renew().await.unwrap_err().code, aigis_proxy::Code::FailedPrecondition);
        fs::remove_file(&renewal.file).unwrap();
        assert!(renewal.renew().await.is_err() && !renewal.file.exists());
    }
}
