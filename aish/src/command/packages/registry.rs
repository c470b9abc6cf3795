//! Registries of images, as this host's user knows them.

use std::path::PathBuf;

use aigis_deploy::{
    Digest,
    package::{Login, Remote, reference},
};
use aigis_proxy::{Error, text_file};
use tokio::runtime::Handle;

use super::super::dockerfile::settings;
use crate::exit::Failure;

/// The repository of that reference, with the user's login there.
pub(in crate::command) fn remote(text: &str) -> Result<Remote, Failure> {
    let reference = reference(text)?;
    let login = match config() {
        Some(path) if path.exists() => {
            let bytes = std::fs::read(&path)
                .map_err(|error| Error::precondition(format!("{} cannot be read: {error}", text_file::shown(&path))))?;
            Login::read(&bytes, reference.registry())?
        }
        _ => None,
    };
    Ok(Remote::new(reference, login, &settings()?.insecure, Handle::current()))
}

/// A reference that ends in a digest, and that digest.
pub(super) fn pinned(text: &str) -> Result<(&str, Digest), Error> {
    let pinned = text.rsplit_once('@').and_then(|(name, digest)| Some((name, digest.parse().ok()?)));
    pinned.ok_or_else(|| {
        Error::invalid("that names no package in a registry").hint("write HOST/PATH@sha256:…, with 64 digits")
    })
}

/// Where Docker keeps logins.
fn config() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = of("DOCKER_CONFIG").or_else(|| Some(of("HOME")?.join(".docker")))?;
    Some(directory.join("config.json"))
}
