//! Programs that serve at the bus by themselves: in Rust, and in any language that speaks NATS.

use std::os::unix::fs::PermissionsExt as _;

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::client::Client;

/// What is told of each skill, whatever language it is written in.
const TOLD: [&str; 9] = ["doc", "effect", "input", "kind", "output", "path", "signature", "stream", "timeout_ms"];

const CALLER: &str = r#"
print("rolled", aigis.dice.roll(6, 3), aigis.dice.roll(sides=6, count=2), flush=True)
try: aigis.dice.nosuch()
except AttributeError as error: print("no such skill", flush=True)
time.sleep(1000)
"#;

/// Puts the plugin `dice` of that example there.
fn example(plugins: &Plugins, mesh: &Mesh, name: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    for file in ["AIGIS/AIGIS.config", "dice.py", "requirements.txt", "dice.js", "nats.js"] {
        if let Ok(content) = fs::read_to_string(from.join(file)) {
            plugins.write("dice", &[(file, &content)]);
        }
    }
    if name == "dice-rust" {
        // It is built beside the binary, as the example's own page says.
        plugins.write("dice", &[("bin/README", "")]);
        fs::copy(mesh.binary().with_file_name(name), plugins.path("dice").join("bin/dice-rust")).unwrap();
    }
}

fn add(mesh: &Mesh, plugins: &Plugins, name: &str) {
    let _added = mesh.aish(["plugins", "add", name, &plugins.path(name).display().to_string()]).good();
}

/// Whether that is so many dice.
fn are_dice(value: &Value, count: usize) -> bool {
    let dice = value.as_array().map(Vec::as_slice).unwrap_or_default();
    dice.len() == count && dice.iter().all(|die| die.as_u64().is_some_and(|die| (1..=6).contains(&die)))
}

/// What must hold of the dice in any language.
fn serves(name: &str) {
    let (plugins, mesh) = (Plugins::new(), Mesh::hosting(""));
    example(&plugins, &mesh, name);
    add(&mesh, &plugins, "dice");
    settled(&mesh, "dice", "running");
    let rolled = call(&mesh, ["dice.roll", "6", "3"]).good().json();
    assert!(are_dice(&rolled, 3), "{rolled}");
    let rolled = call(&mesh, ["dice.roll", "sides=6", "count=2"]).good().json();
    assert!(are_dice(&rolled, 2), "{rolled}");
    for wrong in [&["dice.roll", "six"][..], &["dice.roll", "0"], &["dice.nosuch"]] {
        let _refused = call(&mesh, wrong.iter().copied()).failed(65);
    }

    let described = mesh.aish(["plugins", "describe", "dice", "--json"]).good().json();
    let skills = described["skills"].as_array().unwrap();
    for (path, effect) in [("dice.load", "write"), ("dice.roll", "read")] {
        let skill = skills.iter().find(|skill| skill["path"] == path).unwrap();
        let mut keys: Vec<&str> = skill.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(
            (keys.as_slice(), &skill["effect"], &skill["kind"]),
            (&TOLD[..], &effect.into(), &"function".into())
        );
        assert!(!skill["doc"].as_str().unwrap().is_empty() && skill["output"].is_object(), "{skill}");
    }
    let sides = &skills.iter().find(|skill| skill["path"] == "dice.roll").unwrap()["input"]["properties"]["sides"];
    assert_eq!(sides["type"], "integer");
    assert_eq!(mesh.aish(["call", "dice-ci.status", "--json"]).good().json()["state"], "running");
    let _said = mesh.aish(["dice", "status"]).good();

    plugins.internal("caller", "internal", "", CALLER);
    add(&mesh, &plugins, "caller");
    let text = logged(&mesh, "caller", "no such skill");
    assert!(text.contains("rolled ["), "{text}");

    by_hand(&mesh);
    lives(&mesh);
}

