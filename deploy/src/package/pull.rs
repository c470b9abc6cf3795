//! A package from a registry of images. It is believed as little as one from a file.

use std::{collections::BTreeSet, io};

use aigis_proxy::Error;
use flate2::write::GzDecoder;
use serde_json::Value;

use super::{
    ImageRecord, Record, Registered, Remote, Store, Writing,
    archive::{self, parsed, refused, wrong},
    blobs::unwritable,
    store::IMPORTING,
    verify,
};
use crate::{
    Digest,
    image::{self, Image, media},
};

/// Most images, and layers of one, that a package may have.
const MOST: usize = 1000;

/// Takes in the package that was pushed there and has that digest there: all of it is judged before anything is kept. This
/// blocks.
///
/// # Errors
///
/// `not_found` where the registry has no such package; `invalid_argument` that names what is wrong with it.
pub fn pull(store: &Store, remote: &Remote, at: &Digest) -> Result<Registered, Error> {
    let place = tempfile::Builder::new().prefix(IMPORTING).tempdir_in(store.root());
    let place = place.map_err(|error| unwritable(store.root(), &error))?;
    let own = Store::open(&place.path().join("store"))?;
    let index = remote.manifest(at)?;
    let [record, said] = beside(remote, at)?;
    let record: Record = parsed(&record, "its record")?;
    let said = parsed(&said, "what is said of it")?;
    let manifests = listed(&index, "manifests")?;
    if manifests.len() != record.images.len() + 1 || manifests.len() > MOST {
        return Err(wrong("its index does not list what its record says"));
    }
    let mut coming = Coming { remote, own: &own, here: BTreeSet::new() };
    let document = coming.document(&manifests[0])?;
    let mut images = Vec::new();
    for (described, image) in manifests[1..].iter().zip(&record.images) {
        images.push((image.container.as_str(), image.platform, coming.image(described, image)?));
    }
    // Where its layers are compressed, its index is another there.
    let listed: Vec<_> = images.iter().map(|(container, platform, image)| (*container, *platform, image)).collect();
    coming.keep(&image::index(&record.project, &document, &listed))?;
    let named = verify::verify(own.blobs(), &record).map_err(refused)?;
    let blobs: Vec<Digest> = coming.here.into_iter().collect();
    archive::take(store, &own, &blobs, &named, record, said)
}

/// The documents that were pushed beside the package.
fn beside(remote: &Remote, at: &Digest) -> Result<[Vec<u8>; 2], Error> {
    let entries = remote.referrers(at)?;
    let ours = entries.iter().rev().find(|entry| entry["artifactType"] == media::RECORD);
    let ours = ours.ok_or_else(|| {
        Error::invalid(format!("{}@{at} is no package: there is no record of it", remote.name()))
            .hint("only what aish packages push sent there can be imported")
    })?;
    let manifest = remote.manifest(&digest_of(ours)?)?;
    let layers = listed(&manifest, "layers")?;
    let [record, said] = &layers[..] else { return Err(wrong("its record is of another form")) };
    Ok([remote.document(&digest_of(record)?)?, remote.document(&digest_of(said)?)?])
}

/// A package on its way here.
struct Coming<'a> {
    remote: &'a Remote,
    /// Where it is judged.
    own: &'a Store,
    here: BTreeSet<Digest>,
}

impl Coming<'_> {
    fn keep(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.here.insert(self.own.blobs().put(bytes)?);
        Ok(())
    }

    /// The manifest of the document, with all that it consists of.
    fn document(&mut self, described: &Value) -> Result<Vec<u8>, Error> {
        let manifest = self.remote.manifest(&digest_of(described)?)?;
        self.keep(&manifest)?;
        let value: Value = parsed(&manifest, "its document")?;
        let layers = listed(&manifest, "layers")?;
        for part in layers.iter().take(MOST).chain([&value["config"]]) {
            let bytes = self.remote.document(&digest_of(part)?)?;
            self.keep(&bytes)?;
        }
        Ok(manifest)
    }

    /// An image, as its record has it.
    fn image(&mut self, described: &Value, record: &ImageRecord) -> Result<Image, Error> {
        let manifest = self.remote.manifest(&digest_of(described)?)?;
        let layers = listed(&manifest, "layers")?;
        if layers.len() != record.layers.len() || layers.len() > MOST {
            return Err(wrong("its images have other layers than its record says"));
        }
        let config = self.remote.document(&record.config)?;
        self.keep(&config)?;
        for (described, layer) in layers.iter().zip(&record.layers) {
            if self.here.contains(&layer.digest) {
                continue;
            }
            let kept = match described["mediaType"].as_str() {
                Some(media::GZIP) => self.unpacked(&digest_of(described)?, layer.size_bytes)?,
                _ => self.layer(&layer.digest, layer.size_bytes)?,
            };
            if kept != layer.digest {
                return Err(wrong(&format!("the layer {} is another", layer.digest)));
            }
            self.here.insert(kept);
        }
        let bytes = image::manifest(&config, &record.layers);
        self.keep(&bytes)?;
        let runs: Value = parsed(&config, "a configuration")?;
        let variant = runs.get("variant").and_then(Value::as_str).map(str::to_owned);
        Ok(Image { config, manifest: bytes, layers: record.layers.clone(), variant })
    }

    fn layer(&self, digest: &Digest, size: u64) -> Result<Digest, Error> {
        let mut writing = self.begin()?;
        self.remote.fetch(digest, size, &mut writing)?;
        self.own.blobs().keep(writing).map(|(digest, _)| digest)
    }

    /// A layer that is compressed there, of so many bytes here.
    fn unpacked(&self, digest: &Digest, size: u64) -> Result<Digest, Error> {
        let mut unpacking = GzDecoder::new(Most { out: self.begin()?, left: size });
        // What was compressed may be a little larger than what it was.
        self.remote.fetch(digest, size.saturating_add(size / 100).saturating_add(4096), &mut unpacking)?;
        let writing =
            unpacking.finish().map_err(|error| wrong(&format!("the layer {digest} is no gzip: {error}")))?.out;
        self.own.blobs().keep(writing).map(|(digest, _)| digest)
    }

    fn begin(&self) -> Result<Writing, Error> {
        self.own.blobs().begin().map_err(|error| unwritable(self.own.root(), &error))
    }
}

/// Passes on so many bytes, and refuses more.
struct Most<W> {
    out: W,
    left: u64,
}

impl<W: io::Write> io::Write for Most<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| io::Error::other("it holds more than its record says"))?;
        self.out.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The descriptors that a manifest, or an index, lists.
fn listed(document: &[u8], list: &str) -> Result<Vec<Value>, Error> {
    let mut value: Value = parsed(document, "a document of it")?;
    match value.get_mut(list).map(Value::take) {
        Some(Value::Array(entries)) if !entries.is_empty() => Ok(entries),
        _ => Err(wrong(&format!("a document of it lists no {list}"))),
    }
}

fn digest_of(descriptor: &Value) -> Result<Digest, Error> {
    let digest = descriptor.get("digest").and_then(Value::as_str).and_then(|digest| digest.parse().ok());
    digest.ok_or_else(|| wrong("a document of it names no digest"))
}
