//! Images as an engine writes them: what of them is kept as blobs.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read as _, Seek as _, SeekFrom},
};

use aigis_proxy::{Code, Error};
use aigis_registry::archive::{Members, What, is_full};
use serde::Deserialize;
use serde_json::Value;

use super::{Blobs, blobs::unwritable};
use crate::{Digest, manifest::LockedBase};

/// Largest document of an archive.
const MAX_DOCUMENT: u64 = 8 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    layers: Vec<String>,
}

/// An archive that was written by an engine, by its members.
struct Saved {
    file: File,
    members: BTreeMap<String, (What, u64, u64)>,
}

impl Blobs {
    /// What an image is of which all is kept here, by the digest of its configuration.
    ///
    /// # Errors
    ///
    /// As [`Blobs::document`].
    pub fn image(&self, config: Digest, manifest: Option<Digest>) -> Result<Option<LockedBase>, Error> {
        if !self.has(&config) {
            return Ok(None);
        }
        let diff_ids = diff_ids(&self.document(&config)?)?;
        Ok(diff_ids.iter().all(|layer| self.has(layer)).then_some(LockedBase { manifest, config, diff_ids }))
    }

    /// Keeps the configuration and the layers of the one image in an engine's archive, each checked by its digest.
    ///
    /// # Errors
    ///
    /// `data_loss` for an archive that holds another image, or none.
    pub fn keep_image(&self, archive: File, config: Digest) -> Result<(), Error> {
        self.keep_saved(archive, Some(config)).map(drop)
    }

    /// Keeps the configuration and the layers of the one image in an engine's archive, and gives the digest of the
    /// configuration.
    ///
    /// # Errors
    ///
    /// As [`Blobs::keep_image`].
    pub fn keep_built(&self, archive: File) -> Result<Digest, Error> {
        self.keep_saved(archive, None)
    }

    fn keep_saved(&self, archive: File, wanted: Option<Digest>) -> Result<Digest, Error> {
        let mut saved = Saved::read(archive).map_err(|error| odd(&error.to_string()))?;
        let list = saved.document("manifest.json")?;
        let list: Vec<Listed> = serde_json::from_slice(&list).map_err(|error| odd(&error.to_string()))?;
        let [listed] = &list[..] else { return Err(odd("it holds several images, or none")) };
        let document = saved.document(&listed.config)?;
        if let Some(wanted) = wanted.filter(|wanted| Digest::of(&document) != *wanted) {
            return Err(odd(&format!("its configuration is not {wanted}")));
        }
        let diff_ids = diff_ids(&document)?;
        if diff_ids.len() != listed.layers.len() {
            return Err(odd("it lacks layers"));
        }
        for (digest, path) in diff_ids.iter().zip(&listed.layers) {
            let blob = self.path(digest);
            let mut writing = self.begin().map_err(|error| unwritable(&blob, &error))?;
            let mut content = saved.content(path, 0)?;
            io::copy(&mut content, &mut writing).map_err(|error| match is_full(&error) {
                true => unwritable(&blob, &error),
                false => odd(&error.to_string()),
            })?;
            let (kept, _) = self.keep(writing)?;
            if kept != *digest {
                return Err(odd(&format!("the layer {path} is not {digest}")));
            }
        }
        // Last: what has a configuration here is whole.
        self.put(&document)
    }
}

impl Saved {
    fn read(file: File) -> io::Result<Self> {
        let mut found = Members::new(BufReader::new(&file));
        let mut members = BTreeMap::new();
        while let Some(member) = found.next()? {
            members.insert(member.path, (member.what, member.at, member.size));
        }
        Ok(Self { file, members })
    }

    /// The content of a member; a layer that several images share is a link to the first.
    fn content(&mut self, path: &str, links: usize) -> Result<io::Take<&mut File>, Error> {
        let lacks = || odd(&format!("it lacks {}", aigis_proxy::quoted(path)));
        let (what, at, size) = self.members.get(path).cloned().ok_or_else(lacks)?;
        match what {
            What::File => {
                self.file.seek(SeekFrom::Start(at)).map_err(|error| odd(&error.to_string()))?;
                Ok((&mut self.file).take(size))
            }
            What::HardLink(target) if links < 2 => self.content(&target, links + 1),
            What::Link(target) if links < 2 => {
                let mut parts: Vec<&str> = path.split('/').collect();
                parts.pop();
                for part in target.split('/') {
                    if part == ".." {
                        parts.pop();
                    } else {
                        parts.push(part);
                    }
                }
                let target = parts.join("/");
                self.content(&target, links + 1)
            }
            _ => Err(lacks()),
        }
    }

    fn document(&mut self, path: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let content = self.content(path, 0)?;
        content.take(MAX_DOCUMENT).read_to_end(&mut bytes).map_err(|error| odd(&error.to_string()))?;
        Ok(bytes)
    }
}

fn diff_ids(config: &[u8]) -> Result<Vec<Digest>, Error> {
    let config: Value = serde_json::from_slice(config).map_err(|error| odd(&error.to_string()))?;
    let diff_ids = config.pointer("/rootfs/diff_ids").cloned().unwrap_or_default();
    Vec::deserialize(diff_ids).map_err(|error| odd(&error.to_string()))
}

fn odd(what: &str) -> Error {
    Error::new(Code::DataLoss, format!("the image that the engine wrote cannot be taken in: {what}"))
        .hint("look at the image on that node: docker image inspect")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use aigis_registry::archive::{Attributes, Sink as _, Writer};

    use super::*;
    use crate::package::Store;

    #[test]
    fn pkg_38_an_image_is_kept_only_if_it_is_the_one_that_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let blobs = store.blobs();
        let layer = Digest::of(b"layer");
        let config = serde_json::json!({"rootfs": {"type": "layers", "diff_ids": [layer, layer]}}).to_string();
        let list = serde_json::json!([{"Config": "c.json", "Layers": ["1/layer.tar", "2/layer.tar"]}]).to_string();
        let mut writer = Writer::new(tempfile::tempfile().unwrap());
        for (path, content) in [("1/layer.tar", "layer"), ("c.json", &config), ("manifest.json", &list)] {
            writer.file(path, false, content.len() as u64).unwrap();
            writer.content(content.as_bytes()).unwrap();
            writer.end_file(content.len() as u64).unwrap();
        }
        writer.link_with("2/layer.tar", "../1/layer.tar", Attributes::plain(false)).unwrap();
        let mut file = writer.end().unwrap();
        file.flush().unwrap();
        let archive = || {
            let mut file = file.try_clone().unwrap();
            file.rewind().unwrap();
            file
        };
        let digest = Digest::of(config.as_bytes());
        assert_eq!(blobs.image(digest, None).unwrap(), None);
        assert_eq!(blobs.keep_image(archive(), layer).unwrap_err().code, Code::DataLoss);
        blobs.keep_image(archive(), digest).unwrap();
        let image = blobs.image(digest, None).unwrap().unwrap();
        assert_eq!((image.config, image.diff_ids), (digest, vec![layer, layer]));
    }
}
