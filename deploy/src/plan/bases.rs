//! Which images stand behind the logical names.

use std::collections::BTreeMap;

use super::{Base, Bases, Error};

/// The references and usual versions by their logical names.
const KNOWN: &str = include_str!("../../data/bases.json");

impl Bases {
    /// The bases that are known here, none of them pinned.
    #[must_use]
    pub fn known() -> Self {
        // A test reads the table; a table that cannot be read is an empty one.
        let table: BTreeMap<String, (String, String)> = serde_json::from_str(KNOWN).unwrap_or_default();
        let mut bases = Self::default();
        for (name, (reference, version)) in table {
            bases.versions.insert(name.clone(), version);
            bases.references.insert(name, reference);
        }
        bases
    }

    /// The same with other references for some of the names.
    #[must_use]
    pub fn with(mut self, references: impl IntoIterator<Item = (String, String)>) -> Self {
        self.references.extend(references);
        self
    }

    /// The logical names that there are.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.references.keys().map(String::as_str)
    }

    /// The reference of a base, its digest with it where that is known.
    ///
    /// # Errors
    ///
    /// No base has that name, or its version cannot stand in a reference.
    pub fn reference(&self, base: &Base) -> Result<String, Error> {
        let form = self.references.get(&base.logical).ok_or_else(|| Error::NoBase(base.logical.clone()))?;
        let usual = self.versions.get(&base.logical).map(String::as_str);
        let version = base.version.as_deref().filter(|version| is_tag(version)).or(usual).unwrap_or("latest");
        let reference = form.replace("{version}", version);
        if !reference.chars().all(|c| c.is_ascii_graphic()) || reference.starts_with('-') {
            return Err(Error::ControlCharacter { what: format!("the reference of the base {}", base.logical) });
        }
        Ok(match self.digests.get(&reference) {
            Some(digest) if !reference.contains('@') => format!("{reference}@{digest}"),
            _ => reference,
        })
    }
}

/// Whether a version can be a part of an image's tag.
fn is_tag(version: &str) -> bool {
    version.starts_with(|c: char| c.is_ascii_alphanumeric())
        && version.len() <= 64
        && version.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_base_has_a_reference_with_a_version() {
        let bases = Bases::known();
        let spoken_of = [
            "bun", "cpp", "debian", "deno", "dotnet", "elixir", "gleam", "go", "gradle", "java", "maven", "node",
            "php", "python", "ruby", "rust", "static",
        ];
        for name in spoken_of {
            let base = Base { logical: name.to_owned(), version: None, because: None };
            let reference = bases.reference(&base).unwrap();
            assert!(
                reference.contains(':') && !reference.contains("latest") && !reference.contains('{'),
                "{reference}"
            );
        }
    }

    #[test]
    fn a_digest_stands_behind_the_reference_that_it_is_of() {
        let own = [("python".to_owned(), "127.0.0.1:5000/python:{version}".to_owned())];
        let mut bases = Bases::known().with(own);
        let base =
            |version: &str| Base { logical: "python".to_owned(), version: Some(version.to_owned()), because: None };
        assert_eq!(bases.reference(&base("3.12")).unwrap(), "127.0.0.1:5000/python:3.12");
        bases.digests.insert("127.0.0.1:5000/python:3.12".to_owned(), "sha256:00".to_owned());
        assert_eq!(bases.reference(&base("3.12")).unwrap(), "127.0.0.1:5000/python:3.12@sha256:00");
        assert_eq!(bases.reference(&base("3.12\nRUN x")).unwrap(), "127.0.0.1:5000/python:3.13");
        assert!(bases.reference(&Base { logical: "no".to_owned(), version: None, because: None }).is_err());
    }
}
