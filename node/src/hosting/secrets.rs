//! The secrets of a plugin: those of the mesh, which are called `plugin/NAME/KEY`, and those beside the config file.

use std::{collections::BTreeMap, path::Path};

use aigis_proxy::{Error, Name, secret::SecretName};

use crate::{
    plugins::{
        Folder,
        manifest::Manifest,
        secret_files::{self, Secret, Stored},
    },
    secrets::Vault,
};

/// The mode of a file whose secret says none.
const MODE: u32 = 0o600;

/// Finds the values of what a plugin asks for, as far as they are to be had on its home node.
///
/// # Errors
///
/// A file beside the config cannot be used.
pub(crate) fn gather(
    vault: &Vault,
    config: Option<&Path>,
    plugin: &Name,
    manifest: &Manifest,
) -> Result<Stored, Error> {
    let wanted = &manifest.secrets;
    if wanted.is_empty() {
        return Ok(Stored::new());
    }
    let named: BTreeMap<SecretName, &SecretName> = wanted
        .keys()
        .filter_map(|key| SecretName::parse(&format!("plugin/{plugin}/{}", key.as_str())).ok().map(|name| (name, key)))
        .collect();
    let mut stored: Stored = vault
        .values(named.keys())
        .into_iter()
        .filter_map(|(name, value)| {
            let secret =
                Secret { value: (*value.bytes).clone(), version: format!("mesh {}", value.version), mode: MODE };
            named.get(&name).map(|key| ((*key).clone(), secret))
        })
        .collect();
    if let Some(config) = config {
        let others: Vec<&SecretName> = wanted.keys().filter(|key| !stored.contains_key(*key)).collect();
        stored.extend(secret_files::beside(config, plugin, others)?);
    }
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
