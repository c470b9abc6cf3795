//! Which packages an app imports.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use super::App;

/// Modules of the standard library, of this and of earlier versions.
const STANDARD: &str = include_str!("stdlib.txt");
/// Packages that are called otherwise than their modules.
const PACKAGES: &str = include_str!("packages.txt");
/// Most files that are read.
const MAX_FILES: usize = 2_000;
/// Directories of other things than the app.
const NOT_THE_APP: [&str; 6] = ["node_modules", "site-packages", "test", "tests", "venv", "env"];

/// The packages of the modules that an app's files import and that are neither its own nor the standard library's, sorted.
pub(super) fn packages(app: App<'_>) -> io::Result<Vec<String>> {
    let files = app.files(|name| !name.starts_with('.') && !NOT_THE_APP.contains(&name))?;
    let sources: Vec<&String> = files.iter().filter(|path| path.ends_with(".py") && !is_test(path)).collect();
    let own = own(&sources);
    let standard: BTreeSet<&str> = STANDARD.split_whitespace().collect();
    let known: BTreeMap<&str, &str> =
        PACKAGES.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' ')).collect();
    let mut packages = BTreeSet::new();
    for path in sources.into_iter().take(MAX_FILES) {
        for module in modules(&app.text(path).unwrap_or_default()) {
            let top = module.split('.').next().unwrap_or_default();
            if !standard.contains(top) && !own.contains(top) {
                packages.insert(package(&module, &known));
            }
        }
    }
    Ok(packages.into_iter().collect())
}

/// The package of a module: that of the longest part of its path that is known, else as its first part is called.
fn package(module: &str, known: &BTreeMap<&str, &str>) -> String {
    let ends = module.match_indices('.').map(|(at, _)| at).chain([module.len()]);
    let parts = ends.filter_map(|end| module.get(..end));
    let found = parts.filter_map(|part| known.get(part)).next_back();
    found.map_or_else(|| module.split('.').next().unwrap_or_default().to_owned(), |&package| package.to_owned())
}

fn is_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with("test_") || ["conftest.py", "setup.py"].contains(&name)
}

/// What the app's own modules can be called: each file, and each directory that files are in.
fn own(sources: &[&String]) -> BTreeSet<String> {
    let parts = sources.iter().flat_map(|path| path.split('/'));
    parts.map(|part| part.strip_suffix(".py").unwrap_or(part).to_owned()).collect()
}

/// The modules that a source imports, with dots: of `from a.b import c` it is `a.b.c`, which may be more than a module.
fn modules(source: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for statement in statements(source) {
        let mut words = statement.split_whitespace();
        match words.next() {
            Some("import") => {
                let rest: Vec<&str> = words.collect();
                for part in rest.join(" ").split(',') {
                    modules.extend(part.split_whitespace().next().filter(|name| is_module(name)).map(str::to_owned));
                }
            }
            Some("from") => {
                let Some(module) = words.next().filter(|name| is_module(name)) else { continue };
                if words.next() != Some("import") {
                    continue;
                }
                let rest: String = words.map(|word| format!("{word} ")).collect();
                let rest = rest.trim_matches([' ', '(', ')']);
                for part in rest.split(',').filter(|part| !part.trim().is_empty()) {
                    let name = part.split_whitespace().next().filter(|name| is_module(name));
                    modules.insert(name.map_or_else(|| module.to_owned(), |name| format!("{module}.{name}")));
                }
            }
            _ => {}
        }
    }
    modules
}

