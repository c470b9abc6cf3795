//! The images that a Dockerfile begins with and copies from, and the one that its own image stands on.

use std::collections::BTreeMap;

use super::{Parsed, expanded};

/// What a Dockerfile says of other images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Images {
    /// Where it names them, in their order.
    pub named: Vec<Named>,
    /// The one that its last stage stands on; none for `scratch`, and where only the builder can tell.
    pub base: Option<String>,
}

/// Where a Dockerfile names an image that a stage is built on, or copies from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The line on which its instruction begins, from 1.
    pub line: u64,
    /// The word as it stands there; empty where it lacks.
    pub word: String,
    /// The image that it means; none if only the builder can tell.
    pub image: Option<String>,
}

/// A stage: its name in small letters, and the image at its root.
struct Stage {
    name: Option<String>,
    base: Option<String>,
}

/// What a Dockerfile says of other images. Its own stages and `scratch` are none.
#[must_use]
pub fn images(parsed: &Parsed) -> Images {
    let (mut values, mut stages): (BTreeMap<String, String>, Vec<Stage>) = (BTreeMap::new(), Vec::new());
    let mut named = Vec::new();
    for instruction in &parsed.instructions {
        let mut note = |word: &str, image: Option<String>| {
            named.push(Named { line: instruction.line, word: word.to_owned(), image });
        };
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
                let word = words.first().map(String::as_str).unwrap_or_default();
                let image = expanded(word, &values);
                let stage = image.as_deref().and_then(|image| of_name(&stages, image));
                let base = match (stage, &image) {
                    (Some(stage), _) => stage.base.clone(),
                    (None, Some(image)) if image == "scratch" => None,
                    (None, image) => {
                        note(word, image.clone());
                        image.clone()
                    }
                };
                stages.push(Stage { name: words.get(2).map(|name| name.to_ascii_lowercase()), base });
            }
            "COPY" => {
                let Some(word) = instruction.flag("from").filter(|from| !from.is_empty()) else { continue };
                let image = expanded(word, &values);
                let is_stage = |image: &str| image.parse::<usize>().is_ok() || of_name(&stages, image).is_some();
                if !image.as_deref().is_some_and(is_stage) {
                    note(word, image);
                }
            }
            _ => {}
        }
    }
    Images { named, base: stages.pop().and_then(|stage| stage.base) }
}

fn of_name<'a>(stages: &'a [Stage], name: &str) -> Option<&'a Stage> {
    let name = name.to_ascii_lowercase();
    stages.iter().rfind(|stage| stage.name.as_ref() == Some(&name))
}

#[cfg(test)]
mod tests {
    use super::{super::parse, *};

    fn told(text: &str) -> (Vec<Option<String>>, Option<String>) {
        let Images { named, base } = images(&parse(text));
        (named.into_iter().map(|named| named.image).collect(), base)
    }

    fn known(images: &[&str]) -> Vec<Option<String>> {
        images.iter().map(|image| Some((*image).to_owned())).collect()
    }

    #[test]
    fn pkg_45_what_a_dockerfile_stands_on_is_found_through_its_stages() {
        let text = "ARG V=3\nARG NAME=py:$V\nFROM --platform=$BUILDPLATFORM go:1 AS Tool\nFROM ${NAME} AS base\nFROM base\n\
            COPY --from=tool /a /b\nCOPY --from=0 /a /b\nCOPY --from=node:20 /a /b\nCOPY --from=py:3 /a /b\nRUN echo FROM x\n";
        assert_eq!(told(text), (known(&["go:1", "py:3", "node:20", "py:3"]), Some("py:3".to_owned())));
        assert_eq!(told("FROM scratch\nCOPY . /\n"), (vec![], None));
        assert_eq!(told("FROM a AS scratch2\nFROM scratch\nCOPY --from=scratch2 / /\n"), (known(&["a"]), None));
        assert_eq!(told("ARG V\nFROM py:${V:-3}\n").1.as_deref(), Some("py:3"));
    }

    #[test]
    fn what_only_the_builder_can_tell_is_said_to_be_so() {
        let unknown = |text: &str| images(&parse(text)).named.into_iter().find(|named| named.image.is_none());
        assert_eq!(
            unknown("ARG V\n\nFROM py:$V\n").map(|named| (named.line, named.word)),
            Some((3, "py:$V".to_owned()))
        );
        assert_eq!(unknown("FROM a\nARG B=b\nCOPY --from=$B / /\n").map(|named| named.line), Some(3));
    }
}