#[test]
fn plg_66_plg_69_a_plugin_asks_a_program_for_what_its_grants_say_and_no_more() {
    let (plugins, mesh) = (Plugins::new(), Mesh::hosting(""));
    example(&plugins, &mesh, "dice-rust");
    let body = "print(\"rolled\", aigis.dice.roll(6), flush=True)
try: aigis.dice.load(6)
except PermissionError as error: print(\"refused\", error, flush=True)
time.sleep(1000)";
    plugins.internal("reader", "internal", "", body);
    let reader = plugins.path("reader").display().to_string();
    let granted = format!("[internal]\nreader = {{ source = \"{reader}\", grants = [\"dice:read\"] }}\n");
    mesh.configure(&[granted, plugins.table("external", &["dice"])].concat());
    let _synced = mesh.aish(["plugins", "sync"]).good();
    settled(&mesh, "dice", "running");
    let _restarted = mesh.aish(["call", "reader-ci.restart"]).good();
    let text = logged(&mesh, "reader", "refused");
    assert!(text.contains("rolled [") && text.contains("no grant of plugin-reader covers"), "{text}");
    assert_eq!(call(&mesh, ["dice.load", "6"]).good().stdout, "0\n", "it never ran");
}

/// Calls by hand mean the same, and the program judges who may what.
fn by_hand(mesh: &Mesh) {
    let olga = Client::of(mesh, "olga", "operator");
    let code = |answer: &async_nats::Message| answer.headers.as_ref()?.get("Aigis-Error").map(ToString::to_string);
    for subject in ["call.operator.olga.dice", "call.operator.olga.dice@alpha", "to.dice.operator.olga.dice"] {
        let answer = olga.request(&format!("aigis.v1.main.{subject}.roll"), r#"{"args":[6,3]}"#);
        assert_eq!(code(&answer), None, "{subject}: {answer:?}");
        assert!(are_dice(&serde_json::from_slice(&answer.payload).unwrap(), 3), "{subject}: {answer:?}");
    }
    for target in ["dice", "dice-ci"] {
        let answer = olga.request(&format!("aigis.v1.main.call.operator.olga.{target}.status"), "");
        let status: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(status["state"], "running", "{target}");
    }
    let answer = olga.request("aigis.v1.main.call.operator.olga.dice.nosuch", "");
    assert_eq!(code(&answer).as_deref(), Some("not_found"));

    let file = mesh.user("vera", "viewer");
    let vera = Client::log_in(mesh, "vera", &file);
    for subject in ["call.viewer.vera", "to.dice.viewer.vera"] {
        let refused = vera.request(&format!("aigis.v1.main.{subject}.dice.load"), r#"{"args":[1]}"#);
        assert_eq!(code(&refused).as_deref(), Some("permission_denied"), "{subject}");
        let answer = vera.request(&format!("aigis.v1.main.{subject}.dice.roll"), r#"{"args":[6,3]}"#);
        assert_eq!(code(&answer), None, "{subject}: a viewer reads");
    }
    let viewer = [("AIGIS_CREDS", file)];
    let _refused = mesh.aish_in(&viewer, ["call", "dice.load", "1"]).failed(77);
    assert_eq!(mesh.aish_in(&viewer, ["call", "dice.roll", "1", "3"]).good().json(), serde_json::json!([1, 1, 1]));
    assert_eq!(call(mesh, ["dice.load", "5"]).good().stdout, "0\n");
    assert_eq!(call(mesh, ["dice.roll", "6", "3"]).good().json(), serde_json::json!([5, 5, 5]));
}

/// The credential lies there while the program runs, which is started again when it dies.
fn lives(mesh: &Mesh) {
    let file = mesh.path().join("run/dice.creds");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let pid = row(mesh, "dice").unwrap()["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    until("another one runs", LIMIT, || {
        let row = row(mesh, "dice")?;
        (row["state"] == "running" && row["restarts"] == 1 && row["pid"] != pid).then_some(())
    });
    assert!(are_dice(&call(mesh, ["dice.roll", "6", "3"]).good().json(), 3));

    let _stopped = mesh.aish(["call", "dice-ci.stop"]).good();
    assert!(!file.exists(), "the credential is gone");
    let away = call(mesh, ["dice.roll", "6", "3"]).failed(69);
    assert!(away.took < Duration::from_secs(20), "{away:?}");
    let _started = mesh.aish(["call", "dice-ci.start"]).good();
    assert!(file.exists() && are_dice(&call(mesh, ["dice.roll", "6", "3"]).good().json(), 3));
    let _down = mesh.aish(["down"]).good();
    assert!(!file.exists(), "the credential is gone");
}

#[test]
fn plg_69_dice_in_rust() {
    serves("dice-rust");
}

#[test]
fn plg_69_a_program_serves_from_another_host() {
    let (plugins, mesh) = (Plugins::new(), Mesh::hosting(""));
    let beta = mesh.joined("beta");
    example(&plugins, &mesh, "dice-rust");
    let source = plugins.path("dice").display().to_string();
    let _added = mesh.aish(["plugins", "add", "dice", &source, "--host", "beta"]).good();
    let first = settled(&mesh, "dice", "running");
    assert_eq!(first["node"], "beta");
    for host in [&mesh, &beta] {
        let rolled = call(host, ["dice.roll", "6", "3"]).good().json();
        assert!(are_dice(&rolled, 3), "{rolled}");
    }
    assert!(beta.path().join("run/dice.creds").exists() && !mesh.path().join("run/dice.creds").exists());
    let _restarted = mesh.aish(["call", "dice-ci.restart"]).good();
    assert_ne!(settled(&mesh, "dice", "running")["pid"], first["pid"]);
    assert!(are_dice(&call(&mesh, ["dice.roll", "6", "3"]).good().json(), 3));
    let _removed = mesh.aish(["plugins", "remove", "dice"]).good();
    let _gone = call(&mesh, ["dice.roll", "6", "3"]).failed(69);
    assert!(!beta.path().join("run/dice.creds").exists());
}

#[test]
fn plg_69_dice_in_python_without_aigis() {
    serves("dice-python");
}

#[test]
fn plg_69_dice_in_javascript_without_aigis() {
    let is_there = std::process::Command::new("node").arg("--version").output().is_ok_and(|ran| ran.status.success());
    if is_there {
        serves("dice-js");
    }
}

#[test]
fn plg_69_what_does_not_answer_describe_in_time_has_failed() {
    let plugins = Plugins::new();
    let settings = |more: &str| {
        format!(
            "PLUGIN_TYPE = \"external\"\nENTRYPOINT = \"{{root}}\"\nLAUNCH = [\"sleep\", \"1000\"]\nSERVES = True\n{more}"
        )
    };
    plugins.write("silent", &[("AIGIS/AIGIS.config", &settings("START_TIMEOUT = 2\n"))]);
    plugins.write("both", &[("AIGIS/AIGIS.config", &settings("")), ("AIGIS/AIGIS.core", "SKILLS = []")]);
    let mesh = Mesh::hosting(&plugins.table("external", &["silent", "both"]));
    let silent = settled(&mesh, "silent", "failed");
    assert!(silent["error"].as_str().unwrap().contains("describe within 2 s"), "{silent}");
    assert!(silent["pid"].is_null() && !mesh.path().join("run/silent.creds").exists(), "{silent}");
    let both = settled(&mesh, "both", "failed");
    assert!(both["error"].as_str().unwrap().contains("AIGIS.core"), "{both}");
}
