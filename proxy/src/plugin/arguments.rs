//! The arguments of a skill, as whatever type it takes them.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    Error, Request, quoted, quoted_within,
    skill::{named_arguments, schema},
};

/// Reads a request's arguments.
///
/// # Errors
///
/// `invalid_argument` that names the argument and what is expected of it.
pub(super) fn read<I: DeserializeOwned + JsonSchema>(request: &Request) -> Result<I, Error> {
    let schema = schema::<I>();
    let is = |kind: &str| schema.get("type").and_then(Value::as_str) == Some(kind);
    if is("object") {
        let empty = Map::new();
        let fields = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let is_open = schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false));
        if let Some(name) = request.kwargs.keys().find(|name| !is_open && !fields.contains_key(*name)) {
            let known: Vec<&str> = fields.keys().map(String::as_str).collect();
            let message = format!("there is no argument \"{}\"", quoted(name));
            return Err(Error::invalid(message).hint(format!("its arguments are {}", known.join(", "))));
        }
        let fields: Vec<&str> = fields.keys().map(String::as_str).collect();
        return named_arguments(request, &fields);
    }
    if let Some(name) = request.kwargs.keys().next() {
        let message = format!("the argument \"{}\" has a name; all are taken by their place", quoted(name));
        return Err(Error::invalid(message));
    }
    let mut given = request.args.clone();
    let value = if is("null") {
        counted(given.len(), 0, 0)?;
        Value::Null
    } else if let Some(places) = schema.get("prefixItems").and_then(Value::as_array) {
        let least = places.iter().rposition(|place| !takes_null(place)).map_or(0, |last| last + 1);
        counted(given.len(), least, places.len())?;
        given.resize(places.len(), Value::Null);
        Value::Array(given)
    } else if is("array") {
        Value::Array(given)
    } else {
        counted(given.len(), 1, 1)?;
        given.pop().unwrap_or_default()
    };
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = quoted_within(&error.inner().to_string());
        Error::invalid(format!("argument {}: {inner}", error.path()))
    })
}

fn counted(given: usize, least: usize, most: usize) -> Result<(), Error> {
    match (least..=most).contains(&given) {
        true => Ok(()),
        false if least == most => Err(Error::invalid(format!("{given} arguments are given; {most} are taken"))),
        false => Err(Error::invalid(format!("{given} arguments are given; {least} to {most} are taken"))),
    }
}

fn takes_null(schema: &Value) -> bool {
    let is_null = |kind: &Value| kind == "null";
    match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(is_null),
        Some(kind) => is_null(kind),
        None => schema.get("anyOf").and_then(Value::as_array).is_some_and(|any| any.iter().any(takes_null)),
    }
}
