//! `aish manifests` as a program: the digests of however a manifest is written, what is missing, and what it makes.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Output, Stdio},
};

use aigis_proxy::blob::Digest;
use serde_json::{Map, Value};

use super::{aish, project, put, snapshot, text};

const SHOP: &str = r#"{"manifest_version":"1.0","project":{"name":"shop","repository":"github.com/acme/shop"},
 "applications":{"shop-api":{"type":"fastapi","language":"python","entrypoint":"main.py","dependencies":"requirements.txt",
   "build_commands":["pip install -r requirements.txt"],"run_command":"uvicorn main:app --host 0.0.0.0"}},
 "containers":{"shop":{"base_image":"python:3.13-slim","applications":["shop-api"],"ports":[8000],"ci_name":"shop-ci","ci_capabilities":["monitor","optimize","debug"]}},
 "packaging":{"build_order":["shop"],"registry":"docker.io/acme","tagging":"git-sha"}}"#;
const SPEC: &str = "sha256:12d6150e6a096acb38355f703c6dd1ac51f531e16d39c493e40d03b78b8ebf16";
const FILES: [(&str, &str); 2] = [("main.py", ""), ("requirements.txt", "")];
/// A value whose canonical form is known by its digest.
const ROW: &str = r#"{"z":1.0,"a":"\u20ac","10":[],"\u00e9":1e21,"\ud83d\ude00":-0.0,"\ufb33":true}"#;
const ROW_DIGEST: &str = "d3ccc07831dbba8c7698650bf87f081166eec4d0736d4e0351da8b276342bf37";

fn run(words: &[&str], directory: &Path) -> Output {
    let home = tempfile::tempdir().expect("a directory");
    aish(home.path()).arg("manifests").args(words).current_dir(directory).output().expect("the program")
}

/// Numbers that differ from each other, and are the same each time.
struct Numbers(u64);

impl Numbers {
    /// One below that.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % end
    }

    fn space(&mut self) -> &'static str {
        ["", " ", "\n", "\t", "\r\n  "][self.below(5)]
    }
}

/// The same value written in another way.
fn written(value: &Value, numbers: &mut Numbers, out: &mut String) {
    out.push_str(numbers.space());
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            for at in (1..members.len()).rev() {
                members.swap(at, numbers.below(at + 1));
            }
            out.push('{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                out.push_str(numbers.space());
                string(key, numbers, out);
                out.push_str(numbers.space());
                out.push(':');
                written(value, numbers, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                written(item, numbers, out);
            }
            out.push(']');
        }
        Value::String(text) => string(text, numbers, out),
        Value::Number(number) if number.as_u64() == Some(8000) => {
            out.push_str(["8000", "8e3", "8000.0", "80E+2", "0.8e4"][numbers.below(5)]);
        }
        other => out.push_str(&other.to_string()),
    }
    out.push_str(numbers.space());
}

fn string(text: &str, numbers: &mut Numbers, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        if numbers.below(4) > 0 {
            out.push(letter);
        } else {
            let _ = write!(out, "\\u{:04x}", u32::from(letter));
        }
    }
    out.push('"');
}

#[test]
fn pkg_28_however_a_manifest_is_written_its_digests_are_the_same() {
    let dir = project(&FILES);
    let shop: Value = serde_json::from_str(SHOP).expect("SHOP");
    let mut numbers = Numbers(28);
    let mut slice = None;
    let mut ways = std::collections::BTreeSet::new();
    for round in 0..100 {
        let mut other = String::new();
        written(&shop, &mut numbers, &mut other);
        put(dir.path(), &[("aigis.json", &other)]);
        let said = run(&["show", "--json"], dir.path());
        assert_eq!(said.status.code(), Some(0), "{other}\n{}", text(&said.stderr));
        let shown: Value = serde_json::from_slice(&said.stdout).expect("JSON");
        assert_eq!(shown["spec"], SPEC, "{other}");
        assert_eq!(shown["build_order"], serde_json::json!(["shop"]));
        let spec = shown["containers"][0]["spec"].clone();
        assert!(spec.as_str().is_some_and(|spec| spec.starts_with("sha256:")));
        assert_eq!(slice.get_or_insert(spec.clone()), &spec, "round {round}");
        ways.insert(other);
    }
    assert_eq!(ways.len(), 100);
}

