use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use aigis_deploy::{
    Analysis, Options, Tree,
    dockerfile::{self, Finding, Level, Proposal, Refusal, SaveError, Saved, Surroundings, Wanted},
    fill::{Filled, Question},
    plan::Bases,
    settings::{self, Settings},
};
use aigis_proxy::{Code, Error, NodeName, text_file};

use super::fill;
use crate::{
    config,
    context::Context,
    exit::{self, Failure},
    model::Model,
};

mod pin;
pub(super) mod test;

/// Propose a Dockerfile for a directory, save one, or judge any
///
/// It says what the image of an application is made of, and by which file of the project. Nothing is written until --save,
/// and nothing of the project is run but in containers, by --test.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aish dockerfile\n  aish dockerfile shop --app api --diff\n  \
    aish dockerfile shop --save --replace\n  aish dockerfile shop --test --on beta\n  \
    aish dockerfile --lint deploy/Dockerfile")]
pub(crate) struct Dockerfile {
    /// The project's directory
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// The application, where there are several
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Ask registries what the base images are now, and name them by digest too, where aigis.lock does not
    #[arg(long, conflicts_with = "test")]
    pin: bool,
    /// Have the model that model.toml names choose what the analysis cannot decide
    #[arg(long, conflicts_with = "test")]
    fill: bool,
    /// Print what the image is made of, stage by stage, as JSON
    #[arg(long, conflicts_with_all = ["json", "diff", "save"])]
    plan: bool,
    /// Print what would change, in place of the whole
    #[arg(long, conflicts_with = "json")]
    diff: bool,
    /// Write it, and a .dockerignore where there is none
    #[arg(long)]
    save: bool,
    /// Write it over another one, which is kept
    #[arg(long, requires = "save")]
    replace: bool,
    /// Build and start it on a node, look at it, and leave nothing of it
    #[arg(long, conflicts_with_all = ["plan", "diff", "save"])]
    test: bool,
    /// The node that does so [default: this host's, or one that takes work]
    #[arg(long, value_name = "NODE", requires = "test")]
    on: Option<NodeName>,
    /// Keep the image that was built
    #[arg(long, requires = "test")]
    keep: bool,
    /// Report on a Dockerfile instead; without a name on that in the project's directory
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with_all = ["app", "fill", "pin", "plan", "diff", "save", "test"])]
    lint: Option<Option<PathBuf>>,
    /// Fail where anything is doubtful; of --lint, take warnings for errors
    #[arg(long)]
    strict: bool,
}

impl Dockerfile {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        if !self.path.is_dir() {
            let message = format!("{} is no directory", text_file::shown(&self.path));
            return Err(Failure::usage(message, "name the directory of a project: aish dockerfile PATH"));
        }
        if let Some(file) = &self.lint {
            return self.judge(file.as_deref(), context);
        }
        let proposal = self.propose(context).await?;
        if self.save {
            return self.write(&proposal, context);
        }
        if self.test {
            let (root, app, on) = (&self.path, self.app.as_deref(), self.on.as_ref());
            let wanted = test::Wanted { root, app, proposal: &proposal, on, keep: self.keep };
            return Box::pin(test::run(context, &wanted)).await;
        }
        proposal.notes.iter().for_each(|note| context.output.note(&note.message));
        if self.plan {
            return context.output.json(&proposal.plan);
        }
        if context.output.is_json() {
            return context.output.json(&proposal);
        }
        if self.diff {
            let diff: String = proposal.files.iter().map(|file| file.diff.as_str()).collect();
            return context.output.data(diff.as_bytes());
        }
        let file = proposal.files.iter().find(|file| file.path.ends_with("Dockerfile"));
        context.output.data(file.map(|file| file.content.as_bytes()).unwrap_or_default())
    }

    async fn propose(&self, context: &Context) -> Result<Proposal, Failure> {
        let mut filled = if self.fill { self.filled(context).await? } else { Vec::new() };
        let warn = |warning: String| context.output.note(&warning);
        let propose =
            |filled: &[Filled], digests| propose(&self.path, self.app.clone(), digests, filled.to_vec(), warn);
        let (mut proposal, analysis) = fill::made(&mut filled, warn, |filled| propose(filled, BTreeMap::new()))?;
        if self.pin {
            let digests = pin::resolved(context, &proposal).await?;
            (proposal, _) = propose(&filled, digests)?;
        }
        let named: Vec<&str> = analysis.applications.iter().map(|app| app.name.as_str()).collect();
        if self.app.is_none() && named.len() > 1 {
            let all = named.join(", ");
            warn(format!("this is of {}, one of {all}; of another: --app NAME", proposal.plan.application));
        }
        for warning in &analysis.warnings {
            context.output.note(&warning.to_string());
        }
        if self.strict && (analysis.is_doubtful() || !proposal.lint.is_empty()) {
            proposal.lint.iter().for_each(|finding| context.output.aside(line("Dockerfile", finding).trim_end()));
            let hint = "see what is said above, and aish analyze; without --strict it is proposed all the same";
            return Err(Error::precondition("something is doubtful").hint(hint).into());
        }
        Ok(proposal)
    }

    /// With what the model of this host fills the gaps of the application.
    async fn filled(&self, context: &Context) -> Result<Vec<Filled>, Failure> {
        let model = Model::configured()?;
        let (tree, question) = question(&self.path, self.app.as_deref())?;
        Ok(fill::filled(&model, &tree, question, |warning| context.output.note(warning)).await)
    }

    fn write(&self, proposal: &Proposal, context: &Context) -> Result<(), Failure> {
        let keep = context.data()?.join("replaced");
        let saved = dockerfile::save(&self.path, &proposal.files, self.replace, &keep).map_err(|error| {
            if let SaveError::Exists { diff, .. } = &error {
                context.output.error_data(diff.as_bytes(), false);
            }
            unsaved(&error)
        })?;
        say_kept(context, &saved);
        proposal.notes.iter().for_each(|note| context.output.note(&note.message));
        let changed = saved.iter().any(|file| file.written);
        if context.output.is_json() {
            let files: Vec<_> =
                saved.iter().map(|file| serde_json::json!({"path": file.path, "written": file.written})).collect();
            return context.output.json(&serde_json::json!({"files": files, "changed": changed}));
        }
        let written = saved.iter().filter(|file| file.written).map(|file| format!("{}\n", file.path));
        let written: String = written.collect();
        if changed {
            return context.output.text(&written);
        }
        context.output.note("nothing was written: all of it is as proposed");
        Ok(())
    }

    fn judge(&self, file: Option<&Path>, context: &Context) -> Result<(), Failure> {
        let file = file.map_or_else(|| self.path.join("Dockerfile"), Path::to_owned);
        let text = text_file::read(&file).map_err(|error| {
            let hint = "name the file: --lint FILE; or have one proposed: aish dockerfile";
            Error::invalid(aigis_proxy::with_causes(&error)).hint(hint)
        })?;
        let surroundings = Surroundings::read(&self.path, &file).map_err(|error| unreadable(&self.path, &error))?;
        let mut findings = dockerfile::lint(&text, &surroundings);
        if self.strict {
            findings.iter_mut().for_each(|finding| finding.level = Level::Error);
        }
        if context.output.is_json() {
            context.output.json(&findings)?;
        } else if !findings.is_empty() {
            let shown = text_file::shown(&file);
            context.output.text(&findings.iter().map(|finding| line(&shown, finding)).collect::<String>())?;
        }
        let has_error = findings.iter().any(|finding| finding.level == Level::Error);
        if has_error { Err(Failure::Said(exit::of(&Error::invalid("a finding")))) } else { Ok(()) }
    }
}

