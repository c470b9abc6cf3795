//! What is known of a package: its record, which never changes; its builds; its state, which does.

use std::collections::{BTreeMap, BTreeSet};

use aigis_registry::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Digest,
    image::Platform,
    inputs::{self, ByImage, Inputs},
    layer::Layer,
};

/// Under which name the trees of a record have what Dockerfiles may copy: no application is called so.
pub const CONTEXT: &str = ".";
/// By which rules checks are worked out.
pub const RULES_VERSION: u32 = 1;

/// A package. The same content has the same record, but for when, by whom and where it was made first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// By which it is known: its output.
    pub id: Digest,
    /// Whose package it is.
    pub project: String,
    /// What the manifest says of its version.
    pub version: Option<String>,
    /// Of its whole manifest.
    pub spec: Digest,
    /// Of all that it is made of.
    pub inputs: Digest,
    /// Of its index.
    pub output: Digest,
    /// By container and platform.
    pub images: Vec<ImageRecord>,
    /// By application: its source tree.
    pub trees: BTreeMap<String, Digest>,
    /// Of its lock.
    pub lock: Digest,
    /// By application, and by path in the project: the lock files that count.
    pub locked: BTreeMap<String, BTreeMap<String, Digest>>,
    /// What it follows.
    pub parents: Vec<Digest>,
    /// When it was made first.
    pub created_at: Timestamp,
    /// Who made it first.
    pub created_by: String,
    /// On which host.
    pub node: Option<String>,
    /// By which rules its checks are worked out.
    pub rules_version: u32,
}

/// One image of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRecord {
    /// Of which container.
    pub container: String,
    /// For what machine.
    pub platform: Platform,
    /// How it was made: 0 put together without an engine, 1 from phases in containers, 2 by a Dockerfile.
    pub tier: u8,
    /// Of its part of the manifest.
    pub spec: Digest,
    /// Of what it is made of.
    pub inputs: Digest,
    /// Of its manifest.
    pub output: Digest,
    /// Of its configuration.
    pub config: Digest,
    /// Its layers, the base's first.
    pub layers: Vec<Layer>,
    /// By reference: the configurations of its base and build images.
    pub bases: BTreeMap<String, Digest>,
    /// By what it was put together.
    pub builder: String,
    /// The time of all that is in it, in seconds since 1970.
    pub epoch: u64,
    /// The exact version of each package of its distribution.
    pub system_packages: BTreeMap<String, String>,
    /// The applications in it, and those that they copy from.
    pub applications: Vec<String>,
    /// Of its Dockerfile, if one makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<Digest>,
}

impl Record {
    /// What one of its images is made of, as its digest says it.
    #[must_use]
    pub fn inputs_of(&self, image: &ImageRecord) -> Inputs {
        let of = |name: &String| Some((name.clone(), *self.trees.get(name)?));
        let context = image.dockerfile.and_then(|_| Some(("context".to_owned(), *self.trees.get(CONTEXT)?)));
        let locks = |name: &String| (name.clone(), self.locked.get(name).cloned().unwrap_or_default());
        Inputs {
            spec: image.spec,
            sources: image.applications.iter().filter_map(of).chain(context).collect(),
            locks: image.applications.iter().map(locks).collect(),
            bases: image.bases.clone(),
            platform: image.platform,
            builder: image.builder.clone(),
            epoch: image.epoch,
            system_packages: image.system_packages.clone(),
            dockerfile: image.dockerfile,
        }
    }

    /// What it was made of, each once: its source trees and its Dockerfiles. It may be elsewhere than the package's own content.
    #[must_use]
    pub fn sources(&self) -> BTreeSet<Digest> {
        let dockerfiles = self.images.iter().filter_map(|image| image.dockerfile);
        self.trees.values().copied().chain(dockerfiles).collect()
    }

    /// Whether the digests of the inputs are those of what it says that they are.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let images = self.images.iter().all(|image| self.inputs_of(image).digest() == image.inputs);
        let whole = inputs::of_package(self.spec, self.lock, &self.by_image(|image| image.inputs));
        images && whole == self.inputs && self.id == self.output
    }

    /// How it was made: the highest tier of its images.
    #[must_use]
    pub fn tier(&self) -> u8 {
        self.images.iter().map(|image| image.tier).max().unwrap_or_default()
    }

    /// Something of each image.
    pub fn by_image<T>(&self, of: impl Fn(&ImageRecord) -> T) -> ByImage<T> {
        let mut all = ByImage::new();
        for image in &self.images {
            all.entry(image.container.clone()).or_default().insert(image.platform, of(image));
        }
        all
    }

    /// The first digits of its id, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.id.hex().chars().take(12).collect()
    }
}

