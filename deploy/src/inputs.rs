//! The inputs digest: what an image, or a package, is made of. Neither a time, nor a host, nor a user counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Digest, image::Platform, json::canonical};

/// Of which form this is.
const VERSION: u32 = 1;
/// By what layers are put together: raised whenever the bytes would change.
pub const BUILDER: &str = "aigis-pack/1";

/// What one image is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// The digest of the manifest's part that concerns it.
    pub spec: Digest,
    /// By application: the digest of its source tree.
    pub sources: BTreeMap<String, Digest>,
    /// By application, and by path in the project: the digest of a lock file.
    pub locks: BTreeMap<String, BTreeMap<String, Digest>>,
    /// By reference: the configuration of each base and build image.
    pub bases: BTreeMap<String, Digest>,
    /// For what machine it is.
    pub platform: Platform,
    /// By what it is put together.
    pub builder: String,
    /// The time of all that is in it, in seconds since 1970.
    pub epoch: u64,
    /// The exact version of each package of its distribution.
    pub system_packages: BTreeMap<String, String>,
    /// The digest of the Dockerfile, if one makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<Digest>,
}

impl Inputs {
    /// Their digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let Self { spec, sources, locks, bases, platform, builder, epoch, system_packages, dockerfile } = self;
        let mut all = json!({
            "inputs_version": VERSION, "spec": spec, "sources": sources, "locks": locks, "bases": bases,
            "platform": platform, "builder": builder, "epoch": epoch, "system_packages": system_packages,
        });
        if let Some(dockerfile) = dockerfile {
            all["dockerfile"] = dockerfile.to_string().into();
        }
        Digest::of(&canonical(&all))
    }
}

/// By container and platform.
pub type ByImage<T> = BTreeMap<String, BTreeMap<Platform, T>>;

/// The digest of the inputs of a package: of its whole manifest, its lock, and the inputs of its images.
#[must_use]
pub fn of_package(spec: Digest, lock: Digest, containers: &ByImage<Digest>) -> Digest {
    Digest::of(&canonical(&json!({
        "inputs_version": VERSION, "spec": spec, "lock": lock, "containers": containers,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    fn digest(hex: &str) -> Digest {
        format!("sha256:{hex}").parse().unwrap()
    }

    #[test]
    fn pkg_32_the_inputs_of_the_golden_project() {
        let inputs = Inputs {
            spec: digest("fa900cda3c07875f01cfd2048c6a3673b6fbdbefd0262330aedc812619889346"),
            sources: [("hello".to_owned(), digest(golden::TREE))].into(),
            locks: [("hello".to_owned(), BTreeMap::new())].into(),
            bases: BTreeMap::new(),
            platform: Platform::Amd64,
            builder: BUILDER.to_owned(),
            epoch: 315_532_800,
            system_packages: BTreeMap::new(),
            dockerfile: None,
        };
        let image = inputs.digest();
        assert_eq!(image.hex(), "9a2e2749db373a39ad8483fe482fe062b26b9c24f558e5fe3a3d9176bcc5e39d");
        let spec = digest("36baced5c33e3311360a4beb80482b916670c7efced183e9dd7adfe78667814a");
        let lock = canonical(&json!({"lock_version": 1, "bases": {}, "system_packages": {}}));
        let containers = [("hello".to_owned(), [(Platform::Amd64, image)].into())].into();
        let package = of_package(spec, Digest::of(&lock), &containers);
        assert_eq!(package.hex(), "400408a16f889204b7aca687f643e3ad551931f61558cc931561c0dd802dda91");
    }
}