/// The source tree of a directory, and what a model is asked of an application of it.
pub(super) fn question(directory: &Path, application: Option<&str>) -> Result<(Tree, Option<Question>), Error> {
    let tree = Tree::read(directory).map_err(|error| unreadable(directory, &error))?;
    let tree = dockerfile::source_of(tree);
    let question = dockerfile::question(&tree, application).map_err(refused)?;
    Ok((tree, question))
}

/// What is proposed for an application of a directory, by the bases of this host, of which those digests are known, and with
/// those gaps filled. Where there is nothing, and no gap was filled, `warn` is told what is to be known of the directory.
pub(super) fn propose(
    directory: &Path,
    application: Option<String>,
    digests: BTreeMap<String, String>,
    filled: Vec<Filled>,
    warn: impl Fn(String),
) -> Result<(Proposal, Analysis), Error> {
    let is_last = filled.is_empty();
    let bases = Bases { digests, ..settings().map_err(Failure::into_error)?.bases() };
    let wanted = Wanted { application, bases, options: Options { filled, ..Options::default() } };
    let tree = Tree::read(directory).map_err(|error| unreadable(directory, &error))?;
    let present = |path: &str| dockerfile::present(&directory.join(path)).ok().flatten();
    dockerfile::propose(tree, &wanted, present).map_err(|refusal| {
        let warnings = if is_last { refusal.warnings() } else { &[] };
        warnings.iter().for_each(|warning| warn(warning.to_string()));
        refused(refusal)
    })
}

/// Says where what stood in the place of files that were written is kept.
pub(super) fn say_kept(context: &Context, saved: &[Saved]) {
    for file in saved {
        if let Some(kept) = &file.kept {
            context.output.aside(&format!("what {} held is in {}", file.path, text_file::shown(kept)));
        }
    }
}

fn line(file: &str, finding: &Finding) -> String {
    let level = match finding.level {
        Level::Error => "error",
        Level::Warning => "warning",
    };
    format!("{file}:{}: {level}: {}: {} ({})\n", finding.line, finding.rule, finding.message, finding.hint)
}

pub(super) fn settings() -> Result<Settings, Failure> {
    let Some(folder) = config::folder() else { return Ok(Settings::default()) };
    Settings::read(&folder.join(settings::FILE))
        .map_err(|error| Error::invalid(aigis_proxy::with_causes(&error)).into())
}

pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::precondition(format!("{} cannot be read: {error}", text_file::shown(path)))
}

fn refused(refusal: Refusal) -> Error {
    let message = refusal.to_string();
    match refusal {
        Refusal::Unknown { .. } => Error::new(Code::NotFound, message).hint("name one of them: --app NAME"),
        Refusal::NoPlan { why, .. } => Error::new(why.code(), message),
        _ => Error::precondition(message).hint("write a Dockerfile yourself, or name another directory"),
    }
}

pub(super) fn unsaved(error: &SaveError) -> Error {
    let message = aigis_proxy::with_causes(error);
    match error {
        SaveError::Exists { .. } => {
            Error::new(Code::AlreadyExists, message).hint("write over it, and keep what it held: --save --replace")
        }
        _ => Error::precondition(message),
    }
}
