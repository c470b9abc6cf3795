//! How the calls of plugins leave them: each under its own user, all by what one cache knows of the mesh. What this node
//! serves is called within it.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use aigis_proxy::{
    Bus, Error, Grant, UserName,
    bridge::{Asked, Opened, Refused, Way},
    bus::Options,
    client::Client,
    serve::Server,
};
use aigis_registry::{Asking, Cache};
use tokio::sync::{Mutex as Turn, OnceCell};

use super::away;
use crate::plugins::users::{Connected, Users};

/// How long the registry may take to be read.
const WITHIN: Duration = Duration::from_secs(20);
/// What a plugin may call whose entry names no grants: the plugins of the mesh.
const USUAL: &str = "kind=plugin:write";

/// The ways of all users that plugins of this node have.
pub(crate) struct Ways {
    users: Users,
    server: Option<Server>,
    /// Nodes follow only what concerns them; whoever calls must know of everyone.
    cache: OnceCell<Cache>,
    known: Turn<BTreeMap<UserName, Known>>,
}

impl fmt::Debug for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ways").finish_non_exhaustive()
    }
}

/// A user's way, and what it may.
struct Known {
    grants: Vec<Grant>,
    own: Arc<Own>,
}

/// The way of one.
#[derive(Debug)]
pub(crate) struct Own {
    asking: Asking,
    connected: Connected,
}

impl Own {
    /// Its user, as it is connected here.
    pub(crate) fn connected(&self) -> &Connected {
        &self.connected
    }
}

impl Ways {
    /// None yet; what `server` serves, if this process serves anything, needs no way.
    pub(crate) fn new(users: Users, server: Option<Server>) -> Self {
        Self { users, server, cache: OnceCell::new(), known: Turn::default() }
    }

    /// The grants of an entry: what it asks for, or the usual.
    ///
    /// # Errors
    ///
    /// The usual one cannot be read, which does not happen.
    pub(crate) fn grants(asked: Option<&Vec<Grant>>) -> Result<Vec<Grant>, Error> {
        match asked {
            Some(asked) => Ok(asked.clone()),
            None => Ok(vec![USUAL.parse().map_err(|error| Error::internal(format!("{USUAL}: {error}")))?]),
        }
    }

    /// The way of that user, who may do what the grants say.
    ///
    /// # Errors
    ///
    /// The issuer's refusal, or that it is away; and what keeps from the bus.
    pub(crate) async fn of(&self, user: &UserName, grants: Vec<Grant>) -> Result<Arc<Own>, Error> {
        self.found(user, grants).await.map_err(away::blamed)
    }

    async fn found(&self, user: &UserName, grants: Vec<Grant>) -> Result<Arc<Own>, Error> {
        let mut known = self.known.lock().await;
        if let Some(former) = known.get(user).filter(|former| former.grants == grants) {
            return Ok(former.own.clone());
        }
        let cache = self.cache().await?.clone();
        let connected = self.users.connect(user, grants.clone()).await?;
        let asking = Asking::new(self.client(&connected), cache).granted(&grants);
        let own = Arc::new(Own { asking, connected });
        known.insert(user.clone(), Known { grants, own: own.clone() });
        Ok(own)
    }

    fn client(&self, connected: &Connected) -> Client {
        let client = Client::new(connected.bus.clone());
        match &self.server {
            Some(server) => client.with_server(server.clone()),
            None => client,
        }
    }

    /// All that is known of the mesh.
    ///
    /// # Errors
    ///
    /// The registry cannot be read.
    pub(crate) async fn cache(&self) -> Result<&Cache, Error> {
        let open = || Cache::open(&self.users.bus, Some(self.users.issuer.clone()), WITHIN);
        self.cache.get_or_try_init(open).await
    }

    /// The public key of a user that is to call from here for another node; its other half stays here.
    ///
    /// # Errors
    ///
    /// It cannot be read or made.
    pub(crate) fn key(&self, user: &UserName) -> Result<String, Error> {
        self.users.key(user)
    }

    /// Lets a user call from here under what was signed for its [`Ways::key`], who may do what the grants say.
    ///
    /// # Errors
    ///
    /// What was signed is of no use; and what keeps from the bus.
    pub(crate) async fn admit(&self, user: &UserName, grants: Vec<Grant>, token: &str) -> Result<(), Error> {
        let mut known = self.known.lock().await;
        let cache = self.cache().await?.clone();
        let connected = self.users.admit(user, token).await?;
        let asking = Asking::new(self.client(&connected), cache).granted(&grants);
        let own = Own { asking, connected };
        known.insert(user.clone(), Known { grants, own: Arc::new(own) });
        Ok(())
    }

    /// How the bus is reached by who has that user's credential.
    pub(crate) fn options(&self, own: &Own) -> Options {
        let credential = own.connected.credential.clone();
        (self.users.options)(credential.clone(), credential.name().as_str())
    }

    /// The node's own connection.
    pub(crate) fn bus(&self) -> &Bus {
        &self.users.bus
    }

    /// Throws away the key of a user that is not to call from here again.
    pub(crate) async fn discard(&self, user: &UserName) {
        self.forget(user).await;
        if let Err(error) = self.users.forget(user) {
            tracing::warn!(%error, %user, "the key of a plugin's user stays here");
        }
    }

    /// Forgets a user whose plugin is gone; its connection ends with the last process that uses it.
    pub(crate) async fn forget(&self, user: &UserName) {
        self.known.lock().await.remove(user);
    }

    /// Ends the user of a plugin that is removed. Where the issuer is away, its credential ends by itself.
    pub(crate) async fn end(&self, user: &UserName) {
        self.forget(user).await;
        if let Err(error) = self.users.end(user).await {
            tracing::warn!(%error, %user, "the user of a removed plugin is not revoked: its credential ends by itself");
        }
    }
}

impl Way for Own {
    async fn open(&self, asked: Asked) -> Result<Opened, Refused> {
        Way::open(&self.asking, asked).await
    }
}
