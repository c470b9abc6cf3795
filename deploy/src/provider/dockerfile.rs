//! An existing Dockerfile, and nothing else to go by.

use super::{Candidate, Provider};
use crate::{
    analysis::container,
    fact::{Application, Argv, Evidence, Fact, ProviderName},
    tree::Tree,
};

/// What a Dockerfile alone is worth: less than a language's lone source file, more than a start script.
const SCORE: u8 = 39;

/// The provider of what only a Dockerfile tells.
pub(super) struct Dockerfile;

impl Provider for Dockerfile {
    fn name(&self) -> ProviderName {
        ProviderName::Dockerfile
    }

    fn looks_for(&self) -> &'static str {
        "Dockerfile, Containerfile"
    }

    fn candidates(&self, tree: &Tree) -> Vec<Candidate> {
        let one = |directory: &str| {
            let file = container::NAMES.into_iter().map(|name| crate::tree::path(directory, name));
            let evidence: Vec<Evidence> =
                file.filter(|file| tree.has(file)).take(1).map(|file| Evidence::new(file, 1)).collect();
            let candidate = Candidate::new(directory, SCORE, "dockerfile.present", evidence).with_entry(true);
            (!candidate.evidence.is_empty()).then_some(candidate)
        };
        tree.directories().filter_map(one).collect()
    }

    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application {
        let mut application = Application::of(self.name(), chosen);
        if let Some(container) = container::read(tree, &chosen.root) {
            let argv = container.fact.more.cmd;
            if let Some(file) = container.fact.value.filter(|_| !argv.is_empty()) {
                let at = vec![Evidence::new(file, container.command_line)];
                let shown = argv.join(" ");
                application.start = Fact::known(shown, "dockerfile.command", at).with(Argv { argv });
            }
        }
        application
    }
}
