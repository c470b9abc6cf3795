//! The typed service [`Chains`]: what people and nodes ask of coordinators. Any of them answers; what it changes is a record,
//! and whoever holds the chain sees it.

mod app;
mod assistant;
mod audit;
mod control;
mod push;
mod report;
mod skills;
mod source;

use std::{fmt, sync::Arc};

use aigis_proxy::{
    Code, Error, Name, Role,
    chain::ChainId,
    rpc,
    services::chains::{AppChange, CHAINS, Chains, Control, LogPiece, NewAssistant, Push, Report, Wish},
    subject::Caller,
    task,
};
use futures::FutureExt;
use serde_json::json;
use tarpc::{context::Context, server::Serve};

use crate::coordinator::Core;

pub(crate) use skills::OfApps;

/// A request, and whose it is.
#[derive(Clone)]
pub(crate) struct Desk {
    core: Arc<Core>,
    caller: Caller,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// Serves chains for all, and under the node's own name, until the returned values are dropped.
///
/// # Errors
///
/// As [`aigis_proxy::Bus::subscribe`].
pub(crate) async fn serve(core: &Arc<Core>) -> Result<[task::Owned; 2], Error> {
    let (bus, journal, node) = (&core.parts.bus, &core.parts.journal, core.parts.node.to_string());
    let answer = |core: &Arc<Core>| {
        let core = core.clone();
        move |caller: Caller, context: Context, request| {
            let desk = Desk { core: core.clone(), caller };
            async move { Box::pin(desk.serve().serve(context, request)).await }.boxed()
        }
    };
    let shared = rpc::serve_shared(bus, CHAINS, journal.clone(), answer(core)).await?;
    let own = rpc::serve(bus, &node, CHAINS, journal.clone(), answer(core)).await?;
    Ok([shared, own])
}

impl Desk {
    /// Lets only operators and admins on.
    async fn permit(&self, what: &str) -> Result<(), Error> {
        if matches!(self.caller.role, Role::Operator | Role::Admin) {
            return Ok(());
        }
        let role = self.caller.role;
        self.core.parts.journal.refused(&self.caller, what, &format!("{role} may not")).await;
        let message = format!("{} is {role}: only operators and admins may do that", self.caller.name);
        Err(Error::new(Code::PermissionDenied, message).hint("ask an admin: aish users --help"))
    }
}

impl Chains for Desk {
    async fn announce(self, _: Context, wish: Wish) -> Result<(), Error> {
        self.permit("chains.push").await?;
        self.expect_free(&wish).await.map(drop)
    }

    async fn push(self, _: Context, push: Push) -> Result<ChainId, Error> {
        self.permit("chains.push").await?;
        let about = json!({"app": push.wish.app, "first": push.first, "tree": push.tree, "from": push.from});
        self.audited("push", about, Box::pin(self.take_push(push))).await
    }

    async fn control(self, _: Context, chain: ChainId, control: Control) -> Result<String, Error> {
        let (verb, about) = control::described(&chain, &control);
        self.permit(&format!("chains.{verb}")).await?;
        self.audited(verb, about, Box::pin(self.take_control(&chain, control))).await
    }

    async fn log(self, _: Context, chain: ChainId, step: u32, from: u64) -> Result<LogPiece, Error> {
        match self.core.logs.find(&chain, step) {
            Some(log) => Ok(log.follow(from).await),
            None => {
                let message = format!("step {step} of the chain {chain} does not run at {}", self.core.parts.node);
                Err(Error::new(Code::NotFound, message))
            }
        }
    }

    async fn keep_assistant(self, _: Context, assistant: NewAssistant) -> Result<(), Error> {
        self.permit("assistants.push").await?;
        let about = json!({"assistant": format!("local:{}", assistant.name), "folder": assistant.folder});
        self.audited("keep_assistant", about, Box::pin(self.keep(assistant))).await
    }

    async fn remove_assistant(self, _: Context, name: String) -> Result<(), Error> {
        self.permit("assistants.rm").await?;
        let about = json!({"assistant": format!("local:{name}")});
        self.audited("remove_assistant", about, Box::pin(self.remove(name))).await
    }

    async fn change_app(self, _: Context, app: Name, change: AppChange) -> Result<(), Error> {
        self.permit("apps.change").await?;
        let about = json!({"app": app, "change": change});
        self.audited("change_app", about, Box::pin(self.change(app, change))).await
    }

    async fn report(self, _: Context, report: Report) -> Result<(), Error> {
        Box::pin(self.take_report(report)).await
    }
}
