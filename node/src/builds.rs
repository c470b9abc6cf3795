//! What this node does for whoever packages a project: phases of builds, each in a container that is thrown away; images of
//! Dockerfiles, by the engine's builder; and images on their way into the engine and out of it.
//!
//! A phase, or the build of an image, belongs to who follows it: nobody does for half a minute, and it is ended. A container
//! bears the node's mark, so that the next life of this process removes what this one left.

use std::{
    collections::BTreeMap,
    path::PathBuf,
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
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::io::StreamReader;

use crate::{engine::Engine, loading, mask::Masks, owned::Mark, secrets::Vault, supply::Supply};

mod desk;
mod downloads;
mod image;
mod live;
mod run;
mod search;
mod take;

use downloads::Volumes;
use live::{Live, Work};
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
/// Most phases that run at once; more wait for their turn.
const AT_ONCE: usize = 4;
/// Most that run or wait, and how long one waits.
const MOST: usize = 100;
const TURN: Duration = Duration::from_secs(60 * 60);

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
    turns: Arc<Semaphore>,
    volumes: Volumes,
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
    /// Where it is noted when downloads of phases were used.
    pub(crate) downloads: PathBuf,
}

impl Builder {
    /// A builder for which nothing runs yet.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { node, mark, bus, engine, supply, vault, masks, downloads } = parts;
        let volumes = Volumes::new(engine.clone(), mark.clone(), downloads);
        let blobs = Store::new(&bus);
        let (phases, turns) = (Mutex::default(), Arc::new(Semaphore::new(AT_ONCE)));
        Arc::new(Self { node, mark, bus, blobs, engine, supply, vault, masks, phases, turns, volumes })
    }

    /// Serves it until the returned values are dropped.
    ///
    /// # Errors
    ///
    /// As [`aigis_proxy::Bus::subscribe`].
    pub(crate) async fn serve(self: &Arc<Self>, journal: Arc<dyn Journal>) -> Result<[task::Owned; 3], Error> {
        let serving = desk::serve(self, journal).await?;
        let (swept, bounded) = (self.clone(), self.clone());
        let sweeping = task::Owned::spawn("sweep of builds", async move { swept.keep_swept().await });
        let bounding = task::Owned::spawn("bound of downloads", async move { bounded.volumes.keep_bounded().await });
        Ok([serving, sweeping, bounding])
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
    fn begin(self: &Arc<Self>, work: Work, secrets: Values) -> Result<String, Error> {
        self.spawn("phase of a build", Some(work.clone()), |builder, live, id| {
            async move { builder.run(&live, &id, &work, &secrets).await }.boxed()
        })
    }

    /// Begins to build an image.
    fn build(self: &Arc<Self>, image: ImageBuild) -> Result<String, Error> {
        self.spawn("build of an image", None, |builder, live, id| {
            async move { builder.make(&live, &id, &image).await }.boxed()
        })
    }

    /// Does something that belongs to who follows it, once it is its turn.
    fn spawn<F>(self: &Arc<Self>, what: &'static str, phase: Option<Work>, work: F) -> Result<String, Error>
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
            if phases.values().filter(|live| !live.is_ended()).count() >= MOST {
                let message = format!("{MOST} phases of builds run on {} or wait for their turn", self.node);
                return Err(Error::new(Code::ResourceExhausted, message).hint("build again later"));
            }
            phases.insert(id.clone(), live.clone());
        }
        let (working, known, turns) = (work(self.clone(), live.clone(), id.clone()), live.clone(), self.turns.clone());
        live.keep(task::Owned::spawn(what, async move {
            let done = async {
                let _turn = turn(&turns, &known).await?;
                working.await
            };
            known.ended(done.await);
        }));
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

/// Waits until fewer than the most that may run do, in the order of who came.
async fn turn<'a>(turns: &'a Semaphore, live: &Live) -> Result<SemaphorePermit<'a>, Error> {
    if let Ok(turn) = turns.try_acquire() {
        return Ok(turn);
    }
    live.say(&format!("waits for its turn: {AT_ONCE} phases run at once"));
    let closed = |_| Error::internal("nobody runs phases any more");
    tokio::select! {
        biased;
        () = live.is_to_end() => Err(Error::new(Code::Cancelled, "the phase was ended before its turn")),
        turn = timeout(TURN, turns.acquire()) => match turn {
            Ok(turn) => turn.map_err(closed),
            Err(_) => {
                let message = format!("it was no turn of the phase within {} minutes", TURN.as_secs() / 60);
                Err(Error::new(Code::DeadlineExceeded, message).hint("build again later, or on another node: --on NODE"))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn pkg_55_more_phases_than_run_at_once_wait_and_whoever_is_ended_meanwhile_leaves() {
        let (turns, first) = (Arc::new(Semaphore::new(1)), Live::new(None));
        let held = turn(&turns, &first).await.unwrap();
        assert_eq!(first.last(1), [""; 0]);
        let waiting = |live: &Arc<Live>| {
            let (turns, live) = (turns.clone(), live.clone());
            task::Owned::spawn("waiting", async move {
                match turn(&turns, &live).await {
                    Ok(_turn) => {
                        live.say("its turn");
                        pending::<()>().await;
                    }
                    Err(error) => live.ended(Err(error)),
                }
            })
        };
        let (second, third) = (Arc::new(Live::new(None)), Arc::new(Live::new(None)));
        let _waiting = [waiting(&second), waiting(&third)];
        let told = second.follow(0).await;
        assert!(told.lines[0].starts_with("waits for its turn") && told.ended.is_none(), "{told:?}");
        let waits = third.follow(0).await;
        second.end();
        let ended = second.follow(told.next).await.ended.unwrap();
        assert_eq!(ended.unwrap_err().code, Code::Cancelled);
        drop(held);
        assert_eq!(third.follow(waits.next).await.lines, ["its turn"]);
    }
}
