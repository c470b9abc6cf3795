use std::{collections::BTreeSet, time::Duration};

use aigis_node::home::MeshFile;
use aigis_proxy::{Error, kv};
use serde_json::json;
use tokio::time::{Instant, interval};

use crate::{context::Context, exit::Failure, process::Process};

/// How long the node may take to end in order.
const GRACE: Duration = Duration::from_secs(30);

/// How long the bus may take to say how it stands.
const ASKED: Duration = Duration::from_secs(5);

/// Stop this host's node
///
/// Its CIs turn offline; calls that run are given time to end. Containers run on. If this host has one of several bus
/// servers, and the others could not go on without it, nothing is done.
#[derive(Debug, clap::Args)]
pub(crate) struct Down {
    /// End it even if the other bus servers have not caught up
    #[arg(long)]
    force: bool,
}

impl Down {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let home = context.home()?;
        let mesh = &context.global.mesh;
        let (node, keeper) = (Process::running(&home)?, Process::keeping(&home)?);
        // Who keeps the node ends it, and would start it again if it ended otherwise.
        let Some(process) = keeper.or(node) else {
            return Err(Error::precondition(format!("no node of the mesh \"{mesh}\" runs on this host"))
                .hint("see what runs elsewhere: aish nodes")
                .into());
        };
        if !self.force {
            spared(context).await?;
        }
        process.terminate().map_err(|error| {
            Error::precondition(format!("the node (process {}) cannot be stopped: {error}", process.pid()))
        })?;
        context.output.progress("waiting for the node to end");
        let grace = context.global.timeout.unwrap_or(GRACE);
        let deadline = Instant::now() + grace;
        let mut tick = interval(Duration::from_millis(50));
        let runs = || Ok::<_, Error>(Process::running(&home)?.or(Process::keeping(&home)?).is_some());
        while runs()? {
            if Instant::now() >= deadline {
                let message = format!("the node (process {}) still runs after {} s", process.pid(), grace.as_secs());
                return Err(Error::precondition(message)
                    .hint(format!("its log says why: {}", home.log_file().display()))
                    .into());
            }
            tick.tick().await;
        }
        if context.output.is_json() {
            return context.output.json(&json!({"mesh": mesh, "stopped": node.unwrap_or(process).pid()}));
        }
        context.output.text(&format!("the node of the mesh \"{mesh}\" is down"))
    }
}

/// Refuses to end a bus server that the others cannot do without.
async fn spared(context: &Context) -> Result<(), Failure> {
    let Some(MeshFile { mesh, node: Some(node), supervised: true, bus, .. }) = context.mesh_file()? else {
        return Ok(());
    };
    if !bus.contains(',') {
        return Ok(());
    }
    let hint = "wait until aish doctor says that all copies are whole; or, to end it whatever is lost: --force";
    let standing = match context.connect().await {
        Ok(bus) => kv::standing(&bus, ASKED).await.map_err(Error::from),
        Err(failure) => Err(failure.into_error()),
    };
    let standing = standing.map_err(|error| {
        let message = format!("it cannot be told whether the other bus servers have caught up: {}", error.message);
        Error::precondition(message).hint(hint)
    })?;
    let own = aigis_node::mesh::server_name(&mesh, &node);
    let needed: Vec<_> = standing.iter().filter(|stream| !stream.can_spare(&own)).collect();
    if needed.is_empty() {
        return Ok(());
    }
    let behind: BTreeSet<&str> = needed.iter().flat_map(|stream| stream.behind()).filter(|name| *name != own).collect();
    let who = match behind.is_empty() {
        true => "the other bus servers".to_owned(),
        false => behind.into_iter().collect::<Vec<_>>().join(" and "),
    };
    Err(Error::precondition(format!("the bus cannot spare this host's server: {who} must catch up first"))
        .hint(hint)
        .into())
}
