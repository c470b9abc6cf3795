//! What has to be known of a Dockerfile before and after a build: its bases, its flags, its lines.

use std::collections::BTreeMap;

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Instruction {
    /// Its line, counted from 1.
    line: usize,
    /// Its text on one line.
    text: String,
}

/// Takes a Dockerfile apart; what is no instruction is left to the builder to complain of.
fn instructions(text: &str) -> Vec<Instruction> {
    let escape = if directive(text, "escape").as_deref() == Some("`") { '`' } else { '\\' };
    let mut found: Vec<Instruction> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let (part, goes_on) = match trimmed.strip_suffix(escape) {
            Some(part) => (part.trim_end(), true),
            None => (trimmed, false),
        };
        match found.last_mut().filter(|_| open) {
            Some(last) => {
                last.text.push(' ');
                last.text.push_str(part);
            }
            None => found.push(Instruction { line: number + 1, text: part.to_owned() }),
        }
        open = goes_on;
    }
    found
}

/// A directive of the comments that a Dockerfile begins with.
fn directive(text: &str, name: &str) -> Option<String> {
    for line in text.lines() {
        let comment = line.trim().strip_prefix('#')?;
        let (key, value) = comment.split_once('=')?;
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value.trim().to_owned());
        }
    }
    None
}

/// The image that is to read the Dockerfile, if it names one.
pub(super) fn syntax(text: &str) -> Option<String> {
    directive(text, "syntax").filter(|image| !image.is_empty())
}

/// Where a Dockerfile names an image that a stage is built on, or copies from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Base {
    /// The line at which its instruction begins, counted from 1.
    line: usize,
    /// The word as it stands there.
    word: String,
    /// The image that it means.
    image: String,
}

/// All that a Dockerfile says of images; what only the builder can tell is left out.
fn named(text: &str) -> Vec<Base> {
    let (mut values, mut stages, mut found) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut global = true;
    for Instruction { line, text } in instructions(text) {
        let mut words = text.split_whitespace();
        let Some(keyword) = words.next() else { continue };
        if global && keyword.eq_ignore_ascii_case("ARG") {
            for word in words {
                let (name, value) = word.split_once('=').unwrap_or((word, ""));
                values.insert(name.to_owned(), value.trim_matches(['"', '\'']).to_owned());
            }
        } else if keyword.eq_ignore_ascii_case("FROM") {
            global = false;
            let words: Vec<&str> = words.filter(|word| !word.starts_with("--")).collect();
            let Some(word) = words.first() else { continue };
            let Some(image) = expanded(word, &values) else { continue };
            let stage = words.get(1).filter(|word| word.eq_ignore_ascii_case("AS")).and_then(|_| words.get(2));
            if image != "scratch" && !stages.contains(&image.to_ascii_lowercase()) {
                found.push(Base { line, word: (*word).to_owned(), image });
            }
            stages.extend(stage.map(|stage| stage.to_ascii_lowercase()));
        } else if keyword.eq_ignore_ascii_case("COPY") {
            let from = words.filter_map(|word| word.strip_prefix("--from=")).next();
            let is_stage = |name: &str| name.parse::<usize>().is_ok() || stages.contains(&name.to_ascii_lowercase());
            if let Some((word, image)) = from.and_then(|from| Some((from, expanded(from, &values)?)))
                && !is_stage(&image)
            {
                found.push(Base { line, word: word.to_owned(), image });
            }
        }
    }
    found
}

/// The images on which its stages are built, each once; what only the builder can tell is left out.
pub(super) fn bases(text: &str) -> Vec<String> {
    let mut images = Vec::new();
    for Base { image, .. } in named(text) {
        if !images.contains(&image) {
            images.push(image);
        }
    }
    images
}

/// The Dockerfile with other images in the place of those, by their names. Its lines stay where they are.
pub(super) fn with_bases(text: &str, others: &BTreeMap<String, String>) -> String {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    for Base { line, word, image } in named(text) {
        let Some(other) = others.get(&image) else { continue };
        // An instruction may go on over several lines.
        for line in lines.iter_mut().skip(line - 1) {
            if let Some(at) = stands(line, &word) {
                line.replace_range(at..at + word.len(), other);
                break;
            }
        }
    }
    lines.concat()
}

