//! What every command works with: options, output, the mesh's files, and the one connection to the bus.

use std::{
    cell::{OnceCell, RefCell},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_node::{
    home::{self, Home, MeshFile},
    renewal::Reach,
    trust,
};
use aigis_proxy::{
    Bus, Code, Error, bus,
    client::Client,
    identity::{CaCertificate, Credential, FileError, Issuer, credential},
    kv::StoreGuard,
    socket::Local,
    task, text_file, with_causes,
};
use aigis_registry::Asking;
use futures::FutureExt as _;
use tokio::sync::{Notify, watch};

use crate::{
    cli::Global,
    exit::Failure,
    output::Output,
    renewal::{Beside, Person},
    url,
};

/// How long it may take until the mesh is known or known to be away; a connection attempt ends a little sooner.
const WITHIN: Duration = Duration::from_millis(4_700);
/// How many times longer than connecting did, reading the registry may take where the link is slow.
const PATIENCE: u32 = 2;
/// How long several servers of a bus may take to choose who leads the registry.
const CHOOSING: Duration = Duration::from_secs(12);
/// How long what is still to be said to the bus may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// The surroundings of one command.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) output: Output,
    client: OnceCell<Client>,
    /// Told when the connection is made.
    connected: Notify,
    /// Who vouches for users, as this host has it pinned.
    pinned: OnceCell<watch::Sender<Issuer>>,
    renewal: OnceCell<Beside>,
    trust: OnceCell<task::Owned>,
    /// With which the connection logs in.
    credential: OnceCell<Arc<Credential>>,
    /// What is said where a signal ends the command.
    left: RefCell<Option<String>>,
}

impl Context {
    /// Makes the surroundings by the options.
    pub(crate) fn new(global: Global) -> Self {
        let output = Output::new(global.json, global.quiet, global.raw, global.color);
        Self {
            global,
            output,
            client: OnceCell::new(),
            connected: Notify::new(),
            pinned: OnceCell::new(),
            renewal: OnceCell::new(),
            trust: OnceCell::new(),
            credential: OnceCell::new(),
            left: RefCell::default(),
        }
    }

    /// Has that said where a signal ends the command from now on: what goes on without it.
    pub(crate) fn leaves(&self, what: String) {
        self.left.replace(Some(what));
    }

    /// Says what goes on without the command, which a signal ends.
    pub(crate) fn interrupted(&self) {
        if let Some(what) = self.left.take() {
            self.output.note(&what);
        }
    }

    /// The data directory, that of all meshes.
    ///
    /// # Errors
    ///
    /// A usage error where neither an option nor the environment says it.
    pub(crate) fn data(&self) -> Result<PathBuf, Failure> {
        if let Some(data) = &self.global.data {
            return Ok(data.clone());
        }
        let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let user = of("XDG_DATA_HOME").filter(|path| path.is_absolute());
        let user = user.or_else(|| of("HOME").map(|home| home.join(".local/share")));
        user.map(|user| user.join("aigis"))
            .ok_or_else(|| Failure::usage("there is no data directory: HOME is not set", "name one: --data DIR"))
    }

    /// The mesh's files on this host.
    ///
    /// # Errors
    ///
    /// As [`Context::data`].
    pub(crate) fn home(&self) -> Result<Home, Failure> {
        Ok(Home::new(self.data()?, self.global.mesh.clone()))
    }

    /// What this host knows of the mesh, if it is part of it.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a file that holds something else, `data_loss` for one that cannot be read.
    pub(crate) fn mesh_file(&self) -> Result<Option<MeshFile>, Failure> {
        Ok(self.home()?.read_mesh().map_err(damaged)?)
    }

    /// Who vouches for the users of the mesh, if this host knows.
    ///
    /// # Errors
    ///
    /// As [`Context::mesh_file`].
    pub(crate) fn issuer(&self) -> Result<Option<Issuer>, Failure> {
        Ok(self.home()?.read_issuer().map_err(damaged)?)
    }

    /// The address of the bus: the option, the environment, or the mesh's own.
    ///
    /// # Errors
    ///
    /// A usage error for an address that is none; `unavailable` where there is no mesh.
    pub(crate) fn bus_url(&self) -> Result<String, Failure> {
        if let Some(url) = self.given_bus()? {
            return Ok(url);
        }
        match self.mesh_file()? {
            Some(mesh) => url::check("mesh.json", &mesh.bus),
            None => {
                let mesh = &self.global.mesh;
                let message = format!("this host knows no mesh \"{mesh}\"");
                Err(Error::unavailable(message)
                    .hint("start it: aish up; or name a bus: --bus URL --creds FILE")
                    .sent(false)
                    .into())
            }
        }
    }

