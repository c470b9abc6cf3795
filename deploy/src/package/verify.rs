//! Whether a package is what its record says, by its content alone.

use std::collections::BTreeSet;

use aigis_proxy::Error;
use serde_json::Value;

use super::{
    ImageRecord, Record,
    archive::wrong,
    content::{self, Content},
};
use crate::{
    Digest,
    image::{self, Image, Platform, media},
    json::canonical,
    manifest::{self, Found, Lock},
};

/// Judges all documents of a package whose blobs are what their names say; answers with the blobs that it may have.
///
/// # Errors
///
/// The first thing that is not as its record, its manifest or its lock has it.
pub(super) fn verify(from: &dyn Content, record: &Record) -> Result<BTreeSet<Digest>, Error> {
    if !record.is_sound() {
        return Err(wrong("the digests of its record do not agree with what the record says"));
    }
    let index = from.document(&record.id)?;
    let documents = Documents::read(from, &canonical_value(&index, "the index")?)?;
    documents.judge(record)?;
    let mut images = Vec::new();
    for image in &record.images {
        images.push((image.container.as_str(), image.platform, read(from, image)?));
    }
    let listed: Vec<(&str, Platform, &Image)> =
        images.iter().map(|(container, platform, image)| (*container, *platform, image)).collect();
    if image::index(&record.project, &documents.bytes, &listed) != index {
        return Err(wrong("its index does not list what its record says"));
    }
    let mut named = content::all(from, record)?;
    if let Some(missing) = named.iter().find(|digest| from.size(digest).is_err()) {
        return Err(wrong(&format!("the content {missing} is missing")));
    }
    named.extend(record.sources());
    Ok(named)
}

/// What a package says of its project.
struct Documents {
    bytes: Vec<u8>,
    manifest: Vec<u8>,
    lock: Vec<u8>,
}

impl Documents {
    fn read(from: &dyn Content, index: &Value) -> Result<Self, Error> {
        let digest = |value: Option<&Value>| {
            let digest = value.and_then(|value| value.get("digest")).and_then(Value::as_str);
            digest.and_then(|digest| digest.parse::<Digest>().ok()).ok_or_else(|| wrong("it has no document"))
        };
        let bytes = from.document(&digest(index.pointer("/manifests/0"))?)?;
        let document = canonical_value(&bytes, "the document")?;
        let manifest = from.document(&digest(document.pointer("/layers/0"))?)?;
        let lock = from.document(&digest(document.pointer("/layers/1"))?)?;
        if image::document(&manifest, &lock) != bytes {
            return Err(wrong("its document is not of the form of one"));
        }
        Ok(Self { bytes, manifest, lock })
    }

    /// Whether manifest and lock are valid, and the record's digests theirs.
    fn judge(&self, record: &Record) -> Result<(), Error> {
        canonical_value(&self.manifest, "the manifest")?;
        canonical_value(&self.lock, "the lock")?;
        Lock::read(&self.lock).map_err(|error| wrong(&error.to_string()))?;
        let checked = manifest::check(&self.manifest, &|_: &str| Found::Unseen);
        let document = checked.document.ok_or_else(|| {
            let problems = checked.problems.first().map(|problem| problem.message.clone()).unwrap_or_default();
            wrong(&format!("its manifest cannot be used: {problems}"))
        })?;
        for image in &record.images {
            if document.slice_spec(&image.container) != Some(image.spec) {
                return Err(wrong(&format!("its record is of another container \"{}\"", image.container)));
            }
        }
        if (Digest::of(&self.manifest), Digest::of(&self.lock)) != (record.spec, record.lock) {
            return Err(wrong("its record is of another manifest or lock"));
        }
        let project = &document.manifest.project;
        if project.name.as_str() != record.project || project.version != record.version {
            return Err(wrong("its record names another project, or version, than its manifest"));
        }
        Ok(())
    }
}

/// The image that a record describes, if its documents say the same.
fn read(from: &dyn Content, record: &ImageRecord) -> Result<Image, Error> {
    let of = &format!("the image {} for {}", record.container, record.platform);
    let manifest = from.document(&record.output)?;
    let said = canonical_value(&manifest, of)?;
    let config = from.document(&record.config)?;
    let runs = canonical_value(&config, of)?;
    let mut layers = Vec::new();
    for layer in &record.layers {
        let size = from.size(&layer.digest)?;
        if size != layer.size_bytes {
            return Err(wrong(&format!("{of}: the layer {} has {size} bytes", layer.digest)));
        }
        layers.push(serde_json::json!({"mediaType": media::LAYER, "digest": layer.digest, "size": size}));
    }
    let diff_ids: Vec<String> = record.layers.iter().map(|layer| layer.digest.to_string()).collect();
    let agrees = said["layers"] == Value::from(layers)
        && said["config"] == image::descriptor(media::CONFIG, &config)
        && runs["rootfs"]["diff_ids"] == Value::from(diff_ids)
        && runs["architecture"] == record.platform.architecture();
    if !agrees {
        return Err(wrong(&format!("{of} does not consist of what its record says")));
    }
    let variant = runs.get("variant").and_then(Value::as_str).map(str::to_owned);
    Ok(Image { config, manifest, layers: record.layers.clone(), variant })
}

/// A document, which has to be in canonical form.
fn canonical_value(bytes: &[u8], what: &str) -> Result<Value, Error> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| wrong(&format!("{what} is no JSON: {error}")))?;
    if canonical(&value) == bytes { Ok(value) } else { Err(wrong(&format!("{what} is not canonical JSON"))) }
}