/// Where a word stands in a line, by itself or as what `--from=` says.
fn stands(line: &str, word: &str) -> Option<usize> {
    let begins = |at: usize| {
        let before = line.get(..at).unwrap_or_default();
        before.is_empty() || before.ends_with(char::is_whitespace) || before.ends_with("--from=")
    };
    let ends = |at: usize| {
        line.get(at + word.len()..).is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
    };
    line.match_indices(word).map(|(at, _)| at).find(|at| begins(*at) && ends(*at))
}

/// The Dockerfile with another image to read it.
pub(super) fn with_syntax(text: &str, image: &str, other: &str) -> String {
    let mut done = false;
    let line = |line: &str| {
        let is_it = !done && directive(line, "syntax").as_deref() == Some(image);
        done |= is_it;
        if is_it { line.replacen(image, other, 1) } else { line.to_owned() }
    };
    text.split_inclusive('\n').map(line).collect()
}

/// A word with its variables replaced; `None` if one is not known.
fn expanded(word: &str, values: &BTreeMap<String, String>) -> Option<String> {
    let (mut out, mut rest) = (String::new(), word.trim_matches(['"', '\'']));
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let (name, usual, tail) = match after.strip_prefix('{') {
            Some(inner) => {
                let (inside, tail) = inner.split_once('}')?;
                let (name, usual) = inside.split_once(":-").unwrap_or((inside, ""));
                (name, usual, tail)
            }
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                let (name, tail) = after.split_at(end);
                (name, "", tail)
            }
        };
        let value = values.get(name).map(String::as_str).filter(|value| !value.is_empty()).unwrap_or(usual);
        if value.is_empty() {
            return None;
        }
        out.push_str(value);
        rest = tail;
    }
    out.push_str(rest);
    (!out.is_empty()).then_some(out)
}

/// The Dockerfile without `--link` at its `COPY` and `ADD`, if it has any.
pub(super) fn without_link(text: &str) -> Option<String> {
    let mut changed = false;
    let starts: Vec<usize> = instructions(text)
        .iter()
        .filter(|found| {
            let keyword = found.text.split_whitespace().next().unwrap_or_default();
            keyword.eq_ignore_ascii_case("COPY") || keyword.eq_ignore_ascii_case("ADD")
        })
        .map(|found| found.line)
        .collect();
    let lines = text.split_inclusive('\n').enumerate().map(|(number, line)| {
        if !starts.contains(&(number + 1)) {
            return line.to_owned();
        }
        let Some(at) = flag(line) else { return line.to_owned() };
        changed = true;
        let (before, rest) = line.split_at(at);
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let after = rest.get(end..).unwrap_or_default();
        format!("{before}{}", after.strip_prefix(' ').unwrap_or(after))
    });
    let made: String = lines.collect();
    changed.then_some(made)
}

/// Where the flag `--link` stands among the flags that an instruction begins with.
fn flag(line: &str) -> Option<usize> {
    let mut at = line.len() - line.trim_start().len();
    for (number, word) in line.split_whitespace().enumerate() {
        at += line.get(at..)?.find(word)?;
        if number > 0 {
            match word {
                "--link" | "--link=true" | "--link=false" => return Some(at),
                _ if word.starts_with("--") => {}
                _ => return None,
            }
        }
        at += word.len();
    }
    None
}

/// The Dockerfile without the line that names the image to read it.
pub(super) fn without_syntax(text: &str) -> String {
    let mut done = false;
    let keep = |line: &&str| {
        let is_it = !done && directive(line, "syntax").is_some();
        done |= is_it;
        !is_it
    };
    // An empty line in its place keeps the numbers of the others.
    let kept: Vec<&str> = text.split_inclusive('\n').filter(keep).collect();
    if kept.len() == text.split_inclusive('\n').count() { text.to_owned() } else { format!("\n{}", kept.concat()) }
}

