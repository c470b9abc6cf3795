//! Applications with commands: their phases run where there is an engine, and what they left becomes layers.

use std::collections::BTreeSet;

use aigis_proxy::{Code, Error};

use super::{Packer, application::At, directory, ground::Ground};
use crate::{
    Digest,
    layer::{
        Kind, Layer,
        entries::{Entries, Form, is_within},
    },
    manifest::{Application, Command},
    phase::{self, Phase},
};

/// An application whose phases run.
pub(super) struct Work<'a> {
    pub(super) name: &'a str,
    pub(super) application: &'a Application,
    pub(super) at: At<'a>,
    pub(super) ground: Ground,
    /// Its sources, with what it copies, as a layer.
    pub(super) files: Layer,
}

impl Work<'_> {
    /// Its work directory, absolute.
    fn directory(&self) -> String {
        directory(self.at.container, self.name)
    }
}

/// A path of an application, below the root.
pub(super) fn absolute(path: &str, directory: &str) -> String {
    let joined = match path.strip_prefix('/') {
        Some(path) => path.to_owned(),
        None => format!("{}/{path}", directory.trim_matches('/')),
    };
    joined.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/")
}

/// The paths that belong to an application's user, below the root.
pub(super) fn writable(application: &Application, directory: &str) -> Vec<String> {
    application.writable.iter().map(|path| absolute(path, directory)).collect()
}

/// Whether phases run for an application.
pub(super) fn has_phases(application: &Application) -> bool {
    !application.install_commands.is_empty() || !application.build_commands.is_empty()
}

/// What the phases of an application have made so far.
#[derive(Default)]
struct Made {
    /// Outside the work directory.
    system: Entries,
    /// What the install phase made in it.
    install: Entries,
    /// What it holds at the end, but for that.
    files: Entries,
}

