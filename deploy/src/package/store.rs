//! The packages of a host without a mesh: files in its data directory. Records are made once, under a lock that all
//! share.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use aigis_proxy::{Code, Error, text_file};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Blobs, Build, Record, State,
    blobs::unwritable,
    find::{self, Known},
};
use crate::Digest;

/// How long blobs stay that no record names.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// How the directories are named in which archives are looked at.
pub(super) const IMPORTING: &str = ".import-";

/// A directory of packages.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    blobs: Blobs,
}

/// What is to be registered.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The package; its parents are set by [`Store::register`].
    pub record: Record,
    /// The build that made it, unless it comes from elsewhere.
    pub build: Option<Build>,
    /// Names for it.
    pub tags: BTreeSet<String>,
    /// What is said of it.
    pub labels: BTreeMap<String, String>,
    /// What the manifest says of the project.
    pub description: Option<String>,
    /// What it follows.
    pub parents: Parents,
}

/// What a package follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parents {
    /// The newest of its project.
    Newest,
    /// The one that was named, as [`Store::find`] knows it.
    Named(Digest),
    /// What its record says, though none of them may be known here.
    Recorded,
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The package.
    pub record: Record,
    /// Whether it is new.
    pub created: bool,
}

/// One of those that a package follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ancestor {
    /// Which.
    pub id: Digest,
    /// The package, unless it is not known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
    /// Whether it is not known here.
    pub external: bool,
}

