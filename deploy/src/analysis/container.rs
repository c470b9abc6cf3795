//! What an existing Dockerfile says.

use std::collections::HashMap;

use crate::{
    fact::{Dockerfile, Evidence, Fact},
    tree::{Tree, path},
    words::words,
};

/// By these names, the first that is there.
pub(crate) const NAMES: [&str; 2] = ["Dockerfile", "Containerfile"];

/// A stage as it is read.
#[derive(Debug, Clone, Default)]
struct Stage {
    name: String,
    ports: Vec<(u16, u64)>,
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    line: u64,
}

/// What a Dockerfile says of an application.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    /// The fact itself.
    pub(crate) fact: Fact<String, Dockerfile>,
    /// The first port of its last stage, and where it is exposed.
    pub(crate) port: Option<(u16, Evidence)>,
    /// The line of its last command, or 1.
    pub(crate) command_line: u64,
}

/// What the Dockerfile in a directory says.
pub(crate) fn read(tree: &Tree, root: &str) -> Option<Container> {
    let file = NAMES.into_iter().map(|name| path(root, name)).find(|file| tree.has(file))?;
    let stages = stages(tree.text(&file).unwrap_or_default());
    let last = stages.last().cloned().unwrap_or_default();
    let port = last.ports.first().map(|(port, line)| (*port, Evidence::new(file.clone(), *line)));
    let more = Dockerfile {
        stages: stages.iter().map(|stage| stage.name.clone()).collect(),
        ports: last.ports.iter().map(|(port, _)| *port).collect(),
        cmd: last.entrypoint.into_iter().chain(last.cmd).collect(),
    };
    let at = vec![Evidence::new(file.clone(), 1)];
    let fact = Fact::known(file, "dockerfile.present", at).with(more);
    Some(Container { fact, port, command_line: last.line.max(1) })
}

fn stages(text: &str) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    let mut known: HashMap<String, String> = HashMap::new();
    for (line, instruction) in instructions(text) {
        let (word, rest) = instruction.split_once(char::is_whitespace).unwrap_or((&instruction, ""));
        let rest = rest.trim();
        if word.eq_ignore_ascii_case("FROM") {
            let mut parts = rest.split_whitespace().filter(|part| !part.starts_with("--"));
            let from = parts.next().unwrap_or_default();
            let name = parts.nth(1).map_or_else(|| stages.len().to_string(), str::to_owned);
            let parent = stages.iter().rev().find(|stage| stage.name.eq_ignore_ascii_case(from)).cloned();
            stages.push(Stage { name, line, ..parent.unwrap_or_default() });
            continue;
        }
        if word.eq_ignore_ascii_case("ARG") || word.eq_ignore_ascii_case("ENV") {
            for pair in rest.split_whitespace() {
                let (name, value) = pair.split_once('=').unwrap_or((pair, rest.rsplit(' ').next().unwrap_or_default()));
                known.extend(resolved(&known, value).map(|value| (name.to_owned(), value)));
            }
        }
        let Some(stage) = stages.last_mut() else { continue };
        if word.eq_ignore_ascii_case("EXPOSE") {
            let ports = rest.split_whitespace().filter_map(|port| {
                // The default of a variable has a hyphen too, as a range of ports has.
                let number = if port.starts_with('$') { port } else { port.split('-').next()? };
                resolved(&known, number.split('/').next()?)?.parse().ok()
            });
            stage.ports.extend(ports.filter(|port| *port > 0).map(|port| (port, line)));
        } else if word.eq_ignore_ascii_case("CMD") {
            (stage.cmd, stage.line) = (command(rest), line);
        } else if word.eq_ignore_ascii_case("ENTRYPOINT") {
            (stage.entrypoint, stage.line) = (command(rest), line);
        }
    }
    stages
}

/// What a word stands for: itself, or the last value of the variable that it is, else its default: `${PORT:-8080}`.
fn resolved(known: &HashMap<String, String>, word: &str) -> Option<String> {
    let word = word.trim_matches(['"', '\'']);
    let Some(variable) = word.strip_prefix('$') else { return Some(word.to_owned()) };
    let (name, default) = match variable.trim_matches(['{', '}']).split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (variable.trim_matches(['{', '}']), None),
    };
    known.get(name).map(String::as_str).or(default).map(str::to_owned)
}

/// The exec form, or what a shell is given.
fn command(rest: &str) -> Vec<String> {
    serde_json::from_str(rest).unwrap_or_else(|_| match words(rest) {
        Some(words) => words,
        None => vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.to_owned()],
    })
}

/// The instructions, each with its first line; lines that end with a backslash go on, comments between them do not count.
fn instructions(text: &str) -> Vec<(u64, String)> {
    let mut out: Vec<(u64, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let (part, more) = line.strip_suffix('\\').map_or((line, false), |part| (part.trim_end(), true));
        match out.last_mut().filter(|_| goes_on) {
            Some((_, instruction)) => {
                instruction.push(' ');
                instruction.push_str(part);
            }
            None => out.push((number as u64 + 1, part.to_owned())),
        }
        goes_on = more;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stand_for_what_variables_hold() {
        for (text, ports) in [
            ("FROM a\nARG PORT=80\nENV PORT $PORT\nEXPOSE $PORT 9229", vec![80, 9229]),
            ("FROM a\nENV PORT=\"${OTHER:-8081}\"\nEXPOSE ${PORT}/tcp", vec![8081]),
            ("FROM a\nEXPOSE ${PORT:-3000}", vec![3000]),
            ("FROM a\nEXPOSE 7000-7002", vec![7000]),
            ("FROM a\nARG PORT\nEXPOSE $PORT $OTHER", vec![]),
        ] {
            let tree = Tree::of([("Dockerfile", text)]);
            assert_eq!(read(&tree, ".").unwrap().fact.more.ports, ports, "{text}");
        }
    }
}
