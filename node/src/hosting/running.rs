//! Bringing a plugin, running it, reloading it, stopping it.

use std::sync::Arc;

use aigis_proxy::{Code, Error, Name};

use super::{
    GRACE, Hosting, Parts,
    cores::Loaded,
    plugin::{Exposed, Plugin},
    prepare::{Preparation, Prepared},
    program::Program,
    runner::Runner,
    standing::State,
};
use crate::plugins::{Type, source::Occasion};

impl Hosting {
    /// Brings a plugin, and makes ready what it needs.
    pub(super) async fn prepare(&self, plugin: &Plugin, occasion: Occasion) -> Result<(), Error> {
        let entry = plugin.entry();
        let Parts { vault, config, .. } = &self.parts;
        let preparation = Preparation {
            folder: &plugin.folder,
            entry: &entry,
            config: config.as_deref(),
            vault,
            journal: &plugin.journal,
        };
        let is_new = !matches!(occasion, Occasion::Reload | Occasion::Fresh);
        let enter = |state| {
            if is_new {
                plugin.enter(state);
            }
        };
        let tried = async {
            enter(State::Fetching);
            let brought = preparation.bring(occasion).await?;
            enter(State::Installing);
            preparation.equip(brought).await
        };
        match Box::pin(tried).await {
            Ok(prepared) => {
                plugin.is_prepared(prepared);
                Ok(())
            }
            Err(error) => {
                if is_new {
                    plugin.fail(State::Failed, error.clone());
                }
                Err(error)
            }
        }
    }

    /// Runs a plugin that was made ready, and returns when it is no longer on the way. With `replace` it takes leaves from
    /// plugins that are offline.
    pub(super) async fn run(self: &Arc<Self>, plugin: &Arc<Plugin>, replace: bool) -> Result<(), Error> {
        let prepared = plugin.prepared().ok_or_else(|| Error::internal("it was never made ready"))?;
        plugin.enter(State::Starting);
        if let Err(error) = self.place(plugin, &prepared) {
            plugin.fail(State::Waiting, error.clone());
            return Err(error);
        }
        let started = async {
            if prepared.manifest.serves {
                let message = "SERVES: this version starts no plugin that serves at the bus by itself";
                return Err(Error::new(Code::Unimplemented, message).hint("leave SERVES out"));
            }
            if prepared.manifest.has_core_file {
                let loaded = self.cores.load(plugin, &prepared).await?;
                self.take(plugin, loaded, replace).await?;
            }
            Ok(())
        };
        if let Err(error) = Box::pin(started).await {
            self.did_not_start(plugin, &error);
            return Err(error);
        }
        if prepared.manifest.kind == Type::Core {
            plugin.enter(State::Running);
            return Ok(());
        }
        match self.launch(plugin, prepared).await {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Has a plugin's program kept running, and returns when it is no longer on the way: with what is the matter with it then.
    async fn launch(&self, plugin: &Arc<Plugin>, prepared: Arc<Prepared>) -> Option<Error> {
        plugin.enter(State::Starting);
        let runner = Arc::new(Runner::start(self.running.clone(), plugin.clone(), prepared));
        self.change(&plugin.name, |seat| seat.runner = Some(runner));
        let mut standings = plugin.standings();
        let settled = standings.wait_for(|standing| !standing.state.is_on_the_way()).await;
        settled.ok().and_then(|standing| standing.error.clone())
    }

    /// Whether this node is the place for it.
    pub(super) fn place(&self, plugin: &Plugin, prepared: &Prepared) -> Result<(), Error> {
        let node = &self.parts.node;
        let wanted = plugin.entry().host.clone().or_else(|| prepared.manifest.host.clone());
        let Some(wanted) = wanted.filter(|_| prepared.manifest.kind.takes_host()) else { return Ok(()) };
        let is_here = match wanted.split_once('=') {
            Some((key, value)) => self.parts.duties.standing().labels.get(key).is_some_and(|own| own == value),
            None => ["localhost", "127.0.0.1", "::1", node.as_str()].contains(&wanted.as_str()),
        };
        if is_here {
            return Ok(());
        }
        let message = format!("it waits for the host {wanted}, and this version runs plugins on their home node alone");
        Err(Error::new(Code::Unavailable, message).hint(format!("name it in the config file of {wanted}")))
    }

    /// Offers what was loaded in place of what was offered before: all of it, or nothing.
    pub(super) async fn take(&self, plugin: &Arc<Plugin>, loaded: Loaded, replace: bool) -> Result<(), Error> {
        let exposed = loaded.exposed.clone();
        if let Err(error) = self.claim(plugin, &exposed, replace).await {
            self.cores.discard(loaded).await;
            return Err(error);
        }
        let former = plugin.expose(exposed);
        if let Err(error) = self.cores.serve(plugin, loaded).await {
            plugin.expose(former);
            return Err(error);
        }
        self.publish(plugin).await;
        Ok(())
    }

    /// Starts a plugin that does not run.
    pub(crate) async fn start(self: &Arc<Self>, name: &Name) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let plugin = self.plugin(name)?;
        let state = plugin.standing().state;
        if matches!(state, State::Running | State::BackingOff) || state.is_on_the_way() {
            return Ok(());
        }
        self.end(&plugin).await;
        if plugin.prepared().is_none() {
            self.prepare(&plugin, Occasion::Start).await?;
        }
        self.run(&plugin, false).await
    }

    /// Stops a plugin: calls in flight end first, then its processes.
    pub(crate) async fn stop(&self, name: &Name) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let plugin = self.plugin(name)?;
        self.end(&plugin).await;
        plugin.enter(State::Stopped);
        Ok(())
    }

