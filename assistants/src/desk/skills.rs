//! The chains of apps, as their CIs are asked for them: the desk's own work, under the app's name.

use std::sync::{Arc, Weak};

use aigis_proxy::{
    Code, Error, Name,
    blob::Digest,
    chain::ChainId,
    services::chains::{
        Control,
        skills::{self, Dockerfile, Steered},
    },
    subject::Caller,
};
use aigis_registry::shared::ChainRecord;
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::{Value, json};

use super::{Desk, source};
use crate::coordinator::{Core, records::patiently};

/// The chains of apps. It keeps no coordinator alive.
#[derive(Debug, Clone)]
pub(crate) struct OfApps(pub(crate) Weak<Core>);

impl OfApps {
    fn core(&self) -> Result<Arc<Core>, Error> {
        self.0.upgrade().ok_or_else(|| Error::unavailable("the coordinator ends").sent(false))
    }
}

impl skills::OfApps for OfApps {
    fn knows(&self, app: &Name) -> bool {
        self.0.upgrade().is_some_and(|core| core.board.app(app).is_some())
    }

    fn show(&self, app: Name, chain: Option<String>) -> BoxFuture<'static, Result<Value, Error>> {
        let core = self.core();
        async move {
            let core = core?;
            let chain = meant(&core, &app, chain).await?;
            let steps = patiently(|| core.records.steps(&chain.id)).await?;
            let mut shown = json!(chain);
            if let Some(fields) = shown.as_object_mut() {
                fields.insert("steps".to_owned(), json!(steps));
            }
            Ok(shown)
        }
        .boxed()
    }

    fn control(
        &self,
        caller: Caller,
        app: Name,
        chain: Option<String>,
        control: Control,
    ) -> BoxFuture<'static, Result<Steered, Error>> {
        let core = self.core();
        async move {
            let core = core?;
            let id = meant(&core, &app, chain).await?.id;
            let status = Desk { core, caller }.take_control(&id, control).await?;
            Ok(Steered { id: id.to_string(), status })
        }
        .boxed()
    }

    fn pushed(&self, app: Name) -> BoxFuture<'static, Result<Digest, Error>> {
        let core = self.core();
        async move { source::pushed(&*core?, &app).await }.boxed()
    }

    fn keep_dockerfile(&self, app: Name, kept: Dockerfile) -> BoxFuture<'static, Result<bool, Error>> {
        let core = self.core();
        async move { source::keep_dockerfile(&*core?, &app, kept).await }.boxed()
    }
}

/// The chain of an app that is meant: its last one if none is named.
async fn meant(core: &Core, app: &Name, chain: Option<String>) -> Result<ChainRecord, Error> {
    let id: ChainId = match chain {
        Some(text) => {
            text.parse().map_err(|_| Error::invalid(format!("{} is no chain", aigis_proxy::quoted(&text))))?
        }
        None => {
            let known = patiently(|| core.records.app(app)).await?;
            let known = known.ok_or_else(|| Error::new(Code::NotFound, format!("there is no app {app}")))?;
            known.content.chain
        }
    };
    let found = patiently(|| core.records.chain(&id)).await?.content;
    if found.app == *app {
        return Ok(found);
    }
    Err(Error::invalid(format!("the chain {id} is one of the app {}, not of {app}", found.app))
        .hint(format!("see: aish chains list --app {app}")))
}
