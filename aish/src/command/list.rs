use std::collections::BTreeMap;

use aigis_proxy::{Code, Error, NodeName};
use aigis_registry::{Asking, Kind, Row, Snapshot, State};
use serde_json::{Value, json};

use crate::{
    context::Context,
    exit::Failure,
    output::{Output, Pen, Printer},
};

const HEADER: [&str; 5] = ["NAME", "NODE", "KIND", "STATE", "DETAIL"];
const STATE: usize = 3;

/// List the CIs of the mesh
///
/// Reads the registry only. On a terminal a table, elsewhere five fields a line with tabs between them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Repeats of one option are \"or\", different options \"and\".")]
pub(crate) struct List {
    #[command(flatten)]
    filter: Filter,
    /// Show changes as they come
    #[arg(long)]
    watch: bool,
}

/// Which CIs.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Filter {
    /// Only of this kind: container, plugin, node, app, aip, wrapped
    #[arg(long, value_name = "K")]
    pub(crate) kind: Vec<Kind>,
    /// Only on this node
    #[arg(long, value_name = "N")]
    pub(crate) node: Vec<NodeName>,
    /// Only in this state: live, unknown, offline, gone [default: all but gone]
    #[arg(long, value_name = "S")]
    pub(crate) state: Vec<State>,
    /// Only with this label
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) label: Vec<(String, String)>,
}

/// Reads `KEY=VALUE`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

impl Filter {
    /// Whether a row is wanted.
    pub(crate) fn wants(&self, row: &Row) -> bool {
        let label = |(key, value): &(String, String)| row.labels.get(key) == Some(value);
        (self.kind.is_empty() || self.kind.contains(&row.kind))
            && (self.node.is_empty() || row.node.as_ref().is_some_and(|node| self.node.contains(node)))
            && (if self.state.is_empty() { row.state != State::Gone } else { self.state.contains(&row.state) })
            && (self.label.is_empty() || self.label.iter().any(label))
    }

    /// Checks that the nodes exist.
    ///
    /// # Errors
    ///
    /// `not_found` that names the node and those there are.
    pub(crate) fn check(&self, snapshot: &Snapshot) -> Result<(), Failure> {
        let nodes: Vec<_> = snapshot.node_rows().into_iter().map(|row| row.name).collect();
        match self.node.iter().find(|node| !nodes.contains(node)) {
            None => Ok(()),
            Some(unknown) => {
                let known: Vec<String> = nodes.iter().map(ToString::to_string).collect();
                Err(Failure::Address(
                    Error::new(Code::NotFound, format!("there is no node \"{unknown}\""))
                        .hint(format!("the nodes are {}", known.join(", "))),
                ))
            }
        }
    }

    /// The rows that are wanted, sorted.
    pub(crate) fn rows(&self, snapshot: &Snapshot) -> Vec<Row> {
        snapshot.rows().into_iter().filter(|row| self.wants(row)).collect()
    }
}

impl List {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let session = context.session().await?;
        let snapshot = session.snapshot();
        self.filter.check(&snapshot)?;
        if self.watch {
            let printer = Printer::start(&context.output);
            let pen = printer.pen();
            return printer.until(true, watch(&session, &self.filter, &context.output, pen)).await;
        }
        let rows = self.filter.rows(&snapshot);
        context.output.rows(&HEADER, &rows, fields, STATE)
    }
}

/// Prints the rows, then what changes.
async fn watch(session: &Asking, filter: &Filter, output: &Output, pen: Pen) -> Result<(), Failure> {
    let mut changed = session.changed();
    let mut link = session.bus().link();
    let mut shown = Shown::default();
    let mut up = true;
    let mut first = true;
    loop {
        let rows = filter.rows(&changed.borrow_and_update().clone());
        if output.is_terminal() && !output.is_json() {
            pen.put(move |output| {
                output.clear()?;
                output.table(&HEADER, &rows.iter().map(fields).collect::<Vec<_>>(), STATE)
            })
            .await?;
        } else {
            for change in shown.update(rows)? {
                pen.put(move |output| change.print(output)).await?;
            }
            if first && output.is_json() {
                pen.put(|output| output.json(&json!({"type": "synced"}))).await?;
            }
        }
        first = false;
        loop {
            tokio::select! {
                change = changed.changed() => {
                    if change.is_err() {
                        return Err(Error::internal("the registry is no longer watched").into());
                    }
                    break;
                }
                change = link.changed() => {
                    if change.is_err() {
                        return Err(Error::unavailable("the connection to the bus was closed").into());
                    }
                    let now = link.borrow_and_update().up;
                    if now != up {
                        up = now;
                        pen.put(move |output| say_link(output, up)).await?;
                    }
                }
            }
        }
    }
}

fn say_link(output: &Output, up: bool) -> Result<(), Failure> {
    let state = if up { "back" } else { "lost" };
    if output.is_json() {
        return output.json(&json!({"type": "bus", "state": state}));
    }
    output.note(&format!("the bus is {state}"));
    Ok(())
}

/// What was printed last, by name and node.
#[derive(Debug, Default)]
struct Shown(BTreeMap<(String, Option<String>), (Value, Vec<String>)>);

/// One line of a watch.
#[derive(Debug, PartialEq)]
enum Change {
    Row(Value, Vec<String>),
    Removed(String, Option<String>),
}

impl Shown {
    /// Takes the rows of now, and tells what differs.
    fn update(&mut self, rows: Vec<Row>) -> Result<Vec<Change>, Failure> {
        let mut now = BTreeMap::new();
        let mut changes = Vec::new();
        for row in rows {
            let key = (row.name.to_string(), row.node.as_ref().map(ToString::to_string));
            let value = serde_json::to_value(&row).map_err(|error| Error::internal(error.to_string()))?;
            let fields = fields(&row);
            if self.0.get(&key).is_none_or(|(before, _)| *before != value) {
                changes.push(Change::Row(value.clone(), fields.clone()));
            }
            now.insert(key, (value, fields));
        }
        let removed = self.0.keys().filter(|key| !now.contains_key(*key));
        changes.extend(removed.map(|(name, node)| Change::Removed(name.clone(), node.clone())));
        self.0 = now;
        Ok(changes)
    }
}

impl Change {
    fn print(&self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Row(row, _) if output.is_json() => output.json(&json!({"type": "row", "row": row})),
            Self::Removed(name, node) if output.is_json() => {
                output.json(&json!({"type": "removed", "name": name, "node": node}))
            }
            Self::Row(_, fields) => output.table(&HEADER, std::slice::from_ref(fields), STATE),
            Self::Removed(name, node) => {
                let dash = || "-".to_owned();
                let node = node.clone().unwrap_or_else(dash);
                output.table(&HEADER, &[vec![name.clone(), node, dash(), "removed".to_owned(), dash()]], STATE)
            }
        }
    }
}

/// A row's fields, as text shows them.
fn fields(row: &Row) -> Vec<String> {
    let node = row.node.as_ref().map(ToString::to_string).unwrap_or_default();
    vec![row.name.to_string(), node, row.kind.to_string(), row.state.to_string(), row.detail().unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_a_key() {
        assert_eq!(label("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert!(label("a").is_err() && label("=b").is_err());
    }
}
