//! A site of files, as they are.

use super::{Candidate, Provider};
use crate::{
    fact::{Application, Evidence, Fact, ProviderName},
    tree::{Tree, joined, path},
};

/// How a site is served: the Caddyfile is written when its image is made.
pub(crate) const SERVE: &str = "caddy run --config /app/Caddyfile";
/// Where what serves a site listens.
pub(crate) const PORT: u16 = 80;

/// What templates of Jinja, Liquid and Go have in them; what a page has filled by a browser has `{{` alone.
const TEMPLATES: [&str; 5] = ["{% ", "{%- ", "{{ define ", "{{ partial ", "{{ template "];

/// The provider of sites of files.
pub(super) struct Static;

impl Provider for Static {
    fn name(&self) -> ProviderName {
        ProviderName::Static
    }

    fn looks_for(&self) -> &'static str {
        "Staticfile, index.html, public/index.html"
    }

    fn candidates(&self, tree: &Tree) -> Vec<Candidate> {
        let one = |directory: &str| {
            let found = [("Staticfile", 70, "static.staticfile"), ("index.html", 40, "static.index")]
                .into_iter()
                .chain([("public/index.html", 30, "static.public-index")])
                .filter(|(file, ..)| is_page(tree, &path(directory, file)));
            let mut found = found.peekable();
            let (_, score, rule) = *found.peek()?;
            let evidence = found.map(|(file, ..)| Evidence::new(path(directory, file), 1)).collect();
            Some(Candidate::new(directory, score, rule, evidence).with_entry(true))
        };
        tree.directories().filter_map(one).collect()
    }

    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application {
        let mut application = Application::of(self.name(), chosen);
        let evidence = || chosen.evidence.clone();
        application.output_dir = output(tree, chosen).unwrap_or_else(|| {
            let is_public = !tree.has(&chosen.path("index.html")) && tree.has(&chosen.path("public/index.html"));
            let directory = if is_public { "public" } else { "." };
            Fact::known(directory.to_owned(), "static.directory", evidence())
        });
        application.start = Fact::command(SERVE, "static.site", evidence());
        application.port = Fact::known(PORT, "static.site", evidence());
        application
    }
}

/// Whether a file is there and can be served as it is: a template has to be filled first.
fn is_page(tree: &Tree, file: &str) -> bool {
    let text = tree.text(file).unwrap_or_default();
    let is_template = text.trim_start().starts_with("{{") || TEMPLATES.iter().any(|mark| text.contains(mark));
    tree.has(file) && !is_template
}

/// The directory that a `Staticfile` names as its root.
fn output(tree: &Tree, chosen: &Candidate) -> Option<Fact<String>> {
    let file = chosen.path("Staticfile");
    let root = tree.yaml(&file)?.get("root")?;
    let directory = joined(".", root.text()?)?;
    Some(Fact::known(directory, "static.staticfile-root", vec![Evidence::new(file, root.line)]))
}
