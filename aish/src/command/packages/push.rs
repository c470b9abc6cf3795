use aigis_deploy::package::{self, Known, Layers, Store};
use aigis_proxy::{Error, quoted};
use clap_complete::ArgValueCompleter;
use serde_json::json;

use super::registry;
use crate::{completion, context::Context, exit::Failure};

/// How many digits of the inputs are a tag.
const DIGITS: usize = 12;

/// Push a package to a registry of images, and print where it is
///
/// What is pulled from there has the package's own digests. Logins are those of docker login; programs that keep logins are
/// not run. Registries on this host, and those that packages.toml names as insecure, are spoken to without TLS.
#[derive(Debug, clap::Args)]
pub(super) struct Push {
    /// The package
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completion::packages))]
    id: String,
    /// Where to: HOST/PATH, HOST/PATH:TAG [default: packaging.registry of its manifest, its project and its tag]
    #[arg(value_name = "REF")]
    reference: Option<String>,
    /// How layers are sent: tar, as they are; gzip, compressed, which gives the manifests other digests
    #[arg(long, value_name = "FORM", default_value = "tar")]
    layers: Layers,
    #[command(flatten)]
    whose: super::Whose,
}

impl Push {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let kept = self.whose.kept(context)?;
        let (id, given) = (self.id.clone(), self.reference.clone());
        let (known, wanted) = kept
            .on_store(context, move |store| {
                let known = store.find(&id)?;
                let wanted = wanted(store, &known, &id, given)?;
                Ok((known, wanted))
            })
            .await?;
        let remote = registry::remote(&wanted)?;
        let tag = remote.tag().map(str::to_owned).unwrap_or_default();
        let output = context.output;
        let id = known.record.id;
        let pushed = kept
            .on_store(context, move |store| {
                package::push(store, &known, &remote, &tag, self.layers, &|text| output.progress(text))
            })
            .await?;
        let place = &pushed.place;
        if context.output.is_json() {
            return context.output.json(&json!({
                "id": id, "reference": place.reference, "digest": place.digest, "layers": place.layers,
                "sent_bytes": pushed.sent_bytes,
            }));
        }
        context.output.text(&format!("{}@{}", place.reference, place.digest))
    }
}

/// Where a package is to go, with its tag.
fn wanted(store: &Store, known: &Known, id: &str, given: Option<String>) -> Result<String, Error> {
    let named = match given {
        Some(given) => given,
        None => format!("{}/{}", registry_of(store, known)?, known.record.project),
    };
    if named.contains('@') {
        let message = format!("\"{}\" names content, and what is pushed says itself what it is", quoted(&named));
        return Err(Error::invalid(message).hint("write HOST/PATH:TAG"));
    }
    let has_tag = named.rsplit_once('/').map_or(named.as_str(), |(_, last)| last).contains(':');
    if has_tag { Ok(named) } else { Ok(format!("{named}:{}", tag(known, id)?)) }
}

/// The registry of the package's manifest.
fn registry_of(store: &Store, known: &Known) -> Result<String, Error> {
    let registry = store.manifest(&known.record)?.manifest.packaging.registry;
    registry.ok_or_else(|| {
        Error::precondition(format!("the manifest of {} names no registry", known.record.project))
            .hint("name where to: aish packages push ID HOST/PATH:TAG; or set packaging.registry and build again")
    })
}

/// The tag by which the package was asked for; else its only one, or the first digits of its inputs.
fn tag(known: &Known, id: &str) -> Result<String, Error> {
    let tags = &known.state.tags;
    let asked = id.split_once(':').map(|(_, tag)| tag).filter(|tag| tags.contains(*tag));
    match (asked, tags.len()) {
        (Some(tag), _) => Ok(tag.to_owned()),
        (None, 0) => Ok(known.record.inputs.hex().chars().take(DIGITS).collect()),
        (None, 1) => Ok(tags.iter().next().cloned().unwrap_or_default()),
        (None, _) => {
            let all: Vec<&str> = tags.iter().map(String::as_str).collect();
            Err(Error::invalid(format!("the package has several tags: {}", all.join(", ")))
                .hint("name one: aish packages push ID HOST/PATH:TAG"))
        }
    }
}
