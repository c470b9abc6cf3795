//! `aish exec`: a command in a container, its streams and its exit code.

use aigis_tests::{Container, Mesh, docker, nonce, now};
use serde_json::json;

const BUSYBOX: &str = "aigis-test/busybox";
const SRV: &str = "aigis-test/srv";

#[test]
fn ci_53_a_command_gives_its_output_and_its_exit_code() {
    let mesh = Mesh::up();
    let name = format!("x-{}", nonce());
    let container = Container::run(&name, &[], BUSYBOX, &["sleep", "1000"]);
    let _row = mesh.live(&name, &container.id);
    let (ada, olga) = (mesh.user("ada", "admin"), mesh.user("olga", "operator"));
    let exec = |argv: &[&str]| mesh.aish([&["--creds", &ada, "exec", &name, "--"], argv].concat());

    let hostname = container.inspect()["Config"]["Hostname"].as_str().map(str::to_owned).unwrap();
    assert_eq!(exec(&["hostname"]).good().stdout, format!("{hostname}\n"));
    let ended = exec(&["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (7, "out\n", "err\n"));
    assert_eq!(exec(&["echo", "a  b", "$HOME", "*"]).good().stdout, "a  b $HOME *\n", "no shell stands between");
    let frames = mesh.aish(["--creds", &ada, "exec", &name, "--json", "--", "sh", "-c", "exit 7"]);
    assert_eq!((frames.code, frames.json()), (7, json!({"exit_code": 7})));

    let since = now();
    let refused = mesh.aish(["--creds", &olga, "exec", &name, "--", "hostname"]).failed(77);
    assert!(refused.stderr.contains("operator"), "{refused:?}");
    assert_eq!(container.events_since(&since), [""; 0]);
    let lines = mesh.audit(&name, 9);
    let last = lines.last().unwrap();
    assert_eq!((&last["phase"], &last["caller"], &last["skill"]), (&json!("refused"), &json!("olga"), &json!("exec")));
}

#[test]
fn standard_input_goes_to_the_command_byte_for_byte() {
    let mesh = Mesh::up();
    let name = format!("x-{}", nonce());
    let container = Container::run(&name, &[], BUSYBOX, &["sleep", "1000"]);
    let _row = mesh.live(&name, &container.id);
    let word = nonce();
    let cat = mesh.with_input(["exec", &name, "--", "cat"], Some(word.as_bytes())).good();
    assert_eq!(cat.stdout, word);
    let file = mesh.path().join("input").display().to_string();
    let line = format!("head -c 300000 /dev/urandom >{file} && aish exec {name} -- cat <{file} | cmp - {file}");
    let _same = mesh.shell(&line).good();
    assert_eq!(mesh.with_input(["exec", "-n", &name, "--", "cat"], Some(word.as_bytes())).good().stdout, "");
}

#[test]
fn ci_54_what_cannot_be_run_is_named() {
    let mesh = Mesh::up();
    let (bare, still) = (format!("bare-{}", nonce()), format!("still-{}", nonce()));
    let shellless = Container::run(&bare, &[], SRV, &[]);
    let paused = Container::run(&still, &[], BUSYBOX, &["sleep", "1000"]);
    let _rows = (mesh.live(&bare, &shellless.id), mesh.live(&still, &paused.id));
    let missing = mesh.aish(["exec", &bare, "--json", "--", "sh"]).failed(1);
    let error: serde_json::Value = serde_json::from_str(&missing.stderr).unwrap();
    assert_eq!(error["code"], "failed_precondition", "{error}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("\"sh\"")), "{error}");
    let _paused = docker(None, &["pause", &paused.id]);
    let refused = mesh.aish(["exec", &still, "--", "sh"]).failed(1);
    assert!(refused.stderr.contains("paused"), "{refused:?}");
    let _going = docker(None, &["unpause", &paused.id]);
}
