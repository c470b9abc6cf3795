//! The nodes that run phases and build images for whoever packages: for each platform one.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufWriter, Seek as _, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aigis_deploy::{
    Digest,
    image::Platform,
    manifest::LockedBase,
    package::{self, Blobs, Known, Record, Store as Packages},
    phase::{self, ImageBuild, Phase},
    settings::Settings,
};
use aigis_proxy::{
    Bus, Code, Error, NodeName,
    blob::Content,
    services::builds::{Loaded, Surroundings},
    text_file,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::node::{Node, unwritable};
use crate::output::Output;

/// How much of an archive is written at once, in bytes.
const BUFFER: usize = 128 * 1024;

/// Who is told what nodes do for a build.
pub(in crate::command) trait Listener: std::fmt::Debug + Send + Sync {
    /// Which image is made now, and how much of all images is made, in percent.
    fn at(&self, _container: &str, _percent: usize) {}

    /// Which phase runs now.
    fn phase(&self, _name: &str) {}

    /// What was said.
    fn line(&self, line: &str);
}

impl Listener for Output {
    fn line(&self, line: &str) {
        if !self.is_quiet() {
            self.aside(line);
        }
    }
}

/// The nodes that run phases for a build; to be used from threads that may wait. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::command) struct Nodes {
    pub(super) bus: Bus,
    /// Those that may be asked, the first that can is taken.
    open: Vec<NodeName>,
    chosen: Arc<Mutex<BTreeMap<Platform, NodeName>>>,
    pub(super) surroundings: Surroundings,
    listener: Arc<dyn Listener>,
    /// Set when nobody waits for the build any more.
    pub(super) ended: CancellationToken,
    runtime: Handle,
}

impl Nodes {
    /// Nodes of those names, of which there is at least one.
    pub(in crate::command) fn new(
        bus: Bus,
        open: Vec<NodeName>,
        surroundings: Surroundings,
        listener: impl Listener + 'static,
    ) -> Self {
        let (listener, ended, runtime) = (Arc::new(listener), CancellationToken::new(), Handle::current());
        Self { bus, open, chosen: Arc::default(), surroundings, listener, ended, runtime }
    }

    /// They, for a build that ends once that is set.
    pub(in crate::command) fn until(self, ended: CancellationToken) -> Self {
        Self { ended, ..self }
    }

    /// The node on which phases ran; the first that may be asked if none did.
    pub(super) fn name(&self) -> Option<NodeName> {
        self.chosen().values().next().or(self.open.first()).cloned()
    }

    fn chosen(&self) -> MutexGuard<'_, BTreeMap<Platform, NodeName>> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, name: NodeName) -> Node<'_> {
        Node { all: self, name }
    }

    /// The node that is asked first.
    fn first(&self) -> Result<Node<'_>, Error> {
        self.name().map(|name| self.node(name)).ok_or_else(|| Error::unavailable("no node can be asked"))
    }

    /// The node that builds for a platform, always the same.
    async fn of(&self, platform: Platform) -> Result<Node<'_>, Error> {
        if let Some(name) = self.chosen().get(&platform).cloned() {
            return Ok(self.node(name));
        }
        let mut others = Vec::new();
        for name in &self.open {
            let node = self.node(name.clone());
            match node.about_engine().await {
                Ok(engine) if engine.platform == platform.to_string() => {
                    if !others.is_empty() {
                        self.listener.line(&format!("=> {name} builds for {platform}"));
                    }
                    self.chosen().insert(platform, name.clone());
                    return Ok(node);
                }
                Ok(engine) => others.push(format!("{name} builds for {}", engine.platform)),
                Err(error) if matches!(error.code, Code::Unavailable | Code::DeadlineExceeded) => {
                    others.push(format!("{name}: {}", error.message));
                }
                Err(error) => return Err(error),
            }
        }
        let message = format!("no node can build for {platform}: {}", others.join("; "));
        Err(Error::unavailable(message)
            .hint("nothing is emulated: a node of that platform, with an engine, has to be live"))
    }

    /// Looks whether the node that is asked first has an engine.
    ///
    /// # Errors
    ///
    /// `unavailable` for one that is away.
    pub(super) async fn need_engine(&self) -> Result<(), Error> {
        self.first()?.about_engine().await.map(drop)
    }

    /// Has the engine of the node that built take in the images of a package, and says what they are called there.
    ///
    /// # Errors
    ///
    /// `data_loss` where the engine knows one by another id than it has.
    pub(super) fn load(&self, packages: &Packages, record: &Record) -> Result<Vec<String>, Error> {
        let known = Known { record: record.clone(), state: packages.state(&record.id)? };
        // Beside the blobs, and none of them: it is gone with this.
        let out = BufWriter::with_capacity(BUFFER, packages.blobs().begin().map_err(|error| unwritable(&error))?);
        let out = package::export(packages, &known, false, out)?;
        let mut archive = out.into_inner().map_err(|error| unwritable(error.error()))?.end().0.into_file();
        archive.rewind().map_err(|error| unwritable(&error))?;
        let images = record.images.iter().map(|image| Loaded {
            name: package::engine_name(record, image),
            config: image.config,
            output: image.output,
        });
        let images: Vec<Loaded> = images.collect();
        let names = images.iter().map(|image| image.name.clone()).collect();
        self.runtime.block_on(async { self.first()?.load(archive, images).await })?;
        Ok(names)
    }
}

