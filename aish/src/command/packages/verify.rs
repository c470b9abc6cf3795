use std::fmt::Write as _;

use aigis_deploy::package::{Build, Record, Report, Verifier, verify};
use aigis_proxy::{Code, Error, NodeName, client::Response};
use aigis_registry::{Asking, State};
use clap_complete::ArgValueCompleter;
use serde_json::{Map, Value, json};

use super::{super::dockerfile::test::ask, Kept};
use crate::{completion, context::Context, exit::Failure};

/// The exit code of a build that gave something else.
const DIFFERS: u8 = 1;

/// Build a package again of what is recorded of it, and report in what the result differs
///
/// It is built without any cache of the sources, the manifest and the lock that are kept with it: on another node than before,
/// if there is one. Exits 1 if anything differs.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// The package
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completion::packages))]
    id: String,
    /// Build it on this node [default: another one than before, if there is one]
    #[arg(long, value_name = "N", conflicts_with = "local")]
    on: Option<NodeName>,
    #[command(flatten)]
    whose: super::Whose,
}

impl Verify {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let kept = self.whose.kept(context)?;
        let id = self.id;
        let record = kept.on_store(context, move |store| Ok(store.find(&id)?.record)).await?;
        let report = verified(context, kept, &record, self.on.as_ref()).await?;
        if context.output.is_json() {
            context.output.json(&report)?;
        } else {
            context.output.text(&told(&report))?;
        }
        if is_same(&report) { Ok(()) } else { Err(Failure::Said(DIFFERS)) }
    }
}

/// Builds a package again: on a node of the mesh, or on this host if it is kept here alone.
///
/// # Errors
///
/// `unavailable` where there is nobody to build it; what the build meets.
pub(super) async fn verified(
    context: &Context,
    kept: Kept,
    record: &Record,
    on: Option<&NodeName>,
) -> Result<Report, Failure> {
    let (id, inputs) = (record.id.to_string(), record.inputs);
    if kept != Kept::Mesh {
        let user = super::build::user();
        let alone =
            move |store: &_| verify(store, &id, &Verifier { by: &user, node: None, measured: false, builder: None });
        return kept.on_store(context, alone).await;
    }
    let builds = kept.on_store(context, move |store| store.builds(&inputs)).await?;
    let session = context.session().await?;
    let nodes = match on {
        Some(node) => vec![node.clone()],
        None => candidates(&session, record, &builds),
    };
    let mut refused = None;
    for node in nodes {
        match on_node(context, &session, &node, &id).await {
            // Another may have an engine that answers, of the platform that is needed.
            Err(Failure::Call(error)) if error.code == Code::Unavailable => refused = Some(error),
            done => return done,
        }
    }
    let nobody = || {
        Error::unavailable(format!("no node is there that could build the package {id} again"))
            .hint("start one with an engine: aish up --detach; see: aish nodes")
    };
    Err(refused.unwrap_or_else(nobody).into())
}

/// The nodes that may build a package again: those first that have not built it yet.
fn candidates(session: &Asking, record: &Record, builds: &[Build]) -> Vec<NodeName> {
    let rows = session.snapshot().node_rows();
    let can = |row: &&aigis_registry::NodeRow| {
        let has_engine = row.engine.as_ref().is_some_and(|engine| engine.reachable);
        row.state == State::Live && !row.cordoned && !row.draining && (has_engine || record.tier() == 0)
    };
    let mut nodes: Vec<NodeName> = rows.iter().filter(can).map(|row| row.name.clone()).collect();
    let built = |node: &NodeName| builds.iter().any(|build| build.node.as_deref() == Some(node.as_str()));
    nodes.sort_by_key(|node| (built(node), node.to_string()));
    nodes
}

/// Has a node build a package again, and tells what it says meanwhile.
async fn on_node(context: &Context, session: &Asking, node: &NodeName, id: &str) -> Result<Report, Failure> {
    let asked = Map::from_iter([("id".to_owned(), json!(id))]);
    let mut frames = match ask(context, session, node, "package.verify", asked).await? {
        Response::Stream(frames) => frames,
        Response::Value(_) => return Err(Error::internal("package.verify answered without a stream").into()),
    };
    let mut report = Value::Null;
    while let Some(frame) = frames.next().await.transpose()? {
        match frame.get("line").and_then(Value::as_str) {
            Some(line) if !context.output.is_quiet() => context.output.aside(line),
            Some(_) => {}
            None => report = frame,
        }
    }
    let read = serde_json::from_value(report);
    Ok(read.map_err(|error| Error::internal(format!("{node} answered with another report: {error}")))?)
}

/// A line for each difference.
pub(super) fn told(report: &Report) -> String {
    if is_same(report) {
        return format!("{} came out the same ({})", report.package, report.build);
    }
    let mut out = format!("{} came out as {} ({})\n", report.package, report.output, report.build);
    for one in &report.differences {
        let layer = one.layer.as_ref().map(|layer| format!(", {layer}")).unwrap_or_default();
        let kind = crate::command::word(&one.kind);
        let _ = write!(out, "{kind} {} ({} {}{layer})", aigis_proxy::quoted(&one.path), one.container, one.platform);
        let _ = one.offset.map(|offset| write!(out, " from byte {offset} on"));
        let _ = one.hint.as_ref().map(|hint| write!(out, ": {hint}"));
        out.push('\n');
    }
    out
}

/// Whether it came out the same.
pub(super) fn is_same(report: &Report) -> bool {
    report.output == report.package
}
