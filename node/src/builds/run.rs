//! A phase in its container: made, filled, its commands run, its changes taken out, removed whatever happens.

use std::{collections::BTreeMap, io, time::Duration};

use aigis_proxy::{
    Code, Error,
    blob::{Blob, Life},
    services::builds::{Phase, Surroundings},
};
use aigis_registry::archive::{Sink as _, Writer};
use futures::{StreamExt as _, future, stream};
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use super::{
    Builder, OWNER, downloads,
    live::{Live, Work},
    search::Values,
};
use crate::{
    engine::{Bind, ContainerId, ExecRequest, Recipe},
    shelf::Shelf,
};

/// How a phase's container is called first.
const PREFIX: &str = "aigis-build-";
/// How long a phase may take.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// What it may use.
const MEMORY: u64 = 4 * 1024 * 1024 * 1024;
const PIDS: u64 = 4_096;
/// Which capabilities it lacks.
const WITHOUT: [&str; 2] = ["NET_RAW", "MKNOD"];
/// Where its secrets are.
const SECRETS: &str = "/run/secrets";
/// Where certificates are that it trusts, and the variables by which programs are told of such a file.
const CERTIFICATES: &str = "/run/aigis/ca.pem";
const TRUSTING: [&str; 9] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "NPM_CONFIG_CAFILE",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "DENO_CERT",
];
/// How many lines of a command that failed are told.
const LAST: usize = 20;
/// How many bytes wait between the mesh's blobs and the engine.
const BETWEEN: usize = 1024 * 1024;
/// How many paths are removed at once.
const PATHS: usize = 500;
/// Longest line that is read as one.
const LINE: usize = 64 * 1024;

impl Builder {
    /// Runs a phase, and gives the archive of what differs from its image afterwards.
    pub(super) async fn run(&self, live: &Live, id: &str, work: &Work, secrets: &Values) -> Result<Blob, Error> {
        let Work { phase, volume } = work;
        // They lie in memory until the container is gone.
        let shelf = secrets.shelf()?;
        let mut recipe = self.recipe(id, phase, shelf.as_ref());
        if let Some(volume) = volume {
            recipe.volumes.push(self.volumes.ready(volume).await?);
        }
        let container = self.engine.create(&format!("{PREFIX}{id}"), &recipe).await?;
        let work = Box::pin(timeout(LONGEST, self.inside(live, &container, phase, secrets)));
        let done = tokio::select! {
            biased;
            () = live.is_to_end() => Err(Error::new(Code::Cancelled, "the phase was ended")),
            done = work => done.unwrap_or_else(|_| Err(too_long())),
        };
        // An engine that is away keeps it until the next look at what is left.
        if let Err(error) = self.engine.remove(&container).await {
            tracing::warn!(%error, %container, "the container of a build is removed later");
        }
        if let Some(volume) = volume {
            self.volumes.used(volume);
        }
        done
    }

    fn recipe(&self, id: &str, phase: &Phase, secrets: Option<&Shelf>) -> Recipe {
        let Surroundings { certificates, env } = &phase.surroundings;
        let trusting = certificates.iter().flat_map(|_| TRUSTING).map(|name| (name.to_owned(), CERTIFICATES));
        let trusting = trusting.map(|(name, value)| (name, value.to_owned()));
        let own = [env, &phase.env].into_iter().flatten().map(|(name, value)| (name.clone(), value.clone()));
        let env: BTreeMap<String, String> = downloads::variables().chain(trusting).chain(own).collect();
        let bind =
            |shelf: &Shelf| Bind { source: shelf.directory().to_owned(), target: SECRETS.to_owned(), writable: false };
        Recipe {
            image: phase.image.clone(),
            // A shell that waits for words which nobody writes.
            entrypoint: Some(vec!["/bin/sh".to_owned()]),
            command: Some(Vec::new()),
            env: env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            binds: secrets.map(bind).into_iter().collect(),
            workingdir: Some(phase.directory.clone()),
            labels: self.mark.labels(format!("{OWNER}{id}")),
            network: if phase.network { "bridge" } else { "none" }.to_owned(),
            memory: Some(MEMORY),
            pids: Some(PIDS),
            hostname: Some("build".to_owned()),
            user: Some("0:0".to_owned()),
            without: WITHOUT.map(str::to_owned).to_vec(),
            input: true,
            ..Recipe::default()
        }
    }