    /// The address of the bus that the option or the environment names.
    ///
    /// # Errors
    ///
    /// A usage error for an address that is none.
    pub(crate) fn given_bus(&self) -> Result<Option<String>, Failure> {
        if let Some(url) = &self.global.bus {
            return url::check("--bus", url).map(Some);
        }
        match std::env::var_os(url::VARIABLE).filter(|value| !value.is_empty()) {
            Some(url) => url::check(url::VARIABLE, &url.to_string_lossy()).map(Some),
            None => Ok(None),
        }
    }

    /// The CA that the option or the environment names.
    ///
    /// # Errors
    ///
    /// A usage error for a file that cannot be had or holds no CA's certificate.
    pub(crate) fn given_ca(&self) -> Result<Option<CaCertificate>, Failure> {
        let Some(file) = &self.global.ca else { return Ok(None) };
        let read = CaCertificate::read(file);
        read.map(Some)
            .map_err(|error| Failure::usage(format!("--ca: {}", with_causes(&error)), "name another file: --ca FILE"))
    }

    /// The CA by which the bus at that address is checked: the option's, the environment's, or the mesh's own where the
    /// address asks for TLS.
    ///
    /// # Errors
    ///
    /// As [`Context::given_ca`]; `data_loss` for a file of the mesh that cannot be used.
    pub(crate) fn ca(&self, url: &str) -> Result<Option<CaCertificate>, Failure> {
        if let Some(given) = self.given_ca()? {
            return Ok(Some(given));
        }
        let known = self.home()?.read_ca(url);
        Ok(known
            .map_err(|error| Error::new(Code::DataLoss, with_causes(&error)).hint("name another file: --ca FILE"))?)
    }

    /// The credential file: the option, or the mesh's own, or that of this host's node where no person has one.
    ///
    /// # Errors
    ///
    /// As [`Context::mesh_file`].
    pub(crate) fn credential_file(&self) -> Result<PathBuf, Failure> {
        if let Some(file) = &self.global.creds {
            return Ok(file.clone());
        }
        let home = self.home()?;
        let usual = home.default_credential();
        match self.mesh_file()?.and_then(|mesh| mesh.node) {
            Some(node) if !usual.exists() => Ok(home.credential(&node.user())),
            _ => Ok(usual),
        }
    }

    /// Reads the credential.
    ///
    /// # Errors
    ///
    /// `permission_denied` that names the file and what is wrong with it.
    pub(crate) fn credential(&self) -> Result<Credential, Failure> {
        Ok(read_credential(&self.credential_file()?, self.issuer()?.as_ref())?)
    }

    /// Connects to the bus, once.
    ///
    /// # Errors
    ///
    /// What keeps from it.
    pub(crate) async fn connect(&self) -> Result<Bus, Failure> {
        Ok(self.client().await?.bus().clone())
    }

