//! The projects of this host, for the skills of its node: the directories that `packages.toml` names, and trees that were
//! uploaded.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use aigis_deploy::{
    Options, Tree, analyze,
    dockerfile::{self, SaveError, Surroundings},
    fill::Filled,
    manifest::{self, Directory},
    plan,
    source::Source,
};
use aigis_node::Node;
use aigis_proxy::{
    Code, Error, Name,
    blob::{Digest, Life, Store},
    services::projects::{Listed, Pack, Packed, Projects, Save, Saved, SavedFile, Test, Trial},
};
use aigis_registry::{
    archive::{self, Existing, Limits},
    tree,
};
use futures::{FutureExt as _, future::BoxFuture};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};

use self::{
    kept::{Kept, Shown},
    packer::Packer,
};
use super::super::{
    dockerfile::{propose, question, settings, unreadable, unsaved},
    fill,
};
use crate::{model::Model, scratch::Scratch};

mod kept;
mod packer;

/// How many trees are looked at at once.
const AT_ONCE: usize = 2;
/// Longest Dockerfile that is judged, in bytes.
const LONGEST: usize = 1024 * 1024;
/// Where all this lies, in the mesh's directory.
const FOLDER: &str = "projects";

/// Has the node answer for the projects of its host. A node that cannot serves all the same.
pub(super) fn serve(node: &Node) {
    let root = node.home().root().join(FOLDER);
    let trees = root.join("trees");
    // What a former life of this process was looking at is of no use.
    match fs::remove_dir_all(&trees) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::warn!(%error, "old trees stay on the disk"),
        _ => {}
    }
    let proposals = root.join("proposals");
    let made = fs::create_dir_all(&trees).and_then(|()| fs::create_dir_all(&proposals));
    if let Err(error) = made {
        tracing::error!(%error, "this node answers for no projects: their directory cannot be made");
        return;
    }
    let packer = match Packer::of(node) {
        Ok(packer) => packer,
        Err(error) => {
            tracing::error!(%error, "this node answers for no projects");
            return;
        }
    };
    let desk = Desk {
        packer,
        kept: Kept::of(proposals),
        replaced: node.home().data().join("replaced"),
        trees,
        blobs: Store::new(node.bus()),
        reading: Semaphore::new(AT_ONCE),
        writing: Mutex::default(),
    };
    node.serve_projects(Arc::new(Served(Arc::new(desk))));
}

/// What answers for projects.
struct Desk {
    packer: Packer,
    kept: Kept,
    /// Where goes what is written over.
    replaced: PathBuf,
    /// Where uploaded trees lie while they are looked at.
    trees: PathBuf,
    blobs: Store,
    /// How many may look at a tree now.
    reading: Semaphore,
    /// Who keeps or saves a proposal.
    writing: Mutex<()>,
}

/// A project's files; an uploaded tree goes with this.
struct Found {
    directory: PathBuf,
    scratch: Option<Scratch>,
}

impl Desk {
    /// The files of a project.
    async fn find(&self, project: &str) -> Result<Found, Error> {
        if project.starts_with("sha256:") {
            return self.uploaded(project.parse()?).await;
        }
        let name = Name::parse(project).map_err(|error| {
            Error::invalid(format!("argument \"project\": {error}"))
                .hint("a project is a name of the table [projects] in packages.toml, or the digest of an uploaded tree")
        })?;
        let projects = settings().map_err(crate::exit::Failure::into_error)?.projects;
        let Some(directory) = projects.get(name.as_str()) else {
            let there: Vec<&str> = projects.keys().map(String::as_str).collect();
            let hint = match there.is_empty() {
                true => "name one in the table [projects] of this host's packages.toml".to_owned(),
                false => format!("this host has {}", there.join(", ")),
            };
            return Err(Error::new(Code::NotFound, format!("no project is called \"{name}\" here")).hint(hint));
        };
        if !directory.is_dir() {
            let message = format!("the project {name} is no directory: {}", aigis_proxy::text_file::shown(directory));
            return Err(Error::precondition(message).hint("name another one in packages.toml"));
        }
        Ok(Found { directory: directory.clone(), scratch: None })
    }