/// The line of the instruction that a part of the build is called after: `[2/3] RUN make`.
pub(super) fn line_of(text: &str, part: &str) -> Option<(usize, String)> {
    let (_, wanted) = part.split_once("] ")?;
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    let wanted = plain(wanted);
    let all = instructions(text);
    let same = all.iter().find(|found| plain(&found.text) == wanted);
    // The builder shows variables replaced: the first word of one kind is better than nothing if it is the only one.
    let alike = || {
        let keyword = wanted.split(' ').next()?;
        let mut of_kind = all.iter().filter(|found| plain(&found.text).split(' ').next() == Some(keyword));
        of_kind.next().filter(|_| of_kind.next().is_none())
    };
    same.or_else(alike).map(|found| (found.line, found.text.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_the_images_that_stages_begin_with() {
        let text = "# syntax=docker/dockerfile:1\nARG V=3.12\nFROM --platform=linux/amd64 python:${V}-slim AS base\n\
            FROM base\nCOPY --from=node:20 /a /b\nCOPY --from=base /a /b\nCOPY --from=0 /a /b\nFROM scratch\nFROM $X\n";
        assert_eq!(bases(text), ["python:3.12-slim", "node:20"]);
        assert_eq!(syntax(text).unwrap(), "docker/dockerfile:1");
        assert_eq!(syntax(&without_syntax(text)), None);
        assert_eq!(without_syntax(text).lines().count(), text.lines().count());
        assert_eq!(without_syntax("FROM a\n"), "FROM a\n");
    }

    #[test]
    fn images_are_replaced_where_they_are_named() {
        let text = "# syntax=docker/dockerfile:1\nARG V=3\nFROM --platform=linux/amd64 py:${V} AS py\nFROM \\\n  node:20 AS n\n\
            FROM py\nRUN echo node:20\nCOPY --from=node:20 node:20 /b\nCOPY --from=py /a /b\nFROM other\n";
        let others = [("py:3", "localhost:5000/py:3"), ("node:20", "n@sha256:1"), ("py", "no")];
        let others = others.into_iter().map(|(from, to)| (from.to_owned(), to.to_owned())).collect();
        let made = with_bases(text, &others);
        assert_eq!(
            made,
            "# syntax=docker/dockerfile:1\nARG V=3\nFROM --platform=linux/amd64 localhost:5000/py:3 AS py\nFROM \\\n  \
            n@sha256:1 AS n\nFROM py\nRUN echo node:20\nCOPY --from=n@sha256:1 node:20 /b\nCOPY --from=py /a /b\nFROM other\n"
        );
        assert_eq!(bases(&made), ["localhost:5000/py:3", "n@sha256:1", "other"]);
        assert_eq!(with_bases(text, &BTreeMap::new()), text);
        assert_eq!(syntax(&with_syntax(text, "docker/dockerfile:1", "mine:1")).unwrap(), "mine:1");
    }

    #[test]
    fn chn_22_link_is_dropped_and_all_else_stays() {
        let text =
            "FROM a\nCOPY --link --chmod=555 a /b\n  add --chown=1 --link=true x y\nRUN echo --link\nCOPY a --link\n";
        let made = without_link(text).unwrap();
        assert_eq!(made, "FROM a\nCOPY --chmod=555 a /b\n  add --chown=1 x y\nRUN echo --link\nCOPY a --link\n");
        assert_eq!(without_link(&made), None);
        assert_eq!(without_link("FROM a\nCOPY --link \\\n  a b\n").unwrap(), "FROM a\nCOPY \\\n  a b\n");
    }

    #[test]
    fn a_part_of_a_build_leads_to_its_line() {
        let text = "FROM a\n\nRUN x \\\n  && y\nCOPY $A /b\n";
        assert_eq!(line_of(text, "[2/3] RUN x && y").unwrap().0, 3);
        assert_eq!(line_of(text, "[stage-1 3/3] COPY c /b").unwrap().0, 5);
        assert_eq!(line_of(text, "[internal] load build context"), None);
    }
}
