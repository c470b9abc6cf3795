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

/// A manifest without a problem, of which each case changes one place.
const GIVEN: &str = r#"{
  "manifest_version": "1.0",
  "project": {"name": "shop"},
  "applications": {
    "api": {"type": "fastapi", "entrypoint": "main.py", "dependencies": "requirements.txt", "run_command": "serve"},
    "web": {"type": "vite", "root": "web", "build_image": "node:22", "outputs": ["dist"],
            "copy": [{"from": "api", "path": "a", "to": "b"}]}
  },
  "containers": {
    "api": {"base_image": "python:3.13-slim", "applications": ["api", "web"], "ports": [8000], "env": {}},
    "db": {"base_image": "container:api", "applications": ["api"], "depends_on": ["api"]}
  },
  "packaging": {"build_order": ["api", "db"], "tagging": "inputs"}
}"#;

/// Line, what is replaced there, by what; then the problems: code, pointer, line, and a word of message or hint.
type Case = (&'static str, &'static str, &'static [(Code, &'static str, usize, &'static str)]);

const CASES: &[Case] = &[
    // json
    (r#""ports": [8000],"#, r#""ports": [8000,],"#, &[(Code::Json, "/containers/api/ports", 10, "comma")]),
    (r#"[8000]"#, r#"[NaN]"#, &[(Code::Json, "/containers/api/ports/0", 10, "NaN")]),
    (r#""packaging""#, r#""project": {}, "packaging""#, &[(Code::Json, "/project", 13, "line 3 and on line 13")]),
    (r#""serve""#, r#""se\ud800ve""#, &[(Code::Json, "/applications/api/run_command", 5, "surrogate")]),
    (r#"[8000]"#, r#"[9007199254740993]"#, &[(Code::Json, "/containers/api/ports/0", 10, "2^53")]),
    (
        r#""env": {}"#,
        r#""x-deep": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"#,
        &[(
            Code::Json,
            "/containers/api/x-deep/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0",
            10,
            "32 levels",
        )],
    ),
    (r#""env": {}"#, r#""env": {} // c"#, &[(Code::Json, "/containers/api", 10, "comments")]),
    // unknown_key, missing, type
    (
        r#"{"base_image": "python"#,
        r#"{"base_imge": "python"#,
        &[(Code::UnknownKey, "/containers/api/base_imge", 10, "did you mean base_image?")],
    ),
    (r#"{"name": "shop"}"#, r#"{}"#, &[(Code::Missing, "/project/name", 3, "required")]),
    (
        r#""ports": [8000]"#,
        r#""ports": "8000""#,
        &[(Code::Type, "/containers/api/ports", 10, "a list is due here, not a text")],
    ),
    (r#"[8000]"#, r#"[80.5]"#, &[(Code::Type, "/containers/api/ports/0", 10, "whole number")]),
    (r#""env": {}"#, r#""user": null"#, &[(Code::Type, "/containers/api/user", 10, "not null")]),
    (r#""serve""#, r#"8"#, &[(Code::Type, "/applications/api/run_command", 5, "a text or a list")]),
    (r#""1.0""#, r#""2.0""#, &[(Code::Pattern, "/manifest_version", 2, "write 1.0")]),
    // range
    (r#"[8000]"#, r#"[0]"#, &[(Code::Range, "/containers/api/ports/0", 10, "from 1 to 65535")]),
    (r#"[8000]"#, r#"[65536]"#, &[(Code::Range, "/containers/api/ports/0", 10, "from 1 to 65535")]),
    (r#""env": {}"#, r#""replicas": 101"#, &[(Code::Range, "/containers/api/replicas", 10, "from 1 to 100")]),
    // pattern
    (r#"{"name": "shop"}"#, r#"{"name": "A.b"}"#, &[(Code::Pattern, "/project/name", 3, "a-z 0-9")]),
    (
        r#"    "db": {"#,
        r#"    "A.b": {"base_image": "x", "applications": ["api"]}, "db": {"#,
        &[(Code::Pattern, "/containers/A.b", 11, "a-z 0-9"), (Code::NotCovered, "/packaging/build_order", 13, "A.b")],
    ),
    (r#""inputs""#, r#""my tag""#, &[(Code::Pattern, "/packaging/tagging", 13, "a tag is")]),
    (r#""env": {}"#, r#""user": "root""#, &[(Code::Pattern, "/containers/api/user", 10, "UID:GID")]),
    (
        r#""env": {}"#,
        r#""restart": "alwais""#,
        &[(Code::Pattern, "/containers/api/restart", 10, "did you mean always?")],
    ),
    (r#""env": {}"#, r#""ci_name": "packages""#, &[(Code::Pattern, "/containers/api/ci_name", 10, "is a command")]),
    // duplicate
    (r#"[8000]"#, r#"[8000, 81, 8e3]"#, &[(Code::Duplicate, "/containers/api/ports/2", 10, "8000")]),
    (
        r#""depends_on": ["api"]"#,
        r#""ci_name": "api""#,
        &[(Code::Duplicate, "/containers/db/ci_name", 11, "two containers")],
    ),
    // unknown_reference
    (
        r#"["api", "web"], "p"#,
        r#"["api", "wep"], "p"#,
        &[(Code::UnknownReference, "/containers/api/applications/1", 10, "did you mean web?")],
    ),
    (
        r#""env": {}"#,
        r#""start": "app""#,
        &[(Code::UnknownReference, "/containers/api/start", 10, "did you mean api?")],
    ),
    (
        r#""depends_on": ["api"]"#,
        r#""depends_on": ["apis"]"#,
        &[(Code::UnknownReference, "/containers/db/depends_on/0", 11, "did you mean api?")],
    ),
    (
        r#""from": "api""#,
        r#""from": "apo""#,
        &[(Code::UnknownReference, "/applications/web/copy/0/from", 7, "did you mean api?")],
    ),
    (
        r#""container:api""#,
        r#""container:apy""#,
        &[(Code::UnknownReference, "/containers/db/base_image", 11, "did you mean api?")],
    ),
    (
        r#"["api", "db"]"#,
        r#"["api", "db", "dbs"]"#,
        &[(Code::UnknownReference, "/packaging/build_order/2", 13, "did you mean db?")],
    ),
    (r#""fastapi""#, r#""fastapy""#, &[(Code::UnknownReference, "/applications/api/type", 5, "did you mean fastapi?")]),
    (
        r#""type": "vite""#,
        r#""type": "vite", "language": "nod""#,
        &[(Code::UnknownReference, "/applications/web/language", 6, "did you mean node?")],
    ),
    // cycle, order, not_covered
    (
        r#""env": {}"#,
        r#""depends_on": ["db"]"#,
        &[(Code::Cycle, "/containers/api/depends_on/0", 10, "api needs db, which needs api")],
    ),
    (r#""container:api""#, r#""container:db""#, &[(Code::Cycle, "/containers/db/base_image", 11, "db needs db")]),
    (
        r#""serve"}"#,
        r#""serve", "copy": [{"from": "web", "path": "/a", "to": "b"}]}"#,
        &[(Code::Cycle, "/applications/api/copy/0/from", 5, "api needs web, which needs api")],
    ),
    (r#"["api", "db"]"#, r#"["db", "api"]"#, &[(Code::Order, "/packaging/build_order/1", 13, "put it before db")]),
    (r#"["api", "db"]"#, r#"["api"]"#, &[(Code::NotCovered, "/packaging/build_order", 13, "lacks db")]),
    // path_missing, path_escape
    (
        r#""requirements.txt""#,
        r#""requirements""#,
        &[(Code::PathMissing, "/applications/api/dependencies", 5, "no file requirements")],
    ),
    (r#""main.py""#, r#""main""#, &[(Code::PathMissing, "/applications/api/entrypoint", 5, "no file main")]),
    (
        r#""root": "web""#,
        r#""root": "web.d""#,
        &[(Code::PathMissing, "/applications/web/root", 6, "no directory web.d")],
    ),
    (
        r#""base_image": "container:api", "applications": ["api"]"#,
        r#""dockerfile": "Dockerfile""#,
        &[(Code::PathMissing, "/containers/db/dockerfile", 11, "no file Dockerfile")],
    ),
    (
        r#""requirements.txt""#,
        r#"["../x.txt"]"#,
        &[(Code::PathEscape, "/applications/api/dependencies/0", 5, "leads out")],
    ),
    (r#""root": "web""#, r#""root": "/web""#, &[(Code::PathEscape, "/applications/web/root", 6, "leads out")]),
    (
        r#""main.py""#,
        r#""link.out""#,
        &[(Code::PathEscape, "/applications/api/entrypoint", 5, "a link that leads out")],
    ),
    (r#"["dist"]"#, r#"["a/../../dist"]"#, &[(Code::PathEscape, "/applications/web/outputs/0", 6, "leads out")]),
    // conflict, later_part
    (
        r#""base_image": "container:api", "applications": ["api"]"#,
        r#""base_image": "x", "dockerfile": "a.Dockerfile""#,
        &[(Code::Conflict, "/containers/db/dockerfile", 11, "base_image")],
    ),
    (
        r#""type": "vite""#,
        r#""type": "vite", "language": "python""#,
        &[(Code::Conflict, "/applications/web/language", 6, "vite is of node")],
    ),
    (r#", "outputs": ["dist"]"#, "", &[(Code::Conflict, "/applications/web/build_image", 6, "add outputs")]),
    (
        r#""type": "vite""#,
        r#""type": "vite", "run_command": "x""#,
        &[(Code::Conflict, "/containers/api/applications", 10, r#""start": "api""#)],
    ),
    (r#""inputs""#, r#""version""#, &[(Code::Conflict, "/packaging/tagging", 13, "project.version")]),
    (
        r#""packaging""#,
        r#""lifecycle": {"stages": []}, "packaging""#,
        &[(Code::LaterPart, "/lifecycle", 13, "later part")],
    ),
    (
        r#""env": {}"#,
        r#""health": {"http": "/", "tcp": 8000}"#,
        &[(Code::Conflict, "/containers/api/health", 10, "http, tcp")],
    ),
    (r#""python:3.13-slim""#, r#""scratch""#, &[]),
    (r#""serve""#, r#""serve", "build_commands": ["make"]"#, &[]),
    (
        r#""run_command": "serve""#,
        r#""x-run": "serve""#,
        &[(Code::Missing, "/applications/api/run_command", 5, "started")],
    ),
    (r#""main.py""#, r#""shop.main:app""#, &[]),
    (r#""env": {}"#, r#""env": {}, "x-free": {"any": [null]}"#, &[]),
];

#[test]
fn pkg_27_each_case_of_the_table_of_problems() {
    assert_eq!(seen(GIVEN).problems, []);
    for (old, new, expected) in CASES {
        assert_eq!(GIVEN.matches(old).count(), 1, "{old} stands in one place");
        let files = |path: &str| if path == "link.out" { Found::Outside } else { full(path) };
        let checked = check(GIVEN.replace(old, new).as_bytes(), &files);
        let found: Vec<_> =
            checked.problems.iter().map(|found| (found.code, found.pointer.as_str(), found.line)).collect();
        let wanted: Vec<_> = expected.iter().map(|(code, pointer, line, _)| (*code, *pointer, *line)).collect();
        assert_eq!(found, wanted, "{new}: {:?}", checked.problems);
        for (problem, (.., told)) in checked.problems.iter().zip(*expected) {
            let text = format!("{} {}", problem.message, problem.hint.as_deref().unwrap_or_default());
            assert!(text.contains(told), "{new}: {text}");
            assert!(problem.column > 1 || problem.line == 1, "{new}: {problem:?}");
        }
        assert_eq!(checked.document.is_some(), expected.is_empty(), "{new}");
    }
}

#[test]
fn pkg_27_what_a_dockerfile_has_no_use_for_is_refused() {
    // "db" is of a Dockerfile, "api" is not; what makes an image is of use where another image or application has it.
    let pointers = |beside: &str, copy: &str| {
        let text = format!(
            r#"{{"manifest_version":"1.0","project":{{"name":"shop"}},"applications":{{
                "web":{{"type":"files","install_commands":["a"],"build_commands":["b"],"env":{{"A":"b"}},"run_command":"run"}},
                "own":{{"type":"files","run_command":"run"{copy}}}}},
              "containers":{{"api":{{"base_image":"x","applications":["own"{beside}],"start":"own"}},
                "db":{{"dockerfile":"a.Dockerfile","applications":["web"]}}}}}}"#
        );
        let problems = seen(&text).problems;
        assert!(problems.iter().all(|problem| problem.code == Code::Conflict), "{problems:?}");
        problems.into_iter().map(|problem| problem.pointer).collect::<Vec<_>>()
    };
    assert_eq!(pointers("", ""), ["/applications/web/build_commands", "/applications/web/install_commands"]);
    assert_eq!(pointers(r#","web""#, ""), [""; 0]);
    assert_eq!(pointers("", r#","copy":[{"from":"web","path":"a","to":"b"}]"#), [""; 0]);
}

#[test]
fn pkg_27_five_problems_are_told_at_once() {
    let bad = GIVEN
        .replace(r#"{"name": "shop"}"#, "{}")
        .replace("[8000]", "[0]")
        .replace(r#""env": {}"#, r#""envs": {}"#)
        .replace(r#"["api"]}"#, r#"["apis"]}"#)
        .replace(r#"["api", "db"]"#, r#"["db", "api"]"#);
    let found: Vec<_> = seen(&bad).problems.into_iter().map(|problem| problem.pointer).collect();
    let expected = [
        "/containers/api/envs",
        "/containers/api/ports/0",
        "/containers/db/depends_on/0",
        "/packaging/build_order/1",
        "/project/name",
    ];
    assert_eq!(found, expected);
}

#[test]
fn pkg_27_values_with_secret_names_are_warned_of() {
    let given = GIVEN.replace(r#""env": {}"#, r#""env": {"PORT": "1", "API_KEY": "x", "TOKEN": ""}"#);
    let checked = seen(&given);
    assert_eq!(checked.problems, []);
    let [warning] = checked.warnings.as_slice() else { panic!("{:?}", checked.warnings) };
    assert_eq!(
        (warning.code, warning.pointer.as_str(), warning.line),
        (Code::SecretValue, "/containers/api/env/API_KEY", 10)
    );
    assert!(warning.hint.as_deref().unwrap().starts_with("aish secrets set project/shop API_KEY"));
}

#[test]
fn pkg_28_free_keys_keep_their_values() {
    let row = r#"{"z":1.0,"a":"\u20ac","10":[],"\u00e9":1e21,"\ud83d\ude00":-0.0,"\ufb33":true}"#;
    let shop = valid(&SHOP.replacen('{', &format!("{{\"x-v\":{row},"), 1));
    let canonical = String::from_utf8(shop.canonical()).unwrap();
    let value = canonical.split_once("\"x-v\":").unwrap().1.strip_suffix('}').unwrap();
    let expected = "d3ccc07831dbba8c7698650bf87f081166eec4d0736d4e0351da8b276342bf37";
    assert_eq!(crate::Digest::of(value.as_bytes()).hex(), expected);
}

#[test]
fn pkg_31_an_images_spec_is_of_what_it_depends_on() {
    let given = valid(GIVEN);
    let specs = |document: &Document| ["api", "db"].map(|name| document.slice_spec(name).unwrap());
    let with = |old: &str, new: &str| valid(&GIVEN.replace(old, new));
    let replicas = with(r#""env": {}"#, r#""env": {}, "replicas": 2"#);
    assert_eq!(specs(&replicas), specs(&given));
    assert_ne!(replicas.spec(), given.spec());
    let epoch = with(r#""tagging""#, r#""epoch": 0, "tagging""#);
    assert_ne!(specs(&epoch)[0], specs(&given)[0]);
    // Only the container `api` has `web`, which copies from `api`.
    let web = with(r#"["dist"]"#, r#"["out"]"#);
    assert_ne!(specs(&web)[0], specs(&given)[0]);
    assert_eq!(specs(&web)[1], specs(&given)[1]);
    let slice = given.slice("api").unwrap();
    assert_eq!(
        slice["container"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["base_image", "applications", "ports", "env"]
    );
    assert!(slice.get("packaging").is_none());
}

#[test]
fn images_that_others_stand_on_are_made_first() {
    let order =
        |text: &str| valid(text).manifest.build_order().into_iter().map(ToString::to_string).collect::<Vec<_>>();
    let unordered = GIVEN.replace(r#""build_order": ["api", "db"], "#, "");
    assert_eq!(order(&unordered), ["api", "db"]);
    let turned = unordered
        .replace(r#""python:3.13-slim""#, r#""container:db""#)
        .replace(r#""container:api""#, r#""x""#)
        .replace(r#", "depends_on": ["api"]"#, "");
    assert_eq!(order(&turned), ["db", "api"]);
}

#[test]
fn defaults_are_not_written() {
    let shop = valid(SHOP);
    let written = serde_json::to_string(&shop.manifest).unwrap();
    let again: serde_json::Value = serde_json::from_str(SHOP).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), again);
}

/// The same document in another key order, with other white space, numbers and escapes.
fn shuffled(value: &serde_json::Value, turn: &mut u64, out: &mut String) {
    use std::fmt::Write as _;
    let mut next = |most: u64| {
        *turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*turn >> 33) % most
    };
    let space = ["", " ", "\n", "\t \r\n"][usize::try_from(next(4)).unwrap()];
    out.push_str(space);
    match value {
        serde_json::Value::Object(object) => {
            let mut members: Vec<_> = object.iter().collect();
            let by = usize::try_from(next(members.len().max(1) as u64)).unwrap();
            members.rotate_left(by);
            out.push('{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                shuffled(&serde_json::Value::from(key.as_str()), turn, out);
                out.push(':');
                shuffled(value, turn, out);
            }
            out.push('}');
        }
        serde_json::Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                shuffled(item, turn, out);
            }
            out.push(']');
        }
        serde_json::Value::String(text) => {
            out.push('"');
            for unit in text.encode_utf16() {
                // A character of these documents is one unit.
                let c = char::from_u32(unit.into()).unwrap();
                if next(3) == 0 { write!(out, "\\u{unit:04X}").unwrap() } else { out.push(c) }
            }
            out.push('"');
        }
        serde_json::Value::Number(number) if number.as_u64() == Some(8000) => {
            out.push_str(["8000", "8e3", "8.0E+3", "80000e-1", "8000.0"][usize::try_from(next(5)).unwrap()]);
        }
        other => out.push_str(&other.to_string()),
    }
    out.push_str(space);
}

#[test]
fn pkg_27_large_documents_are_looked_at_in_bounded_time() {
    let many = |count: usize, each: &dyn Fn(usize) -> String| (0..count).map(each).collect::<Vec<_>>().join(",");
    let keys = format!("{{{}}}", many(80_000, &|n| format!("\"k{n}\":1")));
    let started = std::time::Instant::now();
    assert_eq!(seen(&keys).problems.len(), 1000);
    let ring = many(8_000, &|n| {
        format!("\"c{n}\":{{\"base_image\":\"x\",\"depends_on\":[\"c{}\"],\"applications\":[\"a\"]}}", (n + 1) % 8_000)
    });
    let ring = format!(
        "{{\"applications\":{{\"a\":{{\"type\":\"files\",\"run_command\":\"x\"}}}},\"containers\":{{{ring}}}}}"
    );
    let cycles = seen(&ring).problems.into_iter().filter(|problem| problem.code == Code::Cycle).count();
    assert_eq!(cycles, 1);
    assert!(started.elapsed() < std::time::Duration::from_secs(60), "{:?}", started.elapsed());
}

proptest::proptest! {
    #[test]
    fn pkg_28_the_spec_is_of_what_is_said_and_not_of_how(seed in proptest::num::u64::ANY) {
        let shop: serde_json::Value = serde_json::from_str(SHOP).unwrap();
        let mut text = String::new();
        shuffled(&shop, &mut { seed }, &mut text);
        proptest::prop_assert_eq!(valid(&text).spec(), valid(SHOP).spec(), "{}", text);
    }

    #[test]
    fn pkg_27_any_change_of_a_manifest_is_taken_or_refused(at in 0..GIVEN.len(), with in "[{}\\[\\]\",:0-9a-z ]{0,6}", cut in 0_usize..6) {
        let end = (at + cut).min(GIVEN.len());
        let checked = seen(&format!("{}{with}{}", &GIVEN[..at], &GIVEN[end..]));
        proptest::prop_assert_eq!(checked.document.is_some(), checked.problems.is_empty());
        // What the schema takes, the types take.
        proptest::prop_assert!(!checked.problems.iter().any(|problem| problem.message.contains("cannot be read:")), "{:?}", checked.problems);
    }
}
