//! Archives of images on their way from the mesh's blobs into the engine, and whether what came out of them is what was meant.

use std::collections::BTreeMap;

use aigis_proxy::{
    Code, Error,
    blob::{Blob, Digest, Life, Store},
    services::builds::Loaded,
};
use tokio_util::io::ReaderStream;

use crate::engine::{self, Engine};

/// How many bytes of an archive are on their way at once.
const BETWEEN: usize = 1024 * 1024;

/// Has an engine take in an archive, a kept blob of the mesh.
///
/// # Errors
///
/// What the mesh or the engine says; `failed_precondition` for what is no archive of images.
pub(crate) async fn load(engine: &Engine, blobs: &Store, archive: &Blob) -> Result<(), Error> {
    let (writer, reader) = tokio::io::duplex(BETWEEN);
    let copying = blobs.copy(Life::Kept, archive, writer);
    let loading = engine.load(ReaderStream::new(reader));
    let (copied, loaded) = tokio::join!(copying, loading);
    match (copied, loaded) {
        // An archive that breaks off is the reason, and that it cannot be loaded its consequence; an engine that takes no
        // more of it is the reason that it cannot be written.
        (Err(error), _) if error.code != Code::Internal => Err(error),
        (_, Err(error)) => Err(error.into()),
        (copied, Ok(())) => copied,
    }
}

/// Has an engine take in an archive, and looks whether each of these images is what it has to be. Where one is not, all of
/// their names mean again what they did before.
///
/// # Errors
///
/// As [`load`]; `data_loss` that names the image which the engine knows by another id.
pub(crate) async fn load_checked(
    engine: &Engine,
    blobs: &Store,
    archive: &Blob,
    images: &[Loaded],
) -> Result<(), Error> {
    let mut before = BTreeMap::new();
    for image in images {
        before.insert(image.name.as_str(), id(engine, &image.name).await?);
    }
    let loaded = match load(engine, blobs, archive).await {
        Ok(()) => check(engine, images).await,
        Err(error) => Err(error),
    };
    if loaded.is_err() {
        for (name, before) in before {
            if let Err(error) = put_back(engine, name, before.as_deref()).await {
                tracing::warn!(%error, name, "the name of an image that was not loaded stays");
            }
        }
    }
    loaded
}

async fn check(engine: &Engine, images: &[Loaded]) -> Result<(), Error> {
    for image in images {
        let found = id(engine, &image.name).await?;
        if !found.as_deref().is_some_and(|found| is_meant(found, &image.config, &image.output)) {
            let (name, config) = (aigis_proxy::quoted(&image.name), image.config);
            let found = found.unwrap_or_else(|| "nothing".to_owned());
            let message = format!("the engine took in {found} as {name}, which is to be {config}");
            return Err(Error::new(Code::DataLoss, message).hint("the name was taken back; build the package again"));
        }
    }
    Ok(())
}

/// Whether an engine's id of an image is what it is to be: its configuration, or its manifest with a store of containerd.
fn is_meant(id: &str, config: &Digest, output: &Digest) -> bool {
    id == config.to_string() || id == output.to_string()
}

/// The id of the image of that name, if the engine has one.
async fn id(engine: &Engine, name: &str) -> Result<Option<String>, engine::Error> {
    match engine.image_config(name).await {
        Ok(image) => Ok(Some(image.id)),
        Err(engine::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn put_back(engine: &Engine, name: &str, before: Option<&str>) -> Result<(), engine::Error> {
    match before {
        Some(before) => engine.tag(before, name).await,
        None => engine.remove_image(name).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkg_47_an_engine_knows_an_image_by_its_configuration_or_its_manifest() {
        let (config, output) = (Digest::of(b"config"), Digest::of(b"output"));
        assert!(is_meant(&config.to_string(), &config, &output));
        assert!(is_meant(&output.to_string(), &config, &output));
        assert!(!is_meant(&Digest::of(b"other").to_string(), &config, &output));
        assert!(!is_meant(&config.hex(), &config, &output));
    }
}
