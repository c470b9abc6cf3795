//! What an existing Dockerfile says.

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
    let mut known: Vec<(String, String)> = Vec::new();
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
                known.push((name.to_owned(), value.trim_matches(['"', '\'']).to_owned()));
            }
        }
        let Some(stage) = stages.last_mut() else { continue };
        if word.eq_ignore_ascii_case("EXPOSE") {
            let ports = rest.split_whitespace().filter_map(|port| {
                let number = port.split(['/', '-']).next()?;
                let name = number.strip_prefix('$').map(|name| name.trim_matches(['{', '}']));
                let name = name.map(|name| name.split(':').next().unwrap_or(name));
                let value = name.map(|name| known.iter().rev().find(|(known, _)| known == name));
                value.map_or(Some(number), |found| found.map(|(_, value)| value.as_str()))?.parse().ok()
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
