//! The packager: from a manifest and sources to a package. What needs no engine is put together here alone (tier 0).

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufWriter},
    path::Path,
    sync::Arc,
};

use aigis_proxy::{Code, Error, Name};
use aigis_registry::{
    Timestamp,
    archive::{self, Limits},
};

use crate::{
    Digest,
    image::{self, Image, NOTHING, Platform, Settings},
    inputs::{self, BUILDER, ByImage, Inputs},
    layer::{self, Kind, Layer, Place},
    manifest::{self, Application, Container, Document, Epoch, Lock},
    package::{Blobs, CONTEXT, ImageRecord, RULES_VERSION, Record},
    phase::Builder,
    plan::Health,
    source::Source,
};

mod application;
mod bases;
mod dockerfile;
mod ground;
mod packages;
mod phases;
mod site;

use application::{At, Part};
use packages::Packages;

/// Where applications lie in a container.
const DIRECTORY: &str = "/app";

/// What is to be packaged.
#[derive(Debug)]
pub struct Request<'a> {
    /// The project root.
    pub project: &'a Path,
    /// A package that is built again: its source trees and lock files count, and nothing of the project root is read.
    pub recorded: Option<&'a Record>,
    /// Its manifest, which was checked.
    pub document: &'a Document,
    /// Its lock; one that knows nothing, if it has none.
    pub lock: &'a Lock,
    /// Which containers; all, if none is named.
    pub containers: &'a [Name],
    /// For which machines.
    pub platforms: &'a BTreeSet<Platform>,
    /// When the commit was made that is checked out, in seconds since 1970, if its manifest asks for that.
    pub commit_epoch: Option<u64>,
    /// Who asked for it.
    pub by: &'a str,
    /// On which host.
    pub node: Option<&'a str>,
    /// When.
    pub at: Timestamp,
    /// Who runs phases and knows images, if anybody is at hand.
    pub builder: Option<&'a dyn Builder>,
    /// Whether phases run also where it is known what they leave.
    pub fresh: bool,
    /// Whether what the lock does not know is refused.
    pub locked: bool,
}

/// A package that was put together.
#[derive(Debug, Clone)]
pub struct Assembled {
    /// Its record.
    pub record: Record,
    /// The lock, with what it lacked.
    pub lock: Lock,
    /// How many phases did not run, because it was known what they leave.
    pub cache_hits: u64,
}

/// Puts a package together, and keeps all that it consists of; nothing is registered. This blocks.
///
/// # Errors
///
/// `unavailable` for what only containers could build, and for a base that is not at hand; `failed_precondition` for a
/// command that failed; `invalid_argument` for a source tree that cannot be packed.
pub fn assemble(blobs: &Blobs, request: &Request<'_>) -> Result<Assembled, Error> {
    let manifest = &request.document.manifest;
    let containers = chosen(manifest, request.containers)?;
    for (name, container) in &containers {
        refuse_engine(name, container, manifest, request.builder.is_some())?;
    }
    let lock = request.lock.clone();
    let mut packer = Packer {
        blobs,
        request,
        lock,
        cache_hits: 0,
        sources: BTreeMap::new(),
        parts: BTreeMap::new(),
        begun: BTreeSet::new(),
        ran: BTreeMap::new(),
        held: BTreeMap::new(),
        images: BTreeMap::new(),
    };
    let all = containers.len() * request.platforms.len();
    for (name, _) in &containers {
        for platform in request.platforms {
            if let Some(builder) = request.builder {
                builder.at(name.as_str(), (packer.images.len() * 100 / all).min(100));
            }
            packer.made(name.as_str(), *platform)?;
        }
    }
    // What was made on the way alone, for what is copied from it, is not of the package.
    packer.images.retain(|(made, _), _| containers.iter().any(|(name, _)| name.as_str() == *made));
    packer.package()
}