    /// Connects to the bus, once, and finds the socket of this host's node.
    async fn client(&self) -> Result<Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let url = self.bus_url()?;
        let ca = self.ca(&url)?;
        let credential = Arc::new(self.credential()?);
        let label = format!("aish {}", credential.name());
        let bus = Bus::connect(bus::Options { url, ca, credential: credential.clone(), label }).await;
        let bus = bus.map_err(Error::from)?;
        if let Some(issuer) = self.issuer()? {
            bus.guard_store(StoreGuard::new(issuer, self.home()?.read_store().map_err(damaged)?));
        }
        let client = Client::new(bus);
        let client = match (self.home(), self.mesh_file()) {
            (Ok(home), Ok(Some(MeshFile { node: Some(node), .. }))) => {
                client.with_local(Local::new(home.socket(), node.user(), credential.clone()))
            }
            _ => client,
        };
        let client = self.client.get_or_init(|| client).clone();
        let _ = self.credential.set(credential.clone());
        self.connected.notify_one();
        self.renew_beside(credential, by(client.bus().clone()), Some(client.clone()))?;
        Ok(client)
    }

    /// Renews a credential of ours for as long as this command runs, if this host knows who does that.
    ///
    /// # Errors
    ///
    /// As [`Context::mesh_file`].
    pub(crate) fn renew_beside(
        &self,
        credential: Arc<Credential>,
        reach: Reach,
        client: Option<Client>,
    ) -> Result<(), Failure> {
        if let Some(person) = self.person(credential)?
            && let Some(renewal) = Beside::begin(person, reach, client)
        {
            let _ = self.renewal.set(renewal);
        }
        Ok(())
    }

    /// Whose credential it is, and who renews it, if this host knows.
    fn person(&self, credential: Arc<Credential>) -> Result<Option<Person>, Failure> {
        let (Some(mesh), Some(vouches)) = (self.mesh_file()?, self.issuer()?) else { return Ok(None) };
        let pinned = self.pinned.get_or_init(|| watch::Sender::new(vouches)).clone();
        let (file, home) = (self.credential_file()?, self.home()?);
        Ok(Some(Person { credential, file, issuer: mesh.issuer, pinned, home }))
    }

    /// Sees to it that neither the credential nor the connection stands on keys that sign no more.
    ///
    /// # Errors
    ///
    /// What keeps from renewing it.
    pub(crate) async fn stand_on_new_keys(&self) -> Result<(), Failure> {
        self.session().await?;
        let (client, credential) = (self.client().await?, Arc::new(self.credential()?));
        let Some(person) = self.person(credential.clone())? else { return Ok(()) };
        let renewal = person.renewal(by(client.bus().clone()));
        if renewal.vouches.borrow().is_former(&credential.signer()) {
            renewal.renew().await?;
        }
        // The one in use may have been made before.
        if let Some(own) = self.credential.get() {
            own.renew(&credential.jwt(), None).map_err(|flaw| Error::internal(flaw.to_string()))?;
        }
        Ok(client.renewed().await?)
    }

    /// Resolves when the bus has ended the connection for good; never, while there is none.
    pub(crate) async fn over(&self) -> Error {
        loop {
            if let Some(client) = self.client.get() {
                return client.bus().over().await;
            }
            self.connected.notified().await;
        }
    }

    /// Connects, and fills a cache of the registry.
    ///
    /// # Errors
    ///
    /// What keeps from it.
    pub(crate) async fn session(&self) -> Result<Asking, Failure> {
        let begun = Instant::now();
        let issuer = self.mesh_file()?.map(|mesh| mesh.issuer);
        let client = self.client().await?;
        let within = reading(begun.elapsed());
        // While the servers of a bus choose who leads, it answers late, and is not away.
        let within = if client.bus().has_several() { within.max(CHOOSING) } else { within };
        let session = Asking::open(client, issuer, within).await?;
        if let Some(known) = self.issuer()? {
            // What the mesh's account says anew of who vouches for its users, now and for as long as this command runs.
            let pinned = self.pinned.get_or_init(|| watch::Sender::new(known)).clone();
            let home = self.home()?;
            trust::pin(&session.snapshot(), &pinned, &home);
            let _ = self.trust.set(trust::watch(session.changed(), pinned, home));
        }
        Ok(session)
    }

    /// Sends what is left to be sent: cancels of calls that were dropped.
    pub(crate) async fn close(&self) {
        if let Some(renewal) = self.renewal.get() {
            renewal.settle().await;
        }
        if let Some(client) = self.client.get() {
            client.bus().close(FAREWELL).await;
        }
    }
}

/// By way of a connection that stands.
fn by(bus: Bus) -> Reach {
    Box::new(move || std::future::ready(Ok(bus.clone())).boxed())
}

/// Reads a credential file.
///
/// # Errors
///
/// `permission_denied`, whatever is wrong: without a credential nobody is anybody.
pub(crate) fn read_credential(file: &Path, issuer: Option<&Issuer>) -> Result<Credential, Error> {
    Credential::read(file, issuer).map_err(|error| {
        let missing = matches!(&error, credential::Error::File(FileError::Missing { .. }));
        let error = Error::new(Code::PermissionDenied, with_causes(&error)).sent(false);
        if missing { error.hint("start a mesh: aish up; or name a credential: --creds FILE") } else { error }
    })
}

/// What a file of the mesh that cannot be used means.
pub(crate) fn damaged(error: home::Error) -> Error {
    let code = match &error {
        home::Error::File(text_file::Error::Malformed { .. }) => Code::InvalidArgument,
        _ => Code::DataLoss,
    };
    Error::new(code, with_causes(&error))
        .hint("the mesh writes this file by itself: mend it, or remove it and run: aish up")
}

/// How long reading the registry may take, where connecting took so long: a bus that answers late is not away.
fn reading(connecting: Duration) -> Duration {
    WITHIN.saturating_sub(connecting).max(PATIENCE * connecting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flt_30_a_slow_link_is_given_more_time() {
        let seconds = Duration::from_secs;
        assert_eq!(reading(Duration::ZERO), WITHIN);
        assert_eq!(reading(seconds(1)), WITHIN - seconds(1));
        assert_eq!(reading(seconds(3)), seconds(6));
    }
}
