//! What the commands for plugins print, and how they end.

use super::*;

#[test]
fn words_of_a_call_are_json_or_text_or_standard_input() {
    let (_plugins, mesh) = fx();
    let echo = |words: &[&str]| call(&mesh, [&["cool.echo"], words].concat()).good().stdout;
    assert_eq!(echo(&["5", "--json"]), "5\n");
    assert_eq!(echo(&["--str", "5", "--json"]), "\"5\"\n");
    assert_eq!(echo(&["--str=-x=1"]), "-x=1\n");
    assert_eq!(echo(&["v=[1]", "--json"]), "[1]\n");
    let given = |words: &[&str], input: &[u8]| mesh.with_input([&["call", "cool.echo"], words].concat(), Some(input));
    assert_eq!(given(&["-"], b"a\nb\n").good().stdout, "a\nb\n");
    assert_eq!(given(&["v=-", "--json"], b"[1]").good().stdout, "\"[1]\"\n");
    assert_eq!(given(&["-", "--json"], b"\xff\x00").good().stdout, "{\"$bytes\":\"/wA=\"}\n");
    let ran = given(&["-", "v=-"], b"x").failed(2);
    assert!(ran.stderr.contains("standard input"), "{ran:?}");
}

#[test]
fn bytes_are_printed_as_they_are_and_never_on_a_terminal() {
    let (_plugins, mesh) = fx();
    let bytes = "call cool.echo '{\"$bytes\":\"/wABCg==\"}'";
    let output = mesh.spawn_shell(&format!("aish {bytes}")).wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout == [0xff, 0, 1, b'\n'], "{output:?}");
    let json = mesh.shell(&format!("aish {bytes} --json")).good();
    assert_eq!(json.stdout, "{\"$bytes\":\"/wABCg==\"}\n");
    let terminal =
        mesh.shell(&format!("script --quiet --return --command 'aish {}' /dev/null", bytes.replace('\'', "'\"'\"'")));
    assert_eq!(terminal.code, 2, "{terminal:?}");
    assert!(terminal.stdout.contains("4 bytes") && terminal.stdout.contains("--json"), "{terminal:?}");
}

#[test]
fn commands_reach_what_a_plugin_has_skills_of_the_same_names_for() {
    let plugins = Plugins::new();
    let module =
        "def logs(): return \"own\"\ndef reload(): return \"own\"\ndef describe(): return \"own\"\nprint(\"loaded\")";
    plugins.core("srv", module, "[\"srv.logs\", \"srv.reload\", \"srv.describe\"]");
    let mesh = Mesh::hosting(&plugins.table("core", &["srv"]));
    settled(&mesh, "srv", "running");
    assert_eq!(call(&mesh, ["srv.logs"]).good().stdout, "own\n");
    logged(&mesh, "srv", "running");
    let reloaded = mesh.aish(["plugins", "reload", "srv", "--json"]).good().json();
    assert_eq!((&reloaded["ci"], &reloaded["state"]), (&"srv".into(), &"running".into()));
    assert_eq!(mesh.aish(["plugins", "describe", "srv", "--json"]).good().json()["type"], "core");
    assert_eq!(call(&mesh, ["srv.srv.reload"]).good().stdout, "own\n");
}

#[test]
fn what_is_wrong_with_a_plugin_is_told_once_and_is_no_fault_of_the_command() {
    let plugins = Plugins::new();
    plugins.core("bad", "import no_such_module", "[\"bad.f\"]");
    let mesh = Mesh::hosting(&plugins.table("core", &["bad"]));
    settled(&mesh, "bad", "failed");
    for words in [&["plugins", "reload", "bad"][..], &["call", "bad.start"]] {
        let ran = mesh.aish(words).failed(1);
        assert_eq!(ran.stderr.matches("No module named 'no_such_module'").count(), 1, "{ran:?}");
    }
    assert!(log(&mesh, "bad").contains("Traceback"), "of one that failed too");
    for words in [&["reload", "nosuch"][..], &["logs", "nosuch"], &["describe", "nosuch"], &["remove", "nosuch"]] {
        let ran = mesh.aish([&["plugins"], words].concat()).failed(68);
        assert!(ran.stderr.contains("no CI is called nosuch\n"), "{ran:?}");
    }
}

#[test]
fn a_wrong_frame_closes_the_connection_and_names_the_process() {
    let plugins = Plugins::new();
    let body = "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect(os.environ[\"AIGIS_SOCKET\"])\ns.sendall(b\"\\xff\" * 64)\nwhile s.recv(4096): pass\nprint(\"closed\", os.getpid(), aigis.cool.nolog(4), flush=True)\ntime.sleep(1000)";
    plugins.fx().internal("odd", "internal", "", body);
    let mesh = Mesh::hosting(&[plugins.table("core", &["fx"]), plugins.table("internal", &["odd"])].concat());
    logged(&mesh, "odd", "closed");
    let lines = mesh.aish(["plugins", "logs", "odd", "--source", "node", "--json"]).good().stdout;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = lines.iter().find(|line| line["line"].as_str().unwrap().contains("was closed"));
    let line = line.unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!((&line["level"], &line["pid"]), (&"warning".into(), &row(&mesh, "odd").unwrap()["pid"]));
    let said = log(&mesh, "odd");
    assert!(said.contains(&format!("closed {} 8", line["pid"])), "its own connection goes on: {said}");
}

#[test]
fn core_plugins_have_the_variables_that_they_ask_for_unless_another_has_them() {
    let plugins = Plugins::new();
    let module = "import os\nAT_FIRST = os.environ.get(\"ONE\")\ndef env(): return [os.environ.get(name) for name in (\"ONE\", \"TWO\", \"HOME\")]";
    for name in ["first", "second"] {
        plugins.core(name, module, &format!("[\"{name}.env\", \"{name}.AT_FIRST\"]"));
    }
    let settings = |env: &str| format!("{CORE}ENV = {{{env}}}\n");
    plugins.write("first", &[("AIGIS/AIGIS.config", &settings("'ONE': '1', 'TWO': 'x'"))]);
    plugins.write("second", &[("AIGIS/AIGIS.config", &settings("'ONE': '2', 'HOME': '/nowhere'"))]);
    let entry =
        |name: &str, more: &str| format!("{name} = {{ source = \"{}\"{more} }}\n", plugins.path(name).display());
    let mesh = Mesh::hosting(&["[core]\n", &entry("first", ", env = { TWO = \"2\" }"), &entry("second", "")].concat());
    let warnings = settled(&mesh, "second", "running")["warnings"].to_string();
    assert!(
        warnings.contains("ENV: ONE") && warnings.contains("from first") && warnings.contains("ENV: HOME"),
        "{warnings}"
    );
    let home = std::env::var("HOME").unwrap();
    assert_eq!(call(&mesh, ["second.env"]).good().json(), serde_json::json!(["1", "2", home]));
    assert_eq!(call(&mesh, ["first.AT_FIRST"]).good().stdout, "1\n");
    assert_eq!(row(&mesh, "first").unwrap()["warnings"], serde_json::json!([]));
    plugins.write("first", &[("AIGIS/AIGIS.config", &settings("'ONE': '3'"))]);
    let _reloaded = mesh.aish(["plugins", "reload", "first"]).good();
    assert_eq!(call(&mesh, ["first.AT_FIRST"]).good().stdout, "3\n");
}
