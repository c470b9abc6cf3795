//! What is asked of the place of an app: what it writes, a signal for it, and its image.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use aigis_proxy::{
    Code, Effect, Error, Name, Role,
    blob::{Blob, Life, Store},
    dispatch::Journal,
    rpc,
    services::{
        chains::InstanceId,
        instances::{INSTANCES, Instances, Signal, Written},
    },
    subject::Caller,
    task,
};
use futures::FutureExt as _;
use tarpc::{context::Context, server::Serve as _};
use tokio::time::{Instant, sleep};
use tokio_util::io::StreamReader;

use super::Apps;

/// How long who follows an app waits for more at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon it is looked again for an instance that is not known yet.
const SOON: Duration = Duration::from_millis(100);

#[derive(Clone)]
struct Desk {
    apps: Weak<Apps>,
    caller: Caller,
    journal: Arc<dyn Journal>,
}

/// Serves this place to those who follow its apps, until the returned value is dropped.
pub(super) async fn serve(apps: &Arc<Apps>, journal: Arc<dyn Journal>) -> Result<task::Owned, Error> {
    let (target, own, refusals) = (apps.parts.node.to_string(), Arc::downgrade(apps), journal.clone());
    rpc::serve(&apps.parts.bus, &target, INSTANCES, refusals, move |caller, context, request| {
        let desk = Desk { apps: own.clone(), caller, journal: journal.clone() };
        async move { desk.serve().serve(context, request).await }.boxed()
    })
    .await
}

impl Desk {
    fn apps(&self) -> Result<Arc<Apps>, Error> {
        self.apps.upgrade().ok_or_else(|| Error::unavailable("the node ends").sent(false))
    }

    async fn permit(&self, is_permitted: bool, what: &str) -> Result<(), Error> {
        if is_permitted {
            return Ok(());
        }
        let Caller { role, name } = &self.caller;
        let message = format!("the role {role} does not permit {name} to {what}");
        self.journal.refused(&self.caller, what, &message).await;
        Err(Error::new(Code::PermissionDenied, message).hint("ask an operator or admin of this mesh").sent(false))
    }
}

impl Instances for Desk {
    async fn output(self, context: Context, app: Name, instance: InstanceId, from: u64) -> Result<Written, Error> {
        let left = context.deadline.saturating_duration_since(std::time::Instant::now());
        let (patience, apps) = (PATIENCE.min(left / 2), self.apps()?);
        let until = Instant::now() + patience;
        // The record that names it may be on its way here.
        let run = loop {
            match apps.run(&app, &instance) {
                Err(_) if Instant::now() < until => sleep(SOON).await,
                found => break found?,
            }
        };
        Ok(run.output(from, until.saturating_duration_since(Instant::now())).await)
    }

    async fn signal(self, _: Context, app: Name, instance: InstanceId, signal: Signal) -> Result<(), Error> {
        self.permit(self.caller.role.permits(Effect::Write), &format!("signal {app}")).await?;
        let run = self.apps()?.run(&app, &instance)?;
        run.signal(signal, self.caller.name.as_str()).await
    }

    async fn remove_volumes(self, context: Context, app: Name) -> Result<(), Error> {
        self.permit(self.caller.role == Role::Node, &format!("remove the data of {app}")).await?;
        let left = context.deadline.saturating_duration_since(std::time::Instant::now());
        self.apps()?.remove_volumes(&app, left).await
    }

    async fn has_image(self, _: Context, image: String) -> Result<bool, Error> {
        self.permit(self.caller.role == Role::Node, "ask for an image").await?;
        Ok(self.apps()?.parts.host.engine.has_image(&image).await?)
    }

    async fn export_image(self, _: Context, image: String) -> Result<Blob, Error> {
        self.permit(self.caller.role == Role::Node, "export an image").await?;
        let apps = self.apps()?;
        let bytes = StreamReader::new(apps.parts.host.engine.save(&image).await?);
        let stored = Store::new(&apps.parts.bus).put(Life::Kept, bytes).await?;
        Ok(stored.blob)
    }
}
