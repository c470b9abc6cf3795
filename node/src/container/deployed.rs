//! What a deployment left on a container: where it comes from, its part of the manifest, and which skills its CI has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Host;
use crate::{
    deployed::labels::{ABOUT, CAPABILITIES, DOCUMENT},
    engine::ContainerId,
    services::{DeclaredService, Protocol, Source},
};

/// The skills that there are only with a capability of that name, and those below them.
const CAPABLE: [&str; 6] = ["stats", "logs", "monitor", "debug", "optimize", "exec"];
/// The skill of containers that have a manifest.
pub(super) const MANIFEST: &str = "manifest";

/// What a deployment left on a container; of one that none has set up, nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deployed {
    /// Where it comes from: project, package, digests, applications, ports.
    pub about: Option<Value>,
    /// Its part of the manifest.
    pub document: Option<Value>,
    /// Which of the skills that depend on capabilities there are; all if absent.
    pub capabilities: Option<BTreeSet<String>>,
}

impl Deployed {
    /// Reads the labels; one that is no JSON says nothing.
    #[must_use]
    pub fn read(labels: &BTreeMap<String, String>) -> Self {
        let json = |key| labels.get(key).and_then(|text| serde_json::from_str(text).ok());
        let names =
            |text: &String| text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Self { about: json(ABOUT), document: json(DOCUMENT), capabilities: labels.get(CAPABILITIES).map(names) }
    }

    /// The same as it is now: a later package may have kept the container.
    pub(super) fn now(&self, host: &Host, id: &ContainerId) -> Self {
        let mut now = self.clone();
        if let Some(note) = host.notes.get(id) {
            (now.about, now.document) = (Some(note.about), Some(note.document));
        }
        now
    }

    /// Whether the CI has a skill of that path.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        let first = path.split('.').next().unwrap_or(path);
        if first == MANIFEST {
            return self.document.is_some();
        }
        !CAPABLE.contains(&first) || self.capabilities.as_ref().is_none_or(|names| names.contains(first))
    }

    /// The services that its manifest declares: its ports, by the type of its first application.
    #[must_use]
    pub fn services(&self) -> Vec<DeclaredService> {
        let Some(about) = &self.about else { return Vec::new() };
        let kind = about.pointer("/applications/0/type").or_else(|| about.get("container"));
        let Some(name) = kind.and_then(Value::as_str) else { return Vec::new() };
        let ports = about.get("ports").and_then(Value::as_array).into_iter().flatten();
        let ports = ports.filter_map(|port| u16::try_from(port.as_u64()?).ok());
        let declared = |port| DeclaredService {
            name: name.to_owned(),
            port: Some(port),
            protocol: Protocol::Tcp,
            source: Source::Manifest,
        };
        ports.map(declared).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(labels: &[(&str, &str)]) -> Deployed {
        Deployed::read(&labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn pkg_62_only_the_listed_capabilities_are_skills() {
        let some = read(&[(CAPABILITIES, "monitor,optimize,debug"), (DOCUMENT, "{}")]);
        for (path, is) in [
            ("monitor", true),
            ("optimize", true),
            ("optimize.apply", true),
            ("debug", true),
            ("exec", false),
            ("logs", false),
            ("stats", false),
            ("status", true),
            ("describe", true),
            ("restart", true),
            ("message", true),
            ("manifest", true),
        ] {
            assert_eq!(some.has(path), is, "{path}");
        }
        let plain = read(&[]);
        assert!(plain.has("exec") && plain.has("logs") && !plain.has("manifest"));
        let none = read(&[(CAPABILITIES, "")]);
        assert!(CAPABLE.iter().all(|path| !none.has(path)) && none.has("health"));
    }

    #[test]
    fn pkg_61_ports_and_type_of_the_manifest_are_services() {
        let about = r#"{"container":"api","ports":[8000,9000],"applications":[{"name":"a","type":"fastapi"}]}"#;
        let services = read(&[(ABOUT, about)]).services();
        let found: Vec<_> = services.iter().map(|one| (one.name.as_str(), one.port, one.source)).collect();
        assert_eq!(found, [("fastapi", Some(8000), Source::Manifest), ("fastapi", Some(9000), Source::Manifest)]);
        let unnamed = read(&[(ABOUT, r#"{"container":"db","ports":[5432,"x",70000]}"#)]).services();
        assert_eq!(unnamed.iter().map(|one| (one.name.as_str(), one.port)).collect::<Vec<_>>(), [("db", Some(5432))]);
        assert!(read(&[(ABOUT, "no json")]).services().is_empty());
    }
}
