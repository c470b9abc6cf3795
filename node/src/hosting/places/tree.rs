//! A plugin's tree on its way to a place: packed at home as it was delivered, sent in pieces, unpacked by the one unpacker.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use aigis_proxy::{
    Code, Error,
    blob::{Content, Digest},
    with_causes,
};
use aigis_registry::archive::{self, Existing, Limits};
use bytes::Bytes;

use super::Piece;
use crate::plugins::{Folder, manifest::Manifest, source};

/// The size of a piece: it travels sealed, as any large body.
const PIECE: usize = 4 << 20;
/// What a plugin may hold, and a little for its headers.
const LIMITS: Limits =
    Limits { entries: 200_000, file_bytes: 2 << 30, total_bytes: 2 << 30, time: Duration::from_secs(10 * 60) };
const MOST: u64 = 3 << 30;

/// Where a tree lies at a place.
pub(super) fn path(folder: &Folder, tree: Digest) -> PathBuf {
    folder.path().join(format!("tree-{}", tree.hex()))
}

/// Removes all trees but one.
pub(super) fn keep_only(folder: &Folder, tree: Digest) {
    let kept = format!("tree-{}", tree.hex());
    let Ok(found) = fs::read_dir(folder.path()) else { return };
    for entry in found.flatten() {
        let name = entry.file_name();
        if name != *kept && name.to_string_lossy().starts_with("tree-") {
            // What cannot be removed is no more than room that is taken.
            let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
    }
}

/// Takes the next piece; the last one makes the tree.
///
/// # Errors
///
/// `failed_precondition` for a piece that does not follow on the ones before, `resource_exhausted` for an archive that is too
/// large; and what the unpacker refuses.
pub(super) async fn take(folder: &Folder, piece: Piece) -> Result<(), Error> {
    let folder = folder.clone();
    blocking(move || {
        let into = path(&folder, piece.tree);
        let archive = into.with_extension("tar");
        let unusable = |error: std::io::Error| Error::internal(format!("{}: {error}", archive.display()));
        crate::home::make_directory(folder.path()).map_err(|error| Error::internal(with_causes(&error)))?;
        let mut file =
            OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(&archive).map_err(unusable)?;
        if piece.offset == 0 {
            file.set_len(0).map_err(unusable)?;
        }
        let length = file.metadata().map_err(unusable)?.len();
        if length != piece.offset {
            let message = format!("a piece at {} does not follow on {length} bytes", piece.offset);
            return Err(Error::precondition(message).hint("send the tree from its beginning"));
        }
        if length + piece.content.0.len() as u64 > MOST {
            return Err(Error::new(
                Code::ResourceExhausted,
                format!("a plugin has at most {} bytes", LIMITS.total_bytes),
            ));
        }
        file.write_all(&piece.content.0).map_err(unusable)?;
        if !piece.is_last {
            return Ok(());
        }
        file.seek(SeekFrom::Start(0)).map_err(unusable)?;
        let unpacked = archive::unpack(&mut file, &into, Existing::Replace, &LIMITS);
        // It has served.
        let _ = fs::remove_file(&archive);
        unpacked.map(drop).map_err(|error| Error::invalid(with_causes(&error)))
    })
    .await
}

/// The tree of a plugin as an archive, in a file that nobody else sees.
pub(super) struct Packed {
    file: File,
    length: u64,
}

impl Packed {
    /// Packs the runtime copy as it was delivered, without what the plugin has made since and without its secrets.
    ///
    /// # Errors
    ///
    /// What cannot be packed.
    pub(super) async fn of(folder: &Folder, manifest: &Manifest) -> Result<Self, Error> {
        let (folder, secrets) = (folder.clone(), secrets(&folder.copy(), manifest));
        blocking(move || {
            let delivered = source::delivered(&folder).map_err(|error| Error::precondition(with_causes(&error)))?;
            let unusable = |error: std::io::Error| Error::internal(format!("{}: {error}", folder.path().display()));
            let path = folder.path().join("packed.tar");
            let mut options = OpenOptions::new();
            options.create(true).truncate(true).read(true).write(true).mode(0o600);
            let file = options.open(&path).map_err(unusable)?;
            // It is gone with the last who holds it.
            fs::remove_file(&path).map_err(unusable)?;
            let mut keep = |path: &str, _| delivered.contains(Path::new(path)) && !secrets.contains(Path::new(path));
            let packed = archive::pack(&folder.copy(), &file, &mut keep, &LIMITS);
            packed.map_err(|error| Error::precondition(with_causes(&error)))?;
            let length = file.metadata().map_err(unusable)?.len();
            Ok(Self { file, length })
        })
        .await
    }

    /// The piece at that offset.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(super) async fn piece(&self, tree: Digest, offset: u64) -> Result<Piece, Error> {
        let unusable = |error: std::io::Error| Error::internal(format!("the packed tree cannot be read: {error}"));
        let mut file = self.file.try_clone().map_err(unusable)?;
        let left = self.length.saturating_sub(offset);
        let size = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let content = blocking(move || {
            let mut content = vec![0; size];
            file.seek(SeekFrom::Start(offset)).map_err(unusable)?;
            file.read_exact(&mut content).map_err(unusable)?;
            Ok(content)
        });
        let content = Content(Bytes::from(content.await?));
        let is_last = left <= PIECE as u64;
        Ok(Piece { tree, offset, content, is_last })
    }
}

/// Where the secrets of a plugin lie in its runtime copy.
fn secrets(copy: &Path, manifest: &Manifest) -> BTreeSet<PathBuf> {
    let file = |(key, target): (&aigis_proxy::secret::SecretName, &PathBuf)| {
        let name = key.as_str().rsplit('/').next()?;
        Some(target.strip_prefix(copy).ok()?.join(name))
    };
    manifest.secrets.iter().filter_map(file).collect()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Error::internal("the work on a tree broke off")))
}
