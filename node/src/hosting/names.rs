//! The names of plugins in the mesh: each a CI of its own, and the leaves that its skills claim.

use std::sync::Arc;

use aigis_proxy::{Code, Error, Name, SkillPath, bridge::SkillKind};
use aigis_registry::{self as registry, CiRecord, Kind, SkillNote};

use super::{
    Hosting, Parts, RETRY, away,
    ci::{self, PluginCi},
    plugin::{Exposed, Leaf, Plugin},
};
use crate::{naming, offered};

impl Hosting {
    /// Takes the plugin's name in the mesh, and answers under it from now on.
    pub(super) async fn register(self: &Arc<Self>, plugin: &Arc<Plugin>, replace: bool) -> Result<(), Error> {
        let Parts { node, registry, cache, directory, server, dispatcher, .. } = &self.parts;
        let name = &plugin.name;
        let is_free = directory.names(|names| !names.containers.contains(name) && names.chosen.insert(name.clone()));
        if !is_free {
            let message = format!("the name {name} is held by another CI of the node {node}");
            return Err(Error::new(Code::AlreadyExists, message).hint("choose another name"));
        }
        if let Err(error) = offered::claim(registry, cache, &self.record(plugin), replace).await {
            directory.names(|names| names.chosen.remove(name));
            return Err(away::blamed(error));
        }
        for own in [Some(name.clone()), naming::alias(name)].into_iter().flatten() {
            let ci = PluginCi::new(own, node.clone(), plugin.clone(), Arc::downgrade(self), dispatcher.clone());
            directory.insert(ci, None, true);
        }
        let by_hand = directory.hear_by_hand(server, name).await;
        self.change(name, |seat| (seat.by_hand, seat.is_registered) = (by_hand, true));
        Ok(())
    }

    pub(super) fn record(&self, plugin: &Plugin) -> CiRecord {
        let standard = ci::standard();
        let exposed = plugin.exposed();
        let own = exposed.leaves.values().map(|leaf| &leaf.info);
        let mut skills: Vec<SkillNote> = standard.iter().chain(own).map(|info| SkillNote::from(&**info)).collect();
        skills.sort();
        skills.dedup_by(|one, other| one.path == other.path);
        let mut record = CiRecord::new(plugin.name.clone(), self.parts.node.clone(), Kind::Plugin);
        if let Some(server) = plugin.server() {
            record.server = server;
        }
        let aliases = naming::alias(&plugin.name).into_iter().collect();
        CiRecord { skills: skills.into(), aliases, ..record }
    }

    /// Writes what a plugin offers now, however long that takes.
    pub(super) async fn publish(&self, plugin: &Plugin) {
        let is_registered = self.change(&plugin.name, |seat| seat.is_registered).unwrap_or_default();
        while is_registered && let Err(error) = self.parts.registry.put_ci(self.record(plugin)).await {
            tracing::warn!(%error, ci = %plugin.name, "a record was not written; trying again");
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Lets a name go, on the record too, however long that takes.
    pub(super) async fn leave(&self, name: &Name) {
        let Parts { directory, registry, .. } = &self.parts;
        directory.remove(name);
        naming::alias(name).iter().for_each(|alias| directory.remove(alias));
        while let Err(error) = registry.mark_gone(name).await {
            tracing::warn!(%error, ci = %name, "a record was not written; trying again");
            tokio::time::sleep(RETRY).await;
        }
        directory.names(|names| names.chosen.remove(name));
    }

    /// Claims the names of what a plugin offers, in place of those that it claimed before.
    pub(super) async fn claim(&self, plugin: &Plugin, exposed: &Exposed, replace: bool) -> Result<(), Error> {
        let leaf = |(path, leaf): (&SkillPath, &Leaf)| registry::Leaf {
            path: path.clone(),
            open: leaf.told.kind == SkillKind::Open,
        };
        let leaves: Vec<registry::Leaf> = exposed.leaves.iter().map(leaf).collect();
        let Parts { registry, cache, .. } = &self.parts;
        let claimed = async {
            let seen = cache.holders(&plugin.name).await?;
            if replace {
                registry.replace_leaves(&plugin.name, &leaves, &seen).await?;
            }
            registry.swap_leaves(&plugin.name, &leaves, &seen).await
        };
        claimed.await.map_err(away::blamed)
    }
}
