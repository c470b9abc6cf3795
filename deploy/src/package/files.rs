//! The records of a host without a mesh: files in its data directory, under a lock that all share.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use aigis_proxy::{Code, Error, text_file};
use futures::{FutureExt as _, future::ready};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Build, Known, Record, State,
    blobs::unwritable,
    records::{Asked, At, Records, Sizes, Turn},
};
use crate::Digest;

/// A directory of records. Whoever has the turn is alone, so that revisions say nothing here, and what is asked is answered
/// at once.
#[derive(Debug, Clone)]
pub(super) struct Files {
    root: PathBuf,
}

impl Files {
    /// The records in that directory, which is made if it is not there.
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        for directory in ["records", "builds", "state"] {
            let path = root.join(directory);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|error| unwritable(&path, &error))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Where a record, or what changes of it, lies.
    pub(super) fn file(&self, kind: &str, id: &Digest) -> PathBuf {
        self.root.join(kind).join(format!("{}.json", id.hex()))
    }

    fn read_all(&self) -> Result<Vec<Known>, Error> {
        let mut all = Vec::new();
        for path in self.listed("records")? {
            let record: Record = read(&path)?.ok_or_else(|| damaged(&path, "it is gone"))?;
            let state = read(&self.file("state", &record.id))?.unwrap_or_default();
            all.push(Known { record, state });
        }
        Ok(all)
    }

    /// The files of a directory that hold something whole.
    fn listed(&self, directory: &str) -> Result<Vec<PathBuf>, Error> {
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
    fn lock(&self) -> Result<Turn, Error> {
        let path = self.root.join("lock");
        let locked = File::create(&path).and_then(|file| file.lock().map(|()| file));
        locked.map(|file| Box::new(file) as Turn).map_err(|error| unwritable(&path, &error))
    }
}

impl Records for Files {
    fn all(&self) -> Asked<'_, Vec<Known>> {
        ready(self.read_all()).boxed()
    }

    fn record<'a>(&'a self, id: &'a Digest) -> Asked<'a, At<Record>> {
        ready(read(&self.file("records", id)).map(|record| (record, 0))).boxed()
    }

    fn state<'a>(&'a self, id: &'a Digest) -> Asked<'a, At<State>> {
        ready(read(&self.file("state", id)).map(|state| (state, 0))).boxed()
    }

    fn builds<'a>(&'a self, inputs: &'a Digest) -> Asked<'a, Vec<Build>> {
        let read = || {
            let paths = self.listed(&format!("builds/{}", inputs.hex()))?;
            paths.iter().filter_map(|path| read(path).transpose()).collect()
        };
        ready(read()).boxed()
    }

    fn turn(&self) -> Asked<'_, Turn> {
        ready(self.lock()).boxed()
    }

    fn create<'a>(&'a self, record: &'a Record, _: &'a Sizes, _: u64) -> Asked<'a, bool> {
        let path = self.file("records", &record.id);
        let create = || {
            let written = written(&path, record)?;
            written.persist_noclobber(&path).map_err(|error| unwritable(&path, &error.error))?;
            Ok(true)
        };
        ready(create()).boxed()
    }

    fn delete<'a>(&'a self, id: &'a Digest, _: u64) -> Asked<'a, bool> {
        let path = self.file("records", id);
        let deleted = match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(&path, &error)),
            _ => Ok(true),
        };
        ready(deleted).boxed()
    }

    fn set_state<'a>(&'a self, id: &'a Digest, state: &'a State, _: u64) -> Asked<'a, bool> {
        ready(write(&self.file("state", id), state).map(|()| true)).boxed()
    }

    fn add_build<'a>(&'a self, build: &'a Build) -> Asked<'a, ()> {
        let path = self.root.join("builds").join(build.inputs.hex()).join(format!("{}.json", build.id));
        ready(write(&path, build)).boxed()
    }
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    written(path, value)?.persist(path).map(drop).map_err(|error| unwritable(path, &error.error))
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
