use std::path::{Path, PathBuf};

use aigis_deploy::{
    Analysis, Options, Tree, analyze,
    dockerfile::{self, SaveError},
    fill::{Chosen, chosen_of, question},
    manifest,
    plan::Bases,
};
use aigis_proxy::{Code, Error, text_file, with_causes};
use serde_json::json;

use super::super::{
    dockerfile::{say_kept, settings, unreadable},
    fill,
};
use crate::{context::Context, exit::Failure, model::Model};

/// Write the manifest of a project that has none, from what it holds
///
/// It says what `aish analyze` finds and how `aish dockerfile` would make images of it, with nothing in it that counts
/// anyway. The same project gives the same manifest, everywhere. Names of secrets go into it; values are never read. With
/// --fill, what the analysis cannot decide is chosen by the model of this host among what the project holds.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish manifests init\n  aish manifests init shop --stdout\n  aish manifests init shop --replace"
)]
pub(super) struct Init {
    /// The project's directory
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// Print it, and write nothing
    #[arg(long)]
    stdout: bool,
    /// Fail where anything is doubtful
    #[arg(long)]
    strict: bool,
    /// Have the model that model.toml names choose what the analysis cannot decide
    #[arg(long)]
    fill: bool,
    /// Write it over another one, which is kept
    #[arg(long, conflicts_with = "stdout")]
    replace: bool,
}

impl Init {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        if !self.path.is_dir() {
            let message = format!("{} is no directory", text_file::shown(&self.path));
            return Err(Failure::usage(message, "name the directory of a project: aish manifests init PATH"));
        }
        let (text, chosen) = self.made(context).await?;
        if self.stdout {
            return context.output.data(text.as_bytes());
        }
        let present = |path: &str| dockerfile::present(&self.path.join(path)).ok().flatten();
        let file = dockerfile::proposed(manifest::FILE.to_owned(), text, present);
        if file.exists && !self.replace {
            context.output.error_data(file.diff.as_bytes(), false);
            let message = format!("{} exists", text_file::shown(&self.path.join(manifest::FILE)));
            let hint = "write over it, and keep what it held: --replace; or see the new one: --stdout";
            return Err(Error::new(Code::AlreadyExists, message).hint(hint).into());
        }
        let keep = context.data()?.join("replaced");
        let saved = dockerfile::save(&self.path, &[file], self.replace, &keep).map_err(|error| unsaved(&error))?;
        say_kept(context, &saved);
        let written = saved.iter().any(|file| file.written);
        if context.output.is_json() {
            let mut result = json!({"path": manifest::FILE, "written": written});
            if let (false, Some(members)) = (chosen.is_empty(), result.as_object_mut()) {
                members.insert("filled".to_owned(), json!(chosen));
            }
            return context.output.json(&result);
        }
        if written { context.output.text(manifest::FILE) } else { Ok(()) }
    }

    /// The manifest as a text, and what of it a model chose.
    async fn made(&self, context: &Context) -> Result<(String, Vec<Chosen>), Failure> {
        let model = if self.fill { Some(Model::configured()?) } else { None };
        let (plain, tree) = found(&self.path)?;
        let mut filled = match &model {
            Some(model) => {
                let questions = plain.applications.iter().filter_map(|app| question(&tree, app));
                fill::filled(model, &tree, questions, |warning| context.output.note(warning)).await
            }
            None => Vec::new(),
        };
        let bases = settings()?.bases();
        let analysis = fill::made(
            &mut filled,
            |warning| context.output.note(&warning),
            |filled| match filled {
                [] => Ok(plain.clone()),
                filled => {
                    let analysis = analyzed(&tree, Options { filled: filled.to_vec(), ..Options::default() })?;
                    proposed(&analysis, &tree, &bases).map(|_| analysis)
                }
            },
        )?;
        let chosen: Vec<Chosen> = analysis.applications.iter().flat_map(chosen_of).collect();
        chosen.iter().for_each(|chosen| context.output.note(&chosen.to_string()));
        for warning in &analysis.warnings {
            context.output.note(&warning.to_string());
        }
        for app in analysis.applications.iter().filter(|app| app.ambiguous) {
            context.output.note(&format!("{}: something else was nearly as likely: see aish analyze", app.name));
        }
        if self.strict && analysis.is_doubtful() {
            let hint = "see the notes above, and aish analyze; without --strict it is written all the same";
            return Err(Error::precondition("something is doubtful").hint(hint).into());
        }
        Ok((proposed(&analysis, &tree, &bases)?, chosen))
    }
}

/// What a project without a manifest is found to be.
pub(in crate::command) fn found(project: &Path) -> Result<(Analysis, Tree), Error> {
    let tree = Tree::read(project).map_err(|error| unreadable(project, &error))?;
    let tree = manifest::source_of(tree);
    Ok((analyzed(&tree, Options::default())?, tree))
}

fn analyzed(tree: &Tree, options: Options) -> Result<Analysis, Error> {
    analyze(tree, &options).map_err(|nothing| {
        Error::precondition(nothing.to_string()).hint("write aigis.json yourself, or name another directory")
    })
}

/// The manifest of what was found, as a text.
pub(in crate::command) fn proposed(analysis: &Analysis, tree: &Tree, bases: &Bases) -> Result<String, Error> {
    let made = manifest::propose(analysis, tree, bases).map_err(|refused| {
        Error::new(refused.why.code(), with_causes(&refused)).hint("write a Dockerfile for it, or aigis.json yourself")
    })?;
    Ok(made.text())
}

fn unsaved(error: &SaveError) -> Error {
    Error::precondition(with_causes(error))
}
