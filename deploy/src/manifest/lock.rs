//! The lock of a project, `aigis.lock`: what its references meant when it was written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Platform, Problem, check::of_flaw};
use crate::{Digest, json};

/// The name of the file, beside the manifest.
pub const LOCK_FILE: &str = "aigis.lock";

/// What references of a manifest meant, and which versions were taken.
///
/// ```
/// use aigis_deploy::manifest::Lock;
///
/// let lock = Lock::default();
/// assert_eq!(lock.canonical(), br#"{"bases":{},"lock_version":1,"system_packages":{}}"#);
/// assert_eq!(Lock::read(&lock.canonical()).unwrap(), lock);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Of which form this is: 1.
    pub lock_version: u32,
    /// By the reference and the platform: the image.
    pub bases: BTreeMap<String, BTreeMap<Platform, LockedBase>>,
    /// By the container, the platform and the name of a package of Debian: its version.
    pub system_packages: BTreeMap<String, BTreeMap<Platform, BTreeMap<String, String>>>,
}

/// An image that a reference meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedBase {
    /// The digest of its manifest in a registry; `null` for one that was made on the host.
    #[serde(deserialize_with = "given")]
    pub manifest: Option<Digest>,
    /// The digest of its configuration.
    pub config: Digest,
    /// The digests of its layers, unpacked.
    pub diff_ids: Vec<Digest>,
}

/// What may be `null`, and has to be there.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Digest>, D::Error> {
    Option::deserialize(deserializer)
}

/// Why a lock cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// It is no strict JSON.
    #[error("{LOCK_FILE}:{}:{}: {}", .0.line, .0.column, .0.message)]
    Json(Box<Problem>),
    /// It is no lock of this form.
    #[error("{LOCK_FILE} is no lock of the form 1: {0}")]
    Form(String),
}

impl Default for Lock {
    fn default() -> Self {
        Self { lock_version: 1, bases: BTreeMap::new(), system_packages: BTreeMap::new() }
    }
}

impl Lock {
    /// Reads a lock strictly.
    ///
    /// # Errors
    ///
    /// Where it is no strict JSON, the place of the first flaw; else which of its values is none of this form.
    pub fn read(bytes: &[u8]) -> Result<Self, LockError> {
        let read = json::read(bytes);
        if let Some(flaw) = read.flaws.into_iter().next() {
            return Err(LockError::Json(Box::new(of_flaw(flaw))));
        }
        let value = read.document.map(|document| document.root.value()).unwrap_or_default();
        let lock = Self::deserialize(&value).map_err(|error| LockError::Form(error.to_string()))?;
        if lock.lock_version != 1 {
            return Err(LockError::Form(format!("its lock_version is {}", lock.lock_version)));
        }
        Ok(lock)
    }

    /// The lock in canonical JSON: what the file holds, and what is hashed.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        // It is of texts and numbers alone, which always have a form.
        json::canonical(&serde_json::to_value(self).unwrap_or(Value::Null))
    }

    /// By the reference: the digest of its manifest in a registry, where all its platforms have the same one.
    #[must_use]
    pub fn pins(&self) -> BTreeMap<String, String> {
        let pin = |platforms: &BTreeMap<Platform, LockedBase>| {
            let mut digests = platforms.values().map(|base| base.manifest);
            let first = digests.next()??;
            digests.all(|digest| digest == Some(first)).then(|| first.to_string())
        };
        self.bases.iter().filter_map(|(reference, platforms)| Some((reference.clone(), pin(platforms)?))).collect()
    }

    /// The digest of the lock.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_digest_pins_a_reference_and_two_do_not() {
        let base = |manifest: Option<&[u8]>| LockedBase {
            manifest: manifest.map(Digest::of),
            config: Digest::of(b"c"),
            diff_ids: Vec::new(),
        };
        let mut lock = Lock::default();
        for (reference, amd64, arm64) in [
            ("alone:1", Some(&b"a"[..]), None),
            ("same:1", Some(&b"b"[..]), Some(base(Some(b"b")))),
            ("other:1", Some(&b"c"[..]), Some(base(Some(b"d")))),
            ("made-here:1", None, None),
        ] {
            let mut platforms = BTreeMap::from([(Platform::Amd64, base(amd64))]);
            platforms.extend(arm64.map(|base| (Platform::Arm64, base)));
            lock.bases.insert(reference.to_owned(), platforms);
        }
        let pin = |reference: &str, of: &[u8]| (reference.to_owned(), Digest::of(of).to_string());
        assert_eq!(lock.pins(), BTreeMap::from([pin("alone:1", b"a"), pin("same:1", b"b")]));
    }

    #[test]
    fn a_lock_is_read_strictly_and_written_canonically() {
        let digest = Digest::of(b"x");
        let base = LockedBase { manifest: None, config: digest, diff_ids: vec![digest] };
        let mut lock = Lock::default();
        lock.bases
            .insert("python:3.13-slim".to_owned(), [(Platform::Arm64, base.clone()), (Platform::Amd64, base)].into());
        let versions = BTreeMap::from([("libssl3".to_owned(), "3.0.15-1".to_owned())]);
        lock.system_packages.insert("api".to_owned(), [(Platform::Amd64, versions)].into());
        let text = String::from_utf8(lock.canonical()).unwrap();
        assert!(
            text.starts_with(&format!(
                "{{\"bases\":{{\"python:3.13-slim\":{{\"linux/amd64\":{{\"config\":\"{digest}\""
            )),
            "{text}"
        );
        assert_eq!(Lock::read(text.as_bytes()).unwrap(), lock);
        for (wrong, told) in [
            ("{\"lock_version\":1,\n\"lock_version\":1}", "aigis.lock:2:1: "),
            (&text.replace("\"lock_version\":1", "\"lock_version\":2"), "lock_version is 2"),
            (&text.replace(",\"manifest\":null", ""), "manifest"),
            (&text.replace("linux/arm64", "plan9/mips"), "plan9/mips"),
            (&text.replace("\"bases\"", "\"base\""), "base"),
            ("[]", "no lock"),
        ] {
            let error = Lock::read(wrong.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
