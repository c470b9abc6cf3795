//! `aish dockerfile --test`: what is proposed is built and started on a node, and gone again.

use std::path::Path;

use aigis_deploy::dockerfile::Proposal;
use aigis_proxy::{Address, Code, Error, Meta, NodeName, Request, SkillPath, client::Response};
use aigis_registry::{Asking, State};
use serde_json::{Map, Value, json};

use crate::{context::Context, exit::Failure, upload};

/// What of a report is told to people, in this order.
const FIELDS: [&str; 8] = ["builds", "starts", "image_bytes", "user", "listens", "answers", "seconds", "image"];

/// What is to be tested, and where.
pub(super) struct Wanted<'a> {
    /// The project's directory.
    pub(super) root: &'a Path,
    /// The application, where one is named.
    pub(super) app: Option<&'a str>,
    /// What is proposed for it here.
    pub(super) proposal: &'a Proposal,
    /// The node, where one is named.
    pub(super) on: Option<&'a NodeName>,
    /// Whether the image stays.
    pub(super) keep: bool,
}

/// Builds and starts it, and prints the report.
///
/// # Errors
///
/// What keeps from it; a report of a failure is exit code 1.
///
/// # Cancel safety
///
/// Dropping the future ends the test, and the node clears away what there is of it.
pub(super) async fn run(context: &Context, wanted: &Wanted<'_>) -> Result<(), Failure> {
    let session = context.session().await?;
    let node = node(context, &session, wanted.on)?;
    let scan = upload::look(&context.output, wanted.root).await?;
    let sent = upload::send(&context.output, session.bus(), wanted.root, scan.bytes).await?;
    let tree = sent.tree.ok_or_else(|| Error::invalid("there is nothing to build in an empty tree"))?;
    let project = tree.digest.to_string();
    let mut asked = Map::from_iter([("project".to_owned(), json!(project))]);
    asked.extend(wanted.app.map(|app| ("app".to_owned(), json!(app))));
    let there = match ask(context, &session, &node, "dockerfile.propose", asked).await? {
        Response::Value(value) => value,
        Response::Stream(_) => return Err(Error::internal("dockerfile.propose answered with a stream").into()),
    };
    if there.get("id").and_then(Value::as_str) != Some(&wanted.proposal.id) {
        let message = format!("{node} proposes another Dockerfile than this host");
        let hint = format!("are [bases] in packages.toml the same on both? see: aish call {node}.dockerfile.propose");
        return Err(Error::precondition(message).hint(hint).into());
    }
    let asked = Map::from_iter([
        ("proposal".to_owned(), json!(wanted.proposal.id)),
        ("project".to_owned(), json!(project)),
        ("keep".to_owned(), json!(wanted.keep)),
    ]);
    let mut frames = match ask(context, &session, &node, "dockerfile.test", asked).await? {
        Response::Stream(frames) => frames,
        Response::Value(_) => return Err(Error::internal("dockerfile.test answered without a stream").into()),
    };
    let mut report = Value::Null;
    while let Some(frame) = frames.next().await.transpose()? {
        match frame.get("line").and_then(Value::as_str) {
            Some(line) => context.output.aside(line),
            None => report = frame,
        }
    }
    tell(context, report)
}

/// Prints the report of a success; that of a failure is part of the error, and its lines were told as they came.
fn tell(context: &Context, report: Value) -> Result<(), Failure> {
    let is = |key: &str| report.get(key).and_then(Value::as_bool).unwrap_or_default();
    if !(is("builds") && is("starts")) {
        let why = report.get("why").and_then(Value::as_str).unwrap_or("it does not say why");
        return Err(Error::precondition(format!("the test failed: {why}")).with("report", report).into());
    }
    if context.output.is_json() {
        return context.output.json(&report);
    }
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let known = FIELDS.iter().filter_map(|key| Some((key, report.get(*key).filter(|value| !value.is_null())?)));
    let lines: String = known.map(|(key, value)| format!("{}: {}\n", key.replace('_', " "), shown(value))).collect();
    context.output.text(&lines)
}

/// The node that is named, else this host's own, else the first one that takes work.
fn node(context: &Context, session: &Asking, on: Option<&NodeName>) -> Result<NodeName, Failure> {
    if let Some(node) = on {
        return Ok(node.clone());
    }
    let own = context.mesh_file()?.and_then(|mesh| mesh.node);
    let rows = session.snapshot().node_rows();
    let takes = |row: &&aigis_registry::NodeRow| row.state == State::Live && !row.cordoned && !row.draining;
    let mut open = rows.iter().filter(takes);
    let found = match own.filter(|own| rows.iter().any(|row| row.name == *own && takes(&row))) {
        Some(own) => Some(own),
        None => open.next().map(|row| row.name.clone()),
    };
    found.ok_or_else(|| {
        Error::new(Code::Unavailable, "no node takes work").hint("start one: aish up --detach; see: aish nodes").into()
    })
}

/// Asks a skill of a node.
///
/// # Errors
///
/// An address of nobody; what the call meets.
pub(in crate::command) async fn ask(
    context: &Context,
    session: &Asking,
    node: &NodeName,
    skill: &str,
    kwargs: Map<String, Value>,
) -> Result<Response, Failure> {
    let address = Address { name: node.ci(), node: Some(node.clone()) };
    let found = session.find(&address).map_err(|error| match error.code {
        Code::NotFound => {
            let message = format!("no node is called {node}");
            Failure::Address(Error { message, ..error }.hint("see: aish nodes list"))
        }
        _ => Failure::Address(error),
    })?;
    let meta = Meta { timeout: context.global.timeout, ..Meta::default() };
    Ok(session.ask(&found, &SkillPath::parse(skill)?, Request { args: Vec::new(), kwargs, meta }).await?)
}
