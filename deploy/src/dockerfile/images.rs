//! The images that a Dockerfile begins with and copies from, and the one that its own image stands on.

use std::collections::BTreeMap;

use super::parse::{Instruction, parse};

/// What a Dockerfile says of other images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Images {
    /// All of them, each once, in their order.
    pub(crate) all: Vec<String>,
    /// The one that its last stage stands on; none for `scratch`.
    pub(crate) base: Option<String>,
}

/// What it says; or on which line it names an image that nobody can tell before the build.
pub(crate) fn images(text: &str) -> Result<Images, u64> {
    let (mut values, mut stages): (BTreeMap<String, String>, Vec<Stage>) = (BTreeMap::new(), Vec::new());
    let mut found = Images::default();
    let mut note = |image: &str| {
        if !found.all.iter().any(|known| known == image) {
            found.all.push(image.to_owned());
        }
    };
    for instruction in parse(text).instructions {
        match instruction.keyword.as_str() {
            // Only what stands before the first stage counts for what stages stand on.
            "ARG" if stages.is_empty() => {
                for word in instruction.words() {
                    let (name, value) = word.split_once('=').unwrap_or((&word, ""));
                    let value = expanded(value, &values).unwrap_or_default();
                    values.insert(name.to_owned(), value);
                }
            }
            "FROM" => {
                let words = instruction.words();
                let image = words.first().and_then(|word| expanded(word, &values)).ok_or(instruction.line)?;
                let name = words.get(2).map(|name| name.to_ascii_lowercase());
                let base = match named(&stages, &image) {
                    Some(stage) => stage.base.clone(),
                    None if image == "scratch" => None,
                    None => {
                        note(&image);
                        Some(image)
                    }
                };
                stages.push(Stage { name, base });
            }
            "COPY" => {
                let Some(from) = source(&instruction) else { continue };
                let image = expanded(from, &values).ok_or(instruction.line)?;
                let is_stage = image.parse::<usize>().is_ok() || named(&stages, &image).is_some();
                if !is_stage {
                    note(&image);
                }
            }
            _ => {}
        }
    }
    found.base = stages.pop().and_then(|stage| stage.base);
    Ok(found)
}

/// A stage: its name in small letters, and the image at its root.
struct Stage {
    name: Option<String>,
    base: Option<String>,
}

fn named<'a>(stages: &'a [Stage], name: &str) -> Option<&'a Stage> {
    let name = name.to_ascii_lowercase();
    stages.iter().rfind(|stage| stage.name.as_ref() == Some(&name))
}

/// From where an instruction copies, if that is not the context.
fn source(instruction: &Instruction) -> Option<&str> {
    instruction.flag("from").filter(|from| !from.is_empty())
}

/// A word with its variables replaced; nothing if one of them has no value.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> (Vec<String>, Option<String>) {
        let Images { all, base } = images(text).unwrap();
        (all, base)
    }

    #[test]
    fn pkg_45_what_a_dockerfile_stands_on_is_found_through_its_stages() {
        let text = "ARG V=3\nARG NAME=py:$V\nFROM --platform=$BUILDPLATFORM go:1 AS Tool\nFROM ${NAME} AS base\nFROM base\n\
            COPY --from=tool /a /b\nCOPY --from=0 /a /b\nCOPY --from=node:20 /a /b\nCOPY --from=py:3 /a /b\nRUN echo FROM x\n";
        let (all, base) = told(text);
        assert_eq!(
            (all, base.as_deref()),
            (vec!["go:1", "py:3", "node:20"].into_iter().map(str::to_owned).collect(), Some("py:3"))
        );
        assert_eq!(told("FROM scratch\nCOPY . /\n"), (vec![], None));
        assert_eq!(told("FROM a AS scratch2\nFROM scratch\nCOPY --from=scratch2 / /\n"), (vec!["a".to_owned()], None));
        assert_eq!(told("ARG V\nFROM py:${V:-3}\n").1.as_deref(), Some("py:3"));
        assert_eq!(images("ARG V\n\nFROM py:$V\n"), Err(3));
        assert_eq!(images("FROM a\nARG B=b\nCOPY --from=$B / /\n"), Err(3));
    }
}
