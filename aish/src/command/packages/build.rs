use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use aigis_deploy::{
    image::Platform,
    manifest::{self, Document, Epoch, LOCK_FILE, Lock, Tagging},
    pack::{self, Assembled, Request},
    package::{Build as Built, Origin, Parents, Record, Registered, Registration, Store, is_tag},
    phase::Builder,
    plan::Bases,
};
use aigis_proxy::{Error, Name, NodeName, services::projects::Pack, text_file};
use aigis_registry::{State, Timestamp};
use clap_complete::ArgValueCompleter;
use serde_json::{Map, Value};

use super::{
    super::{dockerfile::settings, manifests::init},
    verify,
};
use crate::{completion, context::Context, exit::Failure, git, scratch};

mod node;
pub(in crate::command) mod nodes;

use nodes::{Nodes, surroundings};

/// How many digits of a digest are a tag.
const DIGITS: usize = 12;

/// Build a package of the project in a directory, and register it
///
/// Prints the package's id. Commands run in containers of a node, which are thrown away; what has none is put together
/// without an engine.
#[derive(Debug, Default, clap::Args)]
pub(in crate::command) struct Build {
    /// The project root, with aigis.json
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// Only this container, and those that it stands on; several times for several
    #[arg(long = "container", value_name = "C")]
    containers: Vec<Name>,
    /// Only for this platform: linux/amd64, linux/arm64; several times for several
    #[arg(long = "platform", value_name = "P", value_parser = platform)]
    platforms: Vec<Platform>,
    /// Run phases, and take images from the engine, on this node [default: this host's, else another of the platform]
    #[arg(long, value_name = "N", conflicts_with = "local")]
    on: Option<NodeName>,
    /// Refuse to resolve what aigis.lock does not know
    #[arg(long)]
    locked: bool,
    /// Resolve anew what aigis.lock knows of this base image; all that it knows, if none is named
    #[arg(long, value_name = "REF", num_args = 0..=1, conflicts_with = "locked")]
    update: Option<Option<String>>,
    /// Run phases also where it is known what they leave
    #[arg(long)]
    no_cache: bool,
    /// Build it again afterwards, as aish packages verify does; exits 1 if that gives something else
    #[arg(long)]
    verify: bool,
    /// Give the images to the engine of this node as well, which knows them as PROJECT/CONTAINER:DIGITS
    #[arg(long)]
    load: bool,
    /// A tag instead of the one that the manifest asks for
    #[arg(long, value_name = "T", value_parser = tag)]
    tag: Option<String>,
    /// The package that it follows [default: the project's newest]
    #[arg(long, value_name = "ID", add = ArgValueCompleter::new(completion::packages))]
    parent: Option<String>,
    /// A label; several times for several
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    whose: super::Whose,
}

/// Who builds, and where. A mesh knows its users by itself.
pub(in crate::command) struct Maker {
    pub(in crate::command) user: String,
    pub(in crate::command) node: Option<NodeName>,
    /// Whether it is that node itself that builds.
    pub(in crate::command) is_node: bool,
}

impl Build {
    /// A build of a whole project, as its manifest says.
    pub(super) fn of(path: PathBuf) -> Self {
        Self { path, ..Self::default() }
    }

