//! A node with an engine, as whoever packages uses it: from a thread that may wait.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Seek as _, Write},
    sync::Arc,
    time::Duration,
};

use aigis_deploy::{
    Digest,
    image::Platform,
    manifest::LockedBase,
    package::{self, Blobs, Known, Record, Store as Packages},
    phase::{self, ImageBuild, Phase},
};
use aigis_proxy::{
    Bus, Code, Error, NodeName,
    blob::{Blob, Life, Store},
    rpc::{self, Asker},
    services::builds::{self, BUILDS, BuildsClient, BuildsRequest, BuildsResponse, Loaded, Told},
};
use tokio::{runtime::Handle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{coordinator::within, output::Output};

/// How long an image may take to be pulled, or stored.
const IMAGE: Duration = Duration::from_secs(30 * 60);
/// How long a request may take that waits for nothing.
const SHORT: Duration = Duration::from_secs(60);
/// How long a question for more may take; the node answers sooner, with nothing.
const NEWS: Duration = Duration::from_secs(30);
/// How often a node is asked again that does not answer, and how long is waited between.
const TRIES: usize = 20;
const AGAIN: Duration = Duration::from_secs(1);

/// How much of an archive is written at once, in bytes.
const BUFFER: usize = 128 * 1024;

/// Who is told what a node does for a build.
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

/// A node that runs phases for a build.
#[derive(Debug, Clone)]
pub(in crate::command) struct Node {
    bus: Bus,
    name: NodeName,
    listener: Arc<dyn Listener>,
    /// Set when nobody waits for the build any more.
    ended: CancellationToken,
    runtime: Handle,
}

impl Node {
    /// The node of that name; to be used from threads that may wait.
    pub(in crate::command) fn new(bus: Bus, name: NodeName, listener: impl Listener + 'static) -> Self {
        let (listener, ended) = (Arc::new(listener), CancellationToken::new());
        Self { bus, name, listener, ended, runtime: Handle::current() }
    }

    /// It, for a build that ends once that is set.
    pub(in crate::command) fn until(self, ended: CancellationToken) -> Self {
        Self { ended, ..self }
    }

    /// What it is called.
    pub(super) fn name(&self) -> &NodeName {
        &self.name
    }

    fn client(&self) -> BuildsClient<Asker<BuildsRequest, BuildsResponse>> {
        BuildsClient::from(Asker::new(&self.bus, self.name.as_str(), BUILDS))
    }

    /// What its engine is.
    ///
    /// # Errors
    ///
    /// `unavailable` for one that is away.
    pub(super) async fn about_engine(&self) -> Result<builds::Engine, Error> {
        rpc::answered(self.client().engine(within(SHORT)).await)
    }

    /// Has its engine take in the images of a package, and says what they are called there.
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
        self.runtime.block_on(async {
            let stored = Store::new(&self.bus).put(Life::Kept, tokio::fs::File::from_std(archive)).await?;
            rpc::answered(self.client().load(within(IMAGE), stored.blob, images).await)?;
            Ok(names)
        })
    }

    /// Refuses an engine of another platform.
    fn judge(&self, found: &str, wanted: Platform) -> Result<(), Error> {
        if found == wanted.to_string() {
            return Ok(());
        }
        let message = format!("the engine of {} builds for {found}, and not for {wanted}", self.name);
        Err(Error::unavailable(message).hint("name a node of that platform: --on NODE"))
    }

    /// Reads a blob of the mesh's.
    async fn fetch(&self, blob: &Blob, out: &mut impl Write) -> Result<(), Error> {
        let mut reading = Store::new(&self.bus).open(Life::Kept, blob).await?;
        while let Some(bytes) = reading.next().await? {
            out.write_all(&bytes).map_err(|error| unwritable(&error))?;
        }
        Ok(())
    }

    /// Follows a phase until it has ended.
    async fn follow(&self, id: &str) -> Result<Blob, Error> {
        let (mut from, mut failures) = (0, 0);
        loop {
            let told = rpc::answered(self.client().follow(within(NEWS), id.to_owned(), from).await);
            match told {
                Ok(Told { lines, next, ended }) => {
                    (from, failures) = (next, 0);
                    lines.iter().for_each(|line| phase::Builder::say(self, line));
                    if let Some(ended) = ended {
                        return ended;
                    }
                }
                // The bus, or the way to it, may be back in a moment; the phase runs on meanwhile.
                Err(error) if failures < TRIES && matches!(error.code, Code::Unavailable | Code::DeadlineExceeded) => {
                    failures += 1;
                    sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the mesh a blob of this host.
    async fn give(&self, blobs: &Blobs, digest: &Digest) -> Result<Blob, Error> {
        let (file, _) = blobs.open_blob(digest)?;
        Ok(Store::new(&self.bus).put(Life::Kept, tokio::fs::File::from_std(file)).await?.blob)
    }

    /// Brings a blob of the mesh here, into a file that is gone with its last user.
    async fn take(&self, blobs: &Blobs, blob: &Blob) -> Result<File, Error> {
        let mut writing = blobs.begin().map_err(|error| unwritable(&error))?;
        self.fetch(blob, &mut writing).await?;
        let mut file = writing.end().0.into_file();
        file.rewind().map_err(|error| unwritable(&error))?;
        Ok(file)
    }

    async fn phase(&self, blobs: &Blobs, phase: &Phase) -> Result<Blob, Error> {
        let mut inputs = Vec::new();
        for input in &phase.inputs {
            inputs.push(self.give(blobs, input).await?);
        }
        let wanted = builds::Phase {
            image: phase.image.to_string(),
            directory: phase.directory.clone(),
            commands: phase.commands.clone(),
            env: phase.env.clone().into_iter().collect::<BTreeMap<_, _>>(),
            network: phase.network,
            inputs,
            removed: phase.removed.clone(),
            left_out: phase.left_out(),
        };
        let id = rpc::answered(self.client().begin(within(SHORT), wanted).await)?;
        tokio::select! {
            followed = self.follow(&id) => followed,
            () = self.ended.cancelled() => {
                // One that is not told ends by itself, a little later.
                let _ = rpc::answered(self.client().end(within(SHORT), id.clone()).await);
                Err(Error::new(Code::Cancelled, "nobody waits for the build any more"))
            }
        }
    }
}

impl phase::Builder for Node {
    fn image(
        &self,
        blobs: &Blobs,
        reference: &str,
        platform: Platform,
        locked: Option<&LockedBase>,
        whole: bool,
    ) -> Result<LockedBase, Error> {
        self.runtime.block_on(async {
            let wanted = locked.map(|locked| locked.config);
            let asked = self.client().image(within(IMAGE), reference.to_owned(), wanted).await;
            let found = rpc::answered(asked)?;
            self.judge(&found.platform, platform)?;
            if let (Some(locked), false) = (locked, whole) {
                return Ok(locked.clone());
            }
            let config: Digest = found.id.parse().map_err(|_| {
                Error::internal(format!("the engine of {} gave an id that is no digest: {}", self.name, found.id))
            })?;
            if let Some(known) = blobs.image(config, found.manifest)? {
                return Ok(known);
            }
            phase::Builder::say(self, &format!("=> {reference} comes from {}", self.name));
            let blob = rpc::answered(self.client().export(within(IMAGE), found.id.clone()).await)?;
            blobs.keep_image(self.take(blobs, &blob).await?, config)?;
            let lost = || Error::new(Code::DataLoss, format!("the image {config} was not kept"));
            blobs.image(config, found.manifest)?.ok_or_else(lost)
        })
    }

    fn run(&self, blobs: &Blobs, phase: &Phase) -> Result<Digest, Error> {
        self.listener.phase(&phase.name);
        self.runtime.block_on(async {
            let blob = Box::pin(self.phase(blobs, phase)).await?;
            let mut writing = blobs.begin().map_err(|error| unwritable(&error))?;
            self.fetch(&blob, &mut writing).await?;
            blobs.keep(writing).map(|(digest, _)| digest)
        })
    }

    fn at(&self, container: &str, percent: usize) {
        self.listener.at(container, percent);
    }

    fn engine(&self, platform: Platform) -> Result<String, Error> {
        self.runtime.block_on(async {
            let engine = self.about_engine().await?;
            self.judge(&engine.platform, platform)?;
            Ok(engine.version)
        })
    }

    fn build(&self, blobs: &Blobs, image: &ImageBuild) -> Result<Digest, Error> {
        self.runtime.block_on(async {
            let wanted = builds::ImageBuild {
                dockerfile: image.dockerfile.clone(),
                context: self.give(blobs, &image.context).await?,
                bases: image.bases.clone(),
                fresh: image.fresh,
            };
            let id = rpc::answered(self.client().build(within(SHORT), wanted).await)?;
            let archive = Box::pin(self.follow(&id)).await?;
            blobs.keep_built(self.take(blobs, &archive).await?)
        })
    }

    fn say(&self, line: &str) {
        self.listener.line(line);
    }
}

fn unwritable(error: &std::io::Error) -> Error {
    Error::precondition(format!("content on its way between this host and a node cannot be written: {error}"))
}
