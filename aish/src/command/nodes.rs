use aigis_registry::NodeRow;

use crate::{context::Context, exit::Failure, quantity::bytes};

const HEADER: [&str; 7] = ["NAME", "STATE", "CIS", "CPUS", "MEMORY", "VERSION", "LABELS"];
const STATE: usize = 1;

/// List the nodes of the mesh
#[derive(Debug, clap::Args)]
pub(crate) struct Nodes {}

impl Nodes {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let session = context.session().await?;
        let rows = session.snapshot().node_rows();
        if context.output.is_json() {
            return context.output.json(&rows);
        }
        context.output.table(&HEADER, &rows.iter().map(fields).collect::<Vec<_>>(), STATE)
    }
}

fn fields(row: &NodeRow) -> Vec<String> {
    let labels: Vec<String> = row.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    vec![
        row.name.to_string(),
        row.state.to_string(),
        row.cis.to_string(),
        row.capacity.cpus.map(|cpus| cpus.to_string()).unwrap_or_default(),
        row.capacity.memory_bytes.map(bytes).unwrap_or_default(),
        row.version.clone(),
        labels.join(" "),
    ]
}
