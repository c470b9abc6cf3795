//! A node with an engine, as whoever packages uses it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Seek as _, Write},
    time::Duration,
};

use aigis_deploy::{
    Digest,
    package::Blobs,
    phase::{self, ImageBuild, Phase},
};
use aigis_proxy::{
    Code, Error, NodeName,
    blob::{Blob, Life, Store},
    rpc::{self, Asker},
    secret::SecretName,
    services::builds::{self, BUILDS, BaseImage, BuildsClient, BuildsRequest, BuildsResponse, Loaded, Told},
};
use aigis_registry::archive::is_full;
use tokio::time::sleep;

use super::nodes::Nodes;

/// How long an image may take to be pulled, or stored.
const IMAGE: Duration = Duration::from_secs(30 * 60);
/// How long a request may take that waits for nothing.
const SHORT: Duration = Duration::from_secs(60);
/// How long a question for more may take; the node answers sooner, with nothing.
const NEWS: Duration = Duration::from_secs(30);
/// How often a node is asked again that does not answer, and how long is waited between.
const TRIES: usize = 20;
const AGAIN: Duration = Duration::from_secs(1);

/// One of the nodes.
pub(super) struct Node<'a> {
    pub(super) all: &'a Nodes,
    pub(super) name: NodeName,
}

impl Node<'_> {
    fn client(&self) -> BuildsClient<Asker<BuildsRequest, BuildsResponse>> {
        BuildsClient::from(Asker::new(&self.all.bus, self.name.as_str(), BUILDS))
    }

    /// What its engine is.
    pub(super) async fn about_engine(&self) -> Result<builds::Engine, Error> {
        rpc::answered(self.client().engine(rpc::within(SHORT)).await)
    }

    /// Has its engine get an image, and says what it is.
    pub(super) async fn image(&self, reference: &str, wanted: Option<Digest>) -> Result<BaseImage, Error> {
        rpc::answered(self.client().image(rpc::within(IMAGE), reference.to_owned(), wanted).await)
    }

    /// Brings an image here, as an archive.
    pub(super) async fn export(&self, blobs: &Blobs, image: String) -> Result<File, Error> {
        let blob = rpc::answered(self.client().export(rpc::within(IMAGE), image).await)?;
        self.take(blobs, &blob).await
    }

    /// Has its engine take in the images of an archive.
    pub(super) async fn load(&self, archive: File, images: Vec<Loaded>) -> Result<(), Error> {
        let stored = Store::new(&self.all.bus).put(Life::Kept, tokio::fs::File::from_std(archive)).await?;
        rpc::answered(self.client().load(rpc::within(IMAGE), stored.blob, images).await)
    }

    /// Runs a phase, and says where what it left is.
    pub(super) async fn phase(&self, blobs: &Blobs, phase: &Phase) -> Result<Blob, Error> {
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
            secrets: phase.secrets.iter().map(|name| secret(name)).collect::<Result<_, _>>()?,
            surroundings: self.all.surroundings.clone(),
            is_fresh: phase.fresh,
            project: phase.project.clone(),
        };
        let id = rpc::answered(self.client().begin(rpc::within(SHORT), wanted).await)?;
        self.ended(&id).await
    }

    /// Builds an image by a Dockerfile, and brings it here as an archive.
    pub(super) async fn build(&self, blobs: &Blobs, image: &ImageBuild) -> Result<File, Error> {
        let wanted = builds::ImageBuild {
            dockerfile: image.dockerfile.clone(),
            context: self.give(blobs, &image.context).await?,
            bases: image.bases.clone(),
            fresh: image.fresh,
        };
        let id = rpc::answered(self.client().build(rpc::within(SHORT), wanted).await)?;
        let archive = self.ended(&id).await?;
        self.take(blobs, &archive).await
    }

    /// Reads a blob of the mesh's.
    pub(super) async fn fetch(&self, blob: &Blob, out: &mut impl Write) -> Result<(), Error> {
        let mut reading = Store::new(&self.all.bus).open(Life::Kept, blob).await?;
        while let Some(bytes) = reading.next().await? {
            out.write_all(&bytes).map_err(|error| unwritable(&error))?;
        }
        Ok(())
    }

    /// Gives the mesh a blob of this host.
    async fn give(&self, blobs: &Blobs, digest: &Digest) -> Result<Blob, Error> {
        let (file, _) = blobs.open_blob(digest)?;
        Ok(Store::new(&self.all.bus).put(Life::Kept, tokio::fs::File::from_std(file)).await?.blob)
    }

    /// Brings a blob of the mesh here, into a file that is gone with its last user.
    async fn take(&self, blobs: &Blobs, blob: &Blob) -> Result<File, Error> {
        let mut writing = blobs.begin().map_err(|error| unwritable(&error))?;
        self.fetch(blob, &mut writing).await?;
        let mut file = writing.end().0.into_file();
        file.rewind().map_err(|error| unwritable(&error))?;
        Ok(file)
    }

    /// Follows what was begun until it has ended, or nobody waits for it any more.
    async fn ended(&self, id: &str) -> Result<Blob, Error> {
        tokio::select! {
            followed = self.follow(id) => followed,
            () = self.all.ended.cancelled() => {
                // One that is not told ends by itself, a little later.
                let _ = rpc::answered(self.client().end(rpc::within(SHORT), id.to_owned()).await);
                Err(Error::new(Code::Cancelled, "nobody waits for the build any more"))
            }
        }
    }

    async fn follow(&self, id: &str) -> Result<Blob, Error> {
        let (mut from, mut failures) = (0, 0);
        loop {
            let told = rpc::answered(self.client().follow(rpc::within(NEWS), id.to_owned(), from).await);
            match told {
                Ok(Told { lines, next, ended }) => {
                    (from, failures) = (next, 0);
                    lines.iter().for_each(|line| phase::Builder::say(self.all, line));
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
}

fn secret(name: &str) -> Result<SecretName, Error> {
    SecretName::parse(name).map_err(|error| Error::invalid(error.to_string()))
}

pub(super) fn unwritable(error: &io::Error) -> Error {
    let code = if is_full(error) { Code::ResourceExhausted } else { Code::FailedPrecondition };
    Error::new(code, format!("content on its way between this host and a node cannot be written: {error}"))
}
