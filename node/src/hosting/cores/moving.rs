//! Moving the plugins of a core host into a new one, where the requirements of one of them have changed: what a process has
//! imported of the packages of before stays in it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use aigis_proxy::{Error, sync::lock, task};
use futures::FutureExt as _;

use super::{Cores, Loaded, Member, Slot};
use crate::hosting::{
    line::Generation,
    plugin::{Exposed, Plugin, Seat},
    prepare::{Prepared, Python},
};

/// A plugin that goes with the one whose requirements have changed.
pub(super) struct Companion {
    plugin: Arc<Plugin>,
    generation: Generation,
    exposed: Arc<Exposed>,
}

/// Where the packages of a plugin lie; they are others where its requirements are.
pub(super) fn packages(prepared: &Prepared) -> Option<PathBuf> {
    prepared.python.as_ref().map(Python::packages)
}

impl Slot {
    /// Whether the plugin was loaded here with other requirements.
    pub(super) fn had_other_packages(&self, plugin: &Plugin, prepared: &Prepared) -> bool {
        let members = self.members();
        let known = members.iter().find(|member| member.plugin.name == plugin.name);
        known.is_some_and(|known| known.packages != packages(prepared))
    }
}

impl Cores {
    /// Loads all plugins of a host, in their order, into a new one, one of them as it is now. They are called there once that
    /// one is served.
    ///
    /// # Errors
    ///
    /// Any of them cannot be loaded: all is as before.
    pub(super) async fn load_anew(
        self: &Arc<Self>,
        former: &Slot,
        plugin: &Arc<Plugin>,
        prepared: &Prepared,
    ) -> Result<Loaded, Error> {
        let slot = Slot::new(former.interpreter.clone());
        self.begin(&slot).await?;
        let filled = self.fill(&slot, former, plugin, prepared).await;
        if filled.is_err() {
            self.end(&slot, Duration::ZERO).await;
        }
        filled
    }

    async fn fill(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        former: &Slot,
        plugin: &Arc<Plugin>,
        prepared: &Prepared,
    ) -> Result<Loaded, Error> {
        let members = former.members().clone();
        let (mut own, mut companions) = (None, Vec::new());
        for member in members {
            let is_own = member.plugin.name == plugin.name;
            let known = member.plugin.prepared();
            let prepared = if is_own { Some(prepared) } else { known.as_deref() };
            let prepared = prepared.ok_or_else(|| Error::internal("a loaded plugin was never made ready"))?;
            let loaded = self.load_into(slot, &member.plugin, prepared).await.map_err(|error| match is_own {
                true => error,
                false => {
                    let message = format!("{} cannot be loaded anew beside it: {}", member.plugin.name, error.message);
                    Error { message, ..error }
                }
            })?;
            // Those that come after it may use it while they are loaded.
            loaded.host.serve(loaded.generation).await?;
            let (generation, exposed) = (loaded.generation, loaded.exposed.clone());
            slot.members().push(Member { generation, packages: packages(prepared), ..member.clone() });
            match is_own {
                true => own = Some(loaded),
                false => companions.push(Companion { plugin: member.plugin, generation, exposed }),
            }
        }
        let own = own.ok_or_else(|| Error::internal("the plugin has left its core host"))?;
        Ok(Loaded { companions: Some(companions), ..own })
    }

    /// Has the plugins of a new host called there from now on; what they are called for in the former one ends there.
    ///
    /// # Errors
    ///
    /// The new host has died: all is as before.
    pub(super) async fn switch(
        self: &Arc<Self>,
        plugin: &Arc<Plugin>,
        own: Seat,
        slot: Arc<Slot>,
        companions: Vec<Companion>,
    ) -> Result<(), Error> {
        let host = own.core.clone();
        if let Err(error) = host.status().await {
            self.end(&slot, Duration::ZERO).await;
            return Err(error);
        }
        lock(&self.slots).push(slot.clone());
        for Companion { plugin, generation, exposed } in companions {
            plugin.expose(exposed);
            self.sit(&plugin, &slot, Seat { core: host.clone(), generation: generation.0 });
        }
        self.sit(plugin, &slot, own);
        if host.ended().now_or_never().is_some() {
            // Its keeper may have looked before the host was known.
            let cores = self.clone();
            drop(task::spawn("core-host-again", async move { cores.again(&slot, &host).await }));
        }
        Ok(())
    }
}
