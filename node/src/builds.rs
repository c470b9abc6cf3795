//! What this node does for whoever packages a project: phases of builds, each in a container that is thrown away; images of
//! Dockerfiles, by the engine's builder; and images on their way into the engine and out of it.
//!
//! A phase, or the build of an image, belongs to who follows it: nobody does for half a minute, and it is ended. A container
//! bears the node's mark, so that the next life of this process removes what this one left.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aigis_proxy::{
    Bus, Code, Error, NodeName,
    blob::{Blob, Digest, Life, Store},
    dispatch::Journal,
    services::builds::{self, BaseImage, ImageBuild, Loaded, Phase, Told},
    task,
};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::io::StreamReader;

use crate::{engine::Engine, loading, mask::Masks, owned::Mark, secrets::Vault, supply::Supply};

mod desk;
mod image;
mod live;
mod run;
mod search;
mod take;

use live::Live;
use search::Values;

/// How the owner of a phase's container begins.
const OWNER: &str = "build/";
/// How the names of secrets begin that phases may read.
const OF_PROJECTS: &str = "project/";
/// How often what nobody follows any more is looked for.
const LOOK: Duration = Duration::from_secs(5);
/// How often containers are looked for that belong to nothing, in such looks.
const SELDOM: u64 = 6;
/// How long the end of a phase is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Most phases that run at once.
const AT_ONCE: usize = 4;

/// This node as a builder.
#[derive(Debug)]
pub(crate) struct Builder {
    node: NodeName,
    mark: Mark,
    bus: Bus,
    blobs: Store,
    engine: Engine,
    supply: Supply,
    vault: Vault,
    masks: Masks,
    phases: Mutex<BTreeMap<String, Arc<Live>>>,
}

/// What a builder is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) node: NodeName,
    pub(crate) mark: Mark,
    pub(crate) bus: Bus,
    pub(crate) engine: Engine,
    pub(crate) supply: Supply,
    pub(crate) vault: Vault,
    pub(crate) masks: Masks,
}

