use std::time::Duration;

use aigis_proxy::Error;
use serde_json::json;
use tokio::time::{Instant, interval};

use crate::{context::Context, exit::Failure, process::Process};

/// How long the node may take to end in order.
const GRACE: Duration = Duration::from_secs(30);

/// Stop this host's node
///
/// Its CIs turn offline; calls that run are given time to end. Containers run on.
#[derive(Debug, clap::Args)]
pub(crate) struct Down {}

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
