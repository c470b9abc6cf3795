//! What a host's user says of bases, mirrors, registries and projects: `packages.toml`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use aigis_proxy::{Name, text_file::Error};
use aigis_registry::toml_file::{self, Table};

use crate::plan::Bases;

/// Its name in the directory of configuration.
pub const FILE: &str = "packages.toml";
/// Most bytes of a value.
const LONGEST: usize = 4096;

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// By logical names: references in the place of those that are known.
    pub bases: BTreeMap<String, String>,
    /// By the host of a registry: where to pull from in its place, in this order.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Hosts of registries that are spoken to without TLS, besides this one.
    pub insecure: Vec<String>,
    /// By their names: directories that the skills of packages may read.
    pub projects: BTreeMap<String, PathBuf>,
    /// A file of certificates that phases of builds trust as well.
    pub ca_bundle: Option<PathBuf>,
    /// Variables of phases of builds: proxies and mirrors of package indexes.
    pub build_env: BTreeMap<String, String>,
}

impl Settings {
    /// Reads the file; where there is none, nothing is said.
    ///
    /// # Errors
    ///
    /// It cannot be read, is no TOML, or holds what is unknown or no value of its kind; with its place.
    pub fn read(path: &Path) -> Result<Self, Error> {
        match path.try_exists() {
            Ok(false) => Ok(Self::default()),
            _ => Self::parse(path, &aigis_proxy::text_file::read(path)?),
        }
    }

    /// As [`Settings::read`], of a file whose text is there already.
    ///
    /// # Errors
    ///
    /// As [`Settings::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        toml_file::parse(path, text, &["bases", "mirrors", "registries", "projects", "build"], |root| {
            let mut settings = Self::default();
            let known = Bases::known();
            let known: Vec<&str> = known.names().collect();
            if let Some(bases) = root.table("bases", Some(&known))? {
                settings.bases = pairs(&bases, reference)?;
            }
            if let Some(mirrors) = root.table("mirrors", None)? {
                for entry in mirrors.entries() {
                    host(entry.key()).map_err(|why| entry.refuse_key(why))?;
                    let places = mirrors.texts(entry.key(), host)?;
                    settings.mirrors.extend(places.map(|places| (entry.key().to_owned(), places)));
                }
            }
            if let Some(registries) = root.table("registries", Some(&["insecure"]))? {
                settings.insecure = registries.texts("insecure", host)?.unwrap_or_default();
            }
            if let Some(projects) = root.table("projects", None)? {
                for entry in projects.entries() {
                    Name::choose(entry.key()).map_err(|why| entry.refuse_key(why.to_string()))?;
                    let directory = projects.text(entry.key(), absolute)?;
                    settings.projects.extend(directory.map(|directory| (entry.key().to_owned(), directory)));
                }
            }
            if let Some(build) = root.table("build", Some(&["ca_bundle", "env"]))? {
                settings.ca_bundle = build.text("ca_bundle", absolute)?;
                if let Some(env) = build.table("env", None)? {
                    settings.build_env = pairs(&env, value)?;
                }
            }
            Ok(settings)
        })
    }

    /// The bases that are known, with those that were named in their places.
    #[must_use]
    pub fn bases(&self) -> Bases {
        Bases::known().with(self.bases.clone())
    }
}

fn pairs(table: &Table<'_>, read: fn(&str) -> Result<String, &'static str>) -> Result<BTreeMap<String, String>, Error> {
    let mut all = BTreeMap::new();
    for entry in table.entries() {
        all.extend(table.text(entry.key(), read)?.map(|value| (entry.key().to_owned(), value)));
    }
    Ok(all)
}

fn value(text: &str) -> Result<String, &'static str> {
    if text.len() > LONGEST || text.chars().any(char::is_control) {
        return Err("write at most 4096 characters, none of them a control character");
    }
    Ok(text.to_owned())
}

fn reference(text: &str) -> Result<String, &'static str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._-/:@{}".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !begins
        || text.len() > LONGEST
        || !text.chars().all(is_part)
        || text.replace("{version}", "").contains(['{', '}'])
    {
        return Err("write the reference of an image, with {version} where its version stands: python:{version}-slim");
    }
    Ok(text.to_owned())
}

fn host(text: &str) -> Result<String, &'static str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._-/:[]".contains(c);
    if text.is_empty() || text.contains("://") || !text.chars().all(is_part) {
        return Err("write a registry as HOST or HOST:PORT, without a scheme");
    }
    Ok(text.to_owned())
}

fn absolute(text: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(value(text)?);
    if path.is_absolute() { Ok(path) } else { Err("write an absolute path") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new("packages.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn all_that_can_be_said_is_read() {
        let settings = parse(
            "[bases]\npython = \"127.0.0.1:5000/python:{version}\"\n[mirrors]\n\"docker.io\" = [\"127.0.0.1:5000\"]\n\
            [registries]\ninsecure = [\"10.0.0.1:5000\"]\n[projects]\ndemo = \"/srv/demo\"\n\
            [build]\nca_bundle = \"/etc/ca.pem\"\nenv = { HTTPS_PROXY = \"http://p:1\" }\n",
        );
        let settings = settings.unwrap();
        assert_eq!(settings.mirrors.get("docker.io").unwrap(), &["127.0.0.1:5000"]);
        assert_eq!(settings.projects.get("demo").unwrap(), Path::new("/srv/demo"));
        assert_eq!(settings.build_env.len() + settings.insecure.len(), 2);
        assert_eq!(settings.bases().references.get("python").unwrap(), "127.0.0.1:5000/python:{version}");
        assert_eq!(parse("").unwrap(), Settings::default());
    }

    #[test]
    fn what_is_unknown_names_the_nearest() {
        for (text, words) in [
            ("[base]\n", "did you mean \"bases\"?"),
            (
                "\n[bases]\npyton = \"x\"\n",
                "packages.toml:3:1: unknown key \"pyton\" in [bases]; did you mean \"python\"?",
            ),
            ("[bases]\nnode = \"no de\"\n", "reference of an image"),
            ("[mirrors]\n\"docker.io\" = [\"https://x\"]\n", "without a scheme"),
            ("[projects]\ndemo = \"x\"\n", "absolute path"),
            ("[projects]\n\"../x\" = \"/x\"\n", "packages.toml:2:1"),
            ("[build]\nca = \"/x\"\n", "ca_bundle"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
