//! Trees of files on their way: from a directory into the mesh's blobs, and back.

use std::{
    io::{BufWriter, Write as _},
    path::Path,
};

use aigis_proxy::{
    Code, Error,
    blob::{Life, Store, Stored},
    chain::Tree,
};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::SyncIoBridge;

use crate::archive::{self, Existing, Kind, Limits, Packed};

/// How many bytes wait between who packs and who sends, and how many are handed over at once.
const BETWEEN: usize = 1024 * 1024;
const AT_ONCE: usize = 128 * 1024;

/// A tree that was stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// The tree.
    pub tree: Tree,
    /// How many files, directories and links it has.
    pub entries: u64,
    /// How many bytes its files have.
    pub bytes: u64,
    /// How many chunks it has, with those that list the others.
    pub chunks: usize,
    /// How many chunks were sent, because the mesh lacked them.
    pub sent_chunks: usize,
    /// How many bytes those had.
    pub sent_bytes: u64,
}

/// Stores what a directory holds as a kept blob; an empty one is no blob at all. `keep` says what goes, as for
/// [`archive::pack`].
///
/// # Errors
///
/// As [`archive::pack`], and as [`Store::put`].
pub async fn store(
    blobs: &Store,
    directory: &Path,
    mut keep: impl FnMut(&str, Kind) -> bool + Send + 'static,
    limits: Limits,
) -> Result<Kept, Error> {
    let (writer, reader) = tokio::io::duplex(BETWEEN);
    let directory = directory.to_owned();
    let packing = tokio::task::spawn_blocking(move || {
        // A tree of small files is mostly heads: each alone would wake who sends.
        let mut out = BufWriter::with_capacity(AT_ONCE, SyncIoBridge::new(writer));
        let packed = archive::pack(&directory, &mut out, &mut keep, &limits)?;
        let ended = out.flush().and_then(|()| out.get_mut().shutdown());
        ended.map(|()| packed).map_err(archive::Error::Stream)
    });
    let (packed, stored) = tokio::join!(packing, blobs.put(Life::Kept, reader));
    match packed.map_err(|_| Error::internal("the thread that packs a tree ended"))? {
        Ok(Packed { entries, bytes }) => {
            let stored = stored?;
            let Stored { blob, chunks, chunks_sent: sent_chunks, bytes_sent: sent_bytes } = stored;
            Ok(Kept { tree: Some(blob), entries, bytes, chunks, sent_chunks, sent_bytes })
        }
        Err(archive::Error::Empty) => Ok(Kept::default()),
        // A store that takes no more breaks the packing off: why it does not is what counts.
        Err(archive::Error::Stream(broken)) => {
            Err(stored.err().unwrap_or_else(|| archive::Error::Stream(broken).into()))
        }
        // What was sent of half a tree is named by nobody, and swept.
        Err(error) => Err(error.into()),
    }
}

/// Puts a tree at `into`, where nothing may stand yet; an empty one becomes an empty directory.
///
/// # Errors
///
/// As [`archive::unpack`], and as [`Store::copy`].
pub async fn fetch(blobs: &Store, tree: &Tree, into: &Path) -> Result<(), Error> {
    let Some(blob) = tree else {
        return tokio::fs::create_dir_all(into)
            .await
            .map_err(|error| Error::internal(format!("the directory {} cannot be made: {error}", into.display())));
    };
    let (mut writer, reader) = tokio::io::duplex(BETWEEN);
    let to = into.to_owned();
    let unpacking = tokio::task::spawn_blocking(move || {
        archive::unpack(SyncIoBridge::new(reader), &to, Existing::Refuse, &Limits::TREE)
    });
    let copying = async move {
        let copied = blobs.copy(Life::Kept, blob, &mut writer).await;
        // Only a whole one is ended in order: what breaks off is no archive.
        if copied.is_ok() {
            // Who read all of it may have gone already.
            let _ = writer.shutdown().await;
        }
        copied
    };
    let (unpacked, copied) = tokio::join!(unpacking, copying);
    let unpacked = unpacked.map_err(|_| Error::internal("the thread that unpacks a tree ended"))?;
    match (unpacked, copied) {
        (Ok(_), Ok(())) => Ok(()),
        // Who does not take more of a bad archive breaks the copy off.
        (Err(error), Ok(())) => Err(error.into()),
        (Err(error), Err(copied)) if copied.code == Code::Internal => Err(error.into()),
        (_, Err(copied)) => Err(copied),
    }
}
