//! Packages, as whoever works with them sees them: those of a host without a mesh, or those of a mesh.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use aigis_proxy::{Code, Error};
use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Blobs, Build, Record, State,
    blobs::unwritable,
    catalogue, content,
    files::Files,
    find::{self, Known},
    member::Member,
    records::{Records, Sizes},
};
use crate::Digest;

/// How long blobs stay that no record names.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// How the directories are named in which archives are looked at.
pub(super) const IMPORTING: &str = ".import-";

/// Packages, and a directory in which content of theirs lies. All that it does blocks.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    blobs: Blobs,
    place: Place,
}

/// Where the records are.
#[derive(Debug)]
enum Place {
    Host(Files),
    Mesh(Box<Member>),
}

/// What is to be registered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The package; its parents are set by [`Store::register`], and in a mesh by whom and when it was made.
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parents {
    /// The newest of its project.
    Newest,
    /// The one that was named, as [`Store::find`] knows it.
    Named(Digest),
    /// What its record says, though none of them may be known here.
    Recorded,
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The packages of this host alone, in that directory, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// `failed_precondition` where it cannot be made.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let place = Place::Host(Files::open(root)?);
        Ok(Self { root: root.to_owned(), blobs: Blobs::open(root)?, place }.swept())
    }

    /// The packages of a mesh. What of them is needed here is brought to that directory.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn of_mesh(root: &Path, member: Member) -> Result<Self, Error> {
        let place = Place::Mesh(Box::new(member));
        Ok(Self { root: root.to_owned(), blobs: Blobs::open(root)?, place }.swept())
    }

    /// What they are made of, as far as it is here.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn records(&self) -> &dyn Records {
        match &self.place {
            Place::Host(files) => files,
            Place::Mesh(member) => member.records(),
        }
    }

    /// Waits for what the records say: those of a host say it at once.
    fn wait<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match &self.place {
            Place::Host(_) => asked.now_or_never().ok_or_else(|| Error::internal("a file was waited for"))?,
            Place::Mesh(member) => member.wait(asked),
        }
    }

    /// All packages, by project and time.
    ///
    /// # Errors
    ///
    /// `data_loss` for a record that cannot be read; what the mesh says.
    pub fn list(&self) -> Result<Vec<Known>, Error> {
        self.wait(catalogue::list(self.records()))
    }

    /// The package that a text names: `sha256:` and twelve digits or more, a project's newest, `PROJECT:TAG`.
    ///
    /// # Errors
    ///
    /// `not_found`, with the nearest, or `invalid_argument` with the candidates; `data_loss` for a record that is not of the
    /// content that its id names.
    pub fn find(&self, text: &str) -> Result<Known, Error> {
        let known = find::find(self.list()?, text)?;
        let Err(error) = self.look_at(&known.record) else { return Ok(known) };
        // It may have been removed since it was listed: then the text means an older one, or none.
        let now = find::find(self.list()?, text)?;
        if error.code != Code::DataLoss || now.record.id == known.record.id {
            return Err(error);
        }
        self.look_at(&now.record).map(|()| now)
    }

    /// Looks whether a record is of the content that its id names.
    fn look_at(&self, record: &Record) -> Result<(), Error> {
        self.bring(record, |digest| *digest == record.id)?;
        if content::is_of(&self.blobs, record)? {
            return Ok(());
        }
        let message = format!("the record of the package {} is not of the content that its id names", record.id);
        Err(Error::new(Code::DataLoss, message).hint("remove it, and build or import the package again"))
    }

    /// Sees to it that content of a package is here, as far as it is wanted.
    pub(super) fn bring(&self, record: &Record, wanted: impl Fn(&Digest) -> bool) -> Result<(), Error> {
        match &self.place {
            Place::Host(_) => Ok(()),
            Place::Mesh(member) => member.wait(member.bring(&self.blobs, record, wanted)),
        }
    }

    /// The record of that id.
    ///
    /// # Errors
    ///
    /// `data_loss` for one that cannot be read.
    pub fn record(&self, id: &Digest) -> Result<Option<Record>, Error> {
        self.wait(self.records().record(id)).map(|(record, _)| record)
    }

    /// What changes of a package.
    ///
    /// # Errors
    ///
    /// `data_loss` for what cannot be read.
    pub fn state(&self, id: &Digest) -> Result<State, Error> {
        self.wait(self.records().state(id)).map(|(state, _)| state.unwrap_or_default())
    }

    /// The builds of these inputs, in the order in which they were put on record.
    ///
    /// # Errors
    ///
    /// `data_loss` for one that cannot be read.
    pub fn builds(&self, inputs: &Digest) -> Result<Vec<Build>, Error> {
        self.wait(self.records().builds(inputs))
    }

    /// Registers a package: a record that is there stays as it is, and gets one more build.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a parent that is not known; `already_exists` where it is known with other parents than those
    /// that are named; `failed_precondition` for a parent that was removed; `data_loss` where the same inputs gave another
    /// output though no engine took part; `permission_denied` for who may not write in the mesh.
    pub fn register(&self, registration: Registration) -> Result<Registered, Error> {
        match &self.place {
            Place::Host(files) => self.wait(catalogue::register(files, registration, &Sizes::new())),
            Place::Mesh(member) => member.wait(member.register(&self.blobs, registration)),
        }
    }

    /// Puts a build on record of a package that is known; in a mesh, only a node can.
    ///
    /// # Errors
    ///
    /// `data_loss` where the same inputs gave another output though no engine took part; `internal` for who is no node.
    pub(super) fn add_build(&self, build: &Build) -> Result<(), Error> {
        self.wait(catalogue::add_build(self.records(), build))
    }

    /// What a package follows, the newest first: itself, and all above it.
    ///
    /// # Errors
    ///
    /// `data_loss` for a record that cannot be read.
    pub fn lineage(&self, id: &Digest) -> Result<Vec<Ancestor>, Error> {
        self.wait(catalogue::lineage(self.records(), *id))
    }

    /// Refuses who may not push packages elsewhere.
    pub(super) fn pushes(&self, id: &Digest) -> Result<(), Error> {
        match &self.place {
            Place::Host(_) => Ok(()),
            Place::Mesh(member) => member.wait(member.pushes(*id)),
        }
    }

    /// Notes where a package was pushed to.
    pub(super) fn pushed(&self, id: &Digest, place: super::Place) -> Result<(), Error> {
        match &self.place {
            Place::Host(files) => self.wait(catalogue::place(files, id, &place)),
            Place::Mesh(member) => member.wait(member.pushed(*id, place)),
        }
    }

    /// Removes a package that nothing follows; what it is made of goes a day later, unless another needs it.
    ///
    /// # Errors
    ///
    /// `failed_precondition` that names its children; `permission_denied` for who is no admin of the mesh.
    pub fn remove(&self, record: &Record) -> Result<(), Error> {
        match &self.place {
            Place::Host(files) => {
                self.wait(catalogue::remove(files, &record.id))?;
                let _turn = self.wait(files.turn())?;
                self.sweep()
            }
            Place::Mesh(member) => member.wait(member.remove(record.id)),
        }
    }

    /// Removes what no record names any more.
    fn sweep(&self) -> Result<(), Error> {
        let mut named = HashSet::new();
        for known in self.list()? {
            named.extend(self.content(&known.record)?.iter().map(Digest::hex));
            named.extend(known.record.sources().iter().map(Digest::hex));
        }
        named.extend(self.blobs.kept_phases().map_err(|error| unwritable(&self.root, &error))?);
        let swept = self.blobs.sweep(KEPT, |name| named.contains(name));
        swept.map(drop).map_err(|error| unwritable(&self.root, &error))
    }

    /// The same, without what killed processes left here of what they wrote.
    fn swept(self) -> Self {
        if let Err(error) = self.blobs.sweep_parts(KEPT).and_then(|()| self.sweep_imports()) {
            // Another one sweeps as well, or it is no disk to write to: whoever has to will say so.
            tracing::debug!(%error, "what killed processes left of packages is looked for later");
        }
        self
    }

    /// Removes what is left of archives that were taken in.
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
        content::all(&self.blobs, record)
    }

    /// A document of a package that is JSON, and is here.
    ///
    /// # Errors
    ///
    /// `data_loss` for one that cannot be read.
    pub fn value(&self, digest: &Digest) -> Result<Value, Error> {
        content::value(&self.blobs, digest)
    }
}
