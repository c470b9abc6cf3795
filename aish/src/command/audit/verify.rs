use std::time::Duration;

use aigis_registry::{
    Asking, State,
    audit::{self, Extent, Filter, Flaw, Keys, Verified},
};
use serde_json::json;

use crate::{context::Context, exit::Failure};

/// How long reading the whole audit may take.
const WITHIN: Duration = Duration::from_secs(60);
const HEADER: [&str; 5] = ["NODE", "LINES", "FIRST", "LAST", "STATE"];
const STATE: usize = 4;
/// What is damaged ends with this code.
const NOT_WHOLE: u8 = 70;

/// Checks the audit of all nodes, says how much there is of each, and what is wrong.
pub(super) async fn run(context: &Context, session: &Asking) -> Result<(), Failure> {
    let reading = super::read(session, &Filter { notes: true, ..Filter::default() }, WITHIN).await?;
    let snapshot = session.snapshot();
    let issuer = context.mesh_file()?.map(|mesh| mesh.issuer);
    // What the issuer says of a node's user goes before what the node says of itself.
    let users = snapshot.users().map(|user| (user.name.node(), user.public_key.clone()));
    let mut keys: Keys = users.collect();
    for node in snapshot.nodes().filter(|node| snapshot.user(&node.name.user()).is_none()) {
        keys.add(node.name.clone(), node.id.clone());
    }
    if let Some(issuer) = &issuer {
        keys.learn(&reading, issuer);
    }
    let is_live = |node: &aigis_proxy::NodeName| snapshot.sight(node.as_str()).state == State::Live;
    let Verified { extents, flaws } = audit::verify(&reading, &keys, issuer.as_ref(), is_live);
    if context.output.is_json() {
        let said: Vec<_> = flaws
            .iter()
            .map(|flaw| json!({"node": flaw.node, "seq": flaw.seq, "what": flaw.kind.to_string()}))
            .collect();
        context.output.json(&json!({"whole": flaws.is_empty(), "nodes": extents, "flaws": said}))?;
    } else {
        let rows: Vec<Vec<String>> = extents.iter().map(|extent| fields(extent, &flaws)).collect();
        context.output.table(&HEADER, &rows, STATE)?;
        for Flaw { node, seq, kind } in &flaws {
            let line = seq.map(|seq| format!("line {seq} of {node}")).unwrap_or_else(|| format!("a line of {node}"));
            context.output.text(&format!("{line}: {kind}"))?;
        }
    }
    match flaws.is_empty() {
        true => Ok(()),
        false => Err(Failure::Said(NOT_WHOLE)),
    }
}

fn fields(extent: &Extent, flaws: &[Flaw]) -> Vec<String> {
    let Extent { node, lines, first, last, awaited } = extent;
    let state = match flaws.iter().filter(|flaw| flaw.node == node.as_str()).count() {
        0 if *awaited > 0 => format!("whole; {awaited} more to come"),
        0 => "whole".to_owned(),
        count => format!("{count} flaws"),
    };
    vec![node.to_string(), lines.to_string(), first.to_string(), last.to_string(), state]
}