    async fn uploaded(&self, digest: Digest) -> Result<Found, Error> {
        let Some(blob) = self.blobs.find(Life::Kept, &digest).await? else {
            let message = format!("the mesh has no tree {digest}");
            return Err(Error::new(Code::NotFound, message).hint("upload it again; what nothing names is not kept"));
        };
        let made = Scratch::below(&self.trees);
        let scratch =
            made.map_err(|error| Error::internal(format!("a directory for the tree cannot be made: {error}")))?;
        let directory = scratch.path().join("tree");
        tree::fetch(&self.blobs, &Some(blob), &directory).await?;
        Ok(Found { directory, scratch: Some(scratch) })
    }

    /// Looks at a project's files, in a thread that may block.
    async fn look<T: Send + 'static>(
        &self,
        project: &str,
        work: impl FnOnce(&Path) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _turn = self.reading.acquire().await.map_err(|_| Error::internal("nobody looks at projects any more"))?;
        let found = self.find(project).await?;
        let Found { directory, scratch } = found;
        blocking(move || {
            let done = work(&directory);
            drop(scratch);
            done
        })
        .await
    }

    async fn propose(&self, project: String, application: Option<String>, fills: bool) -> Result<Value, Error> {
        let mut filled = if fills { self.filled(&project, application.clone()).await? } else { Vec::new() };
        let app = application.clone();
        let (proposal, filled) = self
            .look(&project, move |directory| {
                let warn = |warning: String| tracing::warn!("{warning}");
                let propose =
                    |filled: &[Filled]| propose(directory, app.clone(), BTreeMap::new(), filled.to_vec(), warn);
                let (proposal, _) = fill::made(&mut filled, warn, propose)?;
                Ok((proposal, filled))
            })
            .await?;
        let value = value(&proposal)?;
        let _turn = self.writing.lock().await;
        let kept = self.kept.clone();
        blocking(move || kept.keep(Shown { project, application, filled, proposal })).await?;
        Ok(value)
    }

    /// With what the model of this host fills the gaps of an application. Nobody else has a turn taken from while it is asked.
    async fn filled(&self, project: &str, application: Option<String>) -> Result<Vec<Filled>, Error> {
        let model = Model::configured().map_err(crate::exit::Failure::into_error)?;
        let (tree, asks) = self.look(project, move |directory| question(directory, application.as_deref())).await?;
        let asked = fill::ask(&model, asks).await;
        blocking(move || {
            let (filled, warnings) = fill::judge(model.name(), &tree, &asked);
            // The proposal is the same as without a model, so it is told here.
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            Ok(filled)
        })
        .await
    }

    async fn proposed(&self, proposal: String, project: String) -> Result<String, Error> {
        let (kept, named) = (self.kept.clone(), project.clone());
        let shown = blocking(move || shown_for(&kept, &proposal, &named)).await?;
        self.look(&project, move |directory| {
            unchanged(directory, &shown)?;
            let bases = settings().map_err(crate::exit::Failure::into_error)?.bases();
            let refused = |why: plan::Error| Error::new(why.code(), why.to_string());
            shown.proposal.in_whole_tree(&bases).map_err(refused)
        })
        .await
    }

    async fn save(&self, save: Save) -> Result<Saved, Error> {
        let Save { proposal, project, replace } = save;
        let _turn = self.writing.lock().await;
        let kept = self.kept.clone();
        let shown = blocking(move || kept.find(&proposal, project.as_deref())).await?;
        if shown.project.starts_with("sha256:") {
            let message = format!("{} is an uploaded tree: it has no directory here", shown.project);
            return Err(Error::precondition(message).hint("save it where the files are: aish dockerfile --save"));
        }
        let (replaced, project) = (self.replaced.clone(), shown.project.clone());
        self.look(&project, move |directory| {
            unchanged(directory, &shown)?;
            let saved = dockerfile::save(directory, &shown.proposal.files, replace, &replaced).map_err(|error| {
                let failure = unsaved(&error);
                match error {
                    SaveError::Exists { diff, .. } => failure.hint("write over it: replace=true").with("diff", diff),
                    _ => failure,
                }
            })?;
            let files = saved.into_iter().map(|file| SavedFile { path: file.path, written: file.written });
            let files: Vec<SavedFile> = files.collect();
            Ok(Saved { changed: files.iter().any(|file| file.written), files })
        })
        .await
    }
}

