use std::fmt::Write as _;

use aigis_proxy::{Address, Code, Error, SkillPath, client::Response};
use aigis_registry::{Addressee, Asking, Resolved, State};
use clap_complete::ArgValueCompleter;
use serde_json::{Map, Value};

use crate::{ask::ask, completion, context::Context, exit::Failure, values::Arguments};

/// Describe a CI: what it is and what can be asked of it
///
/// A CI that is away is described from its record.
#[derive(Debug, clap::Args)]
pub(crate) struct Describe {
    /// The CI
    #[arg(value_name = "CI", add = ArgValueCompleter::new(completion::names))]
    address: Address,
}

impl Describe {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let session = context.session().await?;
        let found = session.find(&self.address).map_err(Failure::Address)?;
        let value = match asked(&session, &found, context).await {
            Some(result) => result?,
            None => remembered(&session, &found)?,
        };
        if context.output.is_json() {
            return context.output.json(&value);
        }
        context.output.text(&text(&found.address, &value))?;
        if found.state != State::Live {
            context.output.note(&format!("{} is {}: this is what its record says", found.address, found.state));
        }
        Ok(())
    }
}

/// What a live CI says of itself; `None` where its record has to do.
async fn asked(session: &Asking, found: &Addressee, context: &Context) -> Option<Result<Value, Failure>> {
    if found.state != State::Live {
        return None;
    }
    let path = SkillPath::parse("describe").ok()?;
    match ask(session, found, &path, Arguments::default(), context.global.timeout.into()).await {
        Ok(Response::Value(value)) => Some(Ok(merged(session, found, value))),
        Ok(Response::Stream(_)) => Some(Err(Error::internal("describe answered with a stream").into())),
        Err(error) if error.code == Code::Unavailable => None,
        Err(error) => Some(Err(error.into())),
    }
}

/// The row of a CI as an object, without its list of skills.
fn row(session: &Asking, found: &Addressee) -> Map<String, Value> {
    let snapshot = session.snapshot();
    let row = match found.resolved() {
        Resolved::One(one) => snapshot.row(&one.record),
        Resolved::Service(service) => snapshot.service_row(service),
    };
    match serde_json::to_value(row) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// The record's row, completed by what the CI itself says: the registry knows states, the CI knows its skills.
fn merged(session: &Asking, found: &Addressee, said: Value) -> Value {
    let mut object = row(session, found);
    object.remove("skills");
    let Value::Object(said) = said else { return Value::Object(object) };
    for key in ["skills", "actions"] {
        object.insert(key.to_owned(), said.get(key).cloned().unwrap_or_else(|| Value::Array(Vec::new())));
    }
    // Of those alone that a deployment set up.
    if let Some(manifest) = said.get("manifest").filter(|manifest| !manifest.is_null()) {
        object.insert("manifest".to_owned(), manifest.clone());
    }
    object.insert("members".to_owned(), members(found));
    Value::Object(object)
}

/// What the record alone says.
fn remembered(session: &Asking, found: &Addressee) -> Result<Value, Failure> {
    let mut object = row(session, found);
    object.remove("skills");
    let notes = match found.resolved() {
        Resolved::One(one) => one.record.skills.clone(),
        Resolved::Service(service) => service.replicas.first().map(|one| one.record.skills.clone()).unwrap_or_default(),
    };
    let skills = notes.iter().map(|note| {
        serde_json::json!({
            "path": note.path, "effect": note.effect, "stream": note.stream,
            "doc": null, "input": null, "output": null,
        })
    });
    object.insert("skills".to_owned(), skills.collect());
    object.insert("actions".to_owned(), Value::Array(Vec::new()));
    object.insert("members".to_owned(), members(found));
    Ok(Value::Object(object))
}

fn members(found: &Addressee) -> Value {
    let Resolved::Service(service) = found.resolved() else { return Value::Null };
    let mut members: Vec<String> =
        service.replicas.iter().map(|one| format!("{}@{}", one.record.name, one.record.node)).collect();
    members.sort();
    members.into()
}

fn text(address: &Address, value: &Value) -> String {
    let word = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let (kind, state) = (word("kind"), word("state"));
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let mut out = format!("{address} is {article} {kind}: {state}\n");
    let mut line = |key: &str, text: String| {
        if !text.is_empty() {
            let _ = writeln!(out, "{key}: {text}");
        }
    };
    line("description", value.get("description").and_then(Value::as_str).unwrap_or_default().to_owned());
    line("aliases", words(value.get("aliases")));
    line("members", words(value.get("members")));
    if let Some(labels) = value.get("labels").and_then(Value::as_object) {
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
        line("labels", labels.join(", "));
    }
    if let Some(image) = value.pointer("/container/image").and_then(Value::as_str) {
        line("image", image.to_owned());
    }
    let told = |key: &str| value.pointer(&format!("/manifest/{key}")).and_then(Value::as_str);
    if let (Some(project), Some(package)) = (told("project"), told("package")) {
        line("deployed", format!("of the project {project}, package {package}"));
    }
    line("warnings", words(value.get("warnings")));
    out.push_str("skills:\n");
    for skill in value.get("skills").and_then(Value::as_array).into_iter().flatten() {
        let of = |key: &str| skill.get(key).and_then(Value::as_str).unwrap_or_default();
        let effect = if skill.get("stream") == Some(&Value::Bool(true)) {
            format!("{}, stream", of("effect"))
        } else {
            of("effect").to_owned()
        };
        let _ = writeln!(out, "{}", format!("  {:<16} {:<14} {}", of("path"), effect, of("doc")).trim_end());
    }
    for action in value.get("actions").and_then(Value::as_array).into_iter().flatten() {
        let of = |key: &str| action.get(key).and_then(Value::as_str).unwrap_or_default();
        let _ = writeln!(out, "action {}: {}", of("id"), of("description"));
    }
    out
}

fn words(value: Option<&Value>) -> String {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}
