use aigis_registry::NodeRow;

use crate::{context::Context, exit::Failure, quantity::bytes};

mod duties;
mod remove;

const HEADER: [&str; 7] = ["NAME", "STATE", "CIS", "CPUS", "MEMORY", "VERSION", "LABELS"];
const STATE: usize = 1;

/// List and manage the nodes of the mesh
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without a command, lists them.\n\nExamples:\n  aish nodes cordon beta\n  aish nodes label beta zone=b --remove rack"
)]
pub(crate) struct Nodes {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    List(List),
    Cordon(duties::Cordon),
    Uncordon(duties::Uncordon),
    Drain(duties::Drain),
    Label(duties::Label),
    Remove(remove::Remove),
}

/// List the nodes
#[derive(Debug, clap::Args)]
struct List {}

impl Nodes {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.command.unwrap_or(Command::List(List {})) {
            Command::List(list) => list.run(context).await,
            Command::Cordon(cordon) => cordon.run(context).await,
            Command::Uncordon(uncordon) => uncordon.run(context).await,
            Command::Drain(drain) => drain.run(context).await,
            Command::Label(label) => label.run(context).await,
            Command::Remove(remove) => remove.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let session = context.session().await?;
        let rows = session.snapshot().node_rows();
        context.output.rows(&HEADER, &rows, fields, STATE)
    }
}

fn fields(row: &NodeRow) -> Vec<String> {
    let labels: Vec<String> = row.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    vec![
        row.name.to_string(),
        state(row),
        row.cis.to_string(),
        row.capacity.cpus.map(|cpus| cpus.to_string()).unwrap_or_default(),
        row.capacity.memory_bytes.map(bytes).unwrap_or_default(),
        row.version.clone(),
        labels.join(" "),
    ]
}

/// The node's state, and what is asked of it.
fn state(row: &NodeRow) -> String {
    match (row.draining, row.cordoned) {
        (true, _) => format!("{}, drained", row.state),
        (false, true) => format!("{}, cordoned", row.state),
        (false, false) => row.state.to_string(),
    }
}
