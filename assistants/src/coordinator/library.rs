//! Which assistants there are, and the records of those that ship with the product.

use aigis_proxy::{Error, Name};
use aigis_registry::shared::{AssistantRecord, Key, Version};

use super::{
    Core,
    holding::blocking,
    records::{now, patiently},
};
use crate::{
    builtin,
    folder::{self, Folder, Settings},
    library,
    name::{self, AssistantName, Kind},
    selection::{self, Known},
};

/// The kind of what ships with the product, or lies in a folder of a node.
const REMOTE: &str = "remote";

impl Core {
    /// The assistants that are known in the mesh, with those that are part of the product, sorted by name.
    pub(crate) async fn assistants(&self) -> Result<Vec<Known>, Error> {
        let kept: Vec<(Key, Version<AssistantRecord>)> =
            patiently(|| self.records.shared.list(Key::ASSISTANTS)).await?;
        let mut all: Vec<Known> = kept.iter().filter_map(|(_, kept)| Known::of_record(&kept.content)).collect();
        for shipped in selection::shipped() {
            if all.iter().all(|known| known.name != shipped.name) {
                all.push(shipped);
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The whole name of an assistant.
    pub(crate) async fn resolve(&self, text: &str) -> Result<String, Error> {
        if let Ok(whole) = text.trim().parse::<AssistantName>()
            && self.is_known(&whole).await?
        {
            return Ok(whole.to_string());
        }
        let known: Vec<AssistantName> = self.assistants().await?.into_iter().map(|known| known.name).collect();
        name::resolve(text, &known).map(|name| name.to_string())
    }

    /// Whether there surely is an assistant of that whole name: what is said of one that is not wants all the others too.
    async fn is_known(&self, name: &AssistantName) -> Result<bool, Error> {
        if name.kind() == Kind::Builtin {
            return Ok(builtin::find(name.short()).is_some());
        }
        let Ok(short) = name.short().parse() else { return Ok(false) };
        let key = Key::Assistant(name.kind().to_string(), short);
        Ok(patiently(|| self.records.get::<AssistantRecord>(&key)).await?.is_some())
    }

    /// Makes known to the mesh what ships with this version, and what lies in the node's directory of assistants.
    pub(super) async fn ship_library(&self) {
        for shipped in library::all() {
            let name = shipped.name.clone();
            let settings = shipped.settings.clone();
            let shipping = async {
                let scratch = self.scratch()?;
                let into = scratch.path().to_owned();
                let written = blocking(move || shipped.write(&into)).await?;
                written.map_err(|error| Error::unavailable(format!("the library cannot be unpacked: {error}")))?;
                self.ship(name.clone(), &settings, scratch.path().to_owned()).await
            };
            if let Err(error) = shipping.await {
                tracing::warn!(assistant = %name, %error, "an assistant of the library is not made known");
            }
        }
        let Some(directory) = self.parts.assistants.clone() else { return };
        let Ok((folders, warnings)) = blocking(move || library::of_directory(&directory)).await else { return };
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        for Folder { path, name, settings, .. } in folders {
            if let Err(error) = self.ship(name.clone(), &settings, path).await {
                tracing::warn!(assistant = %name, %error, "an assistant of this node is not made known");
            }
        }
    }

    async fn ship(&self, name: Name, settings: &Settings, from: std::path::PathBuf) -> Result<(), Error> {
        let folder = patiently(|| self.keep_folder(from.clone())).await?;
        let record = AssistantRecord {
            kind: REMOTE.to_owned(),
            name: name.clone(),
            folder,
            settings: settings.to_json(),
            pushed_by: self.parts.node.user(),
            pushed_at: now(),
        };
        let key = Key::Assistant(REMOTE.to_owned(), name);
        let known: Option<Version<AssistantRecord>> = patiently(|| self.records.get(&key)).await?;
        match known {
            Some(known) if known.content.folder == folder && known.content.settings == record.settings => {}
            // Whoever writes it meanwhile has the same version, or comes later.
            Some(known) => drop(patiently(|| self.records.shared.put(&key, &record, known.revision)).await?),
            None => drop(patiently(|| self.records.shared.create(&key, &record)).await?),
        }
        Ok(())
    }

    /// Stores the folder of an assistant, without its file of secrets.
    async fn keep_folder(&self, from: std::path::PathBuf) -> Result<aigis_proxy::chain::Tree, Error> {
        let store = aigis_proxy::blob::Store::new(&self.parts.bus);
        let keep = |path: &str, _| !folder::SECRETS.contains(&path);
        let limits = aigis_registry::archive::Limits::TREE;
        Ok(aigis_registry::tree::store(&store, &from, keep, limits).await?.tree)
    }
}