/// What was shown for a project under that id; refused if it was shown for others alone.
fn shown_for(kept: &Kept, proposal: &str, project: &str) -> Result<Shown, Error> {
    let found = kept.find(proposal, Some(project));
    let is_known = || !matches!(kept.find(proposal, None), Err(error) if error.code == Code::NotFound);
    match found {
        Err(error) if error.code == Code::NotFound && is_known() => {
            let message = format!("{proposal} was proposed for another tree than {project}");
            Err(Error::precondition(message).hint("have it proposed again, and look at it: dockerfile.propose"))
        }
        found => found,
    }
}

/// Refuses a proposal of files that are others by now.
fn unchanged(directory: &Path, shown: &Shown) -> Result<(), Error> {
    let changed = |why: String| {
        Error::precondition(format!("the project {} is not what it was: {why}", shown.project))
            .hint("have it proposed again, and look at it: dockerfile.propose")
    };
    let (now, _) = propose(directory, shown.application.clone(), BTreeMap::new(), shown.filled.clone(), |_| ())
        .map_err(|error| changed(error.message))?;
    if now.id != shown.proposal.id {
        return Err(changed(format!("it leads to {} now, not to {}", now.id, shown.proposal.id)));
    }
    Ok(())
}

/// Puts the context of a proposal's build at `into`: the source tree, and what is proposed beside the Dockerfile.
fn lay_out(directory: &Path, shown: &Shown, into: &Path) -> Result<Trial, Error> {
    let proposal = &shown.proposal;
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| Error::internal(format!("{what}: {error}"))
    };
    let source = Source { project: directory, root: &proposal.root, exclude: &[] };
    let packed = into.with_extension("tar");
    let (_, out) = source.pack(|| fs::File::create(&packed))?;
    drop(out);
    let archive = fs::File::open(&packed).map_err(failed("a context cannot be read"))?;
    archive::unpack(io::BufReader::new(archive), into, Existing::Refuse, &Limits::TREE)?;
    fs::remove_file(&packed).map_err(failed("a context's archive cannot be removed"))?;
    let below = |path: &str| match proposal.root.as_str() {
        "." => Some(path.to_owned()),
        root => path.strip_prefix(root)?.strip_prefix('/').map(str::to_owned),
    };
    let ignore = proposal.files.iter().find(|file| below(&file.path).as_deref() == Some(".dockerignore"));
    let ignore = match ignore {
        Some(file) => Some(file.content.clone().into_bytes()),
        None => dockerfile::present(&directory.join(&proposal.root).join(".dockerignore"))
            .map_err(failed("the .dockerignore of a project cannot be read"))?,
    };
    if let Some(ignore) = ignore {
        fs::write(into.join(".dockerignore"), ignore).map_err(failed("a context cannot be written"))?;
    }
    let text = proposal.files.iter().find(|file| file.path.ends_with("Dockerfile"));
    let dockerfile = text.map(|file| file.content.clone()).unwrap_or_default();
    Ok(Trial { dockerfile, ports: proposal.plan.image.ports.clone() })
}

/// The desk, as its node asks it.
struct Served(Arc<Desk>);

