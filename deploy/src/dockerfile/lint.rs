//! What is wrong, or could be better, in any Dockerfile.

use std::{collections::VecDeque, fs, io, path::Path};

use aigis_registry::{dockerignore::Ignored, resolve::distance};
use serde::{Deserialize, Serialize};

use aigis_registry::dockerfile::{Instruction, Parsed, parse};

mod files;
mod image;
mod secrets;
mod stages;
#[cfg(test)]
mod tests;

/// All instructions that there are, and of how many words at least their arguments are.
const INSTRUCTIONS: [(&str, usize); 18] = [
    ("ADD", 2),
    ("ARG", 1),
    ("CMD", 0),
    ("COPY", 2),
    ("ENTRYPOINT", 0),
    ("ENV", 1),
    ("EXPOSE", 1),
    ("FROM", 1),
    ("HEALTHCHECK", 1),
    ("LABEL", 1),
    ("MAINTAINER", 1),
    ("ONBUILD", 1),
    ("RUN", 1),
    ("SHELL", 1),
    ("STOPSIGNAL", 1),
    ("USER", 1),
    ("VOLUME", 1),
    ("WORKDIR", 1),
];

/// Most entries of a context that are looked at.
const MOST: usize = 50_000;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It does not build, or it makes something that must not be.
    Error,
    /// It could be better.
    Warning,
}

/// Something that a Dockerfile should not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which rule says so: `base-latest`.
    pub rule: String,
    /// How bad it is.
    pub level: Level,
    /// The line on which its instruction begins, from 1.
    pub line: u64,
    /// What it is.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// What a Dockerfile can copy from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The paths of the files of its context, relative to it, by their bytes.
    pub files: Vec<String>,
    /// Whether those are all. Where not, nothing is said to be missing.
    pub is_whole: bool,
    /// What its `.dockerignore` holds, if there is one.
    pub ignore: Option<String>,
}

impl Surroundings {
    /// What stands in the directory of a context: names alone, since no file is opened but its ignore file. The Dockerfile
    /// may have one of its own beside it, which goes before that of the context.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    pub fn read(context: &Path, dockerfile: &Path) -> io::Result<Self> {
        let mut found = Self { is_whole: true, ..Self::default() };
        let mut queue = VecDeque::from([String::new()]);
        let mut looked = 0;
        'all: while let Some(directory) = queue.pop_front() {
            for entry in fs::read_dir(context.join(&directory))? {
                let entry = entry?;
                looked += 1;
                if looked > MOST {
                    found.is_whole = false;
                    break 'all;
                }
                let Ok(name) = entry.file_name().into_string() else { continue };
                let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
                match entry.file_type()? {
                    kind if kind.is_dir() => queue.push_back(path),
                    _ => found.files.push(path),
                }
            }
        }
        found.files.sort();
        let own =
            dockerfile.with_file_name(format!("{}.dockerignore", dockerfile.file_name().unwrap_or_default().display()));
        let ignore = [own, context.join(".dockerignore")].into_iter().find(|path| path.is_file());
        found.ignore = ignore.map(fs::read).transpose()?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(found)
    }
}

/// All findings in a Dockerfile, by line and rule.
#[must_use]
pub fn lint(text: &str, surroundings: &Surroundings) -> Vec<Finding> {
    let parsed = parse(text);
    let mut report = Report::default();
    readable(&parsed, &mut report);
    let ignored = Ignored::parse(surroundings.ignore.as_deref().unwrap_or_default());
    stages::look(&parsed, &mut report);
    files::look(&parsed, surroundings, &ignored, &mut report);
    secrets::look(&parsed, &mut report);
    image::look(&parsed, &mut report);
    report.sorted()
}

/// What was found so far.
#[derive(Debug, Default)]
struct Report(Vec<Finding>);

