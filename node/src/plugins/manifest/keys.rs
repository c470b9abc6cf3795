//! The keys of an `AIGIS.config`: which there are, for whom, and what each has to be.

use std::{collections::BTreeMap, path::Path, time::Duration};

use aigis_proxy::{Effect, SkillPath, quoted, secret::SecretName};
use aigis_registry::resolve::distance;

use super::{
    CORE_FILE, Launch, Manifest, Restart, RestartOn, Words,
    paths::Place,
    reader::Reader,
    value::{Fault, Node, Value},
};
use crate::plugins::{Type, config::variable, requirements};

const KEYS: [&str; 16] = [
    "PLUGIN_TYPE",
    "ENTRYPOINT",
    "SYSTEM_REQUIREMENTS",
    "REQUIREMENT_COMMAND",
    "REQUIREMENT_FILE",
    "SECRETS",
    "RESTART",
    "RESTART_ON",
    "HOST",
    "LAUNCH",
    "START_TIMEOUT",
    "TIMEOUT",
    "CONCURRENCY",
    "ENV",
    "EFFECTS",
    "SERVES",
];
/// Keys that are also written in the plural.
const PLURALS: [(&str, &str); 2] =
    [("REQUIREMENT_COMMAND", "REQUIREMENTS_COMMAND"), ("REQUIREMENT_FILE", "REQUIREMENTS_FILE")];
/// A day, in seconds: the longest that anything may take.
const DAY: f64 = 86_400.0;
const START_TIMEOUT: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(30);
const CONCURRENCY: u32 = 32;

/// Reads all keys.
pub(super) fn read(mut reader: Reader<'_>) -> Result<Manifest, Fault> {
    unknown(&mut reader);
    let kind = Reader::word(
        "PLUGIN_TYPE",
        reader.get("PLUGIN_TYPE").ok_or_else(|| reader.missing("PLUGIN_TYPE"))?,
        &Type::ALL.map(|kind| (kind.as_str(), kind)),
    )?;
    let entrypoint = entrypoint(&reader, kind)?;
    let requirement_command = singular(&reader, PLURALS[0])?.map(|(key, node)| words(key, node)).transpose()?;
    let requirement_file = requirement_file(&mut reader, requirement_command.as_ref())?;
    let launch = launch(&mut reader, kind, &entrypoint.path)?;
    let of = |key: &'static str| reader.get(key).map(|node| (key, node));
    let manifest = Manifest {
        kind,
        system_requirements: of("SYSTEM_REQUIREMENTS").map_or(Ok(Vec::new()), |(key, node)| programs(key, node))?,
        requirement_command,
        requirement_file,
        secrets: of("SECRETS").map_or(Ok(BTreeMap::new()), |(key, node)| secrets(&reader, key, node))?,
        restart: of("RESTART").map_or(Ok(Restart::Times(0)), |(key, node)| restart(key, node))?,
        restart_on: of("RESTART_ON").map_or(Ok(RestartOn::Exit), |(key, node)| {
            Reader::word(key, node, &[("exit", RestartOn::Exit), ("failure", RestartOn::Failure)])
        })?,
        host: of("HOST").map(|(key, node)| host(key, node)).transpose()?,
        start_timeout: of("START_TIMEOUT").map_or(Ok(START_TIMEOUT), |(key, node)| Reader::seconds(key, node, DAY))?,
        timeout: of("TIMEOUT").map_or(Ok(TIMEOUT), |(key, node)| Reader::seconds(key, node, DAY))?,
        concurrency: of("CONCURRENCY").map_or(Ok(CONCURRENCY), |(key, node)| {
            Reader::whole(key, node, 1, 1024).map(|number| u32::try_from(number).unwrap_or(CONCURRENCY))
        })?,
        env: of("ENV").map_or(Ok(BTreeMap::new()), |(key, node)| env(key, node))?,
        effects: of("EFFECTS").map_or(Ok(BTreeMap::new()), |(key, node)| effects(key, node))?,
        serves: of("SERVES").map_or(Ok(false), |(key, node)| Reader::flag(key, node))? && kind == Type::External,
        has_core_file: reader.paths.has(CORE_FILE),
        entrypoint: entrypoint.path,
        launch,
        warnings: Vec::new(),
    };
    for (key, is_due) in [("HOST", kind.takes_host()), ("SERVES", kind == Type::External)] {
        if reader.get(key).is_some() && !is_due {
            reader.warn(key, format!("it means nothing to a plugin of type {kind}"));
        }
    }
    Ok(Manifest { warnings: reader.warnings, ..manifest })
}