#[test]
fn pkg_28_canonical_is_the_bytes_and_nothing_else() {
    let dir = project(&FILES);
    put(dir.path(), &[("aigis.json", SHOP)]);
    let said = run(&["show", "--canonical"], dir.path());
    assert_eq!(said.status.code(), Some(0), "{}", text(&said.stderr));
    assert_eq!(format!("sha256:{}", hex(&said.stdout)), SPEC);
    let told = text(&run(&["show"], dir.path()).stdout);
    assert!(told.starts_with(&format!("project shop: {SPEC}\nbuild order: shop\ncontainer shop: sha256:")), "{told}");
    // Its last key is x-v, whose value ends before the document's last brace.
    put(dir.path(), &[("aigis.json", &SHOP.replacen('{', &format!("{{\"x-v\":{ROW},"), 1))]);
    let said = run(&["show", "--canonical"], dir.path());
    let canonical = text(&said.stdout);
    let (_, rest) = canonical.split_once("\"x-v\":").expect("the value");
    assert_eq!(hex(rest.strip_suffix('}').expect("a brace").as_bytes()), ROW_DIGEST, "{canonical}");
}

fn hex(bytes: &[u8]) -> String {
    let digest = Digest::of(bytes).to_string();
    digest.strip_prefix("sha256:").unwrap_or(&digest).to_owned()
}

#[test]
fn pkg_29_files_that_are_not_there_are_told() {
    let dir = project(&FILES);
    put(dir.path(), &[("aigis.json", SHOP)]);
    let said = run(&["check", "--json"], dir.path());
    assert_eq!(said.status.code(), Some(0));
    let nothing = serde_json::json!({"problems": [], "warnings": []});
    assert_eq!(serde_json::from_slice::<Value>(&said.stdout).expect("JSON"), nothing);
    for (file, _) in FILES {
        fs::remove_file(dir.path().join(file)).expect("it was there");
    }
    let said = run(&["check", "--json"], dir.path());
    assert_eq!(said.status.code(), Some(65));
    let report: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let problems = report["problems"].as_array().expect("a list");
    let told: Vec<_> = problems.iter().map(|one| (one["code"].as_str(), one["pointer"].as_str())).collect();
    let at = |key| Some(["/applications/shop-api/dependencies", "/applications/shop-api/entrypoint"][key]);
    assert_eq!(told, [(Some("path_missing"), at(0)), (Some("path_missing"), at(1))]);
    assert!(problems.iter().all(|one| one["line"].is_u64() && one["column"].is_u64()), "{problems:?}");
    // The same of standard input, whose files are those of the directory at hand.
    let home = tempfile::tempdir().expect("a directory");
    let mut command = aish(home.path());
    let file = fs::File::open(dir.path().join("aigis.json")).expect("it");
    let given = command.args(["manifests", "check", "-", "--json"]).current_dir(dir.path()).stdin(Stdio::from(file));
    let said = given.output().expect("the program");
    assert_eq!((said.status.code(), serde_json::from_slice::<Value>(&said.stdout).expect("JSON")), (Some(65), report));
}

#[test]
fn pkg_27_five_problems_are_told_at_once_each_with_its_line() {
    const BAD: &str = r#"{
 "manifest_version": "1.0",
 "project": {},
 "applications": {"api": {"type": "files", "run_command": "serve", "root": "../x"}},
 "containers": {
  "api": {"base_imge": "busybox", "dockerfile": "Dockerfile", "ports": [0], "user": "root"}}
}"#;
    let dir = project(&[("aigis.json", BAD), ("Dockerfile", "FROM x\n")]);
    let said = run(&["check", "--json"], dir.path());
    assert_eq!(said.status.code(), Some(65), "{}", text(&said.stderr));
    let report: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let told =
        |problem: &Value| format!("{} {} {}", problem["pointer"], problem["code"], problem["line"]).replace('"', "");
    let told: Vec<String> = report["problems"].as_array().expect("a list").iter().map(told).collect();
    let expected = [
        "/applications/api/root path_escape 4",
        "/containers/api/base_imge unknown_key 6",
        "/containers/api/ports/0 range 6",
        "/containers/api/user pattern 6",
        "/project/name missing 3",
    ];
    assert_eq!(told, expected, "{report}");
}

