use std::collections::HashMap;

use aigis_proxy::{Name, NodeName, chain::ChainId};
use aigis_registry::shared::{ChainRecord, Key, Status, StepRecord};
use clap_complete::ArgValueCompleter;
use serde_json::{Value, json};

use crate::{completion, context::Context, exit::Failure};

const HEADER: [&str; 6] = ["ID", "APP", "STATUS", "STEP", "NODE", "CREATED"];
const STATUS: usize = 2;
/// The steps of all chains.
const STEPS: &str = "chain.*.step.*";

/// List the chains
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only of this app
    #[arg(long, value_name = "A", add = ArgValueCompleter::new(completion::apps))]
    app: Option<Name>,
    /// Only in this status: queued, running, asking, held, serving, done, failed, cancelled
    #[arg(long, value_name = "S")]
    status: Option<Status>,
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let shared = context.session().await?.shared();
        let chains = shared.list::<ChainRecord>(Key::CHAINS).await?;
        let mut nodes: HashMap<(ChainId, u32), (String, Option<NodeName>)> = HashMap::new();
        for (key, version) in shared.list::<StepRecord>(STEPS).await? {
            if let Key::Step(chain, n) = key {
                nodes.insert((chain, n), (version.content.assistant, version.content.node));
            }
        }
        let wanted = |chain: &ChainRecord| {
            self.app.as_ref().is_none_or(|app| chain.app == *app)
                && self.status.is_none_or(|status| chain.status == status)
        };
        let rows = chains.into_iter().map(|(_, version)| version.content).filter(wanted);
        let rows: Vec<Value> = rows.map(|chain| row(&chain, &nodes)).collect();
        if context.output.is_json() {
            return context.output.json(&rows);
        }
        let text: Vec<Vec<String>> = rows.iter().rev().map(fields).collect();
        context.output.table(&HEADER, &text, STATUS)
    }
}

/// A chain as programs see it in the list.
fn row(chain: &ChainRecord, nodes: &HashMap<(ChainId, u32), (String, Option<NodeName>)>) -> Value {
    let ran = nodes.get(&(chain.id.clone(), chain.step));
    // After the last step, the record names the one that would come.
    let last = || nodes.get(&(chain.id.clone(), chain.step.saturating_sub(1)));
    let ran = ran.or_else(|| chain.next.is_none().then(last).flatten());
    let assistant = chain.next.as_ref().or(ran.map(|(assistant, _)| assistant));
    json!({
        "id": chain.id, "app": chain.app, "status": chain.status, "step": chain.step, "assistant": assistant,
        "node": ran.and_then(|(_, node)| node.as_ref()), "created_at": chain.created_at, "ended_at": chain.ended_at,
    })
}

fn fields(row: &Value) -> Vec<String> {
    let word = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let step = row.get("step").map(ToString::to_string).unwrap_or_default();
    let step = format!("{step} {}", word("assistant"));
    vec![word("id"), word("app"), word("status"), step.trim().to_owned(), word("node"), word("created_at")]
}
