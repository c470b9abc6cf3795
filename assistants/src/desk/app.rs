//! What may be done with an app.

use std::time::Duration;

use aigis_proxy::{
    Code, Error, Name,
    rpc::{self, Asker},
    services::{
        chains::AppChange,
        instances::{INSTANCES, InstancesClient},
    },
};
use aigis_registry::shared::{AppRecord, ChainRecord, Instance, Key, Version};
use futures::future::join_all;
use tokio::time::timeout;

use super::Desk;
use crate::coordinator::records::{now, patiently};

/// How long a node may take to end an app and remove its data.
const REMOVED: Duration = Duration::from_secs(20);
/// How long a command waits for the end of an app, and for one answer of its place.
const ENDED: Duration = Duration::from_secs(18);
const OUTPUT: Duration = Duration::from_secs(12);
/// How often a record is deleted again because it changed meanwhile.
const ROUNDS: usize = 20;

impl Desk {
    /// Stops, starts or removes an app.
    pub(super) async fn change(&self, app: Name, change: AppChange) -> Result<(), Error> {
        match change {
            AppChange::Stop => {
                let changed = self.change_record(&app, |record| Ok(stopped(record))).await?;
                self.ended(&changed).await;
                Ok(())
            }
            AppChange::Start => self.change_record(&app, started).await.map(drop),
            AppChange::Remove { data } => self.remove_app(&app, data).await,
        }
    }

    async fn change_record(
        &self,
        app: &Name,
        change: impl Fn(&AppRecord) -> Result<Option<AppRecord>, Error>,
    ) -> Result<AppRecord, Error> {
        match patiently(|| self.core.records.change_app(app, &change)).await {
            Err(error) if error.code == Code::NotFound => Err(unknown(app)),
            done => done.map(|version| version.content),
        }
    }

    /// Waits for a while until the places of an app's instances have ended them; they do so in any case.
    async fn ended(&self, app: &AppRecord) {
        let instances = app.instance.iter().chain(&app.candidate);
        join_all(instances.map(|instance| timeout(ENDED, self.instance_ended(&app.name, instance)))).await;
    }

    async fn instance_ended(&self, app: &Name, instance: &Instance) {
        let asker = Asker::new(&self.core.parts.bus, instance.node.as_str(), INSTANCES);
        let client = InstancesClient::from(asker);
        while !self.core.is_lost(&instance.node) {
            let output = client.output(rpc::within(OUTPUT), app.clone(), instance.id.clone(), u64::MAX).await;
            match rpc::answered(output) {
                Ok(written) if written.exit_code.is_none() => {}
                // It has ended, or is not known there any more.
                _ => return,
            }
        }
    }

    /// Ends the app's chains and drops its record; places end what no record names.
    async fn remove_app(&self, app: &Name, data: bool) -> Result<(), Error> {
        let (records, key) = (&self.core.records, Key::App(app.clone()));
        let by = format!("the app was removed by {}", self.caller.name);
        let chains: Vec<(Key, Version<ChainRecord>)> = records.shared.list(Key::CHAINS).await?;
        for (_, chain) in chains.iter().filter(|(_, chain)| chain.content.app == *app) {
            let change = |record: &ChainRecord| {
                let is_live = !record.status.is_over() && record.cancelled_by.is_none();
                Ok(is_live.then(|| ChainRecord { cancelled_by: Some(by.clone()), updated_at: now(), ..record.clone() }))
            };
            patiently(|| records.change_chain(&chain.content.id, change)).await?;
        }
        for _ in 0..ROUNDS {
            let known = patiently(|| records.app(app)).await?.ok_or_else(|| unknown(app))?;
            if patiently(|| records.shared.delete(&key, known.revision)).await? {
                if data {
                    return self.remove_data(app).await;
                }
                self.ended(&known.content).await;
                return Ok(());
            }
        }
        Err(Error::unavailable(format!("the record {key} changes all the time")))
    }

    /// Has all nodes that may have run it remove the app's volumes.
    async fn remove_data(&self, app: &Name) -> Result<(), Error> {
        let core = &self.core;
        let cache = patiently(|| core.known.whole()).await?;
        let snapshot = cache.snapshot();
        let removing = snapshot.nodes().filter(|node| node.engine.is_some()).map(|node| {
            let (node, app) = (node.name.clone(), app.clone());
            let client = InstancesClient::from(Asker::new(&core.parts.bus, node.as_str(), INSTANCES));
            async move {
                let removed = rpc::answered(client.remove_volumes(rpc::within(REMOVED), app).await);
                removed.err().map(|error| format!("{node}: {}", error.message))
            }
        });
        let left: Vec<String> = join_all(removing).await.into_iter().flatten().collect();
        if left.is_empty() {
            return Ok(());
        }
        let message = format!("the app {app} is removed; its data may be left on {}", left.join("; "));
        Err(Error::unavailable(message).hint("volumes of apps are called aigis-APP-…: remove them there by hand"))
    }
}

fn unknown(app: &Name) -> Error {
    Error::new(Code::NotFound, format!("there is no app {app}")).hint("see: aish apps list")
}

fn stopped(app: &AppRecord) -> Option<AppRecord> {
    (!app.stopped).then(|| AppRecord { stopped: true, ..app.clone() })
}

/// The app as it is to run again.
fn started(app: &AppRecord) -> Result<Option<AppRecord>, Error> {
    let Some(instance) = &app.instance else {
        return Err(Error::precondition(format!("no instance of the app {} was ever in force", app.name))
            .hint("push it: aish push"));
    };
    let has_ended = instance.exit_code.is_some() || instance.end.is_some();
    if !app.stopped && !has_ended {
        return Ok(None);
    }
    let instance =
        Instance { ready: false, silent: Vec::new(), exit_code: None, end: None, since: now(), ..instance.clone() };
    Ok(Some(AppRecord { stopped: false, trouble: None, stranded: None, instance: Some(instance), ..app.clone() }))
}
