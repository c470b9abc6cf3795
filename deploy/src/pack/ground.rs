//! In what phases run: an image of an engine, and what lies over it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aigis_proxy::{Error, Name};
use serde_json::Value;

use super::Packer;
use crate::{
    Digest,
    image::Platform,
    layer::{Layer, entries::Entries},
    manifest::{self, Application, Container},
    package::Blobs,
};

/// An image, and what a phase finds over it before anything of its own.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    /// The image, by the digest of its configuration.
    pub(super) image: Digest,
    /// How the manifest names it.
    pub(super) reference: String,
    /// Variables that the image itself does not have.
    pub(super) env: BTreeMap<String, String>,
    /// What lies over it.
    pub(super) below: Entries,
    /// What of it is gone, though something may stand there again.
    pub(super) gone: Vec<String>,
    /// The paths of the image, if anything lies over it.
    pub(super) held: Arc<BTreeSet<String>>,
}

impl Ground {
    /// Lays a layer over it.
    pub(super) fn lay(&mut self, layer: &Entries) {
        self.gone.extend(layer.gone().map(str::to_owned));
        self.below = std::mem::take(&mut self.below).under(layer);
    }

    fn lay_all<'b>(&mut self, blobs: &Blobs, layers: impl IntoIterator<Item = &'b Layer>) -> Result<(), Error> {
        for layer in layers {
            self.lay(&Entries::read(blobs, &layer.digest)?);
        }
        Ok(())
    }
}

impl<'a> Packer<'a> {
    /// In what the phases of an application run: its build image, or what its container stands on.
    pub(super) fn ground(
        &mut self,
        name: &Name,
        application: &Application,
        container: &'a Container,
        platform: Platform,
    ) -> Result<Ground, Error> {
        if let Some(reference) = &application.build_image {
            return self.bare(reference, platform);
        }
        self.of_container(container, platform)?.ok_or_else(|| {
            let message = format!("the commands of \"{name}\" have no image to run in: its base is scratch");
            Error::invalid(message).hint("give it a build_image and outputs")
        })
    }

    /// What a container stands on; nothing for `scratch`.
    pub(super) fn of_container(
        &mut self,
        container: &'a Container,
        platform: Platform,
    ) -> Result<Option<Ground>, Error> {
        // From the container down to the image of an engine: no container stands on itself.
        let mut root = container;
        while let Some(manifest::Base::Container(base)) = root.base() {
            root = self.container(base)?.1;
        }
        let Some(manifest::Base::Image(reference)) = root.base() else { return Ok(None) };
        let mut ground = self.bare(reference, platform)?;
        if let Some(manifest::Base::Container(base)) = container.base() {
            let (image, _) = self.made(base, platform)?;
            let config: Value = serde_json::from_slice(&image.config)
                .map_err(|error| Error::internal(format!("the configuration of \"{base}\" is no JSON: {error}")))?;
            let variables = config.pointer("/config/Env").and_then(Value::as_array).into_iter().flatten();
            let variables = variables.filter_map(|line| line.as_str()?.split_once('='));
            ground.env = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let layers = image.layers.clone();
            let locked = self.lock.bases.get(reference).and_then(|of| of.get(&platform));
            let of_root = locked.map_or(0, |locked| locked.diff_ids.len());
            ground.lay_all(self.blobs, layers.iter().skip(of_root))?;
        }
        Ok(Some(ground))
    }

    fn bare(&mut self, reference: &str, platform: Platform) -> Result<Ground, Error> {
        let image = self.engines(reference, platform)?;
        let (env, below, gone) = (BTreeMap::new(), Entries::default(), Vec::new());
        Ok(Ground { image, reference: reference.to_owned(), env, below, gone, held: Arc::default() })
    }

    /// Finds out what the image at the bottom holds, where something lies over it.
    pub(super) fn hold(&mut self, ground: &mut Ground, platform: Platform) -> Result<(), Error> {
        if ground.below.is_empty("") {
            return Ok(());
        }
        if let Some(held) = self.held.get(&ground.image) {
            ground.held = held.clone();
            return Ok(());
        }
        let mut all = Entries::default();
        for layer in &self.whole(&ground.reference, platform)?.layers {
            all = all.under(&Entries::read(self.blobs, &layer.digest)?);
        }
        ground.held = Arc::new(all.there().paths().cloned().collect());
        self.held.insert(ground.image, ground.held.clone());
        Ok(())
    }
}