    pub(super) async fn end(&self, plugin: &Plugin) {
        self.try_no_more(plugin);
        let runner = self.change(&plugin.name, |seat| seat.runner.take()).flatten();
        if let Some(runner) = runner {
            runner.stop().await;
        }
        self.cores.unload(plugin, GRACE).await;
    }

    fn is_running(&self, plugin: &Plugin) -> bool {
        plugin.seat().is_some() || self.program(&plugin.name).is_some()
    }

    /// Brings what is new of a plugin, and runs that. What is wrong with it leaves the old one running.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) async fn reload(self: &Arc<Self>, name: &Name, fresh: bool) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let plugin = self.plugin(name)?;
        let runs = self.is_running(&plugin);
        let outcome = self.renew(&plugin, fresh).await;
        if let Err(error) = &outcome {
            plugin.journal.note("error", &format!("reload: {}", error.message));
            if runs {
                let message = format!("{name} was not reloaded, and runs as before: {}", error.message);
                return Err(Error::precondition(message).hint(format!("see why: aish plugins logs {name}")));
            }
        }
        outcome
    }

    pub(super) async fn renew(self: &Arc<Self>, plugin: &Arc<Plugin>, fresh: bool) -> Result<(), Error> {
        let occasion = if fresh { Occasion::Fresh } else { Occasion::Reload };
        let former = plugin.prepared();
        self.prepare(plugin, occasion).await?;
        let prepared = plugin.prepared().ok_or_else(|| Error::internal("it was never made ready"))?;
        if !self.is_running(plugin) {
            self.end(plugin).await;
            return self.run(plugin, false).await;
        }
        if prepared.manifest.has_core_file {
            let taken = async { self.take(plugin, self.cores.load(plugin, &prepared).await?, false).await };
            if let Err(error) = Box::pin(taken).await {
                // The former one goes on, and is what is started again.
                if let Some(former) = former {
                    plugin.is_prepared((*former).clone());
                }
                return Err(error);
            }
        } else if plugin.seat().is_some() {
            self.cores.unload(plugin, GRACE).await;
            self.claim(plugin, &Exposed::default(), false).await?;
            plugin.expose(Arc::default());
            self.publish(plugin).await;
        }
        if prepared.manifest.kind == Type::Core {
            plugin.enter(State::Running);
            return Ok(());
        }
        let runner = self.change(&plugin.name, |seat| seat.runner.take()).flatten();
        if let Some(runner) = runner {
            runner.stop().await;
        }
        // What becomes of it is the runner's business from now on.
        drop(self.launch(plugin, prepared).await);
        Ok(())
    }

    /// Uses an object that lives in the program of a plugin, if it has one.
    pub(crate) fn program(&self, name: &Name) -> Option<Arc<Program>> {
        self.runner(name)?.program()
    }
}