    /// The build of what a skill of a node was asked for, in that directory.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a container, a platform or a tag that cannot be.
    pub(in crate::command) fn asked(path: PathBuf, pack: &Pack) -> Result<Self, Error> {
        let wrong = |of: &'static str| move |error: String| Error::invalid(format!("argument \"{of}\": {error}"));
        let containers = pack.containers.iter().map(|name| Name::parse(name).map_err(|error| error.to_string()));
        let platforms = pack.platforms.iter().map(|text| platform(text));
        Ok(Self {
            path,
            containers: containers.collect::<Result<_, _>>().map_err(wrong("containers"))?,
            platforms: platforms.collect::<Result<_, _>>().map_err(wrong("platforms"))?,
            no_cache: pack.no_cache,
            tag: pack.tag.as_deref().map(tag).transpose().map_err(wrong("tag"))?,
            ..Self::default()
        })
    }

    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (kept, is_verified) = (self.whose.kept(context)?, self.verify);
        let Registered { record, created } = Box::pin(self.make(context)).await?;
        let report = if is_verified { Some(verify::verified(context, kept, &record, None).await?) } else { None };
        if let Some(report) = report.as_ref().filter(|report| !verify::is_same(report)) {
            context.output.aside(verify::told(report).trim_end());
            let message = format!("the package {} is registered, and came out otherwise the second time", record.id);
            let hint = "look at what it differs in: aish packages verify ID";
            return Err(Error::precondition(message).hint(hint).with("report", serde_json::json!(report)).into());
        }
        if context.output.is_json() {
            let mut row = row(&record, created);
            row.extend(report.map(|report| ("verified".to_owned(), serde_json::json!(report))));
            return context.output.json(&row);
        }
        context.output.text(&record.id.to_string())
    }

    /// Builds and registers, and says what is worth a note.
    pub(super) async fn make(self, context: &Context) -> Result<Registered, Failure> {
        let kept = self.whose.kept(context)?;
        if !self.path.is_dir() {
            let path = text_file::shown(&self.path);
            return Err(Failure::usage(format!("{path} is no directory"), "name the directory that holds aigis.json"));
        }
        kept.say(context);
        let missing = fs::symlink_metadata(self.path.join(manifest::FILE)).is_err();
        let bases = if missing { Some(settings()?.bases()) } else { None };
        if missing {
            context.output.note("there is no aigis.json: what aish manifests init would write counts");
        }
        let maker = Maker { user: user(), node: context.mesh_file()?.and_then(|mesh| mesh.node), is_node: false };
        let nodes = if self.whose.local { None } else { Box::pin(self.nodes(context)).await? };
        let loader = Box::pin(self.loader(context, nodes.as_ref())).await?;
        let work = move |store: &Store| {
            let (registered, is_resolved) = self.build(store, &maker, bases.as_ref(), nodes.as_ref())?;
            let loaded = loader.map(|loader| loader.load(store, &registered.record)).transpose();
            Ok((registered, is_resolved, loaded))
        };
        let (registered, is_resolved, loaded) = kept.on_store(context, work).await?;
        if is_resolved {
            context.output.note(&format!("{LOCK_FILE} is written: it lacked what base images or system packages are"));
        }
        for name in loaded?.into_iter().flatten() {
            context.output.note(&format!("the engine knows it as {name}"));
        }
        Ok(registered)
    }

    /// The nodes that may run phases, where this host belongs to a mesh: the one that is named; else this host's own, and
    /// after it those that take work.
    async fn nodes(&self, context: &Context) -> Result<Option<Nodes>, Failure> {
        let mesh = context.mesh_file()?;
        if mesh.is_none() && self.on.is_none() {
            return Ok(None);
        }
        let surroundings = surroundings(settings()?)?;
        let session = context.session().await?;
        let open = match &self.on {
            Some(name) => vec![name.clone()],
            None => {
                let own = mesh.and_then(|mesh| mesh.node);
                let rows = session.snapshot().node_rows();
                let takes = |row: &&aigis_registry::NodeRow| {
                    row.state == State::Live && !row.cordoned && !row.draining && Some(&row.name) != own.as_ref()
                };
                own.iter().cloned().chain(rows.iter().filter(takes).map(|row| row.name.clone())).collect()
            }
        };
        Ok(Some(Nodes::new(session.bus().clone(), open, surroundings, context.output)))
    }

    /// Whose engine gets the images, if that is wanted. It is asked before anything is built.
    async fn loader(&self, context: &Context, builders: Option<&Nodes>) -> Result<Option<Nodes>, Failure> {
        if !self.load {
            return Ok(None);
        }
        let nodes = match builders {
            Some(nodes) => Some(nodes.clone()),
            None => self.nodes(context).await?,
        };
        let nodes = nodes.ok_or_else(|| {
            Error::unavailable("no engine can be given the images: this host has no node").hint(
                "start one: aish up; or take them in by hand: aish packages export ID -o FILE; docker load -i FILE",
            )
        })?;
        nodes.need_engine().await?;
        Ok(Some(nodes))
    }

    /// Builds and registers; says whether the lock was written.
    pub(in crate::command) fn build(
        &self,
        store: &Store,
        maker: &Maker,
        bases: Option<&Bases>,
        nodes: Option<&Nodes>,
    ) -> Result<(Registered, bool), Error> {
        let started_at = Timestamp::now();
        let document = read(&self.path, bases)?;
        let written = lock(&self.path)?;
        let mut lock = written.clone();
        match &self.update {
            Some(Some(reference)) => drop(lock.bases.remove(reference)),
            Some(None) => lock = Lock::default(),
            None => {}
        }
        let project = &document.manifest.project;
        let parents = match &self.parent {
            Some(parent) => Parents::Named(store.find(parent)?.record.id),
            None => Parents::Newest,
        };
        let request = Request {
            project: &self.path,
            recorded: None,
            document: &document,
            lock: &lock,
            containers: &self.containers,
            platforms: &self.platforms(&document)?,
            commit_epoch: match document.manifest.packaging.epoch {
                Epoch::Commit(_) => git::committed_at(&self.path),
                Epoch::Seconds(_) => None,
            },
            by: &maker.user,
            node: maker.node.as_ref().map(NodeName::as_str),
            at: started_at,
            builder: nodes.map(|nodes| nodes as &dyn Builder),
            fresh: self.no_cache,
            locked: self.locked,
        };
        let Assembled { record, lock, cache_hits } = pack::assemble(store.blobs(), &request)?;
        // Without a manifest nothing is written beside it.
        let is_resolved = lock != written && bases.is_none();
        if is_resolved {
            keep(&self.path, &lock)?;
        }
        let (tag, origin) = self.tag(store, &document, &record)?;
        let build = Built {
            source: Origin { repository: project.repository.clone(), ..origin },
            node: nodes.and_then(Nodes::name).or(maker.node.clone()).map(|node| node.to_string()),
            measured: maker.is_node,
            ..Built::of(&record, &maker.user, started_at, cache_hits)
        };
        let registered = store.register(Registration {
            record,
            build: Some(build),
            tags: BTreeSet::from([tag]),
            labels: self.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            description: project.description.clone(),
            parents,
        })?;
        Ok((registered, is_resolved))
    }

    fn platforms(&self, document: &Document) -> Result<BTreeSet<Platform>, Error> {
        if !self.platforms.is_empty() {
            return Ok(self.platforms.iter().copied().collect());
        }
        if let Some(platforms) = &document.manifest.packaging.platforms {
            return Ok(platforms.iter().copied().collect());
        }
        let own = match std::env::consts::ARCH {
            "x86_64" => Platform::Amd64,
            "aarch64" => Platform::Arm64,
            other => {
                let message = format!("images are not made for this host's architecture, {other}");
                return Err(Error::precondition(message).hint("name another: --platform linux/amd64"));
            }
        };
        Ok(BTreeSet::from([own]))
    }

    /// The package's tag, and the commit that its sources are of.
    fn tag(&self, store: &Store, document: &Document, record: &Record) -> Result<(String, Origin), Error> {
        let tagging = &document.manifest.packaging.tagging;
        let is_of_commit = self.tag.is_none() && *tagging == Tagging::GitSha;
        let origin = match git::commit(&self.path, store, document, record, is_of_commit)? {
            Some(commit) => Origin { repository: None, commit: Some(commit.id), dirty: Some(commit.dirty) },
            None => Origin::default(),
        };
        let tag = match (&self.tag, tagging) {
            (Some(tag), _) | (None, Tagging::Fixed(tag)) => tag.clone(),
            (None, Tagging::Inputs) => record.inputs.hex().chars().take(DIGITS).collect(),
            (None, Tagging::Version) => {
                let version = document.manifest.project.version.clone();
                version.ok_or_else(|| Error::invalid("the manifest tags by version, and its project has none"))?
            }
            (None, Tagging::GitSha) => origin.commit.iter().flat_map(|commit| commit.chars()).take(DIGITS).collect(),
        };
        Ok((tag, origin))
    }
}

