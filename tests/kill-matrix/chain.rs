//! The chain that is disturbed.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use aigis_tests::{Mesh, nonce};
use serde_json::Value;

/// How many steps it has.
pub(crate) const STEPS: u32 = 5;
/// The label of the hosts that work.
pub(crate) const WORKS: &str = "works=yes";

/// Makes the assistants `step-1` to `step-5` known: each adds a line, and names the next.
pub(crate) fn teach(mesh: &Mesh) {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    for step in 1..=STEPS {
        let next = if step < STEPS { format!("local:step-{}", step + 1) } else { "nil".to_owned() };
        let script = format!(
            "#!/bin/sh\nset -e\ncp -a /in/app/. /out/app/\nsleep 2\necho 'line {step}' >> /out/app/trace\n\
            echo 'state {step}' > /out/state/of-{step}\necho {next} > /out/state/next\n"
        );
        let path = folder.path().join(format!("step-{step}"));
        write(&path.join("name"), &format!("step-{step}\n"));
        write(&path.join("Dockerfile"), "FROM busybox\nCOPY . /assistant\nENTRYPOINT [\"/assistant/run\"]\n");
        write(&path.join("run"), &script);
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(path.join("run"), executable).unwrap_or_else(|error| panic!("{error}"));
        let pushed = mesh.aish(["assistants", "push", path.to_str().unwrap_or_default()]);
        assert_eq!(pushed.code, 0, "{pushed:?}");
    }
}

/// Begins a chain of an app that no other has, from a host where somebody may or by these credentials, and gives its id.
pub(crate) fn begin(mesh: &Mesh, creds: Option<&str>) -> String {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    write(&folder.path().join("trace"), "line 0\n");
    let (name, path) = (format!("five-{}", nonce()), folder.path().to_str().unwrap_or_default().to_owned());
    let options = ["--assistant", "local:step-1", "--on", WORKS, "--name", &name, "--no-follow", "--no-save"];
    let by = creds.map(|creds| ["--creds", creds]);
    let pushed = mesh.aish([by.as_ref().map_or(&[][..], |by| &by[..]), &["push", &path], &options[..]].concat());
    assert_eq!(pushed.code, 0, "{pushed:?}");
    pushed.stdout.trim().to_owned()
}

/// How it stands, if that can be seen now.
pub(crate) fn shown(mesh: &Mesh, id: &str) -> Option<Value> {
    let shown = mesh.aish(["chains", "show", id, "--json"]);
    (shown.code == 0).then(|| shown.json())
}

/// Asserts that it ended as if nothing had happened: these trees, and each step committed once.
pub(crate) fn is_whole(chain: &Value, trees: &Value) {
    assert_eq!(chain["status"], "done", "{chain}");
    assert_eq!(self::trees(chain), *trees, "{chain}");
    let steps = chain["steps"].as_array().unwrap_or_else(|| panic!("{chain}"));
    let numbers: Vec<u64> = steps.iter().filter_map(|step| step["n"].as_u64()).collect();
    assert_eq!(numbers, (1..=u64::from(STEPS)).collect::<Vec<_>>(), "{chain}");
    assert!(steps.iter().all(|step| step["status"] == "done"), "{chain}");
}

/// What it left.
pub(crate) fn trees(chain: &Value) -> Value {
    serde_json::json!([chain["app_tree"], chain["state_tree"]])
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap_or(path)).unwrap_or_else(|error| panic!("{error}"));
    fs::write(path, content).unwrap_or_else(|error| panic!("{error}"));
}
