//! The golden manifests, and a manifest for each case of the table of problems.

use super::*;
use crate::manifest::{Found, ProblemCode as Code};

const SHOP: &str = r#"{"manifest_version":"1.0","project":{"name":"shop","repository":"github.com/acme/shop"},
 "applications":{"shop-api":{"type":"fastapi","language":"python","entrypoint":"main.py","dependencies":"requirements.txt",
   "build_commands":["pip install -r requirements.txt"],"run_command":"uvicorn main:app --host 0.0.0.0"}},
 "containers":{"shop":{"base_image":"python:3.13-slim","applications":["shop-api"],"ports":[8000],"ci_name":"shop-ci","ci_capabilities":["monitor","optimize","debug"]}},
 "packaging":{"build_order":["shop"],"registry":"docker.io/acme","tagging":"git-sha"}}"#;
const GOLD: &str = r#"{"manifest_version":"1.0","project":{"name":"golden"},"applications":{"hello":{"type":"files","run_command":["/app/run.sh"]}},"containers":{"hello":{"base_image":"scratch","applications":["hello"],"ports":[8080]}},"packaging":{"platforms":["linux/amd64"]}}"#;

/// A project that has whatever is asked for: directories have no dot in their names.
fn full(path: &str) -> Found {
    match path.rsplit('/').next() {
        Some(name) if name.len() > 1 && name.contains('.') => Found::File,
        _ => Found::Directory,
    }
}

fn seen(text: &str) -> Checked {
    check(text.as_bytes(), &full)
}

fn valid(text: &str) -> Document {
    let checked = seen(text);
    assert_eq!(checked.problems, []);
    checked.document.unwrap()
}

#[test]
fn pkg_28_the_spec_of_shop() {
    let expected = "sha256:12d6150e6a096acb38355f703c6dd1ac51f531e16d39c493e40d03b78b8ebf16";
    assert_eq!(valid(SHOP).spec().to_string(), expected);
    assert!(seen(SHOP).warnings.is_empty());
}

#[test]
fn pkg_32_the_specs_of_gold() {
    let gold = valid(GOLD);
    assert_eq!(gold.spec().hex(), "36baced5c33e3311360a4beb80482b916670c7efced183e9dd7adfe78667814a");
    let slice = gold.slice_spec("hello").unwrap();
    assert_eq!(slice.hex(), "fa900cda3c07875f01cfd2048c6a3673b6fbdbefd0262330aedc812619889346");
    assert_eq!(gold.slice_spec("nobody"), None);
}

#[test]
fn pkg_29_files_that_are_not_there() {
    let checked = check(SHOP.as_bytes(), &|path: &str| if path == "." { Found::Directory } else { Found::Missing });
    let found: Vec<_> = checked.problems.iter().map(|problem| (problem.code, problem.pointer.as_str())).collect();
    let at = "/applications/shop-api";
    assert_eq!(
        found,
        [(Code::PathMissing, &*format!("{at}/dependencies")), (Code::PathMissing, &*format!("{at}/entrypoint"))]
    );
    assert!(checked.document.is_none());
}
