//! Whatever becomes of a project's files: the analysis ends, says the same twice, and names lines that exist.

use std::{fs, path::Path};

use proptest::prelude::*;
use serde_json::Value;

use super::{Options, analyze};
use crate::Tree;

/// What becomes of a file.
#[derive(Debug, Clone)]
enum Mutation {
    /// It ends early, at so many thousandths.
    Cut(usize),
    /// A byte order mark stands before it.
    Mark,
    /// Its lines end as elsewhere.
    Returns,
    /// Bytes that are no UTF-8 stand at so many thousandths.
    Bytes(usize),
    /// It is nothing but 10,000 brackets, or what else opens.
    Deep(char),
    /// One long line stands at so many thousandths.
    Long(usize),
    /// A part of it stands twice.
    Doubled(usize, usize),
    /// It is empty.
    Empty,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (0..1000_usize).prop_map(Mutation::Cut),
        Just(Mutation::Mark),
        Just(Mutation::Returns),
        (0..1000_usize).prop_map(Mutation::Bytes),
        prop::sample::select(vec!['[', '{', '<', '(', '-', '"', '\'']).prop_map(Mutation::Deep),
        (0..1000_usize).prop_map(Mutation::Long),
        (0..1000_usize, 0..1000_usize).prop_map(|(from, to)| Mutation::Doubled(from, to)),
        Just(Mutation::Empty),
    ]
}

fn mutated(content: &[u8], mutation: &Mutation) -> Vec<u8> {
    let at = |thousandths: usize| content.len() * thousandths / 1000;
    let spliced = |at: usize, bytes: &[u8]| [&content[..at], bytes, &content[at..]].concat();
    match mutation {
        Mutation::Cut(end) => content[..at(*end)].to_vec(),
        Mutation::Mark => spliced(0, b"\xef\xbb\xbf"),
        Mutation::Returns => {
            content.iter().flat_map(|byte| if *byte == b'\n' { vec![b'\r', b'\n'] } else { vec![*byte] }).collect()
        }
        Mutation::Bytes(place) => spliced(at(*place), b"\xff\xc3\x28\xed\xa0\x80"),
        Mutation::Deep('<') => "<a>".repeat(10_000).into_bytes(),
        Mutation::Deep('-') => "- ".repeat(10_000).into_bytes(),
        Mutation::Deep(open) => open.to_string().repeat(10_000).into_bytes(),
        Mutation::Long(place) => spliced(at(*place), "x = 'y', ".repeat(20_000).as_bytes()),
        Mutation::Doubled(one, other) => {
            let (from, to) = (at(*one.min(other)), at(*one.max(other)));
            spliced(to, &content[from..to])
        }
        Mutation::Empty => Vec::new(),
    }
}

/// The first place that something names and that is not there.
fn missing_line(value: &Value, root: &Path) -> Option<String> {
    match value {
        Value::Object(object) => {
            let place = object.get("file").and_then(Value::as_str).zip(object.get("line").and_then(Value::as_u64));
            if let Some((file, line)) = place {
                let lines = fs::read(root.join(file)).unwrap_or_default().split(|byte| *byte == b'\n').count() as u64;
                if line == 0 || line > lines {
                    return Some(format!("{file}:{line} of {lines}"));
                }
            }
            let is_known = object.get("value").is_some_and(|value| !value.is_null());
            if is_known && object.get("evidence").and_then(Value::as_array).is_some_and(Vec::is_empty) {
                return Some(format!("no evidence: {value}"));
            }
            object.values().find_map(|value| missing_line(value, root))
        }
        Value::Array(items) => items.iter().find_map(|value| missing_line(value, root)),
        _ => None,
    }
}

fn said(root: &Path) -> Option<Value> {
    let tree = Tree::read(root).unwrap();
    analyze(&tree, &Options::default()).ok().map(|analysis| serde_json::to_value(analysis).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100))
    })]

    #[test]
    fn pkg_15_no_mutation_of_a_project_harms(which in 0..1_000_000_usize, file in 0..1_000_usize, mutation in mutation()) {
        let mut projects = super::corpus::all();
        let mut project = projects.swap_remove(which % projects.len());
        let count = project.files.len();
        if let Some((_, content)) = project.files.get_mut(file % count.max(1)) {
            *content = mutated(content, &mutation);
        }
        let dir = project.written();
        let first = said(dir.path());
        prop_assert_eq!(&first, &said(dir.path()));
        if let Some(analysis) = first {
            prop_assert_eq!(missing_line(&analysis, dir.path()), None, "{} {:?}", project.name, mutation);
        }
    }
}

#[test]
fn pkg_07_each_value_has_a_line_that_exists() {
    for project in super::corpus::all() {
        let dir = project.written();
        if let Some(analysis) = said(dir.path()) {
            assert_eq!(missing_line(&analysis, dir.path()), None, "{}", project.name);
        }
    }
}