#[test]
fn pkg_31_only_what_an_image_depends_on_changes_its_spec() {
    const TWO: &str = r#"{"manifest_version":"1.0","project":{"name":"two"},
"applications":{"a":{"type":"files","run_command":"one"},"b":{"type":"files","run_command":"two"}},
"containers":{"a":{"base_image":"busybox","applications":["a"]},"b":{"base_image":"busybox","applications":["b"]}}}"#;
    let dir = project(&[("aigis.json", TWO)]);
    let specs = || -> [Value; 3] {
        let said = run(&["show", "--json"], dir.path());
        assert_eq!(said.status.code(), Some(0), "{}", text(&said.stderr));
        let shown: Value = serde_json::from_slice(&said.stdout).expect("JSON");
        let of = |name: &str| {
            let mut containers = shown["containers"].as_array().expect("a list").iter();
            containers.find(|one| one["name"] == name).expect("it")["spec"].clone()
        };
        [shown["spec"].clone(), of("a"), of("b")]
    };
    let before = specs();
    let edited = TWO.replace("two\"}", "three\"}");
    put(dir.path(), &[("aigis.json", &edited)]);
    let command = specs();
    assert_eq!([0, 1, 2].map(|one| command[one] == before[one]), [false, true, false]);
    let edited = edited.replace(r#""applications":["a"]"#, r#""applications":["a"],"replicas":3"#);
    put(dir.path(), &[("aigis.json", &edited)]);
    let replicas = specs();
    assert_eq!([0, 1, 2].map(|one| replicas[one] == command[one]), [false, true, true]);
}

/// The projects of `deploy/corpus`: their names, and their files in the order in which they stand there.
fn corpus() -> Vec<(String, Vec<(String, String)>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/corpus");
    let mut projects = Vec::new();
    for entry in fs::read_dir(directory).expect("the corpus") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "txt") {
            continue;
        }
        let mut files: Vec<(String, String)> = Vec::new();
        for line in fs::read_to_string(&path).expect("a project").lines() {
            match line.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --")) {
                Some(header) => files.push((header.split(' ').next().unwrap_or(header).to_owned(), String::new())),
                None => files.last_mut().into_iter().for_each(|(_, content)| *content += &format!("{line}\n")),
            }
        }
        projects.push((path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), files));
    }
    projects
}

#[test]
fn pkg_30_what_init_writes_is_the_same_everywhere_and_has_no_problem() {
    let mut made = 0;
    for (name, files) in corpus() {
        let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
        // Elsewhere, in another order.
        let (one, other) = (project(&files), project(&files.iter().rev().copied().collect::<Vec<_>>()));
        let said = run(&["init"], one.path());
        let told = text(&said.stderr);
        if said.status.code() != Some(0) {
            // What has no template, or no start, says what to do.
            assert_eq!((said.status.code(), text(&said.stdout).as_str()), (Some(1), ""), "{name}: {told}");
            assert!(told.contains("hint") && !one.path().join("aigis.json").exists(), "{name}: {told}");
            continue;
        }
        made += 1;
        assert_eq!(text(&said.stdout), "aigis.json\n", "{name}");
        let manifest = fs::read_to_string(one.path().join("aigis.json")).expect("it");
        assert_eq!(text(&run(&["init", "--stdout"], other.path()).stdout), manifest, "{name}");
        let keys: Map<String, Value> = serde_json::from_str(&manifest).expect("JSON");
        assert!(keys.contains_key("applications") && manifest.ends_with("}\n"), "{name}");
        let said = run(&["check"], one.path());
        assert_eq!(said.status.code(), Some(0), "{name}: {manifest}{}", text(&said.stdout));
        let before = snapshot(one.path());
        let said = run(&["init"], one.path());
        assert_eq!((said.status.code(), text(&said.stdout).as_str()), (Some(1), ""), "{name}");
        assert!(text(&said.stderr).contains("exists"), "{name}");
        assert_eq!(snapshot(one.path()), before, "{name}");
        // It says of the project what the project said without it.
        assert_eq!(text(&run(&["init", "--stdout"], one.path()).stdout), manifest, "{name}");
    }
    assert!(made >= 40, "only {made} projects have a manifest");
}
