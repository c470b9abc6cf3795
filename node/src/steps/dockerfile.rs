//! What has to be known of a Dockerfile before and after a build: its bases, its flags, its lines.

use std::collections::BTreeMap;

use aigis_registry::dockerfile::{self, parse};

/// The image that is to read the Dockerfile, if it names one.
pub(super) fn syntax(text: &str) -> Option<String> {
    parse(text).directive("syntax").map(str::to_owned)
}

/// The images on which its stages are built, each once; what only the builder can tell is left out.
pub(super) fn bases(text: &str) -> Vec<String> {
    let mut images = Vec::new();
    for image in dockerfile::images(&parse(text)).named.into_iter().filter_map(|named| named.image) {
        if !images.contains(&image) {
            images.push(image);
        }
    }
    images
}

/// The Dockerfile with other images in the place of those, by their names. Its lines stay where they are.
pub(super) fn with_bases(text: &str, others: &BTreeMap<String, String>) -> String {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    for named in dockerfile::images(&parse(text)).named {
        let Some(other) = named.image.and_then(|image| others.get(&image)) else { continue };
        let word = named.word;
        // An instruction may go on over several lines.
        for line in lines.iter_mut().skip(index(named.line)) {
            if let Some(at) = stands(line, &word) {
                line.replace_range(at..at + word.len(), other);
                break;
            }
        }
    }
    lines.concat()
}

/// Where a line stands among all, of its number.
fn index(line: u64) -> usize {
    usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1)
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
    at_syntax(text, |line| line.replacen(image, other, 1))
}

/// The Dockerfile without the line that names the image to read it.
pub(super) fn without_syntax(text: &str) -> String {
    // An empty line in its place keeps the numbers of the others.
    at_syntax(text, |_| "\n".to_owned())
}

/// The Dockerfile with another line in the place of the one that names the image to read it.
fn at_syntax(text: &str, other: impl Fn(&str) -> String) -> String {
    let parsed = parse(text);
    let at = parsed.directives.iter().find(|(name, ..)| name == "syntax").map(|(.., line)| index(*line));
    let line = |(number, line): (usize, &str)| if Some(number) == at { other(line) } else { line.to_owned() };
    text.split_inclusive('\n').enumerate().map(line).collect()
}

/// The Dockerfile without `--link` at its `COPY` and `ADD`, if it has any.
pub(super) fn without_link(text: &str) -> Option<String> {
    let mut changed = false;
    let instructions = parse(text).instructions;
    let copies = instructions.iter().filter(|found| matches!(found.keyword.as_str(), "COPY" | "ADD"));
    let starts: Vec<usize> = copies.map(|found| index(found.line)).collect();
    let lines = text.split_inclusive('\n').enumerate().map(|(number, line)| {
        if !starts.contains(&number) {
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

/// The line of the instruction that a part of the build is called after: `[2/3] RUN make`.
pub(super) fn line_of(text: &str, part: &str) -> Option<(u64, String)> {
    let (_, wanted) = part.split_once("] ")?;
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    let wanted = plain(wanted);
    let all = parse(text).instructions;
    let same = all.iter().find(|found| plain(&found.to_string()) == wanted);
    // The builder shows variables replaced: the first word of one kind is better than nothing if it is the only one.
    let alike = || {
        let keyword = wanted.split(' ').next()?;
        let mut of_kind = all.iter().filter(|found| found.keyword.eq_ignore_ascii_case(keyword));
        of_kind.next().filter(|_| of_kind.next().is_none())
    };
    same.or_else(alike).map(|found| (found.line, found.to_string()))
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
