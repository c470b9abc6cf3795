//! Where images come from: the engine, what this host's settings put in their place, mirrors, registries.
//!
//! Builds and apps ask here for each image that they name, and use the name that they are given: so no name on the engine is
//! ever given to another image.

use std::{collections::BTreeMap, time::Duration};

use aigis_proxy::{Error, quoted};
use tokio::time::timeout;

use crate::engine::{self, Engine};

/// How long an image may take to be pulled.
const PULL: Duration = Duration::from_secs(30 * 60);
/// The registry of images whose names say none.
const USUAL: &str = "docker.io";

/// What this host's settings say of images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// What takes the place of an image, by its name.
    pub base_images: BTreeMap<String, String>,
    /// What is asked before a registry, by the registry's host: a host, perhaps with a path.
    pub mirrors: BTreeMap<String, String>,
}

/// The images that this host can have.
#[derive(Debug, Clone)]
pub(crate) struct Supply {
    engine: Engine,
    settings: Settings,
}

/// The name of an image, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reference<'a> {
    registry: &'a str,
    repository: String,
    /// With its sign: `:latest`, `@sha256:…`.
    version: String,
}

impl<'a> Reference<'a> {
    fn of(image: &'a str) -> Self {
        let (registry, rest) = match image.split_once('/') {
            Some((host, rest)) if is_registry(host) => (host, rest),
            _ => (USUAL, image),
        };
        let (name, version) = match rest.split_once('@') {
            // A tag beside a digest says nothing.
            Some((name, digest)) => (name.split(':').next().unwrap_or(name), format!("@{digest}")),
            None => match rest.rsplit_once(':') {
                Some((name, tag)) => (name, format!(":{tag}")),
                None => (rest, ":latest".to_owned()),
            },
        };
        let is_official = registry == USUAL && !name.contains('/');
        let repository = if is_official { format!("library/{name}") } else { name.to_owned() };
        Self { registry, repository, version }
    }
}

/// Whether the first part of an image's name is a registry's host.
#[must_use]
pub fn is_registry(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    port.is_none_or(is_port) && (name == "localhost" || name.contains('.') || port.is_some())
}

impl Supply {
    pub(crate) fn new(engine: Engine, settings: Settings) -> Self {
        Self { engine, settings }
    }

    /// What stands for an image here, by the settings.
    pub(crate) fn name<'a>(&'a self, image: &'a str) -> &'a str {
        let wanted = Reference::of(image);
        let found = self.settings.base_images.iter().find(|(name, _)| Reference::of(name) == wanted);
        found.map_or(image, |(_, other)| other)
    }

    /// Where an image is looked for before its own registry.
    fn mirrored(&self, image: &str) -> Option<String> {
        let Reference { registry, repository, version } = Reference::of(image);
        let mirror = self.settings.mirrors.get(registry)?;
        Some(format!("{}/{repository}{version}", mirror.trim_end_matches('/')))
    }

    /// Whether the engine has what stands for an image.
    ///
    /// # Errors
    ///
    /// As every request to the engine.
    pub(crate) async fn has(&self, image: &str) -> Result<bool, engine::Error> {
        self.engine.has_image(self.name(image)).await
    }

    /// Sees to it that the engine has an image, and says under which name. What it has is used, what it lacks is pulled: from
    /// the mirror of its registry, if there is one, else from there. `say` is told what happens.
    ///
    /// # Errors
    ///
    /// `unavailable` for an image that cannot be had.
    pub(crate) async fn bring(&self, image: &str, mut say: impl FnMut(&str)) -> Result<String, Error> {
        let wanted = self.name(image);
        if wanted != image {
            say(&format!("=> {image} is {wanted} on this host"));
        }
        if self.engine.has_image(wanted).await? {
            return Ok(wanted.to_owned());
        }
        if let Some(mirrored) = self.mirrored(wanted) {
            if self.engine.has_image(&mirrored).await? {
                say(&format!("=> {wanted} is {mirrored} on this host"));
                return Ok(mirrored);
            }
            match self.pull(&mirrored, &mut say).await {
                Ok(()) => return Ok(mirrored),
                Err(error) if error.is_engine_away() => return Err(error.into()),
                Err(error) => say(&format!("the mirror has no {mirrored}: {error}")),
            }
        }
        match self.pull(wanted, &mut say).await {
            Ok(()) => Ok(wanted.to_owned()),
            Err(error) if error.is_engine_away() => Err(error.into()),
            Err(error) => {
                let other = if wanted == image { String::new() } else { format!(" (for {})", quoted(image)) };
                let message = format!("the image {}{other} is not here and cannot be pulled: {error}", quoted(wanted));
                Err(Error::unavailable(message).with("image", image).hint(
                    "give the engine the image, or a way to its registry; node.toml can name another image or a mirror: \
                     [builds]",
                ))
            }
        }
    }

    async fn pull(&self, image: &str, say: &mut impl FnMut(&str)) -> Result<(), engine::Error> {
        say(&format!("=> pull {image}"));
        match timeout(PULL, self.engine.pull(image, &mut *say)).await {
            Ok(pulled) => pulled,
            Err(_) => {
                let (engine, what) = (self.engine.address(), "pull the image");
                Err(engine::Error::Timeout { engine, what, after: PULL, budget: true })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supply(base_images: &[(&str, &str)], mirrors: &[(&str, &str)]) -> Supply {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Supply::new(Engine::from_env(), Settings { base_images: map(base_images), mirrors: map(mirrors) })
    }

    #[test]
    fn an_image_is_known_by_each_of_its_names() {
        let supply = supply(&[("python:3.12-slim", "localhost:5000/py"), ("docker.io/library/busybox", "bb:1")], &[]);
        assert_eq!(supply.name("python:3.12-slim"), "localhost:5000/py");
        assert_eq!(supply.name("docker.io/library/python:3.12-slim"), "localhost:5000/py");
        assert_eq!(supply.name("busybox:latest"), "bb:1");
        for other in ["python:3.12", "python", "example.org/python:3.12-slim", "me/python:3.12-slim"] {
            assert_eq!(supply.name(other), other);
        }
    }

    #[test]
    fn a_mirror_stands_before_its_registry_alone() {
        let supply = supply(&[], &[("docker.io", "localhost:5000"), ("ghcr.io", "cache.example/ghcr/")]);
        let mirrored = |image: &str| supply.mirrored(image);
        assert_eq!(mirrored("busybox").as_deref(), Some("localhost:5000/library/busybox:latest"));
        assert_eq!(mirrored("me/app:1").as_deref(), Some("localhost:5000/me/app:1"));
        assert_eq!(mirrored("ghcr.io/me/app").as_deref(), Some("cache.example/ghcr/me/app:latest"));
        assert_eq!(mirrored("busybox:1@sha256:ab").as_deref(), Some("localhost:5000/library/busybox@sha256:ab"));
        assert_eq!(mirrored("quay.io/me/app"), None);
        assert_eq!(mirrored("localhost:5000/x"), None);
        for (host, is) in [("localhost", true), ("a:5000", true), ("ghcr.io", true), ("hub", false), ("http:", false)] {
            assert_eq!(is_registry(host), is, "{host}");
        }
    }
}
