//! What compose files at the root say: which directories are built, which ports their containers have, which services
//! stand beside them.

use crate::{
    document::Node,
    fact::Evidence,
    tree::{Tree, joined},
};

/// In this order; the first that is there counts.
const FILES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/// A service of a compose file.
pub(super) struct Service<'a> {
    file: &'static str,
    node: &'a Node,
}

impl<'a> Service<'a> {
    /// The directory that it is built from.
    pub(super) fn context(&self) -> Option<String> {
        let build = self.node.get("build")?;
        let context = build.text().or_else(|| build.get("context").and_then(Node::text)).unwrap_or(".");
        joined(".", context)
    }

    /// Its image, and where that is said.
    pub(super) fn image(&self) -> Option<(&'a str, Evidence)> {
        let (image, line) = self.node.text_at(&["image"])?;
        Some((image, Evidence::new(self.file, line)))
    }

    /// The first port on the container's side, and where it is said.
    pub(super) fn port(&self) -> Option<(u16, Evidence)> {
        let first = self.node.get("ports")?.items().first()?;
        let port = match first.get("target") {
            Some(target) => target.word()?.parse().ok()?,
            None => {
                let word = first.word()?;
                let container = word.rsplit(':').next().unwrap_or(word);
                container.split(['/', '-']).next()?.parse().ok()?
            }
        };
        (port > 0).then(|| (port, Evidence::new(self.file, first.line)))
    }
}

/// The services, in the order of the file.
pub(super) fn services(tree: &Tree) -> Vec<Service<'_>> {
    let file = FILES.into_iter().find_map(|file| Some((file, tree.yaml(file)?)));
    let Some((file, document)) = file else { return Vec::new() };
    let services = document.get("services").map(Node::entries).unwrap_or_default();
    services.iter().map(|entry| Service { file, node: &entry.node }).collect()
}

/// The directories that are built.
pub(super) fn contexts(tree: &Tree) -> Vec<String> {
    services(tree).iter().filter_map(Service::context).collect()
}
