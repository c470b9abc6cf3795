//! From an entry of the config file to a plugin that can be started: its source brought and looked at, its programs found,
//! its environment made, its secrets put where it looks for them.

use std::path::{Path, PathBuf};

use aigis_proxy::{Code, Error, with_causes};

use super::{journal::Journal, secrets};
use crate::{
    plugins::{
        Folder, Note, Type,
        config::Entry,
        interpreter::{self, Interpreter},
        manifest::Manifest,
        programs, requirements,
        secret_files::{self, Stored},
        source::{self, Fetched, Occasion, Present},
    },
    secrets::Vault,
};

/// A source that was brought, beside the runtime copy or as it.
#[derive(Debug)]
pub(crate) struct Brought {
    fetched: Option<Fetched>,
    present: Option<Present>,
}

/// A plugin that can be started.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) manifest: Manifest,
    /// What runs it, unless nothing of it is Python.
    pub(crate) python: Option<Python>,
    pub(crate) present: Option<Present>,
    pub(crate) warnings: Vec<String>,
    /// The host that its process is to run on, where that is not this one.
    pub(crate) host: Option<String>,
}

/// Where the values of secrets come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Secrets<'a> {
    /// From this node's vault, and from beside the config file.
    Home { vault: &'a Vault, config: Option<&'a Path> },
    /// From the plugin's home.
    Sent(&'a Stored),
}

/// An interpreter, and the environment in which it finds what the plugin needs.
#[derive(Debug, Clone)]
pub(crate) struct Python {
    pub(crate) interpreter: Interpreter,
    pub(crate) environment: requirements::Environment,
}

impl Python {
    /// Where the packages of the environment lie.
    #[must_use]
    pub(crate) fn packages(&self) -> PathBuf {
        let version = self.interpreter.version;
        self.environment.path.join(format!("lib/python{}.{}/site-packages", version.major, version.minor))
    }
}

/// Where a plugin is prepared, and with what.
#[derive(Clone, Copy)]
pub(crate) struct Preparation<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) entry: &'a Entry,
    pub(crate) secrets: Secrets<'a>,
    /// Whether what `HOST` says means this host.
    pub(crate) is_here: &'a (dyn Fn(&str) -> bool + Sync),
    pub(crate) journal: &'a Journal,
}

impl Preparation<'_> {
    /// Brings the source.
    ///
    /// # Errors
    ///
    /// Why it cannot be brought; what there was before is as it was.
    ///
    /// # Cancel safety
    ///
    /// What was brought so far is thrown away.
    pub(crate) async fn bring(&self, occasion: Occasion) -> Result<Brought, Error> {
        let report = source::fetch(self.folder, &self.entry.source, occasion).await?;
        self.tell(&report.notes);
        Ok(Brought { fetched: report.fetched, present: report.present })
    }

    /// Looks at what was brought, and makes ready what it needs. What was brought is put in its place last, so that what is
    /// wrong with it leaves everything as it was.
    ///
    /// # Errors
    ///
    /// What is wrong with it, or missing on this host.
    ///
    /// # Cancel safety
    ///
    /// What runs is ended; what is half made is made anew the next time.
    pub(crate) async fn equip(&self, brought: Brought) -> Result<Prepared, Error> {
        let Brought { fetched, mut present } = brought;
        let copy = self.folder.copy();
        let tree = fetched.as_ref().map_or_else(|| copy.clone(), Fetched::tree);
        let manifest = Manifest::read(&tree, &copy).map_err(|error| Error::invalid(with_causes(&error)))?;
        let mut warnings = [self.entry.warnings.clone(), manifest.warnings.clone()].concat();
        if manifest.kind != self.entry.table && !both_are_remote(manifest.kind, self.entry.table) {
            let (kind, table) = (manifest.kind, self.entry.table);
            warnings.push(format!("it stands in the table [{table}] and says PLUGIN_TYPE {kind}, which counts"));
        }
        let command = manifest.requirement_command.as_ref().map(requirements::Command::read).transpose();
        let command = command.map_err(requirements::Error::from)?;
        let has_requirements = manifest.requirement_command.is_some() || manifest.requirement_file.is_some();
        let host = self.entry.host.clone().or_else(|| manifest.host.clone()).filter(|_| manifest.kind.takes_host());
        let host = host.filter(|host| !(self.is_here)(host));
        // Of what runs elsewhere only its skills are this host's.
        let is_all_here = host.is_none();
        let of_process = manifest.kind != Type::External || has_requirements;
        let needs_python = manifest.has_core_file || (is_all_here && of_process);
        let interpreter = match needs_python {
            true => Some(interpreter::choose(self.entry.python.as_deref(), command.as_ref()).await?),
            false => None,
        };
        let asked: &[String] = if is_all_here { &manifest.system_requirements } else { &[] };
        let found = programs::look(asked, interpreter.as_ref().map(|interpreter| interpreter.version));
        warnings.extend(found.warnings);
        if !found.missing.is_empty() {
            let message = format!("this host lacks programs that the plugin asks for: {}", found.missing.join(", "));
            return Err(Error::precondition(message).hint("install them").with("missing_programs", found.missing));
        }
        manifest.check_core_file(&copy).map_err(|error| Error::invalid(with_causes(&error)))?;
        let mut python = None;
        if let Some(interpreter) = interpreter {
            let folder = self.folder;
            let installation =
                requirements::Installation { folder, manifest: &manifest, tree: &tree, interpreter: &interpreter };
            let said = &mut |line: &str| self.journal.note("info", line);
            let environment = requirements::install(&installation, said).await?;
            python = Some(Python { interpreter, environment });
        }
        let gathered;
        let secrets = match self.secrets {
            Secrets::Home { vault, config } => {
                gathered = secrets::gather(vault, config, self.folder.name(), &manifest)?;
                &gathered
            }
            Secrets::Sent(sent) => sent,
        };
        secret_files::complete(self.folder.name(), &manifest.secrets, secrets)?;
        self.journal.hide(secrets.values().map(|secret| secret.value.as_slice()));
        if let Some(fetched) = fetched {
            let (delivered, notes) = fetched.deliver().await?;
            self.tell(&notes);
            present = Some(delivered);
        }
        if is_all_here || manifest.has_core_file {
            secrets::put(self.folder, &manifest, secrets)?;
        }
        for warning in &warnings {
            self.journal.note("warning", warning);
        }
        Ok(Prepared { manifest, python, present, warnings, host })
    }

    fn tell(&self, notes: &[Note]) {
        for note in notes {
            let level = if matches!(note, Note::Warning(_)) { "warning" } else { "info" };
            self.journal.note(level, &note.to_string());
        }
    }
}

/// Whether both are words for the same type.
fn both_are_remote(kind: Type, table: Type) -> bool {
    let is = |kind| matches!(kind, Type::Internal | Type::InternalRemote);
    is(kind) && is(table)
}

impl From<interpreter::Error> for Error {
    fn from(error: interpreter::Error) -> Self {
        Self::new(Code::FailedPrecondition, with_causes(&error))
    }
}
