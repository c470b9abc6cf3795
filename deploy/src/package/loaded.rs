//! What is read of a package once it is kept: its manifest, and each image as an engine loads it.

use std::io::Write;

use aigis_proxy::{Code, Error};
use aigis_registry::archive::{Sink as _, Writer};
use serde_json::{Value, json};

use super::{
    ImageRecord, Record, Store,
    archive::{copy, path_of, stream},
};
use crate::{
    json::canonical,
    manifest::{self, Document, Found},
};

impl Store {
    /// The manifest of a package.
    ///
    /// # Errors
    ///
    /// `data_loss` for one that cannot be read.
    pub fn manifest(&self, record: &Record) -> Result<Document, Error> {
        self.bring(record, |digest| *digest == record.spec)?;
        let bytes = self.blobs().document(&record.spec)?;
        manifest::check(&bytes, &|_: &str| Found::Unseen).document.ok_or_else(|| {
            Error::new(Code::DataLoss, format!("the manifest of the package {} cannot be used", record.id))
                .hint("build it again; a newer version may have made it")
        })
    }

    /// Writes one image of a package as `docker load` takes it, without a name.
    ///
    /// # Errors
    ///
    /// `data_loss` for content that is not there, or is not what its name says; what `out` refuses.
    pub fn image_archive<W: Write>(&self, record: &Record, image: &ImageRecord, out: W) -> Result<W, Error> {
        let layers: Vec<_> = image.layers.iter().map(|layer| layer.digest).collect();
        self.bring(record, |digest| *digest == image.config || layers.contains(digest))?;
        let named: Vec<String> = layers.iter().map(path_of).collect();
        let manifest = json!([{"Config": path_of(&image.config), "RepoTags": Value::Null, "Layers": named}]);
        let manifest = canonical(&manifest);
        let mut writer = Writer::new(out);
        writer.directory("blobs").map_err(stream)?;
        writer.directory("blobs/sha256").map_err(stream)?;
        let mut blobs = layers;
        blobs.push(image.config);
        // A layer may be in an image twice.
        blobs.sort();
        blobs.dedup();
        for blob in &blobs {
            copy(self, blob, &mut writer)?;
        }
        let size = manifest.len() as u64;
        writer.file("manifest.json", false, size).map_err(stream)?;
        writer.content(&manifest).map_err(stream)?;
        writer.end_file(size).map_err(stream)?;
        writer.end().map_err(stream)
    }
}