/// The containers that are named, and those that they stand on, bases first.
fn chosen<'a>(manifest: &'a manifest::Manifest, named: &[Name]) -> Result<Vec<(&'a Name, &'a Container)>, Error> {
    let mut wanted: BTreeSet<&str> = named.iter().map(Name::as_str).collect();
    if named.is_empty() {
        wanted.extend(manifest.containers.keys().map(Name::as_str));
    }
    if let Some(unknown) = wanted.iter().find(|name| !manifest.containers.contains_key(**name)) {
        let known: Vec<&str> = manifest.containers.keys().map(Name::as_str).collect();
        return Err(Error::invalid(format!("the manifest has no container \"{unknown}\""))
            .hint(format!("its containers: {}", known.join(", "))));
    }
    // What others stand on comes before them: from the last to the first, each brings its own.
    let order = manifest.build_order();
    for name in order.iter().rev().filter_map(|name| manifest.containers.get_key_value(*name)) {
        if let (true, Some(manifest::Base::Container(base))) = (wanted.contains(name.0.as_str()), name.1.base()) {
            wanted.insert(base);
        }
    }
    let found = order.into_iter().filter(|name| wanted.contains(name.as_str()));
    Ok(found.filter_map(|name| manifest.containers.get_key_value(name)).collect())
}

/// Refuses what only an engine could make where none is at hand, and what cannot be made.
fn refuse_engine(
    name: &Name,
    container: &Container,
    manifest: &manifest::Manifest,
    has_engine: bool,
) -> Result<(), Error> {
    let away = |what: String| {
        let message = format!("the container \"{name}\" cannot be built on this host alone: {what}");
        Err(Error::unavailable(message).hint("phases run on a node: aish up"))
    };
    if container.dockerfile.is_some() {
        if !has_engine {
            return away("it is made by a Dockerfile".to_owned());
        }
        let said = container.applications.iter().filter_map(|name| manifest.applications.get(name));
        if said.into_iter().any(|application| !application.build_secrets.is_empty()) {
            let message =
                format!("the container \"{name}\" is made by a Dockerfile, and `build_secrets` do not reach one");
            return Err(Error::new(Code::Unimplemented, message)
                .hint("make it by commands of its applications, without a dockerfile"));
        }
        return Ok(());
    }
    for application in &container.applications {
        let Some(said) = manifest.applications.get(application) else { continue };
        let commands = [("install_commands", &said.install_commands), ("build_commands", &said.build_commands)];
        let commands = commands.iter().find(|(_, commands)| !commands.is_empty());
        if let (Some((key, _)), false) = (commands, has_engine) {
            return away(format!("the application \"{application}\" has {key}, which run in a container"));
        }
        let needs = &said.system_packages;
        if !has_engine && (!needs.run.is_empty() || commands.is_some() && !needs.build.is_empty()) {
            return away(format!("the application \"{application}\" has system_packages, which a container installs"));
        }
        let is_nothing = matches!(container.base(), Some(manifest::Base::Scratch)) && said.build_image.is_none();
        if commands.is_some() && is_nothing {
            let message = format!("the commands of \"{application}\" have no image to run in: its base is scratch");
            return Err(Error::invalid(message).hint("give it a build_image and outputs"));
        }
    }
    Ok(())
}