impl Store {
    /// The packages in that directory, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// `failed_precondition` where it cannot be made.
    pub fn open(root: &Path) -> Result<Self, Error> {
        for directory in ["records", "builds", "state"] {
            let path = root.join(directory);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|error| unwritable(&path, &error))?;
        }
        Ok(Self { root: root.to_owned(), blobs: Blobs::open(root)? })
    }

    /// What they are made of.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All packages, by project and time.
    ///
    /// # Errors
    ///
    /// `data_loss` for a record that cannot be read.
    pub fn list(&self) -> Result<Vec<Known>, Error> {
        let mut all = Vec::new();
        for path in self.files("records")? {
            let record: Record = read(&path)?.ok_or_else(|| damaged(&path, "it is gone"))?;
            let state = self.state(&record.id)?;
            all.push(Known { record, state });
        }
        all.sort_by(|a, b| {
            let key = |known: &Known| (known.record.project.clone(), known.record.created_at, known.record.id);
            key(a).cmp(&key(b))
        });
        Ok(all)
    }

    /// The package that a text names: `sha256:` and twelve digits or more, a project's newest, `PROJECT:TAG`.
    ///
    /// # Errors
    ///
    /// `not_found`, with the nearest, or `invalid_argument` with the candidates; `data_loss` for a record that is not of the
    /// content that its id names.
    pub fn find(&self, text: &str) -> Result<Known, Error> {
        let known = find::find(self.list()?, text)?;
        self.check(&known.record)?;
        Ok(known)
    }

    /// The record of that id.
    ///
    /// # Errors
    ///
    /// `data_loss` for one that cannot be read.
    pub fn record(&self, id: &Digest) -> Result<Option<Record>, Error> {
        read(&self.file("records", id))
    }

    /// What changes of a package.
    ///
    /// # Errors
    ///
    /// `data_loss` for what cannot be read.
    pub fn state(&self, id: &Digest) -> Result<State, Error> {
        Ok(read(&self.file("state", id))?.unwrap_or_default())
    }

    /// The builds of these inputs, by time.
    ///
    /// # Errors
    ///
    /// `data_loss` for one that cannot be read.
    pub fn builds(&self, inputs: &Digest) -> Result<Vec<Build>, Error> {
        let mut builds = Vec::new();
        for path in self.files(&format!("builds/{}", inputs.hex()))? {
            builds.extend(read::<Build>(&path)?);
        }
        builds.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
        Ok(builds)
    }

    /// Registers a package: a record that is there stays as it is, and gets one more build.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a parent that is not known; `already_exists` where it is known with other parents than those
    /// that are named; `failed_precondition` for a parent that was removed; `data_loss` where the same inputs gave another
    /// output though no engine took part.
    pub fn register(&self, registration: Registration) -> Result<Registered, Error> {
        let _turn = self.turn()?;
        let Registration { mut record, build, tags, labels, description, parents } = registration;
        let id = record.id;
        if let Some(build) = &build {
            self.agrees(build)?;
        }
        let known = self.record(&id)?;
        let created = known.is_none();
        let record = match known {
            Some(known) => {
                if let Parents::Named(parent) = &parents
                    && known.parents != [*parent]
                {
                    let follows = known.parents.iter().map(Digest::to_string).collect::<Vec<_>>().join(", ");
                    let follows = if follows.is_empty() { "nothing".to_owned() } else { follows };
                    let message = format!("the package {id} is known, and follows {follows}, not {parent}");
                    return Err(Error::new(Code::AlreadyExists, message).hint("leave out --parent"));
                }
                known
            }
            None => {
                record.parents = self.adopted(&record, parents)?;
                // First what it must not stand without.
                self.write(&self.file("state", &id), &State { description, ..State::default() })?;
                self.create(&record)?;
                record
            }
        };
        self.name(&record, tags, labels)?;
        if let Some(build) = build {
            let path = self.root.join("builds").join(build.inputs.hex()).join(format!("{}.json", build.id));
            self.write(&path, &build)?;
        }
        Ok(Registered { record, created })
    }

    /// The parents of a new package, which know of it then.
    fn adopted(&self, record: &Record, parents: Parents) -> Result<Vec<Digest>, Error> {
        let is_asked = parents != Parents::Recorded;
        let parents = match parents {
            Parents::Recorded => record.parents.clone(),
            Parents::Named(parent) => vec![parent],
            Parents::Newest => {
                let of_project = |known: &Known| known.record.project == record.project;
                self.list()?
                    .iter()
                    .rev()
                    .find(|known| of_project(known))
                    .map(|known| known.record.id)
                    .into_iter()
                    .collect()
            }
        };
        for parent in &parents {
            let is_known = self.record(parent)?.is_some();
            let mut state = self.state(parent)?;
            if state.removed || !is_known && is_asked {
                return Err(Error::precondition(format!("the package {parent} was removed, so nothing can follow it")));
            }
            if !is_known {
                continue;
            }
            state.children.insert(record.id);
            self.write(&self.file("state", parent), &state)?;
        }
        Ok(parents)
    }

    /// Gives a package its tags, which leave the others of its project, and its labels.
    fn name(&self, record: &Record, tags: BTreeSet<String>, labels: BTreeMap<String, String>) -> Result<(), Error> {
        for other in self.list()?.into_iter().filter(|known| known.record.project == record.project) {
            if other.record.id != record.id && !other.state.tags.is_disjoint(&tags) {
                let mut state = other.state;
                state.tags.retain(|tag| !tags.contains(tag));
                self.write(&self.file("state", &other.record.id), &state)?;
            }
        }
        let mut state = self.state(&record.id)?;
        state.tags.extend(tags);
        state.labels.extend(labels);
        self.write(&self.file("state", &record.id), &state)
    }

    /// Whether builds of the same inputs gave the same, where nothing could make a difference.
    fn agrees(&self, build: &Build) -> Result<(), Error> {
        let other = self.builds(&build.inputs)?.into_iter().find(|known| {
            known.tier == 0 && build.tier == 0 && (known.package, &known.outputs) != (build.package, &build.outputs)
        });
        let Some(other) = other else { return Ok(()) };
        let message = format!(
            "the inputs {} gave {} here and {} before ({}), though nothing but this program made them",
            build.inputs, build.package, other.package, other.id
        );
        Err(Error::new(Code::DataLoss, message).hint("look at the disk and the memory of this host"))
    }

    /// What a package follows, the newest first: itself, and all above it.
    ///
    /// # Errors
    ///
    /// `data_loss` for a record that cannot be read.
    pub fn lineage(&self, record: Record) -> Result<Vec<Ancestor>, Error> {
        let mut line: Vec<Ancestor> = Vec::new();
        let mut seen = HashSet::new();
        let mut waiting = std::collections::VecDeque::from([record.id]);
        while let Some(id) = waiting.pop_front() {
            if !seen.insert(id) {
                continue;
            }
            let record = self.record(&id)?;
            waiting.extend(record.iter().flat_map(|record| &record.parents));
            line.push(Ancestor { id, external: record.is_none(), record });
        }
        Ok(line)
    }

    /// Removes a package that nothing follows; what it is made of goes a day later, unless another needs it.
    ///
    /// # Errors
    ///
    /// `failed_precondition` that names its children.
    pub fn remove(&self, record: &Record) -> Result<(), Error> {
        let _turn = self.turn()?;
        let state = self.state(&record.id)?;
        // One whose record is not there was given up half-way.
        let mut children = Vec::new();
        for child in &state.children {
            children.extend(self.record(child)?.map(|child| child.id.to_string()));
        }
        if !children.is_empty() {
            let message = format!("the package {} is followed by {}", record.id, children.join(", "));
            return Err(Error::precondition(message).hint("remove these first: aish packages rm ID"));
        }
        // Tags of what is gone are nobody's; that it was there is known.
        self.write(&self.file("state", &record.id), &State { removed: true, ..State::default() })?;
        let path = self.file("records", &record.id);
        fs::remove_file(&path).map_err(|error| unwritable(&path, &error))?;
        for parent in &record.parents {
            let mut state = self.state(parent)?;
            if state.children.remove(&record.id) {
                self.write(&self.file("state", parent), &state)?;
            }
        }
        self.sweep()
    }

    /// Removes what no record names any more.
    fn sweep(&self) -> Result<(), Error> {
        let mut named = HashSet::new();
        for known in self.list()? {
            named.extend(self.content(&known.record)?.iter().map(Digest::hex));
            named.extend(known.record.trees.values().map(Digest::hex));
        }
        let swept = self.blobs.sweep(KEPT, |name| named.contains(name)).and_then(|_| self.sweep_imports());
        swept.map_err(|error| unwritable(&self.root, &error))
    }

    /// Removes what killed processes left of archives that they took in.
    fn sweep_imports(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let is_left = entry.file_name().as_encoded_bytes().starts_with(IMPORTING.as_bytes());
            if is_left && entry.metadata()?.modified()?.elapsed().is_ok_and(|elapsed| elapsed > KEPT) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// All blobs that a package consists of: its index, its documents, its images, their configurations and layers.
    ///
    /// # Errors
    ///
    /// `data_loss` for a document that cannot be read.
    pub fn content(&self, record: &Record) -> Result<BTreeSet<Digest>, Error> {
        let mut all = BTreeSet::from([record.id]);
        let index: Value = self.value(&record.id)?;
        for manifest in described(&index, "manifests") {
            all.insert(manifest);
            let manifest = self.value(&manifest)?;
            all.extend(described(&manifest, "layers"));
            all.extend(manifest.get("config").and_then(of_descriptor));
        }
        Ok(all)
    }

    /// A document of a package that is JSON.
    ///
    /// # Errors
    ///
    /// `data_loss` for one that cannot be read.
    pub fn value(&self, digest: &Digest) -> Result<Value, Error> {
        let bytes = self.blobs.document(digest)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(Code::DataLoss, format!("the document {digest} is no JSON: {error}")))
    }

    /// Whether a record is of the content that its id names.
    fn check(&self, record: &Record) -> Result<(), Error> {
        let index = self.value(&record.id)?;
        let outputs: Vec<Digest> = described(&index, "manifests").skip(1).collect();
        let recorded: Vec<Digest> = record.images.iter().map(|image| image.output).collect();
        if record.is_sound() && outputs == recorded {
            return Ok(());
        }
        Err(damaged(&self.file("records", &record.id), "it is not of the content that its id names"))
    }

    fn file(&self, kind: &str, id: &Digest) -> PathBuf {
        self.root.join(kind).join(format!("{}.json", id.hex()))
    }

    /// The files of a directory that hold something whole.
    fn files(&self, directory: &str) -> Result<Vec<PathBuf>, Error> {
        let path = self.root.join(directory);
        let listed = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.and_then(Iterator::collect::<io::Result<Vec<_>>>),
        };
        let listed = listed.map_err(|error| damaged(&path, &error.to_string()))?;
        let mut paths: Vec<PathBuf> = listed.iter().map(fs::DirEntry::path).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "json"));
        paths.sort();
        Ok(paths)
    }

    /// While the returned file is open, nobody else writes records.
    fn turn(&self) -> Result<File, Error> {
        let path = self.root.join("lock");
        let locked = File::create(&path).and_then(|file| file.lock().map(|()| file));
        locked.map_err(|error| unwritable(&path, &error))
    }

    /// Writes a record, if there is none.
    fn create(&self, record: &Record) -> Result<(), Error> {
        let path = self.file("records", &record.id);
        let written = written(&path, record)?;
        written.persist_noclobber(&path).map(drop).map_err(|error| unwritable(&path, &error.error))
    }

    fn write(&self, path: &Path, value: &impl Serialize) -> Result<(), Error> {
        written(path, value)?.persist(path).map(drop).map_err(|error| unwritable(path, &error.error))
    }
}

/// A file beside `path` that holds the value, whole and on the disk.
fn written(path: &Path, value: &impl Serialize) -> Result<tempfile::NamedTempFile, Error> {
    let write = || {
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let mut file = tempfile::Builder::new().prefix(".part-").tempfile_in(directory)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().map_err(|error: io::Error| unwritable(path, &error))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(damaged(path, &error.to_string())),
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| damaged(path, &error.to_string())),
    }
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::new(Code::DataLoss, format!("{} cannot be used: {why}", text_file::shown(path)))
        .hint("remove the file, and build or import the package again")
}

/// The digests that a list of descriptors names.
pub(super) fn described<'a>(document: &'a Value, list: &str) -> impl Iterator<Item = Digest> + 'a {
    document.get(list).and_then(Value::as_array).into_iter().flatten().filter_map(of_descriptor)
}

fn of_descriptor(descriptor: &Value) -> Option<Digest> {
    descriptor.get("digest")?.as_str()?.parse().ok()
}
