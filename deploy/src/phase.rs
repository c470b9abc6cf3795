//! Phases: commands of an application that run in a container which is thrown away, and whoever runs them.

use std::collections::BTreeMap;

use aigis_proxy::{Error, Name};
use serde_json::json;

use crate::{Digest, image::Platform, inputs::BUILDER, json::canonical, manifest::LockedBase, package::Blobs};

/// What of a container is no output of a phase, below its root.
const LEFT_OUT: [&str; 13] = [
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/cache/ldconfig/aux-cache",
    "var/log",
    "root/.cache",
    "root/.npm",
    "tmp",
    "var/tmp",
    "run",
    ".dockerenv",
];
/// Likewise, below the work directory.
const CACHES: [&str; 3] = ["node_modules/.cache", ".next/cache", ".next/trace"];

/// One phase of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// What it is called to people: `install api`.
    pub name: String,
    /// The image in which it runs, by the digest of its configuration.
    pub image: Digest,
    /// The work directory, absolute.
    pub directory: String,
    /// What runs, in order.
    pub commands: Vec<Vec<String>>,
    /// Its environment, besides the image's.
    pub env: BTreeMap<String, String>,
    /// Whether it has a network.
    pub network: bool,
    /// Archives that are unpacked at the root before, in order.
    pub inputs: Vec<Digest>,
    /// Paths below the root that are removed before.
    pub removed: Vec<String>,
    /// The names of secrets that it may read; their values have no say in what it leaves.
    pub secrets: Vec<String>,
    /// For what machine it runs.
    pub platform: Platform,
    /// Whether an equal one that runs already is of no use.
    pub fresh: bool,
    /// The project whose downloads it shares, if any; they have no say in what it leaves.
    pub project: Option<Name>,
}

impl Phase {
    /// The digest of all that its result depends on.
    #[must_use]
    pub fn key(&self) -> Digest {
        let Self {
            name: _,
            fresh: _,
            project: _,
            image,
            directory,
            commands,
            env,
            network,
            inputs,
            removed,
            secrets,
            platform,
        } = self;
        Digest::of(&canonical(&json!({
            "image": image, "directory": directory, "commands": commands, "env": env, "network": network,
            "inputs": inputs, "removed": removed, "secrets": secrets, "platform": platform, "builder": BUILDER,
        })))
    }

    /// Paths below the root of which nothing is taken out, nor of what is below them.
    #[must_use]
    pub fn left_out(&self) -> Vec<String> {
        let directory = self.directory.trim_matches('/');
        let caches = CACHES.iter().map(|cache| format!("{directory}/{cache}"));
        LEFT_OUT.iter().map(|path| (*path).to_owned()).chain(caches).collect()
    }
}

/// An image that a Dockerfile makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageBuild {
    /// The Dockerfile.
    pub dockerfile: String,
    /// What it may copy: an archive.
    pub context: Digest,
    /// The images that it names, by the digests of their configurations.
    pub bases: BTreeMap<String, Digest>,
    /// For what machine it is.
    pub platform: Platform,
    /// Whether nothing is taken from the engine's cache.
    pub fresh: bool,
}

/// The environment of every phase, over the application's own.
#[must_use]
pub fn environment(own: &BTreeMap<String, String>, epoch: u64) -> BTreeMap<String, String> {
    let epoch = epoch.to_string();
    let fixed = [
        ("SOURCE_DATE_EPOCH", epoch.as_str()),
        ("TZ", "UTC"),
        ("LC_ALL", "C.UTF-8"),
        ("PYTHONHASHSEED", "0"),
        ("CI", "1"),
    ];
    let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    own.clone().into_iter().chain(fixed).collect()
}

/// Whoever has an engine: it knows images, and runs phases.
pub trait Builder: std::fmt::Debug {
    /// Says what an image is; with `whole`, its configuration and its layers are among the blobs afterwards.
    ///
    /// # Errors
    ///
    /// `unavailable` for one that cannot be had; `failed_precondition` for another than the one that is locked.
    fn image(
        &self,
        blobs: &Blobs,
        reference: &str,
        platform: Platform,
        locked: Option<&LockedBase>,
        whole: bool,
    ) -> Result<LockedBase, Error>;

    /// Runs a phase, and keeps an archive of all that differs from its image afterwards, with whiteouts for what is gone.
    ///
    /// # Errors
    ///
    /// `failed_precondition` with the last lines of a command that failed; `unavailable` for an engine that is away.
    fn run(&self, blobs: &Blobs, phase: &Phase) -> Result<Digest, Error>;

    /// Notes which image is made now, and how much of all images is made, in percent.
    fn at(&self, container: &str, percent: usize) {
        let _ = (container, percent);
    }

    /// The version of the engine, which builds for that platform.
    ///
    /// # Errors
    ///
    /// `unavailable` for an engine that is away, or of another platform.
    fn engine(&self, platform: Platform) -> Result<String, Error>;

    /// Builds an image, keeps its configuration and its layers as the engine made them, and gives the digest of the
    /// configuration.
    ///
    /// # Errors
    ///
    /// `failed_precondition` with the line and the last words of an instruction that failed, and for a base that is another
    /// than the one that is named; `unavailable` for an engine that is away.
    fn build(&self, blobs: &Blobs, image: &ImageBuild) -> Result<Digest, Error>;

    /// Says to whoever waits what is done.
    fn say(&self, line: &str);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkg_44_a_phase_is_the_same_whatever_it_is_called_and_another_for_all_else() {
        let digest = Digest::of(b"x");
        let phase = Phase {
            name: "build api".to_owned(),
            image: digest,
            directory: "/app".to_owned(),
            commands: vec![vec!["true".to_owned()]],
            env: environment(&BTreeMap::from([("TZ".to_owned(), "CET".to_owned())]), 7),
            network: true,
            inputs: vec![digest],
            removed: Vec::new(),
            secrets: Vec::new(),
            platform: Platform::Amd64,
            fresh: false,
            project: None,
        };
        assert_eq!((phase.env["TZ"].as_str(), phase.env["SOURCE_DATE_EPOCH"].as_str()), ("UTC", "7"));
        let project = Some(Name::parse("shop").unwrap());
        assert_eq!(phase.key(), Phase { name: "other".to_owned(), fresh: true, project, ..phase.clone() }.key());
        let others = [
            Phase { image: Digest::of(b"y"), ..phase.clone() },
            Phase { directory: "/app/x".to_owned(), ..phase.clone() },
            Phase { commands: vec![vec!["tr".to_owned(), "ue".to_owned()]], ..phase.clone() },
            Phase { network: false, ..phase.clone() },
            Phase { inputs: vec![], ..phase.clone() },
            Phase { removed: vec!["a".to_owned()], ..phase.clone() },
            Phase { secrets: vec!["project/x/KEY".to_owned()], ..phase.clone() },
            Phase { platform: Platform::Arm64, ..phase.clone() },
            Phase { env: BTreeMap::new(), ..phase.clone() },
        ];
        let keys: std::collections::BTreeSet<Digest> = others.iter().chain([&phase]).map(Phase::key).collect();
        assert_eq!(keys.len(), 10);
        assert!(phase.left_out().contains(&"app/node_modules/.cache".to_owned()));
    }
}
