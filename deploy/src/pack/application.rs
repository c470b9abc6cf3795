//! What an application brings into an image: its sources, what it copies of others, and what its phases left.

use std::collections::{BTreeMap, BTreeSet};

use aigis_proxy::{Error, Name};

use super::{Packer, directory, phases, phases::Work};
use crate::{
    Digest,
    image::Platform,
    layer::{
        Layer,
        entries::{Entries, Form},
    },
    manifest::{Container, Copied},
};

/// Where an application is made: for which container, and for which machine.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) name: &'a Name,
    pub(super) container: &'a Container,
    pub(super) platform: Platform,
    pub(super) epoch: u64,
}

/// An application as it was made.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub(super) layers: Vec<Layer>,
    /// Itself, and those that it copies from.
    pub(super) applications: BTreeSet<String>,
    /// By reference: the images in which their phases ran.
    pub(super) bases: BTreeMap<String, Digest>,
    /// Which packages of a distribution their phases had, by name and version.
    pub(super) packages: BTreeMap<String, String>,
    /// Whether phases ran.
    pub(super) is_run: bool,
}

impl Part {
    /// Adds another to an image.
    pub(super) fn add(&mut self, other: Self) {
        let Self { layers, applications, bases, packages, is_run } = other;
        self.layers.extend(layers);
        self.applications.extend(applications);
        self.bases.extend(bases);
        self.packages.extend(packages);
        self.is_run |= is_run;
    }
}

impl<'a> Packer<'a> {
    /// Makes an application for a container, once.
    pub(super) fn application(&mut self, name: &'a Name, at: At<'a>) -> Result<Part, Error> {
        let key = (name.as_str(), at.name.as_str(), at.platform);
        if let Some(part) = self.parts.get(&key) {
            return Ok(part.clone());
        }
        let manifest = &self.request.document.manifest;
        let application = manifest.applications.get(name);
        let application = application.ok_or_else(|| Error::internal(format!("\"{name}\" is no application")))?;
        self.source(name.as_str(), application)?;
        let mut part = Part { applications: [name.to_string()].into(), ..Part::default() };
        let mut files = self.files(name.as_str(), application, at.container, at.epoch)?;
        if !application.copy.is_empty() {
            let mut entries = Entries::read(self.blobs, &files.digest)?;
            for copied in &application.copy {
                entries = entries.under(&self.copied(name, copied, at, &mut part)?);
            }
            let writable = phases::writable(application, &directory(at.container, name.as_str()));
            let (digest, size_bytes) = entries.write(self.blobs, Form::Application(&writable), at.epoch)?;
            files = Layer { digest, size_bytes, ..files };
        }
        if phases::has_phases(application) {
            let ground = self.phases_ground(name, application, at, &mut part)?;
            let work = Work { name: name.as_str(), application, at, ground, files };
            part.layers = self.phases(&work)?;
            part.is_run = true;
        } else {
            part.layers = vec![files];
        }
        self.parts.insert(key, part.clone());
        Ok(part)
    }

    /// What another application left at a path, as it stands here.
    fn copied(&mut self, name: &Name, copied: &'a Copied, at: At<'a>, part: &mut Part) -> Result<Entries, Error> {
        let Copied { from, path, to } = copied;
        let there = self.home(from, at);
        let made = self.application(from, there)?;
        let mut entries = Entries::default();
        for layer in &made.layers {
            entries = entries.under(&Entries::read(self.blobs, &layer.digest)?);
        }
        let source = phases::absolute(path, &directory(there.container, from.as_str()));
        let mut target = phases::absolute(to, &directory(at.container, name.as_str()));
        if entries.is_file(&source) && to.ends_with('/') {
            target = format!("{target}/{}", source.rsplit('/').next().unwrap_or_default());
        }
        let moved = entries.moved(&source, &target);
        if !moved.holds(&target) {
            let message = format!("\"{name}\" copies /{source} of \"{from}\", and there is nothing");
            return Err(Error::precondition(message).hint("copy what its phases make and its `outputs` keep"));
        }
        // Of it, its layers alone stay where they are.
        part.add(Part { layers: Vec::new(), ..made });
        Ok(moved)
    }

    /// Where an application that is copied from is made: with whom it stands together, else in the first container that
    /// has it, else as if it were in the one that copies.
    fn home(&self, name: &Name, at: At<'a>) -> At<'a> {
        if at.container.applications.contains(name) {
            return at;
        }
        let manifest = &self.request.document.manifest;
        let all = manifest.build_order().into_iter().filter_map(|name| manifest.containers.get_key_value(name));
        let found = all.into_iter().find(|(_, container)| container.applications.contains(name));
        found.map_or(at, |(name, container)| At { name, container, ..at })
    }
}
