//! Bases and stages, and what needs a newer builder.

use super::{Instruction, Parsed, Report};

/// Flags that an engine without BuildKit refuses, by their instruction.
const NEWER: [(&str, &[&str]); 3] = [
    ("ADD", &["checksum", "chmod", "exclude", "keep-git-dir", "link", "unpack"]),
    ("COPY", &["chmod", "exclude", "link", "parents"]),
    ("RUN", &["device", "mount", "network", "security"]),
];

/// The image of a `FROM`.
pub(super) fn image(found: &Instruction) -> String {
    found.words().first().map(|word| word.trim_matches(['"', '\'']).to_owned()).unwrap_or_default()
}

/// The name of a `FROM`'s stage, in small letters.
pub(super) fn name(found: &Instruction) -> Option<String> {
    found.words().get(2).map(|name| name.to_ascii_lowercase())
}

pub(super) fn look(parsed: &Parsed, report: &mut Report) {
    let all: Vec<String> = froms(parsed).filter_map(name).collect();
    let mut stages: Vec<Option<String>> = Vec::new();
    for found in &parsed.instructions {
        let is_stage = |stages: &[Option<String>], word: &str| {
            stages.iter().flatten().any(|name| name == &word.to_ascii_lowercase())
        };
        match found.keyword.as_str() {
            "FROM" => {
                let image = image(found);
                if !is_stage(&stages, &image) {
                    base(found, &image, &all, report);
                }
                stages.push(name(found));
            }
            "COPY" => {
                if let Some(from) = found.flag("from").filter(|from| !from.contains('$')) {
                    // The stage that copies is no source of its own.
                    let before = stages.get(..stages.len().saturating_sub(1)).unwrap_or_default();
                    let is_known = match from.parse::<usize>() {
                        Ok(number) => number < before.len(),
                        Err(_) => is_stage(before, from),
                    };
                    if !is_known && (all.contains(&from.to_ascii_lowercase()) || !is_image(from)) {
                        let message = format!("no stage before this one is called {}", aigis_proxy::quoted(from));
                        let hint = "name a stage above with FROM IMAGE AS NAME, or an image with its tag";
                        report.error("stage-unknown", found.line, message, hint);
                    }
                }
            }
            _ => {}
        }
        newer(found, report);
    }
    for (directive, value, line) in &parsed.directives {
        if directive == "syntax" || directive == "check" {
            let message = format!("# {directive}={} needs BuildKit", aigis_proxy::quoted(value));
            report.warn(
                "outside-subset",
                *line,
                message,
                "an engine with the classic builder does not read it; leave it out",
            );
        }
    }
}

fn froms(parsed: &Parsed) -> impl Iterator<Item = &Instruction> {
    parsed.instructions.iter().filter(|found| found.keyword == "FROM")
}

/// Whether a word can only mean an image: a bare word is a stage that nobody wrote.
fn is_image(word: &str) -> bool {
    word.contains([':', '/', '@', '.'])
}

fn base(found: &Instruction, image: &str, all: &[String], report: &mut Report) {
    if image.is_empty() || image == "scratch" || image.contains('$') || image.contains('@') {
        return;
    }
    if all.contains(&image.to_ascii_lowercase()) {
        let message = format!("the stage {} stands below", aigis_proxy::quoted(image));
        report.error("stage-unknown", found.line, message, "put a stage above those that stand on it");
        return;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    let tag = last.split_once(':').map(|(_, tag)| tag);
    let shown = aigis_proxy::quoted(image);
    if tag.is_none_or(|tag| tag == "latest") {
        let message = format!("what {shown} is changes with each release");
        report.warn("base-latest", found.line, message, "name a version, and pin its digest: NAME:TAG@sha256:…");
    } else {
        let message = format!("{shown} may be another image tomorrow");
        report.warn("base-not-pinned", found.line, message, "pin its digest: NAME:TAG@sha256:…");
    }
}

fn newer(found: &Instruction, report: &mut Report) {
    const HINT: &str = "Docker 20.10's classic builder refuses it; find a form without";
    let flags = NEWER.iter().find(|(keyword, _)| *keyword == found.keyword).map_or(&[] as &[&str], |(_, flags)| flags);
    if let Some(flag) = flags.iter().find(|flag| found.flag(flag).is_some()) {
        report.warn("outside-subset", found.line, format!("{} --{flag} needs BuildKit", found.keyword), HINT);
    }
    if !found.documents.is_empty() {
        report.warn("outside-subset", found.line, "a here-document needs BuildKit", HINT);
    }
    if found.keyword == "ADD" && found.words().iter().any(|word| is_git(word)) {
        report.warn("outside-subset", found.line, "ADD of a repository needs BuildKit", HINT);
    }
}

/// Whether a word names a repository.
pub(super) fn is_git(word: &str) -> bool {
    word.starts_with("git@")
        || word.starts_with("git://")
        || (word.contains("://") && word.split('#').next().is_some_and(|url| url.ends_with(".git")))
}