/// Warns of names in capitals that are no keys: they were meant as such.
fn unknown(reader: &mut Reader<'_>) {
    let known = || KEYS.into_iter().chain(PLURALS.map(|(_, plural)| plural));
    let is_meant = |name: &str| {
        name.contains(|c: char| c.is_ascii_uppercase())
            && !name.contains(|c: char| c.is_lowercase())
            && !name.starts_with('_')
    };
    let names: Vec<&str> = reader.names().filter(|name| is_meant(name) && !known().any(|key| key == *name)).collect();
    for name in names {
        let near = known().filter_map(|key| Some((distance(name, key)?, key))).min();
        let near = near.map(|(_, key)| format!("; did you mean {key}?")).unwrap_or_default();
        reader.warn(&quoted(name), format!("it is no key that is known{near}"));
    }
}

/// A key that has two spellings, of which one counts.
fn singular<'a>(
    reader: &Reader<'a>,
    (key, plural): (&'static str, &'static str),
) -> Result<Option<(&'static str, &'a Node)>, Fault> {
    match (reader.get(key), reader.get(plural)) {
        (Some(one), Some(other)) if !same(&one.value, &other.value) => {
            let reason = format!("it differs from {key} on line {}; keep one of both", reader.line(key));
            Err(Reader::refuse(plural, other, reason))
        }
        (Some(one), _) => Ok(Some((key, one))),
        (None, other) => Ok(other.map(|other| (plural, other))),
    }
}

/// Whether two values are the same, wherever they stand.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::List(one) | Value::Tuple(one), Value::List(other) | Value::Tuple(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(&one.value, &other.value))
        }
        _ => one == other,
    }
}

fn place(reader: &Reader<'_>, key: &str, node: &Node, base: &Path, may_leave: bool) -> Result<Place, Fault> {
    let text = Reader::text(key, node)?;
    reader.paths.place(text, base, may_leave).map_err(|reason| Reader::refuse(key, node, reason))
}

fn entrypoint(reader: &Reader<'_>, kind: Type) -> Result<Place, Fault> {
    let key = "ENTRYPOINT";
    let node = reader.get(key).ok_or_else(|| reader.missing(key))?;
    let place = place(reader, key, node, reader.paths.root(), kind == Type::External)?;
    let is_there = place.now.is_dir();
    let missing =
        || Reader::refuse(key, node, format!("{} is no directory", aigis_proxy::text_file::shown(&place.path)));
    is_there.then_some(()).ok_or_else(missing)?;
    Ok(place)
}

fn words(key: &str, node: &Node) -> Result<Words, Fault> {
    let words = match &node.value {
        Value::Text(text) => Words::Text(text.clone()),
        _ => Words::List(Reader::texts(key, node)?.into_iter().map(|(_, text)| text.to_owned()).collect()),
    };
    // What cannot be run is told now, with its place.
    requirements::Command::read(&words).map_err(|error| Reader::refuse(key, node, error))?;
    Ok(words)
}

fn requirement_file(reader: &mut Reader<'_>, command: Option<&Words>) -> Result<Option<std::path::PathBuf>, Fault> {
    let Some((key, node)) = singular(reader, PLURALS[1])? else { return Ok(None) };
    let place = place(reader, key, node, reader.paths.root(), false)?;
    if !place.now.is_file() {
        let missing = format!("{} is no file", aigis_proxy::text_file::shown(&place.path));
        let makes_it = command.and_then(|words| requirements::Command::read(words).ok()).is_some_and(|it| !it.is_pip());
        // A command of the plugin's own may be what makes it.
        if !makes_it || place.now.exists() {
            return Err(Reader::refuse(key, node, missing));
        }
        reader.warn(key, format!("{missing} before {} has run", PLURALS[0].0));
    }
    Ok(Some(place.path))
}

fn programs(key: &str, node: &Node) -> Result<Vec<String>, Fault> {
    let one = |(item, text): (&Node, &str)| {
        let good = !text.is_empty() && !text.chars().any(char::is_control);
        good.then(|| text.to_owned()).ok_or_else(|| Reader::refuse(key, item, "it is no program's name"))
    };
    Reader::texts(key, node)?.into_iter().map(one).collect()
}

fn secrets(reader: &Reader<'_>, key: &str, node: &Node) -> Result<BTreeMap<SecretName, std::path::PathBuf>, Fault> {
    let mut secrets = BTreeMap::new();
    for (at, name, target) in Reader::dict(key, node)? {
        // What follows the plugin's own part in the name of a secret is of the same form.
        let fresh = SecretName::parse(name).map_err(|error| Reader::refuse(key, at, error))?;
        let place = place(reader, key, target, reader.paths.root(), false)?;
        if place.now.exists() && !place.now.is_dir() {
            let shown = aigis_proxy::text_file::shown(&place.path);
            return Err(Reader::refuse(key, target, format!("{shown} is no directory; a secret is put into one")));
        }
        let file = place.path.join(fresh.file_name());
        let clash = secrets.iter().find(|(other, path): &(&SecretName, &std::path::PathBuf)| {
            **other != fresh && path.join(other.file_name()) == file
        });
        if let Some((other, _)) = clash {
            let reason = format!("\"{}\" and \"{name}\" would both be the file {}", other.as_str(), file.display());
            return Err(Reader::refuse(key, at, reason));
        }
        secrets.insert(fresh, place.path);
    }
    Ok(secrets)
}

