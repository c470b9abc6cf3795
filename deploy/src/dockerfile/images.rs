//! The images that have to be known before a Dockerfile is built.

use aigis_registry::dockerfile::{self, parse};

/// What a Dockerfile says of other images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Images {
    /// All of them, each once, in their order.
    pub(crate) all: Vec<String>,
    /// The one that its last stage stands on; none for `scratch`.
    pub(crate) base: Option<String>,
}

/// What it says; or on which line it names an image that nobody can tell before the build.
pub(crate) fn images(text: &str) -> Result<Images, u64> {
    let dockerfile::Images { named, base } = dockerfile::images(&parse(text));
    let mut all = Vec::new();
    for named in named {
        let image = named.image.ok_or(named.line)?;
        if !all.contains(&image) {
            all.push(image);
        }
    }
    Ok(Images { all, base })
}
