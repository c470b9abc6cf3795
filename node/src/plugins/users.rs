//! The users under which this node's plugins call: each has a key of its own, which stays on this host.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use aigis_proxy::{
    Bus, Code, Error, Grant, Name, NodeName, Role, UserName,
    bus::Options,
    identity::{Credential, Issuer, Key},
    kv::StoreGuard,
    rpc::{self, Asker},
    services::{ISSUER, IssuerClient},
    sync::lock,
    task, with_causes,
};
use futures::FutureExt as _;
use tarpc::context;
use tokio::sync::watch;

use crate::{home::Home, renewal::Renewal};

/// Says how the bus is reached under a credential, by a connection of that name.
pub type MakeOptions = dyn Fn(Arc<Credential>, &str) -> Options + Send + Sync;

/// What it takes to bring them in.
pub struct Users {
    /// Where their credentials are kept.
    pub home: Home,
    /// The node's own connection, by which the issuer is asked.
    pub bus: Bus,
    /// The issuer.
    pub issuer: NodeName,
    /// What its tokens are checked by.
    pub vouches: watch::Receiver<Issuer>,
    /// Which store of the bus is the mesh's.
    pub store: StoreGuard,
    /// How the bus is reached under a credential; the text is what the connection is called.
    pub options: Box<MakeOptions>,
    /// Keys that no token was signed for yet.
    pub keys: Mutex<BTreeMap<UserName, Key>>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// A user that is connected; its credential is renewed for as long as this is held.
#[derive(Debug)]
pub struct Connected {
    /// Its connection.
    pub bus: Bus,
    /// What it logs in with.
    pub credential: Arc<Credential>,
    _renewal: task::Owned,
}

/// The user of a plugin.
///
/// # Errors
///
/// The name is too long.
pub fn of_plugin(plugin: &Name) -> Result<UserName, Error> {
    Ok(UserName::parse(&format!("plugin-{plugin}"))?)
}

/// The user of a node's core plugins.
///
/// # Errors
///
/// The name is too long.
pub fn of_core(node: &NodeName) -> Result<UserName, Error> {
    Ok(UserName::parse(&format!("core-{node}"))?)
}

impl Users {
    /// Has the issuer end the user of a plugin that this node removes, while it still has the plugin's name. Its key goes
    /// first: a plugin of the same name that is added later has one of its own.
    ///
    /// # Errors
    ///
    /// The file cannot be removed; the issuer's refusal, or that it is away.
    pub async fn end(&self, user: &UserName) -> Result<(), Error> {
        self.forget(user)?;
        let asker = IssuerClient::from(Asker::new(&self.bus, self.issuer.as_str(), ISSUER));
        rpc::answered(asker.end_plugin(context::current(), user.clone()).await)
    }

    /// Throws away the key of a user, if there is one here.
    ///
    /// # Errors
    ///
    /// The operating system refuses.
    pub fn forget(&self, user: &UserName) -> Result<(), Error> {
        match fs::remove_file(self.home.credential(user)) {
            // Core plugins have none, and those that run elsewhere have theirs there.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::precondition(format!("the key of {user} cannot be removed: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Connects a user of this node's plugins, which may do what the grants say from now on. A plugin's name is claimed
    /// before. Its key is made at the first time, and kept.
    ///
    /// # Errors
    ///
    /// The issuer's refusal, or that it is away; a file that cannot be read or written; what keeps from the bus.
    pub async fn connect(&self, user: &UserName, grants: Vec<Grant>) -> Result<Connected, Error> {
        let public = self.key(user)?;
        let asker = IssuerClient::from(Asker::new(&self.bus, self.issuer.as_str(), ISSUER));
        let issued = asker.host_plugin(context::current(), user.clone(), public, grants).await;
        match rpc::answered(issued) {
            Ok(token) => self.admit(user, &token).await,
            // What was issued before holds while the issuer is away; what it may do is as it was.
            Err(error) if error.code == Code::Unavailable => {
                let known = self.known(user)?.filter(|known| known.expires() > Some(SystemTime::now()));
                let known = known.ok_or_else(|| error.clone())?;
                tracing::warn!(%error, %user, "a plugin's credential is used as it is");
                self.open(known, self.home.credential(user)).await
            }
            Err(error) => Err(error),
        }
    }

    /// The public key of a user whose token somebody else will ask for: it is made at the first time, and kept with the token.
    ///
    /// # Errors
    ///
    /// A file that cannot be read; or no key can be made.
    pub fn key(&self, user: &UserName) -> Result<String, Error> {
        let unusable = |error: &dyn std::error::Error| Error::precondition(with_causes(error));
        if let Some(known) = self.known(user)? {
            return Ok(known.public().to_owned());
        }
        let mut keys = lock(&self.keys);
        if let Some(key) = keys.get(user) {
            return Ok(key.public().to_owned());
        }
        let key = Credential::generate().map_err(|error| unusable(&error))?;
        let public = key.public().to_owned();
        keys.insert(user.clone(), key);
        Ok(public)
    }

    /// Connects a user under a token that was signed for its [`Users::key`].
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a token of another user or key; a file that cannot be written; what keeps from the bus.
    pub async fn admit(&self, user: &UserName, token: &str) -> Result<Connected, Error> {
        let file = self.home.credential(user);
        let unusable = |error: &dyn std::error::Error| Error::precondition(with_causes(error));
        let flawed = |flaw| Error::invalid(format!("the token of {user} cannot be used: {flaw}"));
        let issuer = self.vouches.borrow().clone();
        let credential = match self.known(user)? {
            Some(known) => {
                known.renew(token, Some(&issuer)).map_err(flawed)?;
                known.replace(&file).map_err(|error| unusable(&error))?;
                known
            }
            None => {
                let key = lock(&self.keys).get(user).cloned();
                let key = key.ok_or_else(|| Error::precondition(format!("no key was made for {user}")))?;
                let made = Credential::new(token, key, Some(&issuer)).map_err(flawed)?;
                if made.name() != user || made.role() != Role::Plugin {
                    return Err(Error::invalid(format!("the token is not that of {user}")));
                }
                made.write(&file).map_err(|error| unusable(&error))?;
                lock(&self.keys).remove(user);
                made
            }
        };
        self.open(credential, file).await
    }

    /// The credential that is kept of a user.
    fn known(&self, user: &UserName) -> Result<Option<Credential>, Error> {
        let file = self.home.credential(user);
        if !file.exists() {
            return Ok(None);
        }
        let known = Credential::read_ended(&file, None).map_err(|error| Error::precondition(with_causes(&error)))?;
        Ok(Some(known).filter(|known| known.name() == user))
    }

    async fn open(&self, credential: Credential, file: PathBuf) -> Result<Connected, Error> {
        let user = credential.name().clone();
        let credential = Arc::new(credential);
        let bus = Bus::connect((self.options)(credential.clone(), user.as_str()));
        let bus = bus.await.map_err(|error| Error::unavailable(with_causes(&error)).sent(false))?;
        bus.guard_store(self.store.clone());
        let connected = bus.clone();
        let renewal = Renewal {
            reach: Box::new(move || std::future::ready(Ok(connected.clone())).boxed()),
            credential: credential.clone(),
            file,
            issuer: self.issuer.clone(),
            vouches: self.vouches.clone(),
        };
        Ok(Connected { bus, credential, _renewal: renewal.start() })
    }
}
