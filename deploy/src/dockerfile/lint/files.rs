//! What is copied, and what the context leaves out.

use aigis_registry::dockerignore::Ignored;
use globset::{GlobBuilder, GlobMatcher};

use super::{Instruction, Parsed, Report, Surroundings, stages::is_git};
use crate::dockerfile::ignore;

pub(super) fn look(parsed: &Parsed, surroundings: &Surroundings, ignored: &Ignored, report: &mut Report) {
    let kept: Vec<&str> =
        surroundings.files.iter().map(String::as_str).filter(|path| !ignored.leaves_out(path)).collect();
    for found in &parsed.instructions {
        if !matches!(found.keyword.as_str(), "COPY" | "ADD") || found.flag("from").is_some() {
            continue;
        }
        let words = found.words();
        let sources = words.split_last().map(|(_, sources)| sources).unwrap_or_default();
        for source in sources.iter().map(|source| source.trim_matches('"')) {
            if source.starts_with("<<") {
                continue;
            }
            if source.starts_with("http://") || source.starts_with("https://") || is_git(source) {
                if found.keyword == "ADD" {
                    let message = format!("{} is whatever its server gives", aigis_proxy::quoted(source));
                    let hint = "download it in a RUN that checks its digest, or keep it in the project";
                    report.error("add-url", found.line, message, hint);
                }
                continue;
            }
            // What a variable stands for is the builder's to know.
            if !is_variable(source) {
                one(found, &unescaped(source), &kept, surroundings, report);
            }
        }
    }
    lacks(parsed, surroundings, ignored, report);
}

fn is_variable(source: &str) -> bool {
    source.replace("\\$", "").contains('$')
}

/// A source without the signs before what is meant as it is.
fn unescaped(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut chars = source.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

fn one(found: &Instruction, source: &str, kept: &[&str], surroundings: &Surroundings, report: &mut Report) {
    let shown = aigis_proxy::quoted(source);
    let Some(path) = normal(source) else {
        let hint = "a build sees its context alone: build from a directory above, or move the file";
        report.error("source-outside", found.line, format!("{shown} lies outside the context"), hint);
        return;
    };
    let taken: Vec<&str> = taken(&path, kept);
    if taken.is_empty() && surroundings.is_whole && !path.is_empty() {
        let is_ignored = surroundings.files.iter().any(|file| *file == path || file.starts_with(&format!("{path}/")));
        let (message, hint) = if is_ignored {
            (format!("{shown} is left out by .dockerignore"), "take it back there: !PATH")
        } else {
            (format!("{shown} is not in the context"), "mend the path, which is relative to the context")
        };
        report.error("source-missing", found.line, message, hint);
    }
    // A file that is named need not be there to be one of secrets.
    let named = (taken.is_empty() && !path.contains('*')).then_some(path.as_str());
    if let Some(secret) = taken.into_iter().chain(named).find(|path| ignore::is_secret(path)) {
        let message = format!("{} would stand in the image, for everybody who has it", aigis_proxy::quoted(secret));
        let hint = "leave it out with .dockerignore, and give what it holds to the container when it runs";
        report.error("env-file-copied", found.line, message, hint);
    }
}

/// A path without what leads nowhere; `None` if it leaves the context.
fn normal(source: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in source.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The files that a source takes.
fn taken<'a>(path: &str, kept: &[&'a str]) -> Vec<&'a str> {
    if path.is_empty() {
        return kept.to_vec();
    }
    let glob = path.contains(['*', '?', '[']).then(|| glob(path)).flatten();
    let is_hit = |file: &str| {
        let mut above = file.match_indices('/').filter_map(|(end, _)| file.get(..end)).chain([file]);
        above.any(|part| part == path || glob.as_ref().is_some_and(|glob| glob.is_match(part)))
    };
    kept.iter().copied().filter(|file| is_hit(file)).collect()
}

fn glob(path: &str) -> Option<GlobMatcher> {
    Some(GlobBuilder::new(path).literal_separator(true).build().ok()?.compile_matcher())
}

/// What a `.dockerignore` should leave out where the whole context is copied.
fn lacks(parsed: &Parsed, surroundings: &Surroundings, ignored: &Ignored, report: &mut Report) {
    let copies_all = |found: &&Instruction| {
        let words = found.words();
        let sources = words.split_last().map(|(_, sources)| sources).unwrap_or_default();
        matches!(found.keyword.as_str(), "COPY" | "ADD")
            && found.flag("from").is_none()
            && sources.iter().any(|source| matches!(source.as_str(), "." | "./" | "*" | "/"))
    };
    let Some(found) = parsed.instructions.iter().find(copies_all) else { return };
    let wanted = Ignored::parse(&ignore::ALWAYS.join("\n"));
    let usual = surroundings.ignore.is_some().then_some([".git/HEAD", ".env"]);
    let present = surroundings.files.iter().map(String::as_str).filter(|path| wanted.leaves_out(path));
    let mut missing: Vec<&str> = present
        .chain(usual.into_iter().flatten())
        .filter(|path| !ignored.leaves_out(path))
        .map(|path| ignore::ALWAYS.iter().copied().find(|rule| Ignored::parse(rule).leaves_out(path)).unwrap_or(path))
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if !missing.is_empty() {
        let what = if surroundings.ignore.is_some() {
            ".dockerignore does not leave out"
        } else {
            "there is no .dockerignore that leaves out"
        };
        let message = format!("{what} {}", missing.join(", "));
        report.warn("ignore-lacks", found.line, message, "add these lines to .dockerignore");
    }
}
