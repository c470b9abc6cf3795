//! What changes while the node runs: the config file, users, secrets.

use rustix::process::{Signal, kill_process};

use super::*;

/// A module whose one skill answers with that.
fn answers(answer: &str) -> String {
    format!("def f(): return \"{answer}\"")
}

#[test]
fn plg_68_a_hangup_has_the_config_file_read_again_and_a_wrong_one_changes_nothing() {
    let plugins = Plugins::new();
    for name in ["one", "two"] {
        plugins.core(name, &answers(name), &format!("[\"{name}.f\"]"));
    }
    let mesh = Mesh::hosting(&plugins.table("core", &["one"]));
    let hangup = || kill_process(mesh.pid("node.pid").unwrap(), Signal::HUP).unwrap();
    settled(&mesh, "one", "running");
    mesh.configure(&plugins.table("core", &["one", "two"]));
    hangup();
    until("the new one runs", LIMIT, || row(&mesh, "two").filter(|row| row["state"] == "running"));
    assert_eq!(call(&mesh, ["two.f"]).good().stdout, "two\n");
    mesh.configure("[core]\nnum = 5\n");
    hangup();
    let log = until("what is wrong is told", LIMIT, || Some(mesh.log()).filter(|log| log.contains("is not taken")));
    assert!(log.contains("config.aigis:2:"), "line and column stand in the log: {log}");
    for name in ["one", "two"] {
        assert_eq!(call(&mesh, [&*format!("{name}.f")]).good().stdout, format!("{name}\n"));
    }
    let entry = format!("[core]\ntwo = {{ source = \"{}\", timeout = 7 }}\n", plugins.path("two").display());
    plugins.core("two", &answers("three"), "[\"two.f\"]");
    mesh.configure(&entry);
    hangup();
    until("the lost one is gone", LIMIT, || row(&mesh, "one").is_none().then_some(()));
    assert!(copy(&mesh, "one").is_dir(), "what it wrote is kept");
    until("the changed one was reloaded", LIMIT, || {
        Some(call(&mesh, ["two.f"]).stdout).filter(|answer| answer == "three\n")
    });
}

#[test]
fn plg_54_to_take_all_anew_is_asked_about_first() {
    let (plugins, mesh) = fx();
    let own = copy(&mesh, "fx").join("own");
    fs::write(&own, "mine").unwrap();
    // Nobody is there to be asked.
    let ran = mesh.aish(["plugins", "reload", "fx", "--fresh"]).failed(2);
    assert!(ran.stderr.contains("--yes"), "{ran:?}");
    let asked = |answer: &str| {
        let line = format!("echo {answer} | script -qec 'aish plugins reload fx --fresh' /dev/null");
        mesh.shell(&line)
    };
    let ran = asked("no");
    assert!(ran.code == 130 && ran.stdout.contains("what fx wrote"), "{ran:?}");
    assert_eq!(read(&own), "mine");
    plugins.write("fx", &[("amod.py", &FX.replace("return 2 * x", "return 3 * x"))]);
    let ran = asked("yes");
    assert!(ran.code == 0 && !own.exists(), "{ran:?}");
    assert_eq!(call(&mesh, ["cool.nolog", "7"]).good().stdout, "21\n");
    fs::write(&own, "mine").unwrap();
    let _reloaded = mesh.aish(["plugins", "reload", "fx", "--fresh", "--yes"]).good();
    assert!(!own.exists());
}

#[test]
fn plg_60_a_plugins_secret_is_called_by_two_words_and_sealed_to_its_home() {
    let plugins = Plugins::new();
    let core = "import pathlib\nroot = pathlib.Path(__file__).parent.parent\n\
                def key(): return (root / \"keys/api.key\").read_text()\nSKILLS = [\"key\"]\n";
    let settings = format!("{CORE}SECRETS = {{\"sub/api.key\": \"{{root}}/keys\"}}\n");
    plugins.write("safe", &[("AIGIS/AIGIS.config", &settings), ("AIGIS/AIGIS.core", core)]);
    let mesh = Mesh::hosting(&plugins.table("core", &["safe"]));
    let failed = settled(&mesh, "safe", "failed");
    assert!(failed["error"].to_string().contains("sub/api.key"), "{failed}");
    let set = |words: &[&str]| mesh.with_input([&["secrets", "set"], words].concat(), Some(b"first-value"));
    let ran = set(&["plugin/safe", "../x"]).failed(65);
    assert!(ran.stderr.contains("no name of a secret"), "{ran:?}");
    let ran = set(&["plugin/nobody", "key"]).failed(68);
    assert!(ran.stderr.contains("--for NODE"), "{ran:?}");
    let _set = set(&["plugin/safe", "sub/api.key"]).good();
    let listed = mesh.aish(["secrets", "list", "plugin/safe", "--json"]).good().json();
    assert_eq!((&listed[0]["name"], &listed[0]["nodes"]), (&"plugin/safe/sub/api.key".into(), &["alpha"][..].into()));
    assert_eq!(mesh.aish(["secrets", "list", "plugin/nobody"]).good().stdout, "");
    let _reloaded = mesh.aish(["plugins", "reload", "safe"]).good();
    assert_eq!(call(&mesh, ["safe.key"]).good().stdout, "first-value\n");
    let _gone = mesh.aish(["secrets", "rm", "plugin/safe", "sub/api.key"]).good();
    assert_eq!(mesh.aish(["secrets", "list"]).good().stdout, "");
    let _usage = mesh.aish(["secrets", "rm", "db", "key"]).failed(2);
}

#[test]
fn plg_66_a_removed_plugin_has_no_user_and_one_that_an_admin_revoked_never_again() {
    let plugins = Plugins::new();
    plugins.internal("int", "internal", "", "time.sleep(1000)");
    let mesh = Mesh::hosting("");
    let source = plugins.path("int").display().to_string();
    let add = || mesh.aish(["plugins", "add", "int", &source]);
    let user = || {
        let rows = mesh.aish(["users", "list", "--json"]).good().json();
        rows.as_array().unwrap().iter().find(|row| row["name"] == "plugin-int").map(|row| row["state"].clone())
    };
    for _ in 0..2 {
        let _added = add().good();
        assert_eq!((row(&mesh, "int").unwrap()["state"].clone(), user().unwrap()), ("running".into(), "valid".into()));
        let _removed = mesh.aish(["plugins", "remove", "int"]).good();
        assert_eq!(user().unwrap(), "revoked");
    }
    let _added = add().good();
    let _revoked = mesh.aish(["users", "revoke", "plugin-int"]).good();
    let _removed = mesh.aish(["plugins", "remove", "int"]).good();
    let ran = add().failed(1);
    assert!(ran.stderr.contains("plugin-int was revoked"), "{ran:?}");
    assert_eq!((row(&mesh, "int"), user().unwrap()), (None, "revoked".into()));
    // So it stays where the plugin was removed before.
    plugins.internal("other", "internal", "", "time.sleep(1000)");
    let source = plugins.path("other").display().to_string();
    let _added = mesh.aish(["plugins", "add", "other", &source]).good();
    let _removed = mesh.aish(["plugins", "remove", "other"]).good();
    let _revoked = mesh.aish(["users", "revoke", "plugin-other"]).good();
    let ran = mesh.aish(["plugins", "add", "other", &source]).failed(1);
    assert!(ran.stderr.contains("plugin-other was revoked"), "{ran:?}");
}
