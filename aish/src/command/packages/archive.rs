use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::PathBuf,
};

use aigis_deploy::package::{self, Registered, Store};
use aigis_proxy::{Error, text_file};
use clap_complete::ArgValueCompleter;

use super::registry;
use crate::{completion, context::Context, exit::Failure, scratch};

/// How many bytes are written at once.
const BUFFER: usize = 128 * 1024;

/// Write a package into a file: an OCI image layout that `docker load` takes as well
#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// The package
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completion::packages))]
    id: String,
    /// The file
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// With the source trees that it was made of
    #[arg(long)]
    sources: bool,
    #[command(flatten)]
    whose: super::Whose,
}

impl Export {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let kept = self.whose.kept(context)?;
        let (id, bytes) = kept
            .on_store(context, move |store| {
                let known = store.find(&self.id)?;
                let failed = |error: std::io::Error| {
                    Error::precondition(format!("{} cannot be written: {error}", text_file::shown(&self.output)))
                };
                let part = self.output.with_file_name(scratch::name());
                let write = || {
                    let out = BufWriter::with_capacity(BUFFER, File::create_new(&part).map_err(failed)?);
                    let mut out = package::export(store, &known, self.sources, out)?;
                    out.flush().map_err(failed)?;
                    let bytes = out.get_ref().metadata().map_err(failed)?.len();
                    fs::rename(&part, &self.output).map_err(failed)?;
                    Ok((known.record.id, bytes))
                };
                write().inspect_err(|_: &Error| drop(fs::remove_file(&part)))
            })
            .await?;
        if context.output.is_json() {
            return context.output.json(&serde_json::json!({"id": id, "bytes": bytes}));
        }
        context.output.text(&id.to_string())
    }
}

/// Take in a package from a file that was exported, or from a registry that it was pushed to
#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// The file, or HOST/PATH@sha256:… as aish packages push printed it
    #[arg(value_name = "FILE|REF@DIGEST")]
    from: PathBuf,
    #[command(flatten)]
    whose: super::Whose,
}

impl Import {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let kept = self.whose.kept(context)?;
        let named = self.from.to_str().filter(|text| text.contains("@sha256:") && !self.from.exists());
        let registered = match named.map(registry::pinned).transpose()? {
            Some((reference, digest)) => {
                let remote = registry::remote(reference)?;
                kept.on_store(context, move |store| package::pull(store, &remote, &digest)).await?
            }
            None => kept.on_store(context, move |store| self.read(store)).await?,
        };
        if context.output.is_json() {
            let mut row = serde_json::to_value(&registered.record).unwrap_or_default();
            row["created"] = registered.created.into();
            return context.output.json(&row);
        }
        context.output.text(&registered.record.id.to_string())
    }

    fn read(&self, store: &Store) -> Result<Registered, Error> {
        let file = File::open(&self.from).map_err(|error| {
            Error::invalid(format!("{} cannot be read: {error}", text_file::shown(&self.from)))
                .hint("name a file that aish packages export wrote, or HOST/PATH@sha256:… in a registry")
        })?;
        package::import(store, file)
    }
}