impl Packer<'_> {
    /// Runs the phases of an application, or takes what they left before; gives its layers.
    pub(super) fn phases(&mut self, work: &Work<'_>) -> Result<Vec<Layer>, Error> {
        let place = work.directory();
        let place = place.trim_matches('/');
        let (blobs, epoch, ground) = (self.blobs, work.at.epoch, &work.ground);
        let (own, below, held) = (Form::Application(&[]), &ground.below, &ground.held);
        let source = Entries::read(blobs, &work.files.digest)?;
        let beside = source.only(|path| !is_within(path, place));
        let mut made = Made { files: source.clone(), ..Made::default() };
        if !work.application.install_commands.is_empty() {
            let given = self.dependencies(work, &source, place);
            let (input, _) = given.write(blobs, own, epoch)?;
            let left = self.run(work, "install", &work.application.install_commands, below, vec![input], Vec::new())?;
            let found = within(below, place).under(&given);
            made.install = within(&left, place).since(&found, own, held, blobs)?;
            made.system = outside(&left, place).since(&outside(below, place), Form::System, held, blobs)?;
        }
        if !work.application.build_commands.is_empty() {
            let removed: Vec<String> = made.system.gone().chain(made.install.gone()).map(str::to_owned).collect();
            let earlier = [
                made.system.there().write(blobs, Form::System, epoch)?.0,
                made.install.there().write(blobs, own, epoch)?.0,
                work.files.digest,
            ];
            let found = removed.iter().fold(below.clone(), |found, path| found.without(path));
            let left = self.run(work, "build", &work.application.build_commands, &found, earlier.to_vec(), removed)?;
            let found = within(below, place).under(&made.install);
            made.files = within(&left, place).since(&found, own, held, blobs)?;
            let found = outside(below, place).under(&outside(&beside, place));
            made.system = outside(&left, place).since(&found, Form::System, held, blobs)?;
            // What was copied elsewhere is of the files, unless the build made something else of it.
            let kept = beside.only(|path| left.is_file(path) && !made.system.is_file(path));
            made.files = kept.under(&made.files);
        }
        self.layers(work, made, place)
    }

    /// What the install phase gets: what the application depends on, by its own word and by lock files.
    fn dependencies(&self, work: &Work<'_>, source: &Entries, place: &str) -> Entries {
        let locks = self.sources.get(work.name).map(|(_, locks)| locks);
        let names = locks.into_iter().flat_map(|locks| locks.keys());
        let names = names.map(|path| path.rsplit('/').next().unwrap_or(path));
        let given = work.application.dependencies.all().iter().map(|path| path.trim_start_matches("./"));
        let wanted: BTreeSet<String> = names.chain(given).map(|path| format!("{place}/{path}")).collect();
        source.only(|path| wanted.iter().any(|above| is_within(path, above)))
    }

    /// Runs a phase of an application, unless what it would leave is known.
    fn run(
        &mut self,
        work: &Work<'_>,
        step: &str,
        commands: &[Command],
        below: &Entries,
        inputs: Vec<Digest>,
        removed: Vec<String>,
    ) -> Result<Entries, Error> {
        let Work { ground, application, at, .. } = work;
        let project = &self.request.document.manifest.project.name;
        let env = ground.env.clone().into_iter().chain(application.env.clone()).collect();
        let mut phase = Phase {
            name: format!("{step} {}", work.name),
            image: ground.image,
            directory: work.directory(),
            commands: commands.iter().map(Command::argv).collect(),
            env: phase::environment(&env, at.epoch),
            network: application.network,
            inputs,
            removed: ground.gone.iter().cloned().chain(removed).collect(),
            secrets: application.build_secrets.iter().map(|key| format!("project/{project}/{key}")).collect(),
            platform: at.platform,
            fresh: self.request.fresh,
            project: Some(project.clone()),
        };
        if !below.is_empty("") {
            phase.inputs.insert(0, below.there().write(self.blobs, Form::System, at.epoch)?.0);
        }
        self.left(&phase)
    }

    /// What a phase leaves: it runs, unless that is known.
    pub(super) fn left(&mut self, phase: &Phase) -> Result<Entries, Error> {
        let builder = self.request.builder.ok_or_else(|| Error::internal("phases run without an engine"))?;
        let key = phase.key();
        if let Some(left) = self.ran.get(&key) {
            return Entries::read(self.blobs, left);
        }
        let known = if self.request.fresh { None } else { self.blobs.phase(&key) };
        let left = match known {
            Some(left) => {
                builder.say(&format!("=> {} is known", phase.name));
                self.cache_hits += 1;
                left
            }
            None => {
                builder.say(&format!("=> {}", phase.name));
                let left = builder.run(self.blobs, phase).map_err(|error| Error {
                    message: format!("the phase \"{}\": {}", phase.name, error.message),
                    ..error
                })?;
                self.blobs.note_phase(&key, &left)?;
                left
            }
        };
        self.ran.insert(key, left);
        Entries::read(self.blobs, &left)
    }

    /// Layers of what was made, empty ones left out.
    fn layers(&self, work: &Work<'_>, made: Made, place: &str) -> Result<Vec<Layer>, Error> {
        let application = work.application;
        let writable = writable(application, place);
        let outputs = application.outputs.as_ref();
        let outputs = outputs.map(|paths| paths.iter().map(|path| absolute(path, place)).collect::<Vec<_>>());
        let own = Form::Application(&writable);
        let Made { mut system, mut install, mut files } = made;
        let mut form = Form::System;
        if let Some(outputs) = &outputs {
            let is_kept = |path: &str| outputs.iter().any(|above| is_within(path, above));
            let chosen = |entries: &Entries| entries.there().only(is_kept);
            (system, install, form) = (chosen(&system), chosen(&install), own);
            if !application.build_commands.is_empty() {
                files = chosen(&files);
            }
            self.all_made(work, outputs, [&system, &install, &files])?;
        }
        let mut layers = Vec::new();
        for (kind, entries, form) in
            [(Kind::System, system, form), (Kind::Install, install, own), (Kind::Files, files, own)]
        {
            if entries.is_empty(place) {
                continue;
            }
            let (digest, size_bytes) = entries.write(self.blobs, form, work.at.epoch)?;
            layers.push(Layer { digest, size_bytes, kind, application: Some(work.name.to_owned()) });
        }
        Ok(layers)
    }

    /// Refuses outputs that nothing made.
    fn all_made(&self, work: &Work<'_>, outputs: &[String], made: [&Entries; 3]) -> Result<(), Error> {
        let missing = outputs.iter().find(|output| made.iter().all(|entries| !entries.holds(output)));
        let Some(missing) = missing else { return Ok(()) };
        let message = format!("the phases of \"{}\" have not made its output /{missing}", work.name);
        Err(Error::new(Code::FailedPrecondition, message).hint("name what they make: `outputs`"))
    }
}

/// What lies in the work directory.
fn within(left: &Entries, place: &str) -> Entries {
    left.only(|path| is_within(path, place))
}

/// What lies elsewhere.
fn outside(left: &Entries, place: &str) -> Entries {
    left.only(|path| !is_within(path, place) && !is_within(place, path))
}