fn restart(key: &str, node: &Node) -> Result<Restart, Fault> {
    match node.value {
        Value::Bool(always) => Ok(Restart::Times(u32::from(always))),
        Value::Integer(Some(-1)) => Ok(Restart::Always),
        _ => {
            let times = Reader::whole(key, node, -1, i64::from(u32::MAX))?;
            Ok(Restart::Times(u32::try_from(times).unwrap_or_default()))
        }
    }
}

fn host(key: &str, node: &Node) -> Result<String, Fault> {
    let text = Reader::text(key, node)?;
    let good = !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    good.then(|| text.to_owned()).ok_or_else(|| Reader::refuse(key, node, "write a node's name, or a label KEY=VALUE"))
}

fn launch(reader: &mut Reader<'_>, kind: Type, entrypoint: &Path) -> Result<Option<Launch>, Fault> {
    let key = "LAUNCH";
    let Some(node) = reader.get(key) else {
        return if kind == Type::Core { Ok(None) } else { Err(reader.missing(key)) };
    };
    match kind {
        Type::Core => {
            reader.warn(key, "it means nothing to a plugin of type core");
            Ok(None)
        }
        Type::External => {
            let mut argv = Vec::new();
            for (at, text) in Reader::texts(key, node)? {
                let (argument, _) = reader.paths.rendered(text).map_err(|reason| Reader::refuse(key, at, reason))?;
                if !reader.paths.keeps(&argument) {
                    return Err(Reader::refuse(key, at, "it leads out of the plugin's copy"));
                }
                argv.push(argument);
            }
            let good = argv.first().is_some_and(|program| !program.is_empty());
            good.then_some(Some(Launch::Command(argv)))
                .ok_or_else(|| Reader::refuse(key, node, "write a list: the program and its arguments"))
        }
        _ => internal(reader, key, node, entrypoint).map(Some),
    }
}

/// A file of Python, or a module.
fn internal(reader: &Reader<'_>, key: &str, node: &Node, entrypoint: &Path) -> Result<Launch, Fault> {
    let text = Reader::text(key, node)?;
    let (rendered, names_root) = reader.paths.rendered(text).map_err(|reason| Reader::refuse(key, node, reason))?;
    if names_root || rendered.contains('/') || Path::new(&rendered).extension().is_some_and(|end| end == "py") {
        let place = place(reader, key, node, entrypoint, false)?;
        let missing = || format!("{} is no file", aigis_proxy::text_file::shown(&place.path));
        return if place.now.is_file() {
            Ok(Launch::File(place.path))
        } else {
            Err(Reader::refuse(key, node, missing()))
        };
    }
    let is_name = |part: &str| {
        part.starts_with(|c: char| c == '_' || c.is_alphabetic())
            && part.chars().all(|c| c == '_' || c.is_alphanumeric())
    };
    let good = rendered.split('.').all(is_name);
    good.then(|| Launch::Module(rendered.clone())).ok_or_else(|| {
        let reason = format!("\"{}\" is no module; write its dotted name, or the path of a .py file", quoted(text));
        Reader::refuse(key, node, reason)
    })
}

fn env(key: &str, node: &Node) -> Result<BTreeMap<String, String>, Fault> {
    let one = |(at, name, value): (&Node, &str, &Node)| {
        let text = Reader::text(key, value)?;
        let text = variable(name, text).map_err(|reason| Reader::refuse(key, at, reason))?;
        Ok((name.to_owned(), text))
    };
    Reader::dict(key, node)?.into_iter().map(one).collect()
}

fn effects(key: &str, node: &Node) -> Result<BTreeMap<SkillPath, Effect>, Fault> {
    let words = [Effect::Read, Effect::Write, Effect::Admin].map(|effect| (effect.to_string(), effect));
    let words = words.each_ref().map(|(word, effect)| (word.as_str(), *effect));
    let one = |(at, path, value): (&Node, &str, &Node)| {
        let path = SkillPath::parse(path).map_err(|error| Reader::refuse(key, at, error))?;
        Ok((path, Reader::word(key, value, &words)?))
    };
    Reader::dict(key, node)?.into_iter().map(one).collect()
}