impl Builder {
    /// A builder for which nothing runs yet.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { node, mark, bus, engine, supply, vault, masks } = parts;
        let blobs = Store::new(&bus);
        Arc::new(Self { node, mark, bus, blobs, engine, supply, vault, masks, phases: Mutex::default() })
    }

    /// Serves it until the returned values are dropped.
    ///
    /// # Errors
    ///
    /// As [`aigis_proxy::Bus::subscribe`].
    pub(crate) async fn serve(self: &Arc<Self>, journal: Arc<dyn Journal>) -> Result<[task::Owned; 2], Error> {
        let serving = desk::serve(self, journal).await?;
        let swept = self.clone();
        Ok([serving, task::Owned::spawn("sweep of builds", async move { swept.keep_swept().await })])
    }

    fn phases(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Live>>> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the engine has an image, and says what it is.
    async fn image(&self, reference: &str, wanted: Option<Digest>) -> Result<BaseImage, Error> {
        // The engine knows an image by the digest of its configuration.
        let locked = wanted.map(|digest| digest.to_string());
        let name = match &locked {
            Some(id) if self.engine.has_image(id).await? => id.clone(),
            _ => self.supply.bring(reference, |line| tracing::debug!(line, "an image is brought")).await?,
        };
        let image = self.engine.image(&name).await?;
        if let Some(locked) = locked.filter(|locked| *locked != image.id) {
            let message = format!("{reference} is {} on {}, and aigis.lock says {locked}", image.id, self.node);
            return Err(Error::precondition(message).hint("take what it is now: --update"));
        }
        let manifest = image.digest().and_then(|digest| digest.parse().ok());
        let platform = self.engine.version().await?.platform;
        Ok(BaseImage { id: image.id, platform, manifest })
    }

    /// What the engine is.
    async fn about_engine(&self) -> Result<builds::Engine, Error> {
        let about = self.engine.version().await?;
        Ok(builds::Engine { version: about.version, platform: about.platform })
    }

    /// Has the engine take in images of an archive.
    async fn load(&self, archive: &Blob, images: &[Loaded]) -> Result<(), Error> {
        loading::load_checked(&self.engine, &self.blobs, archive, images).await
    }

    /// Stores an image of the engine.
    async fn export(&self, image: &str) -> Result<Blob, Error> {
        let bytes = StreamReader::new(self.engine.save(image).await?);
        Ok(self.blobs.put(Life::Kept, bytes).await?.blob)
    }

    /// The secrets that a phase asks for.
    async fn secrets(&self, phase: &Phase) -> Result<Values, Error> {
        if let Some(other) = phase.secrets.iter().find(|name| !name.as_str().starts_with(OF_PROJECTS)) {
            let message = format!("the secret {other} is none of a project: phases of builds do not read it");
            return Err(Error::new(Code::PermissionDenied, message).hint("aish secrets set project/NAME KEY"));
        }
        self.vault.has(&phase.secrets.iter().cloned().collect()).await?;
        let values = self.vault.values(&phase.secrets);
        Ok(Values::of(values.into_iter().map(|(name, value)| (name.file_name().to_owned(), value.bytes))))
    }

    /// Begins a phase; of equal ones at once, one runs.
    fn begin(self: &Arc<Self>, phase: Phase, secrets: Values) -> Result<String, Error> {
        self.spawn("phase of a build", Some(phase.clone()), |builder, live, id| {
            async move { builder.run(&live, &id, &phase, &secrets).await }.boxed()
        })
    }

    /// Begins to build an image.
    fn build(self: &Arc<Self>, image: ImageBuild) -> Result<String, Error> {
        self.spawn("build of an image", None, |builder, live, id| {
            async move { builder.make(&live, &id, &image).await }.boxed()
        })
    }

    /// Does something that belongs to who follows it.
    fn spawn<F>(self: &Arc<Self>, what: &'static str, phase: Option<Phase>, work: F) -> Result<String, Error>
    where
        F: FnOnce(Arc<Self>, Arc<Live>, String) -> BoxFuture<'static, Result<Blob, Error>>,
    {
        let id = uuid::Uuid::now_v7().simple().to_string();
        let live = Arc::new(Live::new(phase));
        {
            let mut phases = self.phases();
            if let Some((id, equal)) = phases.iter().find(|(_, other)| other.is_as(&live)) {
                equal.joined();
                return Ok(id.clone());
            }
            if phases.values().filter(|live| !live.is_ended()).count() >= AT_ONCE {
                let message = format!("{AT_ONCE} phases of builds run on {} already", self.node);
                return Err(Error::new(Code::ResourceExhausted, message).hint("build again later"));
            }
            phases.insert(id.clone(), live.clone());
        }
        let (working, known) = (work(self.clone(), live.clone(), id.clone()), live.clone());
        live.keep(task::Owned::spawn(what, async move { known.ended(working.await) }));
        Ok(id)
    }

    fn known(&self, id: &str) -> Result<Arc<Live>, Error> {
        let unknown = || {
            let message = format!("{} knows no phase {}", self.node, aigis_proxy::quoted(id));
            Error::unavailable(message).hint("the node was started anew, perhaps: build again").sent(false)
        };
        self.phases().get(id).cloned().ok_or_else(unknown)
    }

    async fn follow(&self, id: &str, from: u64) -> Result<Told, Error> {
        Ok(self.known(id)?.follow(from).await)
    }

    fn end(&self, id: &str) -> Result<(), Error> {
        self.known(id)?.end();
        Ok(())
    }

    /// Ends what nobody follows, forgets what has ended, and removes containers of former lives.
    async fn keep_swept(self: Arc<Self>) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for round in 0_u64.. {
            look.tick().await;
            self.phases().retain(|_, live| {
                live.end_if_left();
                live.is_ended_since().is_none_or(|since| since < REMEMBERED)
            });
            if round % SELDOM == 0
                && let Err(error) = self.sweep().await
            {
                tracing::debug!(%error, "containers of builds are looked for later");
            }
        }
    }

    async fn sweep(&self) -> Result<(), Error> {
        for (id, container) in self.engine.list().await?.containers {
            let owner = self.mark.owner(&container.labels).and_then(|owner| owner.strip_prefix(OWNER));
            let Some(phase) = owner else { continue };
            let is_known = self.phases().get(phase).is_some_and(|live| !live.is_ended());
            if !is_known {
                tracing::info!(%id, "a container of a build is removed: nobody waits for it");
                self.engine.remove(&id).await?;
            }
        }
        Ok(())
    }
}
