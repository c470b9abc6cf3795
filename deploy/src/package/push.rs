//! A package in a registry of images: exactly the bytes of its output, or the same with compressed layers.

use std::{
    collections::HashMap,
    io::{self, Write as _},
};

use aigis_proxy::{Code, Error};
use flate2::{Compression, GzBuilder, write::GzEncoder};
use serde_json::{Value, json};

use super::{Known, Layers, Place, Remote, Store, Writing, archive, blobs::unwritable};
use crate::{
    Digest,
    image::{NOTHING, descriptor, media},
    json::canonical,
};

/// How hard layers are compressed: part of their digests.
const LEVEL: u32 = 6;

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Where the package is now.
    pub place: Place,
    /// How many bytes of blobs the registry lacked.
    pub sent_bytes: u64,
}

/// Pushes a package, and notes where to. What the registry has is not sent again. `tell` hears of what goes on. This blocks.
///
/// # Errors
///
/// `permission_denied` for who may not push, here or there; `unavailable` for a registry that is away; `data_loss` for
/// content that is damaged.
pub fn push(
    store: &Store,
    known: &Known,
    remote: &Remote,
    tag: &str,
    layers: Layers,
    tell: &dyn Fn(&str),
) -> Result<Pushed, Error> {
    let record = &known.record;
    store.pushes(&record.id)?;
    store.bring(record, |digest| !record.trees.values().any(|tree| tree == digest))?;
    let mut sending = Sending { store, remote, tell, layers, compressed: HashMap::new(), sent: 0 };
    let index = sending.package(known, tag)?;
    let place = Place { reference: format!("{}:{tag}", remote.name()), digest: index, layers };
    store.pushed(&record.id, place.clone())?;
    Ok(Pushed { place, sent_bytes: sending.sent })
}

/// A package on its way.
struct Sending<'a> {
    store: &'a Store,
    remote: &'a Remote,
    tell: &'a dyn Fn(&str),
    layers: Layers,
    /// By layer: its descriptor in the registry.
    compressed: HashMap<Digest, Value>,
    sent: u64,
}

impl Sending<'_> {
    /// Sends all of a package, its index last; answers with the index's digest.
    fn package(&mut self, known: &Known, tag: &str) -> Result<Digest, Error> {
        let record = &known.record;
        let bytes = self.store.blobs().document(&record.id)?;
        let mut index: Value = self.store.value(&record.id)?;
        let Some(manifests) = index.get_mut("manifests").and_then(Value::as_array_mut) else {
            return Err(Error::new(Code::DataLoss, "the index of the package lists nothing"));
        };
        for described in manifests {
            let sent = self.manifest(&digest_of(described)?)?;
            described["digest"] = json!(Digest::of(&sent));
            described["size"] = sent.len().into();
        }
        let index = match self.layers {
            Layers::Tar => bytes,
            Layers::Gzip => canonical(&index),
        };
        self.beside(known, &index)?;
        self.remote.put(media::INDEX, index, Some(tag))
    }

    /// Sends an image, or the document, with all that it consists of; answers with its manifest as it was sent.
    fn manifest(&mut self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let bytes = self.store.blobs().document(digest)?;
        let mut manifest = self.store.value(digest)?;
        self.blob(&digest_of(&manifest["config"])?)?;
        for layer in manifest.get_mut("layers").and_then(Value::as_array_mut).into_iter().flatten() {
            let is_packed = self.layers == Layers::Gzip && layer["mediaType"] == media::LAYER;
            let digest = digest_of(layer)?;
            if is_packed {
                *layer = self.packed(&digest)?;
            } else {
                self.blob(&digest)?;
            }
        }
        let manifest = if self.layers == Layers::Gzip { canonical(&manifest) } else { bytes };
        self.remote.put(media::MANIFEST, manifest.clone(), None)?;
        Ok(manifest)
    }

    fn blob(&mut self, digest: &Digest) -> Result<(), Error> {
        let (_, size) = self.store.blobs().open_blob(digest)?;
        let sent = self.remote.send(digest, &self.store.blobs().path(digest), size)?;
        self.note(digest, sent);
        Ok(())
    }

    fn note(&mut self, digest: &Digest, sent: u64) {
        self.sent += sent;
        (self.tell)(&if sent == 0 { format!("{digest} is there") } else { format!("{digest} sent, {sent} bytes") });
    }

    /// Sends a layer compressed; answers with its descriptor.
    fn packed(&mut self, layer: &Digest) -> Result<Value, Error> {
        if let Some(known) = self.compressed.get(layer) {
            return Ok(known.clone());
        }
        let blobs = self.store.blobs();
        // Its digest is the registry's to check no more.
        blobs.check(layer)?;
        let (mut file, _) = blobs.open_blob(layer)?;
        let mut pack = || -> io::Result<Writing> {
            // Without a time, and without the name of a system.
            let mut packing: GzEncoder<Writing> =
                GzBuilder::new().mtime(0).operating_system(UNKNOWN).write(blobs.begin()?, Compression::new(LEVEL));
            io::copy(&mut file, &mut packing)?;
            let mut writing = packing.finish()?;
            writing.flush()?;
            Ok(writing)
        };
        let (file, digest, size) = pack().map_err(|error| unwritable(&blobs.path(layer), &error))?.end();
        let sent = self.remote.send(&digest, file.path(), size)?;
        self.note(&digest, sent);
        let described = json!({"mediaType": media::GZIP, "digest": digest, "size": size});
        self.compressed.insert(*layer, described.clone());
        Ok(described)
    }

    /// Sends what is known and said of the package, as something that refers to its index.
    fn beside(&mut self, known: &Known, index: &[u8]) -> Result<(), Error> {
        let [record, said] = archive::beside(known)?;
        let subject = descriptor(media::INDEX, index);
        let manifest = canonical(&json!({
            "schemaVersion": 2, "mediaType": media::MANIFEST, "artifactType": media::RECORD,
            "config": descriptor(media::EMPTY, NOTHING), "subject": subject,
            "layers": [descriptor(media::RECORD, &record), descriptor(media::STATE, &said)],
        }));
        for document in [NOTHING.to_vec(), record, said] {
            let digest = Digest::of(&document);
            let sent = self.remote.send_document(&digest, document)?;
            self.note(&digest, sent);
        }
        let mut described = descriptor(media::MANIFEST, &manifest);
        described["artifactType"] = media::RECORD.into();
        self.remote.put(media::MANIFEST, manifest, None)?;
        let subject = Digest::of(index);
        let mut listed = self.remote.referrers(&subject)?;
        if listed.iter().any(|entry| entry["digest"] == described["digest"]) {
            return Ok(());
        }
        // A registry that lists nothing by itself has a tag for that; what others put there stays.
        listed.retain(|entry| entry["artifactType"] != media::RECORD);
        listed.push(described);
        let list = canonical(&json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": listed}));
        self.remote.put(media::INDEX, list, Some(&format!("sha256-{}", subject.hex()))).map(drop)
    }
}

/// What a header of gzip says where it names no system.
const UNKNOWN: u8 = 255;

fn digest_of(descriptor: &Value) -> Result<Digest, Error> {
    let digest = descriptor.get("digest").and_then(Value::as_str).and_then(|digest| digest.parse().ok());
    digest.ok_or_else(|| Error::new(Code::DataLoss, "a document of the package names no digest"))
}