/// A build of a package: each that made the same adds one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// `bld_` and a UUID.
    pub id: String,
    /// What it made.
    pub package: Digest,
    /// Of what.
    pub inputs: Digest,
    /// The images that it made.
    pub outputs: ByImage<Digest>,
    /// How: the highest tier of its images.
    pub tier: u8,
    /// From where the sources came.
    pub source: Origin,
    /// On which host.
    pub node: Option<String>,
    /// By which engine, if one took part.
    pub engine: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// How many of its phases came from a cache.
    pub cache_hits: u64,
    /// Which package it was to verify.
    pub verify_of: Option<Digest>,
    /// Whether a node put it together itself, of phases that it had run for it, and vouches for all that stands here. Of the
    /// other builds nothing is known but what those said who registered them.
    #[serde(default)]
    pub measured: bool,
}

impl Build {
    /// A build that gave that package and ends now, for whoever asked for it.
    #[must_use]
    pub fn of(record: &Record, by: &str, started_at: Timestamp, cache_hits: u64) -> Self {
        Self {
            id: format!("bld_{}", uuid::Uuid::now_v7()),
            package: record.id,
            inputs: record.inputs,
            outputs: record.by_image(|image| image.output),
            tier: record.tier(),
            source: Origin::default(),
            node: None,
            engine: None,
            started_at,
            ended_at: Timestamp::now(),
            by: by.to_owned(),
            cache_hits,
            verify_of: None,
            measured: false,
        }
    }
}

/// From where sources came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The repository, as the manifest says it.
    pub repository: Option<String>,
    /// The commit that was checked out, if any.
    pub commit: Option<String>,
    /// Whether what was packed differs from it, if that was looked at.
    pub dirty: Option<bool>,
}

/// What changes of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Names for it, none of which is another's of the same project.
    pub tags: BTreeSet<String>,
    /// What somebody said of it.
    pub labels: BTreeMap<String, String>,
    /// What the manifest says of the project.
    pub description: Option<String>,
    /// Which packages follow it.
    pub children: BTreeSet<Digest>,
    /// Where it was pushed to.
    pub places: Vec<Place>,
    /// Whether it was removed: then nothing may follow it.
    pub removed: bool,
}

/// Whether that can be a tag: one of OCI registries.
#[must_use]
pub fn is_tag(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with(['.', '-'])
}

/// Where a package was pushed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// By which name it was pushed: `HOST/PATH:TAG`.
    pub reference: String,
    /// By which it is known there.
    pub digest: Digest,
    /// How its layers lie there.
    pub layers: Layers,
}

/// How layers lie in a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layers {
    /// As they are: what is pulled has the package's own digests.
    Tar,
    /// Compressed: other manifests of the same configurations.
    Gzip,
}

impl std::str::FromStr for Layers {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "tar" => Ok(Self::Tar),
            "gzip" => Ok(Self::Gzip),
            _ => Err("one of tar, gzip is needed"),
        }
    }
}

/// Whether independent builds of the same inputs gave the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reproducible {
    /// At least two did, and none differed.
    Yes,
    /// One differed.
    No,
    /// Too few were made; or no engine took part, so that there is nothing to measure.
    Unchecked,
}

impl std::str::FromStr for Reproducible {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "yes" => Ok(Self::Yes),
            "no" => Ok(Self::No),
            "unchecked" => Ok(Self::Unchecked),
            _ => Err("one of yes, no, unchecked is needed"),
        }
    }
}

impl Reproducible {
    /// Worked out from the builds of the same inputs, in the order in which they were put on record.
    ///
    /// What a node measured counts. Of what others say, one build does that was on record before the first of these: it said
    /// what would come out before that could be known. What a Dockerfile makes is promised by nobody: only who set out to
    /// verify it measured it.
    #[must_use]
    pub fn of(builds: &[Build]) -> Self {
        let differs = |build: &Build| build.verify_of.is_some_and(|verified| verified != build.package);
        let outputs = builds.first().map(|build| &build.outputs);
        if builds.iter().any(|build| differs(build) || Some(&build.outputs) != outputs) {
            return Self::No;
        }
        if !builds.iter().any(|build| build.tier < 2 || build.verify_of.is_some()) {
            return Self::Unchecked;
        }
        let mut independent = builds.iter().filter(|build| build.tier > 0 && build.cache_hits == 0);
        let measured = independent.clone().filter(|build| build.measured).count();
        let is_foretold = independent.next().is_some_and(|first| !first.measured);
        if measured > 0 && measured + usize::from(is_foretold) >= 2 { Self::Yes } else { Self::Unchecked }
    }
}
