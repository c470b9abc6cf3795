//! How a secret is called on the command line: by its name, or, one of a plugin or a project, by `plugin/NAME KEY` and
//! `project/NAME KEY`.

use std::ffi::OsStr;

use aigis_proxy::{Code, Error, Name, secret::SecretName, secret::Selector};
use aigis_registry::{Kind, Snapshot};

use crate::exit::Failure;

/// The first part of the names of plugins' secrets.
const OF_PLUGINS: &str = "plugin/";
/// Of those of projects.
const OF_PROJECTS: &str = "project/";

/// A secret, as somebody called it.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) name: SecretName,
    /// The plugin that it is for.
    plugin: Option<Name>,
    /// Whether plugin and key were said apart, so that no other secret can be meant.
    is_apart: bool,
}

impl Called {
    /// Reads what was said: one word is the name; a second one is the key of a plugin's or a project's. Names are data and no part of the
    /// command line's grammar.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for what is no name; none of this where the second word has no meaning.
    pub(super) fn read(word: &OsStr, key: Option<&OsStr>) -> Option<Result<Self, Error>> {
        let word = word.to_string_lossy();
        let rest = word.strip_prefix(OF_PLUGINS);
        let named = |text: &str| SecretName::parse(text).map_err(|error| Error::invalid(error.to_string()).sent(false));
        let Some(key) = key else {
            let plugin = rest.and_then(|rest| Name::parse(rest.split_once('/')?.0).ok());
            return Some(named(&word).map(|name| Self { name, plugin, is_apart: false }));
        };
        let owner = Name::parse(rest.or_else(|| word.strip_prefix(OF_PROJECTS))?).ok()?;
        let plugin = rest.map(|_| owner);
        let name = named(&format!("{word}/{}", key.to_string_lossy()));
        Some(name.map(|name| Self { name, plugin, is_apart: true }))
    }

    /// Whom a new secret is for if nobody says so: a plugin's is for its home node.
    ///
    /// # Errors
    ///
    /// The mesh does not know the plugin, and nothing else can be meant.
    pub(super) fn home(&self, snapshot: &Snapshot) -> Result<Option<Selector>, Failure> {
        let Some(plugin) = &self.plugin else { return Ok(None) };
        let hosted = |node| snapshot.hosts(plugin, node, Kind::Plugin);
        let home = snapshot.cis().find(|record| record.name == *plugin && hosted(&record.node));
        match home {
            Some(record) => Ok(Some(Selector::Node(record.node.clone()))),
            None if !self.is_apart => Ok(None),
            None => {
                let message = format!("the mesh knows no plugin {plugin}, so its home node is not known either");
                let hint = format!("say which node that will be: --for NODE; then: aish plugins add {plugin} SOURCE");
                Err(Failure::Address(Error::new(Code::NotFound, message).hint(hint).sent(false)))
            }
        }
    }
}

/// Whether a secret is the one of that name, or stands below it.
pub(super) fn is_within(name: &SecretName, above: &str) -> bool {
    let rest = name.as_str().strip_prefix(above.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(word: &str, key: Option<&str>) -> Option<Result<Called, Error>> {
        Called::read(OsStr::new(word), key.map(OsStr::new))
    }

    #[test]
    fn plg_60_pkg_40_a_secret_of_a_plugin_or_a_project_is_called_by_two_words() {
        let called = read("plugin/dice", Some("sub/api.key")).unwrap().unwrap();
        assert_eq!((called.name.as_str(), called.plugin.unwrap().as_str()), ("plugin/dice/sub/api.key", "dice"));
        let called = read("project/shop", Some("NPM_TOKEN")).unwrap().unwrap();
        assert_eq!((called.name.as_str(), called.plugin), ("project/shop/NPM_TOKEN", None));
        for key in ["../x", "", "/x", "a/../b", "a b"] {
            assert!(read("plugin/dice", Some(key)).unwrap().is_err(), "{key}");
        }
        for word in ["db", "plugin", "plugin/", "plugin/dice/api", "plugin/Dice", "plugins/dice", "project/"] {
            assert!(read(word, Some("value")).is_none(), "{word}");
        }
    }

    #[test]
    fn one_word_is_a_name_as_it_stands() {
        for (word, plugin) in [("db", None), ("plugin/db", None), ("plugin/dice/api.key", Some("dice"))] {
            let called = read(word, None).unwrap().unwrap();
            assert_eq!((called.name.as_str(), called.plugin.as_ref().map(Name::as_str)), (word, plugin));
        }
        let name = SecretName::parse("plugin/dice/api").unwrap();
        assert!(
            ["plugin", "plugin/dice", "plugin/dice/", "plugin/dice/api"].iter().all(|above| is_within(&name, above))
        );
        assert!(!is_within(&name, "plugin/di") && !is_within(&name, "api"));
    }
}