fn is_module(text: &str) -> bool {
    text.split('.').all(|part| {
        !part.starts_with(|c: char| c.is_ascii_digit())
            && !part.is_empty()
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The statements of a source without comments and without what its texts say, each on one line. What stands after a colon
/// is a statement as well, such as in `try: import x`.
fn statements(source: &str) -> Vec<String> {
    let (mut statements, mut statement, mut depth) = (Vec::new(), String::new(), 0_usize);
    let mut chars = source.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            '"' | '\'' => {
                skip_text(c, &mut chars);
                statement.push('_');
            }
            '\\' if chars.next_if(|c| matches!(c, '\n' | '\r')).is_some() => statement.push(' '),
            '(' | '[' | '{' => {
                depth += 1;
                // Apart from the word before it: `from x import(y)`.
                statement.push_str(if c == '(' { " (" } else { "[" });
            }
            ')' | ']' | '}' => {
                depth = depth.saturating_sub(1);
                statement.push(c);
            }
            '\n' | ';' | ':' if depth == 0 => statements.push(std::mem::take(&mut statement)),
            '\n' => statement.push(' '),
            c => statement.push(c),
        }
    }
    statements.push(statement);
    statements
}

/// Skips a text whose first quote was read.
fn skip_text(quote: char, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let mut is_long = false;
    if chars.next_if_eq(&quote).is_some() {
        if chars.next_if_eq(&quote).is_none() {
            return;
        }
        is_long = true;
    }
    let mut quotes = 0;
    // One line's that is not closed was none: what follows is read as if it had ended.
    while let Some(c) = chars.next_if(|c| is_long || *c != '\n') {
        quotes = if c == quote { quotes + 1 } else { 0 };
        match c {
            '\\' => drop(chars.next()),
            c if c == quote && (!is_long || quotes == 3) => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::builtin::testing::app;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let (_kept, path) = app(files);
        packages(App::new(&path)).unwrap()
    }

    #[test]
    fn modules_are_those_of_statements_alone() {
        let source = r#"'''
import docstring
'''
import os, numpy as np, a.b.c  # import comment
from flask import Flask
from . import sibling
from .deep import x
from x.y import (
    one,  # import nothing
    two as three,
)
text = "import quoted"; import after
try: import inline
except ImportError: pass
  import indented
from star import *
import \
    joined
said = f"""
from inside import it
"""
from bracket import(b)
important = 1
fromage = 2
'unclosed
import next_line
"#;
        let expected = [
            "a.b.c",
            "after",
            "bracket.b",
            "flask.Flask",
            "indented",
            "inline",
            "joined",
            "next_line",
            "numpy",
            "os",
            "star",
            "x.y.one",
            "x.y.two",
        ];
        assert_eq!(modules(source).into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn chn_03_the_packages_of_an_app_are_neither_its_own_nor_standard() {
        let main = "import os, sys, helper, lib.more, yaml\nfrom flask import Flask\nimport cv2\nfrom PIL import Image\n\
            import sklearn.svm\nfrom bs4 import BeautifulSoup\nfrom google.cloud import storage\nimport __main__\n\
            from __future__ import annotations\nimport tomllib, zoneinfo, distutils.core\n";
        let files = [
            ("__main__.py", main),
            ("helper.py", "import requests"),
            ("lib/more.py", ""),
            ("tests/test_it.py", "import pytest"),
            (".venv/lib/x.py", "import venved"),
            ("notes.txt", "import text"),
        ];
        let expected = [
            "beautifulsoup4",
            "flask",
            "google-cloud-storage",
            "opencv-python",
            "pillow",
            "pyyaml",
            "requests",
            "scikit-learn",
        ];
        assert_eq!(found(&files), expected);
        assert_eq!(found(&[("__main__.py", "import os")]), Vec::<String>::new());
    }

    #[test]
    fn the_tables_are_whole() {
        let standard: Vec<&str> = STANDARD.split_whitespace().collect();
        assert!(standard.is_sorted() && standard.len() > 200);
        for line in PACKAGES.lines().filter(|line| !line.starts_with('#')) {
            let (module, package) = line.split_once(' ').unwrap();
            assert!(is_module(module) && !package.contains(' '), "{line}");
            assert!(!standard.contains(&module), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_source_breaks_the_reader(source in "(?s)[\"'#\\\\\n;:()a-z .,import]*") {
            for module in modules(&source) {
                prop_assert!(is_module(&module));
            }
        }
    }
}
