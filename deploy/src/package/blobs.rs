//! Content by its digest, in a directory of this host.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write},
    path::{Path, PathBuf},
};

use aigis_proxy::{Code, Error, text_file};
use aigis_registry::archive::is_full;
use tempfile::NamedTempFile;

use super::content::Content;
use crate::{
    Digest,
    source::{Hashed, of_file},
};

/// Largest document that is read into memory, in bytes.
const MAX_DOCUMENT: u64 = 8 * 1024 * 1024;

/// How the names of files begin that are no blobs yet.
pub(super) const PART: &str = ".part-";

/// A directory of blobs. Each is written whole before it has its name.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: PathBuf,
}

/// A blob that is being written: gone if it is dropped.
pub type Writing = Hashed<NamedTempFile>;

impl Blobs {
    /// The blobs in `root/blobs/sha256`.
    ///
    /// # Errors
    ///
    /// `failed_precondition` for a directory that cannot be made.
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        let root = root.join("blobs").join("sha256");
        fs::create_dir_all(&root).map_err(|error| unwritable(&root, &error))?;
        Ok(Self { root })
    }

    /// Removes what killed processes left of blobs that they wrote, where it is older than `age`.
    pub(super) fn sweep_parts(&self, age: std::time::Duration) -> io::Result<()> {
        self.sweep(age, |name| !name.starts_with(PART)).map(drop)
    }

    /// Where a blob lies.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join(digest.hex())
    }

    /// Whether it is there.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Begins a blob.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    pub fn begin(&self) -> io::Result<Writing> {
        // Beside the others, so that a rename puts it in its place.
        tempfile::Builder::new().prefix(PART).tempfile_in(&self.root).map(Hashed::new)
    }

    /// Keeps a blob that was written; answers with its digest and its size in bytes.
    ///
    /// # Errors
    ///
    /// `resource_exhausted` for a full disk, `failed_precondition` for another refusal.
    pub fn keep(&self, writing: Writing) -> Result<(Digest, u64), Error> {
        let (file, digest, size) = writing.end();
        let path = self.path(&digest);
        // Also over one that is there: it mends what was damaged, and is not taken for old.
        file.as_file().sync_all().map_err(|error| unwritable(&path, &error))?;
        file.persist(&path).map_err(|error| unwritable(&path, &error.error))?;
        Ok((digest, size))
    }

    /// Keeps some bytes.
    ///
    /// # Errors
    ///
    /// As [`Blobs::keep`].
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let refused = |error: io::Error| unwritable(&self.root, &error);
        let mut writing = self.begin().map_err(refused)?;
        writing.write_all(bytes).map_err(refused)?;
        self.keep(writing).map(|(digest, _)| digest)
    }

    /// Opens a blob, and says how many bytes it has. What it holds is not looked at.
    ///
    /// # Errors
    ///
    /// `data_loss` for one that is not there.
    pub fn open_blob(&self, digest: &Digest) -> Result<(File, u64), Error> {
        let path = self.path(digest);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        opened.map(|(size, file)| (file, size)).map_err(|error| lost(digest, &error.to_string()))
    }

    /// Reads a document, and checks it.
    ///
    /// # Errors
    ///
    /// `data_loss` for one that is not there, is larger than any document, or holds something else.
    pub fn document(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let (file, _) = self.open_blob(digest)?;
        let mut bytes = Vec::new();
        file.take(MAX_DOCUMENT).read_to_end(&mut bytes).map_err(|error| lost(digest, &error.to_string()))?;
        if Digest::of(&bytes) == *digest { Ok(bytes) } else { Err(lost(digest, "it holds something else")) }
    }

    /// Checks that a blob holds what its name says.
    ///
    /// # Errors
    ///
    /// `data_loss` otherwise.
    pub fn check(&self, digest: &Digest) -> Result<(), Error> {
        match of_file(&self.path(digest)) {
            Ok(found) if found == *digest => Ok(()),
            Ok(_) => Err(lost(digest, "it holds something else")),
            Err(error) => Err(lost(digest, &error.to_string())),
        }
    }

    /// Takes in a file as the blob of that digest, which was checked.
    pub(super) fn adopt(&self, file: &Path, digest: &Digest) -> io::Result<()> {
        File::open(file)?.sync_all()?;
        fs::rename(file, self.path(digest))
    }

    /// Removes those that `keeps` does not name, and that are older than `age`.
    pub(super) fn sweep(&self, age: std::time::Duration, keeps: impl Fn(&str) -> bool) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(&keeps) {
                continue;
            }
            let Some(about) = unless_gone(entry.metadata())? else { continue };
            if about.modified()?.elapsed().is_ok_and(|elapsed| elapsed > age) {
                removed += usize::from(unless_gone(fs::remove_file(entry.path()))?.is_some());
            }
        }
        Ok(removed)
    }
}

impl Content for Blobs {
    fn document(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        Self::document(self, digest)
    }

    fn size(&self, digest: &Digest) -> Result<u64, Error> {
        self.open_blob(digest).map(|(_, size)| size)
    }
}

fn lost(digest: &Digest, why: &str) -> Error {
    Error::new(Code::DataLoss, format!("the content {digest} of a package cannot be read: {why}"))
        .hint("build or import the package again")
}

/// What was done with a file; `None` if another program has taken it away meanwhile.
pub(super) fn unless_gone<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        done => done.map(Some),
    }
}

/// Why something cannot be written.
pub(super) fn unwritable(path: &Path, error: &io::Error) -> Error {
    let code = if is_full(error) { Code::ResourceExhausted } else { Code::FailedPrecondition };
    Error::new(code, format!("{} cannot be written: {error}", text_file::shown(path)))
        .hint("packages lie in the data directory; name another: --data DIR")
}