/// The record of a package, and whether it is new, for programs.
pub(in crate::command) fn row(record: &Record, created: bool) -> Map<String, Value> {
    let mut row = match serde_json::to_value(record) {
        Ok(Value::Object(row)) => row,
        _ => Map::new(),
    };
    row.insert("created".to_owned(), created.into());
    row
}

/// The manifest that `aish manifests init` would write, of a project of which only one thing can be said.
fn proposed(project: &Path, bases: &Bases) -> Result<Vec<u8>, Error> {
    let (analysis, tree) = init::found(project)?;
    // What has a Dockerfile is made by that, whatever it is.
    let in_doubt = analysis.applications.iter().filter(|app| app.ambiguous && app.dockerfile.value.is_none());
    let ambiguous: Vec<&str> = in_doubt.map(|app| app.name.as_str()).collect();
    if !ambiguous.is_empty() {
        let message =
            format!("there is no aigis.json, and what {} is can be said in several ways", ambiguous.join(", "));
        return Err(Error::precondition(message).hint("write one and look at it: aish manifests init"));
    }
    init::proposed(&analysis, &tree, bases).map(String::into_bytes)
}

/// Reads the manifest, and says all that is wrong with it. Without one, that counts which would be made with those bases.
fn read(project: &Path, bases: Option<&Bases>) -> Result<Document, Error> {
    let path = project.join(manifest::FILE);
    let bytes = match bases {
        Some(bases) => proposed(project, bases)?,
        None => fs::read(&path)
            .map_err(|error| Error::precondition(format!("{} cannot be read: {error}", text_file::shown(&path))))?,
    };
    let checked = manifest::check(&bytes, &manifest::Directory(project.to_owned()));
    if let Some(document) = checked.document {
        return Ok(document);
    }
    let shown = text_file::shown(&path);
    let lines: Vec<String> = checked
        .problems
        .iter()
        .map(|problem| {
            format!("{shown}:{}:{}: {} ({})", problem.line, problem.column, problem.message, problem.pointer)
        })
        .collect();
    let problems = serde_json::to_value(&checked.problems).unwrap_or_default();
    Err(Error::invalid(lines.join("\n")).hint("see: aish manifests check").with("problems", problems))
}

