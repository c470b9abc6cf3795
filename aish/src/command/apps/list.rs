use std::time::Duration;

use aigis_proxy::{Address, NodeName, SkillPath, client::Response};
use aigis_registry::{
    Asking, NodeRecord, State,
    shared::{AppRecord, Key},
};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{ask::ask, context::Context, exit::Failure, values::Arguments};

const HEADER: [&str; 5] = ["NAME", "NODE", "STATUS", "HEALTH", "URL"];
const STATUS: usize = 2;
/// How long an app may take to say how it is.
const WITHIN: Duration = Duration::from_secs(5);

/// List the apps
///
/// What is known of them, and what those that run say of themselves.
#[derive(Debug, clap::Args)]
pub(super) struct List {}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let asking = context.session().await?;
        let apps = asking.shared().list::<AppRecord>(Key::APPS).await?;
        let own = context.mesh_file()?.and_then(|mesh| mesh.node);
        let rows = apps.iter().map(async |(_, version)| row(&asking, &version.content, own.as_ref()).await);
        let rows = join_all(rows).await;
        context.output.rows(&HEADER, &rows, fields, STATUS)
    }
}

/// An app as programs see it, on the host of that node.
pub(super) async fn row(asking: &Asking, app: &AppRecord, own: Option<&NodeName>) -> Value {
    let (status, reason) = status(asking, app);
    let said =
        if matches!(status, "serving" | "degraded" | "starting") { said(asking, app).await } else { Value::Null };
    let health = word(said.get("health")).unwrap_or_else(|| health(status).to_owned());
    let instance = app.instance.as_ref();
    let image = instance.map(|instance| &instance.image);
    json!({
        "name": app.name, "node": instance.map(|instance| &instance.node), "status": status, "reason": reason,
        "health": health, "url": url(asking, app, own), "ports": instance.map_or(&[][..], |instance| &instance.ports),
        "chain": app.chain, "image": image, "pushed_by": app.pushed_by, "pushed_at": app.pushed_at,
    })
}

/// Where an app is served over HTTP for who asks here: at the gateway of this host's node, else at the first, by the nodes'
/// names, that other hosts reach. None for an app without ports.
fn url(asking: &Asking, app: &AppRecord, own: Option<&NodeName>) -> Option<String> {
    let instance = app.instance.as_ref().or(app.candidate.as_ref())?;
    let snapshot = asking.snapshot();
    let is_live = |node: &NodeRecord| snapshot.sight(node.name.as_str()).state != State::Offline;
    let own = own.and_then(|own| snapshot.node(own)).and_then(|node| node.gateway.as_ref());
    let others = || {
        let nodes = snapshot.nodes().filter(|node| snapshot.removal(&node.name).is_none() && is_live(node));
        nodes.filter_map(|node| node.gateway.as_ref()).find(|gateway| !gateway.is_local)
    };
    // What lives of the snapshot ends with this.
    let gateway = own.or_else(others)?;
    (!instance.ports.is_empty()).then(|| gateway.url_of(&app.name))
}

/// How an app stands, and why, if that needs a reason.
fn status(asking: &Asking, app: &AppRecord) -> (&'static str, Option<String>) {
    let Some(instance) = &app.instance else {
        return match (&app.trouble, &app.candidate) {
            _ if app.stopped => ("stopped", None),
            (Some(trouble), _) => ("offline", Some(trouble.clone())),
            (None, Some(_)) => ("starting", None),
            (None, None) => ("none", None),
        };
    };
    let is_away = || asking.snapshot().sight(instance.node.as_str()).state == State::Offline;
    match &app.trouble {
        _ if app.stopped => ("stopped", None),
        _ if instance.exit_code.is_some() || instance.end.is_some() => {
            let code = instance.exit_code.or(instance.end.as_ref().and_then(|end| end.exit_code));
            let error = instance.end.as_ref().and_then(|end| end.error.as_ref()).map(|error| error.message.clone());
            ("ended", error.or(code.map(|code| format!("exit code {code}"))))
        }
        _ if is_away() => {
            let why = || format!("the node {} is offline", instance.node);
            ("offline", Some(app.stranded.clone().unwrap_or_else(why)))
        }
        _ if !instance.silent.is_empty() => {
            let ports = instance.silent.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            ("degraded", Some(format!("does not listen on {ports}")))
        }
        Some(trouble) => ("offline", Some(trouble.clone())),
        None if instance.ready || instance.ports.is_empty() => ("serving", app.stranded.clone()),
        None => ("starting", app.stranded.clone()),
    }
}

fn health(status: &str) -> &'static str {
    match status {
        "serving" => "healthy",
        "degraded" => "unhealthy",
        _ => "unknown",
    }
}

/// What its CI says of it.
async fn said(asking: &Asking, app: &AppRecord) -> Value {
    let asked = async {
        let found = asking.find(&Address { name: app.name.clone(), node: None }).ok()?;
        let path = SkillPath::parse("status").ok()?;
        match ask(asking, &found, &path, Arguments::default(), Some(WITHIN).into()).await.ok()? {
            Response::Value(value) => Some(value),
            Response::Stream(_) => None,
        }
    };
    timeout(WITHIN, asked).await.ok().flatten().unwrap_or_default()
}

/// A word, or the verdict of what holds more.
fn word(value: Option<&Value>) -> Option<String> {
    let value = value?;
    value.as_str().or_else(|| value.get("verdict").and_then(Value::as_str)).map(str::to_owned)
}

fn fields(row: &Value) -> Vec<String> {
    let word = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let status = match row.get("reason").and_then(Value::as_str) {
        Some(reason) => format!("{} ({reason})", word("status")),
        None => word("status"),
    };
    vec![word("name"), word("node"), status, word("health"), word("url")]
}
