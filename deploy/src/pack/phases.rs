//! Applications with commands: their phases run where there is an engine, and what they left becomes layers.

use std::collections::BTreeSet;

use aigis_proxy::{Code, Error};

use super::{Packer, directory};
use crate::{
    Digest,
    image::Platform,
    layer::{
        Kind, Layer,
        entries::{Entries, Form, is_within},
    },
    manifest::{Application, Command, Container},
    phase::{self, Phase},
};

/// An application whose phases run.
pub(super) struct Work<'a> {
    pub(super) name: &'a str,
    pub(super) application: &'a Application,
    pub(super) container: &'a Container,
    pub(super) platform: Platform,
    pub(super) epoch: u64,
    /// The image in which they run, by the digest of its configuration.
    pub(super) image: Digest,
    /// Its sources as a layer.
    pub(super) files: Layer,
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
        let place = directory(work.container, work.name);
        let place = place.trim_matches('/');
        let blobs = self.blobs;
        let source = Entries::read(blobs, &work.files.digest)?;
        let mut made = Made { files: source.clone(), ..Made::default() };
        if !work.application.install_commands.is_empty() {
            let given = self.dependencies(work, &source, place);
            let (input, _) = given.write(blobs, Form::Application(&[]), work.epoch)?;
            let left = self.run(work, "install", &work.application.install_commands, vec![input], Vec::new())?;
            made.install = left.only(|path| is_within(path, place)).since(&given, blobs)?;
            made.system = outside(&left, place);
        }
        if !work.application.build_commands.is_empty() {
            let earlier = [
                made.system.there().write(blobs, Form::System, work.epoch)?.0,
                made.install.there().write(blobs, Form::Application(&[]), work.epoch)?.0,
                work.files.digest,
            ];
            let removed = made.system.gone().chain(made.install.gone()).map(str::to_owned).collect();
            let left = self.run(work, "build", &work.application.build_commands, earlier.to_vec(), removed)?;
            made.files = left.only(|path| is_within(path, place)).since(&made.install, blobs)?;
            made.system = outside(&left, place);
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

    /// Runs a phase, unless what it would leave is known.
    fn run(
        &mut self,
        work: &Work<'_>,
        step: &str,
        commands: &[Command],
        inputs: Vec<Digest>,
        removed: Vec<String>,
    ) -> Result<Entries, Error> {
        let builder = self.request.builder.ok_or_else(|| Error::internal("phases run without an engine"))?;
        let phase = Phase {
            name: format!("{step} {}", work.name),
            image: work.image,
            directory: directory(work.container, work.name),
            commands: commands.iter().map(Command::argv).collect(),
            env: phase::environment(&work.application.env, work.epoch),
            network: work.application.network,
            inputs,
            removed,
            platform: work.platform,
        };
        let key = phase.key();
        let known = if self.request.fresh { None } else { self.blobs.phase(&key) };
        let left = match known {
            Some(left) => {
                builder.say(&format!("=> {} is known", phase.name));
                self.cache_hits += 1;
                left
            }
            None => {
                builder.say(&format!("=> {}", phase.name));
                let left = builder.run(self.blobs, &phase).map_err(|error| Error {
                    message: format!("the phase \"{}\": {}", phase.name, error.message),
                    ..error
                })?;
                self.blobs.note_phase(&key, &left)?;
                left
            }
        };
        Entries::read(self.blobs, &left)
    }

    /// Layers of what was made, empty ones left out.
    fn layers(&self, work: &Work<'_>, made: Made, place: &str) -> Result<Vec<Layer>, Error> {
        let application = work.application;
        let absolute = |path: &String| match path.strip_prefix('/') {
            Some(path) => path.trim_end_matches('/').to_owned(),
            None => format!("{place}/{}", path.trim_start_matches("./").trim_end_matches('/')),
        };
        let writable: Vec<String> = application.writable.iter().map(absolute).collect();
        let outputs = application.outputs.as_ref().map(|paths| paths.iter().map(absolute).collect::<Vec<_>>());
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
            let (digest, size_bytes) = entries.write(self.blobs, form, work.epoch)?;
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

/// What a phase changed elsewhere than in the work directory.
fn outside(left: &Entries, place: &str) -> Entries {
    left.only(|path| !is_within(path, place) && !is_within(place, path))
}
