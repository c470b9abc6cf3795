//! The secrets of a plugin: those of the mesh, which are called `plugin/NAME/KEY`, and those beside the config file.

use std::collections::BTreeMap;

use aigis_proxy::{Error, secret::SecretName};

use super::prepare::Preparation;
use crate::plugins::{
    Folder,
    manifest::Manifest,
    secret_files::{self, Secret, Stored},
};

/// The mode of a file whose secret says none.
const MODE: u32 = 0o600;

/// Finds the values of all that a plugin asks for, and hides them from its log.
///
/// # Errors
///
/// Some are missing, and all of these are named; or a file beside the config cannot be used.
pub(crate) fn gather(preparation: &Preparation<'_>, manifest: &Manifest) -> Result<Stored, Error> {
    let wanted = &manifest.secrets;
    if wanted.is_empty() {
        return Ok(Stored::new());
    }
    let plugin = preparation.folder.name();
    let named: BTreeMap<SecretName, &SecretName> = wanted
        .keys()
        .filter_map(|key| SecretName::parse(&format!("plugin/{plugin}/{}", key.as_str())).ok().map(|name| (name, key)))
        .collect();
    let mut stored: Stored = preparation
        .vault
        .values(named.keys())
        .into_iter()
        .filter_map(|(name, value)| {
            let secret =
                Secret { value: (*value.bytes).clone(), version: format!("mesh {}", value.version), mode: MODE };
            named.get(&name).map(|key| ((*key).clone(), secret))
        })
        .collect();
    if let Some(config) = preparation.config {
        let others: Vec<&SecretName> = wanted.keys().filter(|key| !stored.contains_key(*key)).collect();
        stored.extend(secret_files::beside(config, plugin, others)?);
    }
    secret_files::complete(plugin, wanted, &stored)?;
    preparation.journal.hide(stored.values().map(|secret| secret.value.as_slice()));
    Ok(stored)
}

/// Puts them where the plugin looks for them.
///
/// # Errors
///
/// The operating system refuses; then no file was changed.
pub(crate) fn put(folder: &Folder, manifest: &Manifest, stored: &Stored) -> Result<(), Error> {
    secret_files::deliver(folder, &manifest.secrets, stored).map_err(Error::from)
}