impl Report {
    fn error(&mut self, rule: &str, line: u64, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Level::Error, rule, line, message.into(), hint.into());
    }

    fn warn(&mut self, rule: &str, line: u64, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Level::Warning, rule, line, message.into(), hint.into());
    }

    fn add(&mut self, level: Level, rule: &str, line: u64, message: String, hint: String) {
        self.0.push(Finding { rule: rule.to_owned(), level, line, message, hint });
    }

    /// By line; of one rule on one line, the first counts.
    fn sorted(self) -> Vec<Finding> {
        let mut all = self.0;
        all.sort_by(|a, b| (a.line, &a.rule).cmp(&(b.line, &b.rule)));
        all.dedup_by(|a, b| (a.line, &a.rule) == (b.line, &b.rule));
        all
    }
}

/// What no builder reads.
fn readable(parsed: &Parsed, report: &mut Report) {
    const FORM: &str = "write it as in Docker's reference of Dockerfiles";
    for (line, message) in &parsed.problems {
        report.error("syntax", *line, message.clone(), FORM);
    }
    if parsed.instructions.is_empty() {
        report.error("syntax", 1, "it has no instruction", "begin with FROM IMAGE");
    }
    let mut has_stage = false;
    for found in &parsed.instructions {
        let Some((_, least)) = INSTRUCTIONS.iter().find(|(keyword, _)| *keyword == found.keyword) else {
            unknown(found, report);
            continue;
        };
        has_stage |= found.keyword == "FROM";
        if !has_stage && found.keyword != "ARG" {
            let message = format!("{} stands before the first FROM", found.keyword);
            report.error("syntax", found.line, message, "begin with FROM IMAGE; only ARG may stand before it");
        }
        let words = found.words().len() + found.documents.len();
        if words < *least {
            let message =
                format!("{} needs {}", found.keyword, if *least > 1 { "a source and a target" } else { "an argument" });
            report.error("syntax", found.line, message, FORM);
        } else if let Some(message) = malformed(found) {
            report.error("syntax", found.line, message, FORM);
        }
    }
}

fn unknown(found: &Instruction, report: &mut Report) {
    let near = INSTRUCTIONS.iter().filter_map(|(keyword, _)| Some((distance(&found.keyword, keyword)?, *keyword)));
    let hint = match near.min() {
        Some((_, near)) => format!("did you mean {near}?"),
        None => "a line that goes on has to end with a backslash".to_owned(),
    };
    let message = format!("there is no instruction {}", aigis_proxy::quoted(&found.keyword));
    report.error("unknown-instruction", found.line, message, hint);
}

/// What is wrong with an instruction's arguments.
fn malformed(found: &Instruction) -> Option<String> {
    let words = found.words();
    match found.keyword.as_str() {
        "FROM" => {
            let is_named = words.len() == 3 && words.get(1).is_some_and(|word| word.eq_ignore_ascii_case("as"));
            (words.len() != 1 && !is_named).then(|| "FROM is followed by an image, and AS NAME".to_owned())
        }
        "ENV" => {
            let first = words.first()?;
            (!first.contains('=') && words.len() < 2).then(|| format!("ENV {first} has no value"))
        }
        "EXPOSE" => {
            let wrong = words.iter().find(|word| !word.contains('$') && image::ports(word).is_none())?;
            Some(format!("EXPOSE {wrong} is no port: write a number from 1 to 65535, with /tcp or /udp behind it"))
        }
        "HEALTHCHECK" => {
            let first = words.first()?.to_ascii_uppercase();
            (first != "NONE" && first != "CMD").then(|| "HEALTHCHECK is followed by CMD or NONE".to_owned())
        }
        "SHELL" => found.exec().is_none().then(|| "SHELL takes the JSON form".to_owned()),
        "ONBUILD" => {
            let word = words.first()?.to_ascii_uppercase();
            let is_known = INSTRUCTIONS.iter().any(|(keyword, _)| *keyword == word);
            (!is_known || matches!(word.as_str(), "FROM" | "ONBUILD" | "MAINTAINER"))
                .then(|| format!("ONBUILD {word} is not possible"))
        }
        _ => None,
    }
}
