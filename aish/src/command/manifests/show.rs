use std::{fmt::Write as _, path::PathBuf};

use aigis_deploy::manifest::Document;
use aigis_proxy::Error;
use serde_json::json;

use super::{Looked, look};
use crate::{context::Context, exit::Failure};

/// Show in which order a project is built, and the digests of its manifest
///
/// The digest of the whole is of its canonical JSON; that of a container is of what its image depends on, and stays the same
/// while only others, or the way that they are deployed, change.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aish manifests show\n  aish manifests show shop --json\n  \
    aish manifests show shop --canonical | sha256sum")]
pub(super) struct Show {
    /// The project's directory, its aigis.json, or - for standard input
    #[arg(value_name = "PATH|-", default_value = ".")]
    path: PathBuf,
    /// Print the manifest in canonical JSON (RFC 8785), and nothing else
    #[arg(long, conflicts_with = "json")]
    canonical: bool,
}

impl Show {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        let looked = look(&self.path)?;
        let document = valid(looked, context)?;
        if self.canonical {
            return context.output.data(&document.canonical());
        }
        let order = document.manifest.build_order();
        let digests =
            document.manifest.containers.keys().filter_map(|name| Some((name, document.slice_spec(name.as_str())?)));
        let project = &document.manifest.project.name;
        if context.output.is_json() {
            let containers: Vec<_> = digests.map(|(name, spec)| json!({"name": name, "spec": spec})).collect();
            let spec = document.spec();
            return context
                .output
                .json(&json!({"project": project, "spec": spec, "build_order": order, "containers": containers}));
        }
        let order: Vec<&str> = order.into_iter().map(aigis_proxy::Name::as_str).collect();
        let mut text = format!("project {project}: {}\nbuild order: {}\n", document.spec(), order.join(", "));
        for (name, spec) in digests {
            let _ = writeln!(text, "container {name}: {spec}");
        }
        context.output.text(&text)
    }
}

/// The document, if nothing is wrong with it; what is, is said on standard error.
fn valid(looked: Looked, context: &Context) -> Result<Document, Failure> {
    let lines = looked.lines();
    lines.iter().for_each(|line| context.output.aside(line));
    let count = looked.checked.problems.len();
    looked.checked.document.ok_or_else(|| {
        let message = format!("{} has {count} {}", looked.name, if count == 1 { "problem" } else { "problems" });
        Error::invalid(message).hint("see them: aish manifests check PATH").into()
    })
}
