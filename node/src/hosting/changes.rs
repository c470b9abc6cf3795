//! Plugins that come and go while the node runs, and the config file that says which there are.

use std::sync::Arc;

use aigis_proxy::{Code, Error, Name, with_causes};

use super::{
    Hosting,
    plugin::{Exposed, Plugin},
    standing::State,
};
use crate::plugins::{
    Type,
    config::{Addition, Config, Entry},
    secret_files,
    source::Occasion,
    users,
};

/// A plugin that somebody wants to have.
#[derive(Debug)]
pub(crate) struct Wish {
    /// Its line in the config file.
    pub(crate) addition: Addition,
    /// The table that was asked for; else the plugin says it.
    pub(crate) table: Option<Type>,
    /// Whether to take the name from a holder that is offline.
    pub(crate) replace: bool,
}

impl Hosting {
    /// Brings a plugin and starts it; then it is written into the config file, unless it failed.
    ///
    /// # Errors
    ///
    /// Why it failed; `unavailable` for one that is written and waits for its place.
    pub(crate) async fn add(self: &Arc<Self>, wish: Wish) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let Wish { mut addition, table, replace } = wish;
        let path = self.parts.config.as_ref().ok_or_else(no_config)?;
        let entry = Config::with(path, &addition)?;
        let plugin = self.seat(entry);
        let tried = async {
            self.register(&plugin, replace).await?;
            self.prepare(&plugin, Occasion::Start).await?;
            if let (None, Some(prepared)) = (table, plugin.prepared()) {
                addition.table = prepared.manifest.kind;
                plugin.set_entry(Config::with(path, &addition)?);
            }
            self.run(&plugin, replace).await
        };
        let outcome = Box::pin(tried).await;
        let waits = plugin.standing().state == State::Waiting;
        match &outcome {
            Err(error) if !waits => {
                self.forget(&plugin, false).await?;
                let is_taken = error.code == Code::AlreadyExists;
                // Whatever is the matter with the plugin, nothing is the matter with the call.
                Err(Error { code: if is_taken { error.code } else { Code::FailedPrecondition }, ..error.clone() })
            }
            _ => {
                Config::add(path, &addition)?;
                outcome
            }
        }
    }

    /// Takes a plugin out: its processes end, its names become free, and what it had on this host is removed, unless it is to
    /// be kept.
    ///
    /// # Errors
    ///
    /// There is none, or its line or its files cannot be removed.
    pub(crate) async fn remove(&self, name: &Name, keep: bool) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let plugin = self.plugin(name)?;
        Config::remove(self.parts.config.as_ref().ok_or_else(no_config)?, name)?;
        self.forget(&plugin, keep).await
    }

    pub(super) async fn forget(&self, plugin: &Arc<Plugin>, keep: bool) -> Result<(), Error> {
        self.end(plugin).await;
        if !keep {
            // While the name is still this node's: the place asks whose it is.
            self.placing.clear(plugin).await;
        }
        self.claim(plugin, &Exposed::default(), false).await?;
        let is_registered = self.change(&plugin.name, |seat| seat.is_registered).unwrap_or_default();
        self.seats().retain(|seat| seat.plugin.name != plugin.name);
        if is_registered {
            // Who has the name is whom the issuer believes.
            self.parts.ways.end(&users::of_plugin(&plugin.name)?).await;
            self.leave(&plugin.name).await;
        }
        if !keep {
            let failed = |error: std::io::Error| Error::internal(format!("its files cannot be removed: {error}"));
            // They may lie where the plugin's copy does not.
            if let Err(error) = secret_files::withdraw(&plugin.folder) {
                tracing::debug!(%error, plugin = %plugin.name, "its secrets are not removed one by one");
            }
            plugin.folder.remove().map_err(failed)?;
            plugin.journal.remove().map_err(failed)?;
        }
        Ok(())
    }

    /// Reads the config file again: new plugins start, lost ones stop and keep their files, changed ones reload. A file that is
    /// wrong changes nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with the file.
    pub(crate) async fn sync(self: &Arc<Self>) -> Result<(), Error> {
        let config = Config::read_or_empty(self.parts.config.as_ref().ok_or_else(no_config)?);
        let config = config.map_err(|error| Error::invalid(with_causes(&error)))?;
        let _turn = self.turn.lock().await;
        let plugins: Vec<Arc<Plugin>> = self.seats().iter().map(|seat| seat.plugin.clone()).collect();
        for plugin in &plugins {
            if config.entry(&plugin.name).is_none_or(|entry| !entry.enabled) {
                // A line that is away for a moment costs nobody what the plugin wrote.
                self.forget(plugin, true).await?;
            }
        }
        let mut fresh = Vec::new();
        for entry in config.entries {
            match plugins.iter().find(|plugin| plugin.name == entry.name) {
                Some(plugin) if says_the_same(&plugin.entry(), &entry) => plugin.set_entry(entry),
                Some(plugin) => {
                    plugin.set_entry(entry);
                    // What went wrong stands in its log, and keeps no other from being brought up to date.
                    let _ = self.renew(plugin, false).await;
                }
                None => fresh.push(entry),
            }
        }
        self.begin_all(fresh).await;
        Ok(())
    }
}

/// Reading the file again without an answer.
impl Hosting {
    /// Has the config file read again soon. Asked for again before that has begun, it is read once.
    pub(crate) fn sync_soon(&self) {
        self.again.notify_one();
    }

    /// Reads the config file again each time that it is asked for, and tells the log what is wrong with it.
    pub(crate) async fn sync_when_told(self: Arc<Self>) {
        loop {
            self.again.notified().await;
            tracing::info!("the Aigis config file is read again");
            if let Err(error) = Box::pin(self.sync()).await {
                tracing::error!(%error, "the Aigis config file is not taken as it is");
            }
        }
    }
}

fn no_config() -> Error {
    Error::precondition("it is not known where this node's Aigis config file lies")
        .hint("start the node with one: aish up -c FILE")
}

/// Whether two lines of the file ask for the same, wherever they stand.
fn says_the_same(one: &Entry, other: &Entry) -> bool {
    Entry { line: 0, ..one.clone() } == Entry { line: 0, ..other.clone() }
}