impl phase::Builder for Nodes {
    fn image(
        &self,
        blobs: &Blobs,
        reference: &str,
        platform: Platform,
        locked: Option<&LockedBase>,
        whole: bool,
    ) -> Result<LockedBase, Error> {
        self.runtime.block_on(async {
            let node = self.of(platform).await?;
            let found = node.image(reference, locked.map(|locked| locked.config)).await?;
            if let (Some(locked), false) = (locked, whole) {
                return Ok(locked.clone());
            }
            let config: Digest = found.id.parse().map_err(|_| {
                Error::internal(format!("the engine of {} gave an id that is no digest: {}", node.name, found.id))
            })?;
            if let Some(known) = blobs.image(config, found.manifest)? {
                return Ok(known);
            }
            self.listener.line(&format!("=> {reference} comes from {}", node.name));
            blobs.keep_image(node.export(blobs, found.id).await?, config)?;
            let lost = || Error::new(Code::DataLoss, format!("the image {config} was not kept"));
            blobs.image(config, found.manifest)?.ok_or_else(lost)
        })
    }

    fn run(&self, blobs: &Blobs, phase: &Phase) -> Result<Digest, Error> {
        self.listener.phase(&phase.name);
        self.runtime.block_on(async {
            let node = self.of(phase.platform).await?;
            let blob = Box::pin(node.phase(blobs, phase)).await?;
            let mut writing = blobs.begin().map_err(|error| unwritable(&error))?;
            node.fetch(&blob, &mut writing).await?;
            writing.flush().map_err(|error| unwritable(&error))?;
            blobs.keep(writing).map(|(digest, _)| digest)
        })
    }

    fn at(&self, container: &str, percent: usize) {
        self.listener.at(container, percent);
    }

    fn engine(&self, platform: Platform) -> Result<String, Error> {
        self.runtime.block_on(async { Ok(self.of(platform).await?.about_engine().await?.version) })
    }

    fn build(&self, blobs: &Blobs, image: &ImageBuild) -> Result<Digest, Error> {
        self.runtime.block_on(async {
            let node = self.of(image.platform).await?;
            blobs.keep_built(Box::pin(node.build(blobs, image)).await?)
        })
    }

    fn say(&self, line: &str) {
        self.listener.line(line);
    }
}

/// What phases see of the host that builds, as its settings say it.
///
/// # Errors
///
/// `failed_precondition` for certificates that cannot be read.
pub(in crate::command) fn surroundings(settings: Settings) -> Result<Surroundings, Error> {
    let certificates = settings.ca_bundle.as_deref().map(|path| {
        let unreadable = |error| format!("{} cannot be read: {error}", text_file::shown(path));
        fs::read(path).map_err(|error| Error::precondition(unreadable(error)).hint("packages.toml names it: [build]"))
    });
    let certificates = certificates.transpose()?.map(|bytes| Content(bytes.into()));
    Ok(Surroundings { certificates, env: settings.build_env })
}