impl Projects for Served {
    fn list(&self) -> BoxFuture<'static, Result<Vec<Listed>, Error>> {
        blocking(|| {
            let projects = settings().map_err(crate::exit::Failure::into_error)?.projects;
            let listed = projects.into_iter().map(|(name, directory)| Listed {
                name,
                manifest: manifest_of(&directory),
                directory: directory.display().to_string(),
            });
            Ok(listed.collect())
        })
        .boxed()
    }

    fn analyze(&self, project: String) -> BoxFuture<'static, Result<Value, Error>> {
        let desk = self.0.clone();
        async move {
            desk.look(&project, |directory| {
                let tree = Tree::read(directory).map_err(|error| unreadable(directory, &error))?;
                let found = analyze(&tree, &Options::default());
                value(&found.map_err(|nothing| Error::precondition(nothing.to_string()).hint("write a Dockerfile"))?)
            })
            .await
        }
        .boxed()
    }

    fn propose(
        &self,
        project: String,
        application: Option<String>,
        fills: bool,
    ) -> BoxFuture<'static, Result<Value, Error>> {
        let desk = self.0.clone();
        async move { desk.propose(project, application, fills).await }.boxed()
    }

    fn lint(&self, content: String) -> BoxFuture<'static, Result<Value, Error>> {
        if content.len() > LONGEST {
            let message = format!("it has {} bytes, at most {LONGEST} are read", content.len());
            return std::future::ready(Err(Error::invalid(message))).boxed();
        }
        // The text alone: nothing is known of what stands beside it.
        blocking(move || {
            let mut findings = dockerfile::lint(&content, &Surroundings::default());
            findings.retain(|finding| finding.rule != "ignore-lacks");
            value(&findings)
        })
        .boxed()
    }

    fn save(&self, save: Save) -> BoxFuture<'static, Result<Saved, Error>> {
        let desk = self.0.clone();
        async move { desk.save(save).await }.boxed()
    }

    fn context(&self, test: Test, into: PathBuf) -> BoxFuture<'static, Result<Trial, Error>> {
        let desk = self.0.clone();
        async move {
            let kept = desk.kept.clone();
            let shown = blocking(move || kept.find(&test.proposal, test.project.as_deref())).await?;
            let project = shown.project.clone();
            desk.look(&project, move |directory| {
                unchanged(directory, &shown)?;
                lay_out(directory, &shown, &into)
            })
            .await
        }
        .boxed()
    }

    fn proposed(&self, proposal: String, tree: Digest) -> BoxFuture<'static, Result<String, Error>> {
        let desk = self.0.clone();
        async move { desk.proposed(proposal, tree.to_string()).await }.boxed()
    }

    fn pack(&self, by: String, pack: Pack) -> BoxFuture<'static, Result<Packed, Error>> {
        let desk = self.0.clone();
        async move {
            let found = desk.find(&pack.project).await?;
            desk.packer.build(by, &pack, found)
        }
        .boxed()
    }

    fn verify(&self, by: String, id: String) -> BoxFuture<'static, Result<Packed, Error>> {
        std::future::ready(self.0.packer.verify(by, id)).boxed()
    }
}

/// The digest of a project's manifest, if it has a valid one.
fn manifest_of(directory: &Path) -> Option<String> {
    let file = directory.join(manifest::FILE);
    // A link to elsewhere, or a FIFO, is no manifest.
    fs::symlink_metadata(&file).ok().filter(|about| about.is_file())?;
    let mut bytes = Vec::new();
    let most = aigis_deploy::json::MAX_BYTES as u64 + 1;
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(&file).ok()?, most), &mut bytes).ok()?;
    let checked = manifest::check(&bytes, &Directory(directory.to_owned()));
    checked.document.map(|document| document.spec().to_string())
}

fn value(of: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(of).map_err(|error| Error::internal(format!("the result has no JSON form: {error}")))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::internal("the thread that looks at a project ended"))?
}