    async fn inside(
        &self,
        live: &Live,
        container: &ContainerId,
        phase: &Phase,
        secrets: &Values,
    ) -> Result<Blob, Error> {
        self.engine.start(container).await.map_err(|error| match &error {
            crate::engine::Error::Refused { words, .. } => {
                Error::precondition(format!("the build image {} cannot be started: {words}", phase.image))
                    .hint("phases need an image with /bin/sh")
            }
            _ => error.into(),
        })?;
        let furniture = furniture(&phase.surroundings)
            .map_err(|error| Error::internal(format!("what phases find cannot be put into an archive: {error}")))?;
        self.engine.unpack(container, stream::once(future::ready(Ok(furniture.into())))).await?;
        for paths in phase.removed.chunks(PATHS) {
            let absolute = paths.iter().map(|path| format!("/{path}"));
            let words = ["rm", "-rf", "--"].map(str::to_owned).into_iter().chain(absolute);
            self.command(live, container, phase, words.collect()).await?;
        }
        for input in &phase.inputs {
            self.put(container, input).await?;
        }
        for command in &phase.commands {
            self.command(live, container, phase, command.clone()).await?;
        }
        // Whatever they left running ends before its files are read.
        self.engine.stop(container, Duration::ZERO).await?;
        if !secrets.is_empty() {
            self.search(container, phase, secrets).await?;
        }
        self.take(container, phase).await
    }

    /// Unpacks an archive of the mesh's at the root of a container.
    async fn put(&self, container: &ContainerId, input: &Blob) -> Result<(), Error> {
        let (writer, reader) = tokio::io::duplex(BETWEEN);
        let copying = self.blobs.copy(Life::Kept, input, writer);
        let (copied, put) = tokio::join!(copying, self.engine.unpack(container, ReaderStream::new(reader)));
        copied.and(put.map_err(Error::from))
    }

    /// Runs a command, line by line into the log; one that fails is an error.
    async fn command(
        &self,
        live: &Live,
        container: &ContainerId,
        phase: &Phase,
        argv: Vec<String>,
    ) -> Result<(), Error> {
        let say = |line: &[u8]| live.say(&self.masks.current().text(&String::from_utf8_lossy(line)));
        let shown = argv.join(" ");
        let failed = |how: String| {
            let mut lines = live.last(LAST);
            lines.insert(0, format!("`{}` {how}", aigis_proxy::quoted(&shown)));
            Error::precondition(lines.join("\n")).with("command", shown.clone())
        };
        let request = ExecRequest { argv, workdir: Some(phase.directory.clone()), ..ExecRequest::default() };
        let mut session = self.engine.exec(container, request).await?;
        let mut line = Vec::new();
        while let Some(output) = session.output.next().await {
            let output = output.map_err(|error| match error {
                crate::engine::Error::Refused { words, .. } => failed(format!("cannot be run: {words}")),
                error => error.into(),
            })?;
            for byte in output.bytes {
                if byte == b'\n' || line.len() >= LINE {
                    say(&std::mem::take(&mut line));
                }
                if byte != b'\n' {
                    line.push(byte);
                }
            }
        }
        if !line.is_empty() {
            say(&line);
        }
        match session.handle.exit_code().await? {
            0 => Ok(()),
            code => Err(failed(format!("failed with code {code}")).with("exit_code", code)),
        }
    }
}

/// An archive with what every phase finds: directories for downloads, and the file of certificates if there is one.
fn furniture(surroundings: &Surroundings) -> io::Result<Vec<u8>> {
    let mut archive = Writer::new(Vec::new());
    downloads::write(&mut archive)?;
    if let Some(certificates) = &surroundings.certificates {
        let size = certificates.0.len() as u64;
        archive.file(CERTIFICATES.trim_start_matches('/'), false, size)?;
        archive.content(&certificates.0)?;
        archive.end_file(size)?;
    }
    archive.end()
}

fn too_long() -> Error {
    let minutes = LONGEST.as_secs() / 60;
    Error::new(Code::DeadlineExceeded, format!("the phase took longer than {minutes} minutes"))
        .hint("split its commands into install_commands and build_commands")
}