/// The lock; one that knows nothing, if there is none.
fn lock(project: &Path) -> Result<Lock, Error> {
    let path = project.join(LOCK_FILE);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Lock::default()),
        read => {
            read.map_err(|error| Error::precondition(format!("{} cannot be read: {error}", text_file::shown(&path))))?
        }
    };
    Lock::read(&bytes)
        .map_err(|error| Error::invalid(error.to_string()).hint("write it anew: remove it, and build again"))
}

/// Writes the lock.
fn keep(project: &Path, lock: &Lock) -> Result<(), Error> {
    let path = project.join(LOCK_FILE);
    let part = project.join(scratch::name());
    let written = fs::write(&part, lock.canonical()).and_then(|()| fs::rename(&part, &path));
    written.map_err(|error| {
        drop(fs::remove_file(&part));
        Error::precondition(format!("{} cannot be written: {error}", text_file::shown(&path)))
            .hint("see that you may write there, or build with --locked")
    })
}

/// Who builds here: nobody vouches for it.
pub(super) fn user() -> String {
    let named = ["LOGNAME", "USER"].into_iter().find_map(|name| std::env::var(name).ok());
    let named = named.filter(|name| !name.is_empty() && name.len() <= 64 && !name.contains(char::is_control));
    named.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

fn platform(text: &str) -> Result<Platform, String> {
    text.parse().map_err(|error: Error| error.message)
}

/// A tag is a tag of OCI registries.
fn tag(text: &str) -> Result<String, String> {
    if is_tag(text) {
        return Ok(text.to_owned());
    }
    Err("a tag is up to 128 of A-Z a-z 0-9 _ . - and begins with none of . -".to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is KEY=VALUE".to_owned()),
    }
}
