//! Bringing a plugin, running it, reloading it, stopping it.

use std::sync::Arc;

use aigis_proxy::{
    Code, Error, Name,
    bridge::{Answered, Invocation},
};

use super::{
    GRACE, Hosting, Keeper, Parts,
    cores::Loaded,
    places::placement::{self, Placement},
    plugin::{Exposed, Plugin},
    prepare::{Preparation, Prepared, Secrets},
    runner::Runner,
    secrets,
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
            secrets: Secrets::Home { vault, config: config.as_deref() },
            is_here: &|host| self.is_here(host),
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
        let started = async {
            if prepared.manifest.serves && prepared.manifest.has_core_file {
                let message =
                    "it says SERVES, and has AIGIS/AIGIS.core: its skills are either its program's or that file's";
                return Err(Error::invalid(message).hint("leave one of them out"));
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
        self.launch(plugin, prepared).await
    }

    /// Has a plugin's program kept running, here or at its place, and returns when it is no longer on the way: with what is the
    /// matter with it then, if anything is.
    async fn launch(&self, plugin: &Arc<Plugin>, prepared: Arc<Prepared>) -> Result<(), Error> {
        plugin.enter(State::Starting);
        plugin.change(|standing| standing.place = None);
        let keeper = match &prepared.host {
            None => Keeper::Here(Arc::new(Runner::start(self.running.clone(), plugin.clone(), prepared))),
            Some(host) => {
                let wanted = self.wanted(plugin, prepared.clone());
                let placement = wanted
                    .and_then(|wanted| Placement::start(self.placing.clone(), plugin.clone(), host, wanted))
                    .inspect_err(|error| plugin.fail(State::Failed, error.clone()))?;
                Keeper::There(Arc::new(placement))
            }
        };
        self.change(&plugin.name, |seat| seat.keeper = Some(keeper));
        let mut standings = plugin.standings();
        let settled = standings.wait_for(|standing| !standing.state.is_on_the_way()).await;
        settled.ok().and_then(|standing| standing.error.clone()).map_or(Ok(()), Err)
    }

    /// What is to run of a plugin at its place.
    fn wanted(&self, plugin: &Plugin, prepared: Arc<Prepared>) -> Result<placement::Wanted, Error> {
        let Parts { vault, config, .. } = &self.parts;
        let secrets = secrets::gather(vault, config.as_deref(), &plugin.name, &prepared.manifest)?;
        Ok(placement::Wanted { prepared, secrets })
    }

    /// Whether what a plugin names as its host is this node.
    fn is_here(&self, host: &str) -> bool {
        match host.split_once('=') {
            Some((key, value)) => self.parts.duties.standing().labels.get(key).is_some_and(|own| own == value),
            None => ["localhost", "127.0.0.1", "::1", self.parts.node.as_str()].contains(&host),
        }
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
            self.prepare(&plugin, Occasion::Start).await.map_err(of_plugin)?;
        }
        self.run(&plugin, false).await.map_err(of_plugin)
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
        let keeper = self.change(&plugin.name, |seat| seat.keeper.take()).flatten();
        if let Some(keeper) = keeper {
            keeper.stop().await;
        }
        self.cores.unload(plugin, GRACE).await;
    }

    fn is_running(&self, plugin: &Plugin) -> bool {
        match self.keeper(&plugin.name) {
            Some(Keeper::There(_)) if plugin.standing().state == State::Running => true,
            Some(Keeper::Here(runner)) if runner.program().is_some() => true,
            _ => plugin.seat().is_some(),
        }
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
        outcome.map_err(of_plugin)
    }

    pub(super) async fn renew(self: &Arc<Self>, plugin: &Arc<Plugin>, fresh: bool) -> Result<(), Error> {
        let occasion = if fresh { Occasion::Fresh } else { Occasion::Reload };
        let former = plugin.prepared();
        // The former one goes on then, and is what is started again.
        let restore = |former: Option<&Prepared>| drop(former.map(|former| plugin.is_prepared(former.clone())));
        self.prepare(plugin, occasion).await?;
        let prepared = plugin.prepared().ok_or_else(|| Error::internal("it was never made ready"))?;
        if !self.is_running(plugin) {
            self.end(plugin).await;
            return self.run(plugin, false).await;
        }
        if prepared.manifest.has_core_file {
            let taken = async { self.take(plugin, self.cores.load(plugin, &prepared).await?, false).await };
            Box::pin(taken).await.inspect_err(|_| restore(former.as_deref()))?;
        } else if plugin.seat().is_some() || !(prepared.manifest.serves || plugin.exposed().leaves.is_empty()) {
            self.cores.unload(plugin, GRACE).await;
            self.claim(plugin, &Exposed::default(), false).await?;
            plugin.expose(Arc::default());
            self.publish(plugin).await;
        }
        if prepared.manifest.kind == Type::Core {
            plugin.enter(State::Running);
            return Ok(());
        }
        if let (Some(Keeper::There(placement)), Some(_)) = (self.keeper(&plugin.name), &prepared.host) {
            let renewed = placement.renew(self.wanted(plugin, prepared)?).await;
            return renewed.inspect_err(|_| restore(former.as_deref()));
        }
        let keeper = self.change(&plugin.name, |seat| seat.keeper.take()).flatten();
        if let Some(keeper) = keeper {
            keeper.stop().await;
        }
        // What becomes of it is the runner's business from now on.
        drop(self.launch(plugin, prepared).await);
        Ok(())
    }

    /// Uses an object that lives in the process of a plugin; none if it has no process.
    pub(crate) async fn use_object(&self, name: &Name, invocation: Invocation) -> Option<Result<Answered, Error>> {
        match self.keeper(name)? {
            Keeper::Here(runner) => Some(runner.program()?.invoke(invocation).await),
            Keeper::There(placement) => Some(placement.invoke(invocation).await),
        }
    }
}

/// What is wrong with a plugin, told to whoever wants it to run: nothing is wrong with what was asked.
fn of_plugin(error: Error) -> Error {
    match error.code {
        Code::InvalidArgument | Code::NotFound => Error { code: Code::FailedPrecondition, ..error },
        _ => error,
    }
}