/// What was made so far.
struct Packer<'a> {
    blobs: &'a Blobs,
    request: &'a Request<'a>,
    /// With what was resolved.
    lock: Lock,
    cache_hits: u64,
    /// By application: its tree, and its lock files.
    sources: BTreeMap<&'a str, (Digest, BTreeMap<String, Digest>)>,
    /// By application, the container for which it was made, and platform.
    parts: BTreeMap<(&'a str, &'a str, Platform), Part>,
    /// Which images were begun, so that none waits for itself.
    begun: BTreeSet<(&'a str, Platform)>,
    /// What phases left that this build asked for, by their keys.
    ran: BTreeMap<Digest, Digest>,
    /// The paths of images, by the digests of their configurations.
    held: BTreeMap<Digest, Arc<BTreeSet<String>>>,
    /// By container and platform.
    images: BTreeMap<(&'a str, Platform), (Image, ImageRecord)>,
}

impl<'a> Packer<'a> {
    /// A container of the manifest.
    fn container(&self, name: &str) -> Result<(&'a Name, &'a Container), Error> {
        let found = self.request.document.manifest.containers.get_key_value(name);
        found.ok_or_else(|| Error::internal(format!("\"{name}\" is no container")))
    }

    /// The image of a container, which is made if that was not done yet.
    fn made(&mut self, name: &str, platform: Platform) -> Result<&(Image, ImageRecord), Error> {
        let (name, container) = self.container(name)?;
        let key = (name.as_str(), platform);
        if !self.images.contains_key(&key) {
            if !self.begun.insert(key) {
                let message = format!("the container \"{name}\" needs itself: by what it stands on and what is copied");
                return Err(Error::invalid(message).hint("take one of these away"));
            }
            self.image(name, container, platform)?;
        }
        self.images.get(&key).ok_or_else(|| Error::internal(format!("the image of \"{name}\" was not kept")))
    }

    fn image(&mut self, name: &'a Name, container: &'a Container, platform: Platform) -> Result<(), Error> {
        if let Some(path) = &container.dockerfile {
            return self.by_dockerfile(name, container, path, platform);
        }
        let manifest = &self.request.document.manifest;
        let applications: Vec<(&Name, &Application)> =
            container.applications.iter().filter_map(|name| manifest.applications.get_key_value(name)).collect();
        let epoch = epoch(manifest.packaging.epoch, self.request.commit_epoch)?;
        let base = self.base(name, container, platform)?;
        let bases = base.iter().map(|(reference, base)| ((*reference).to_owned(), base.digest)).collect();
        let mut whole = Part { bases, ..Part::default() };
        let at = At { name, container, platform, epoch };
        if let Some(Packages { layer, versions }) = self.packages(at)? {
            whole.layers.push(layer);
            whole.packages = versions;
            whole.is_run = true;
        }
        for (name, _) in &applications {
            whole.add(self.application(name, at)?);
        }
        let Part { layers, applications: names, bases, packages: system_packages, is_run } = whole;
        let is_base = |other: &Container| other.base() == Some(manifest::Base::Container(name.as_str()));
        let settings = settings(container, &applications, platform, epoch);
        if settings.argv.is_empty() && !manifest.containers.values().any(is_base) {
            return Err(Error::invalid(format!("nothing says what the container \"{name}\" runs"))
                .hint("give the application that it starts a run_command"));
        }
        let image = Image::of(&settings, base.as_ref().map(|(_, base)| base), &layers)?;
        let of = |name: &String| self.sources.get(name.as_str());
        let spec = self.request.document.slice_spec(name.as_str());
        let inputs = Inputs {
            spec: spec
                .ok_or_else(|| Error::internal(format!("the container \"{name}\" has no part in its manifest")))?,
            sources: names.iter().filter_map(|name| Some((name.clone(), of(name)?.0))).collect(),
            locks: names.iter().filter_map(|name| Some((name.clone(), of(name)?.1.clone()))).collect(),
            bases,
            platform,
            builder: BUILDER.to_owned(),
            epoch,
            system_packages,
            dockerfile: None,
        };
        self.keep(name, u8::from(is_run), image, inputs, names.into_iter().collect())
    }

    /// Keeps the image of a container, with the record of what it is made of.
    fn keep(
        &mut self,
        name: &'a Name,
        tier: u8,
        image: Image,
        inputs: Inputs,
        applications: Vec<String>,
    ) -> Result<(), Error> {
        let platform = inputs.platform;
        let record = ImageRecord {
            container: name.to_string(),
            platform,
            tier,
            spec: inputs.spec,
            inputs: inputs.digest(),
            output: self.blobs.put(&image.manifest)?,
            config: self.blobs.put(&image.config)?,
            layers: image.layers.clone(),
            bases: inputs.bases,
            builder: inputs.builder,
            epoch: inputs.epoch,
            system_packages: inputs.system_packages,
            applications,
            dockerfile: inputs.dockerfile,
        };
        self.images.insert((name.as_str(), platform), (image, record));
        Ok(())
    }

    /// Packs the source of an application, once for all images.
    fn source(&mut self, name: &'a str, application: &Application) -> Result<(), Error> {
        if self.sources.contains_key(name) {
            return Ok(());
        }
        if let Some(recorded) = self.request.recorded {
            let tree = recorded.trees.get(name).copied();
            let tree = tree.filter(|tree| self.blobs.has(tree)).ok_or_else(|| not_kept(recorded))?;
            let locks = recorded.locked.get(name).cloned().unwrap_or_default();
            self.sources.insert(name, (tree, locks));
            return Ok(());
        }
        let source = Source { project: self.request.project, root: &application.root, exclude: &application.exclude };
        let (_, writing) = source.pack(|| self.blobs.begin().map(|blob| BufWriter::with_capacity(BUFFER, blob)))?;
        let writing = writing.into_inner().map_err(|error| stream(error.into_error()))?;
        let (digest, _) = self.blobs.keep(writing)?;
        self.sources.insert(name, (digest, source.locks(None)?));
        Ok(())
    }

    /// The layer that an application's source tree becomes.
    fn files(&self, name: &str, application: &Application, container: &Container, epoch: u64) -> Result<Layer, Error> {
        let tree = self.sources.get(name).map(|(tree, _)| *tree);
        let tree = tree.ok_or_else(|| Error::internal(format!("the source of \"{name}\" was not packed")))?;
        let (file, _) = self.blobs.open_blob(&tree)?;
        let directory = &directory(container, name);
        let port = container.ports.first().copied();
        let written: Vec<(&str, String)> =
            application.site.iter().map(|said| (site::FILE, site::file(said, directory, port))).collect();
        let place = Place { directory, epoch, writable: &application.writable, written: &written };
        let out = BufWriter::with_capacity(BUFFER, self.blobs.begin().map_err(stream)?);
        let mut layer = layer::Application::new(out, &place).map_err(stream)?;
        let tree = io::BufReader::with_capacity(BUFFER, file);
        archive::read(tree, &mut layer, &Limits::TREE).map_err(|error| match error {
            archive::Error::Stream(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Error::invalid(error.to_string()).hint(format!("leave it out by `exclude` of \"{name}\""))
            }
            error => error.into(),
        })?;
        let out = layer.end().map_err(stream)?.into_inner().map_err(|error| stream(error.into_error()))?;
        let (digest, size_bytes) = self.blobs.keep(out)?;
        Ok(Layer { digest, size_bytes, kind: Kind::Files, application: Some(name.to_owned()) })
    }

    /// All images together.
    fn package(self) -> Result<Assembled, Error> {
        let Self { blobs, request, lock: resolved, cache_hits, sources, images, .. } = self;
        let document = request.document;
        let project = &document.manifest.project;
        let (manifest, lock) = (document.canonical(), resolved.canonical());
        let described = image::document(&manifest, &lock);
        for content in [&manifest[..], &lock, NOTHING, &described] {
            blobs.put(content)?;
        }
        let listed: Vec<(&str, Platform, &Image)> =
            images.iter().map(|((container, platform), (image, _))| (*container, *platform, image)).collect();
        let index = image::index(project.name.as_str(), &described, &listed);
        let id = blobs.put(&index)?;
        let images: Vec<ImageRecord> = images.into_values().map(|(_, record)| record).collect();
        let names: BTreeSet<&String> = images.iter().flat_map(|image| &image.applications).collect();
        let sources: BTreeMap<String, _> = sources.into_iter().map(|(name, of)| (name.to_owned(), of)).collect();
        let is_needed = |name: &String| names.contains(name) || name == CONTEXT;
        let sources: BTreeMap<String, _> = sources.into_iter().filter(|(name, _)| is_needed(name)).collect();
        let mut of_images: ByImage<Digest> = ByImage::new();
        for image in &images {
            of_images.entry(image.container.clone()).or_default().insert(image.platform, image.inputs);
        }
        let (spec, lock) = (document.spec(), resolved.digest());
        let trees = sources.iter().map(|(name, (tree, _))| (name.clone(), *tree)).collect();
        let record = Record {
            id,
            project: project.name.to_string(),
            version: project.version.clone(),
            spec,
            inputs: inputs::of_package(spec, lock, &of_images),
            output: id,
            images,
            trees,
            lock,
            locked: sources
                .into_iter()
                .filter(|(name, _)| name != CONTEXT)
                .map(|(name, (_, locks))| (name, locks))
                .collect(),
            parents: Vec::new(),
            created_at: request.at,
            created_by: request.by.to_owned(),
            node: request.node.map(str::to_owned),
            rules_version: RULES_VERSION,
        };
        Ok(Assembled { record, lock: resolved, cache_hits })
    }
}

const BUFFER: usize = 128 * 1024;

/// Where an application lies in its container: several have a directory each.
fn directory(container: &Container, application: &str) -> String {
    if container.applications.len() > 1 { format!("{DIRECTORY}/{application}") } else { DIRECTORY.to_owned() }
}

/// What the image of a container is to be; a container that others stand on need not run anything.
fn settings(container: &Container, applications: &[(&Name, &Application)], platform: Platform, epoch: u64) -> Settings {
    let is_started = |application: &Name, said: &Application| match &container.start {
        Some(start) => start == application,
        None => applications.len() == 1 || said.run_command.is_some() || said.site.is_some(),
    };
    let started = applications.iter().find(|(application, said)| is_started(application, said));
    let argv = started.and_then(|(started, said)| match &said.site {
        Some(_) => Some(site::argv(&directory(container, started.as_str()))),
        None => said.run_command.as_ref().map(manifest::Command::argv),
    });
    let mut env = vec![("HOME".to_owned(), "/tmp".to_owned())];
    env.extend(container.ports.first().map(|port| ("PORT".to_owned(), port.to_string())));
    let mut own = BTreeMap::new();
    for said in applications.iter().map(|(_, said)| &said.env).chain([&container.env]) {
        own.extend(said.clone());
    }
    // A variable that stands there already is changed in its place.
    for (name, value) in own {
        match env.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => env.push((name, value)),
        }
    }
    Settings {
        platform,
        epoch,
        env,
        argv: argv.unwrap_or_default(),
        user: container.user.clone(),
        directory: started.map_or_else(|| DIRECTORY.to_owned(), |(started, _)| directory(container, started.as_str())),
        ports: container.ports.clone(),
        labels: container.labels.clone(),
        health: container.health.as_ref().and_then(health),
    }
}

/// How an image says that its health is looked at: by a command that the manifest gives. What looks at a port is known to
/// whoever deploys it.
fn health(said: &manifest::Health) -> Option<Health> {
    let manifest::Health { command, interval_s, timeout_s, start_s, retries, .. } = said;
    let (interval_s, timeout_s, start_s, retries) = (*interval_s, *timeout_s, *start_s, *retries);
    command.as_ref().map(|command| Health { argv: command.argv(), interval_s, timeout_s, start_s, retries })
}

fn epoch(said: Epoch, commit: Option<u64>) -> Result<u64, Error> {
    match said {
        Epoch::Seconds(seconds) => Ok(seconds),
        Epoch::Commit(_) => commit.ok_or_else(|| {
            Error::precondition(
                "the manifest takes the epoch from the commit, and the project is in no git repository with one",
            )
            .hint("commit it, or give the epoch as seconds since 1970")
        }),
    }
}

fn not_kept(recorded: &Record) -> Error {
    let message = format!("the sources of the package {} are not kept here", recorded.id);
    Error::new(Code::NotFound, message).hint("only a package that has its sources can be built again")
}

fn stream(error: io::Error) -> Error {
    archive::Error::Stream(error).into()
}

#[cfg(test)]
mod tests;
