//! What a package consists of, wherever its documents are read from.

use std::collections::BTreeSet;

use aigis_proxy::{Code, Error};
use serde_json::Value;

use super::Record;
use crate::Digest;

/// Somewhere from where content comes by its digest.
pub(super) trait Content {
    /// A document, which holds what its digest says.
    ///
    /// # Errors
    ///
    /// `data_loss` for one that is not there, is larger than any document, or holds something else.
    fn document(&self, digest: &Digest) -> Result<Vec<u8>, Error>;

    /// How many bytes a blob has.
    ///
    /// # Errors
    ///
    /// `data_loss` for one that is not there.
    fn size(&self, digest: &Digest) -> Result<u64, Error>;
}

/// A document that is JSON.
///
/// # Errors
///
/// `data_loss` for one that cannot be read.
pub(super) fn value(from: &dyn Content, digest: &Digest) -> Result<Value, Error> {
    let bytes = from.document(digest)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::new(Code::DataLoss, format!("the document {digest} is no JSON: {error}")))
}

/// All blobs that a package consists of: its index, its documents, its images, their configurations and layers.
///
/// # Errors
///
/// `data_loss` for a document that cannot be read.
pub(super) fn all(from: &dyn Content, record: &Record) -> Result<BTreeSet<Digest>, Error> {
    let mut all = BTreeSet::from([record.id]);
    let index = value(from, &record.id)?;
    for manifest in described(&index, "manifests") {
        all.insert(manifest);
        let manifest = value(from, &manifest)?;
        all.extend(described(&manifest, "layers"));
        all.extend(manifest.get("config").and_then(of_descriptor));
    }
    Ok(all)
}

/// Whether a record is of the content that its id names.
///
/// # Errors
///
/// `data_loss` for an index that cannot be read.
pub(super) fn is_of(from: &dyn Content, record: &Record) -> Result<bool, Error> {
    let index = value(from, &record.id)?;
    let outputs: Vec<Digest> = described(&index, "manifests").skip(1).collect();
    let recorded: Vec<Digest> = record.images.iter().map(|image| image.output).collect();
    Ok(record.is_sound() && outputs == recorded)
}

/// The digests that a list of descriptors names.
fn described<'a>(document: &'a Value, list: &str) -> impl Iterator<Item = Digest> + 'a {
    document.get(list).and_then(Value::as_array).into_iter().flatten().filter_map(of_descriptor)
}

fn of_descriptor(descriptor: &Value) -> Option<Digest> {
    descriptor.get("digest")?.as_str()?.parse().ok()
}
