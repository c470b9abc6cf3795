//! The commands, a file each: the words above a command's type are its help.

use crate::{cli::Command, context::Context, exit::Failure};

pub(crate) mod analyze;
pub(crate) mod apps;
pub(crate) mod assistants;
pub(crate) mod audit;
mod broadcast;
pub(crate) mod call;
pub(crate) mod chains;
pub(crate) mod completions;
pub(crate) mod deploy;
pub(crate) mod deployments;
pub(crate) mod describe;
pub(crate) mod dockerfile;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod events;
pub(crate) mod exec;
mod fill;
pub(crate) mod join;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod manifests;
pub(crate) mod message;
pub(crate) mod nodes;
pub(crate) mod packages;
pub(crate) mod plugins;
pub(crate) mod push;
pub(crate) mod sdk_bridge;
pub(crate) mod secrets;
pub(crate) mod tokens;
pub(crate) mod up;
pub(crate) mod users;
pub(crate) mod why;
pub(crate) mod wrap;

pub(crate) use secrets::Unseen;

/// The word that something has in JSON.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().map(str::to_owned).unwrap_or_default()
}

/// Runs a command that ends by itself.
///
/// # Errors
///
/// What the command met.
pub(crate) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    match command {
        // These end in order when a signal comes, so they are run where signals are.
        Command::Up(_) | Command::Wrap(_) | Command::Push(_) => Ok(()),
        Command::Analyze(analyze) => analyze.run(context),
        Command::Apps(apps) => apps.run(context).await,
        Command::Assistants(assistants) => assistants.run(context).await,
        Command::Why(why) => why.run(context).await,
        Command::Chains(chains) => chains.run(context).await,
        Command::Down(down) => down.run(context).await,
        Command::Join(join) => join.run(context).await,
        Command::List(list) => list.run(context).await,
        Command::Nodes(nodes) => nodes.run(context).await,
        Command::Describe(describe) => describe.run(context).await,
        Command::Call(call) => call.run(context).await,
        Command::Logs(logs) => logs.run(context).await,
        Command::Exec(exec) => exec.run(context).await,
        Command::Events(events) => events.run(context).await,
        Command::Audit(audit) => audit.run(context).await,
        Command::Dockerfile(dockerfile) => Box::pin(dockerfile.run(context)).await,
        Command::Doctor(doctor) => doctor.run(context).await,
        Command::Users(users) => users.run(context).await,
        Command::Tokens(tokens) => tokens.run(context).await,
        Command::SdkBridge(bridge) => bridge.run(context).await,
        Command::Secrets(secrets) => secrets.run(context).await,
        Command::Packages(packages) => packages.run(context).await,
        Command::Deploy(deploy) => Box::pin(deploy.run(context)).await,
        Command::Deployments(deployments) => Box::pin(deployments.run(context)).await,
        Command::Plugins(plugins) => plugins.run(context).await,
        Command::Completions(completions) => completions.run(context),
        Command::Manifests(manifests) => Box::pin(manifests.run(context)).await,
        Command::Man(man) => man.run(context),
        Command::Message(message) => message.run(context).await,
    }
}
