//! What images stand on: other containers of the project, and images that an engine has.

use aigis_proxy::{Code, Error, Name};
use serde_json::Value;

use super::Packer;
use crate::{
    Digest,
    image::{Base, Platform},
    layer::{Kind, Layer},
    manifest::{self, Container, LockedBase},
    phase::Builder,
};

impl<'a> Packer<'a> {
    /// What an image stands on, and how the manifest names it.
    pub(super) fn base(
        &mut self,
        name: &Name,
        container: &'a Container,
        platform: Platform,
    ) -> Result<Option<(&'a str, Base)>, Error> {
        let reference = container.base_image.as_deref().unwrap_or_default();
        match container.base() {
            None | Some(manifest::Base::Scratch) => Ok(None),
            Some(manifest::Base::Container(base)) => {
                let (image, record) = self.made(base, platform)?;
                let layers =
                    image.layers.iter().map(|layer| Layer { kind: Kind::Base, application: None, ..layer.clone() });
                let config: Value = serde_json::from_slice(&image.config)
                    .map_err(|error| Error::internal(format!("the configuration of \"{base}\" is no JSON: {error}")))?;
                Ok(Some((reference, Base { digest: record.config, config, layers: layers.collect() })))
            }
            Some(manifest::Base::Image(_)) => Ok(Some((reference, self.image_base(name, reference, platform)?))),
        }
    }

    /// A base that is an image: one that the lock knows, or that an engine has.
    pub(super) fn image_base(&mut self, name: &Name, reference: &str, platform: Platform) -> Result<Base, Error> {
        self.whole(reference, platform).map_err(|error| {
            let message = format!("the base image of \"{name}\": {}", error.message);
            Error { message, ..error }
        })
    }

    /// A base that the lock knows, if all of it is kept here.
    fn locked(&self, reference: &str, platform: Platform) -> Result<Option<Base>, Error> {
        let locked = self.lock.bases.get(reference).and_then(|of| of.get(&platform));
        Ok(locked.map(|locked| self.held(locked)).transpose()?.flatten())
    }

    /// An image with all that it holds: one that the lock knows, else one that an engine has, or gets.
    pub(super) fn whole(&mut self, reference: &str, platform: Platform) -> Result<Base, Error> {
        if let Some(base) = self.locked(reference, platform)? {
            return Ok(base);
        }
        let away = || {
            let message = format!("\"{reference}\" for {platform} is not on this host");
            Error::unavailable(message).hint("images come from a node's engine: aish up")
        };
        let builder = self.request.builder.ok_or_else(away)?;
        self.resolve(builder, reference, platform, true)?;
        self.locked(reference, platform)?.ok_or_else(away)
    }

    /// Sees to it that the engine has the image in which phases run; gives the digest of its configuration.
    pub(super) fn engines(&mut self, reference: &str, platform: Platform) -> Result<Digest, Error> {
        let away = || {
            let message = format!("no phase can run on this host alone, on {}", aigis_proxy::quoted(reference));
            Error::unavailable(message).hint("phases run on a node: aish up")
        };
        let builder = self.request.builder.ok_or_else(away)?;
        self.resolve(builder, reference, platform, false)
    }

    fn resolve(
        &mut self,
        builder: &dyn Builder,
        reference: &str,
        platform: Platform,
        whole: bool,
    ) -> Result<Digest, Error> {
        let known = self.lock.bases.get(reference).and_then(|of| of.get(&platform));
        if known.is_none() && self.request.locked {
            let message = format!("aigis.lock does not know {} for {platform}", aigis_proxy::quoted(reference));
            return Err(Error::precondition(message).hint("build once without --locked, and keep the file"));
        }
        let found = builder.image(self.blobs, reference, platform, known, whole)?;
        let config = found.config;
        if known.is_none() {
            self.lock.bases.entry(reference.to_owned()).or_default().insert(platform, found);
        }
        Ok(config)
    }

    /// A base that a lock knows, if all of it is kept here.
    fn held(&self, locked: &LockedBase) -> Result<Option<Base>, Error> {
        let LockedBase { config, diff_ids, .. } = locked;
        if !std::iter::once(config).chain(diff_ids).all(|digest| self.blobs.has(digest)) {
            return Ok(None);
        }
        let mut layers = Vec::new();
        for digest in diff_ids {
            let (_, size_bytes) = self.blobs.open_blob(digest)?;
            layers.push(Layer { digest: *digest, size_bytes, kind: Kind::Base, application: None });
        }
        let digest = *config;
        let config: Value = serde_json::from_slice(&self.blobs.document(config)?)
            .map_err(|error| Error::new(Code::DataLoss, format!("the configuration {digest} is no JSON: {error}")))?;
        Ok(Some(Base { digest, config, layers }))
    }
}
