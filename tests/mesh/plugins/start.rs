//! The config file, and what of it starts.

use super::*;

#[test]
fn plg_01_plg_06_an_empty_file_names_no_plugin_and_one_table_is_enough() {
    let mesh = Mesh::hosting("");
    assert_eq!(mesh.aish(["plugins", "list", "--json"]).good().stdout, "[]\n");
    let plugins = Plugins::new();
    mesh.configure(&plugins.fx().table("core", &["fx"]));
    let _synced = mesh.aish(["plugins", "sync"]).good();
    assert_eq!(call(&mesh, ["cool.nolog", "21"]).good().stdout, "42\n");
}

#[test]
fn plg_02_plugins_start_in_the_order_of_tables_and_lines() {
    let plugins = Plugins::new();
    plugins.core("slowest", "import time\ntime.sleep(2)\ndef f(): pass", "[\"slowest.f\"]");
    plugins.core("second", "def f(): pass", "[\"second.f\"]");
    for (name, kind) in [("near", "internal-local"), ("far", "internal"), ("remote", "internal-remote")] {
        plugins.internal(name, kind, "", "time.sleep(1000)");
    }
    for name in ["one", "two"] {
        let settings = "PLUGIN_TYPE = \"external\"\nENTRYPOINT = \"{root}\"\nLAUNCH = [\"sleep\", \"1000\"]\n";
        plugins.write(name, &[("AIGIS/AIGIS.config", settings)]);
    }
    let tables = [
        ("external", &["one", "two"][..]),
        ("internal-remote", &["remote"]),
        ("internal", &["far"]),
        ("internal-local", &["near"]),
        ("core", &["slowest", "second"]),
    ];
    let mesh = Mesh::hosting(&tables.map(|(table, names)| plugins.table(table, names)).concat());
    let order = ["slowest", "second", "near", "far", "remote", "one", "two"];
    settled(&mesh, "two", "running");
    let said = |name: &str, word: &str| {
        let lines = mesh.aish(["plugins", "logs", name, "--source", "node", "--json"]).good().stdout;
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let at = lines.filter(|line| line["line"] == word).find_map(|line| line["at"].as_str().map(str::to_owned));
        at.unwrap_or_else(|| panic!("{name} never was {word}"))
    };
    for pair in order.windows(2) {
        assert!(said(pair[0], "running") <= said(pair[1], "starting"), "{pair:?}");
    }
}

#[test]
fn plg_03_plg_04_a_wrong_file_starts_nothing() {
    let mesh = Mesh::absent();
    let file = mesh.config().with_file_name("given.aigis");
    let named = file.display().to_string();
    for (text, words) in [
        ("[core]\na = \"x\"\na = \"y\"", "on line 2 and on line 3"),
        ("[externl]\na = \"x\"", "external"),
        ("[core]\nnum = 5", ":2:7"),
        ("[core]\nx = \"a\"\n[external]\nx = \"b\"", "line 4"),
        ("[core]\nlist = \"a\"", "reserved"),
    ] {
        fs::write(&file, text).unwrap();
        let ran = mesh.aish(["up", "-c", &named]).failed(65);
        assert!(ran.stderr.contains(&named) && ran.stderr.contains(words), "{ran:?}");
    }
    let ran = mesh.aish(["up", "-c", "/nonexistent"]).failed(2);
    assert!(ran.stderr.contains("/nonexistent"), "{ran:?}");
    let left: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["given.aigis"], "nothing was made");
}

#[test]
fn plg_15_plg_19_plg_20_what_is_wrong_with_a_plugin_fails_that_one_alone() {
    let plugins = Plugins::new();
    let marker = plugins.path("marker");
    let evil = format!("import os\nos.system(\"touch {}\")\n{CORE}", marker.display());
    plugins.write("evil", &[("AIGIS/AIGIS.config", &evil), ("AIGIS/AIGIS.core", "SKILLS = []")]);
    plugins.write("empty", &[("x.py", "")]);
    plugins.write("nocore", &[("AIGIS/AIGIS.config", CORE)]);
    plugins.write("noskills", &[("AIGIS/AIGIS.config", CORE), ("AIGIS/AIGIS.core", "x = 1\n")]);
    plugins.core("half", "def a(): return 1\ndef b(): return 2", "[\"half.a\", \"half.b\", \"half.mising\"]");
    plugins.fx();
    let mesh = Mesh::hosting(&plugins.table("core", &["evil", "empty", "nocore", "noskills", "half", "fx"]));
    settled(&mesh, "fx", "running");
    for (name, word) in [
        ("evil", "AIGIS.config:1"),
        ("empty", "AIGIS/AIGIS.config"),
        ("nocore", "AIGIS/AIGIS.core"),
        ("noskills", "SKILLS"),
        ("half", "mising"),
    ] {
        let row = settled(&mesh, name, "failed");
        assert!(row["error"].as_str().unwrap().contains(word), "{row}");
        assert!(log(&mesh, name).contains(word), "{name}");
    }
    assert!(!marker.exists());
    let ran = call(&mesh, ["half.a"]).failed(65);
    assert!(ran.stdout.is_empty(), "{ran:?}");
    assert_eq!(call(&mesh, ["cool.nolog", "2"]).good().stdout, "4\n");
}

#[test]
fn plg_21_plg_22_only_what_is_listed_can_be_reached() {
    let (_plugins, mesh) = fx();
    let described = mesh.aish(["plugins", "describe", "fx", "--json"]).good().json();
    let skills = described["skills"].as_array().unwrap();
    let own: Vec<&Value> = skills.iter().filter(|skill| skill["kind"] != "standard").collect();
    let mut names: Vec<&str> = own.iter().map(|skill| skill["path"].as_str().unwrap()).collect();
    names.sort_unstable();
    let mut listed = "CONST nolog withlog kw boom Mine mine gen slow K K.hi echo pid back die typeerr"
        .split(' ')
        .filter(|name| *name != "K.hi")
        .map(|name| format!("cool.{name}"))
        .collect::<Vec<_>>();
    listed.sort_unstable();
    assert_eq!(names, listed);
    let effect = |path: &str| own.iter().find(|skill| skill["path"] == path).unwrap()["effect"].clone();
    assert_eq!((effect("cool.CONST"), effect("cool.nolog")), ("read".into(), "write".into()));
    for (path, code) in [("cool.os.getpid", 65), ("cool.nolog.__globals__", 77), ("cool.__dict__", 77)] {
        let ran = call(&mesh, [path]).failed(code);
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }
}

#[test]
fn plg_23_a_leaf_has_one_owner() {
    let plugins = Plugins::new();
    plugins.fx();
    let taking = "import thief_module as cool\nSKILLS = [\"cool.free\", \"cool.nolog\"]\n";
    plugins.write(
        "thief",
        &[
            ("AIGIS/AIGIS.config", CORE),
            ("AIGIS/AIGIS.core", taking),
            ("thief_module.py", "def nolog(x): return 0\ndef free(): return 0"),
        ],
    );
    let sharing = "import guest_module as cool\nSKILLS = [\"cool.other\"]\n";
    plugins.write(
        "guest",
        &[
            ("AIGIS/AIGIS.config", CORE),
            ("AIGIS/AIGIS.core", sharing),
            ("guest_module.py", "def other(): return \"guest\""),
        ],
    );
    let mesh = Mesh::hosting(&plugins.table("core", &["fx", "thief", "guest"]));
    let thief = settled(&mesh, "thief", "failed");
    let error = thief["error"].as_str().unwrap();
    assert!(error.contains("cool.nolog") && error.contains("fx@alpha") && error.contains("thief"), "{error}");
    settled(&mesh, "guest", "running");
    assert_eq!(call(&mesh, ["cool.other"]).good().stdout, "guest\n");
    assert_eq!(call(&mesh, ["cool.free"]).failed(65).stdout, "");
    let _removed = mesh.aish(["plugins", "remove", "guest"]).good();
    assert_eq!(call(&mesh, ["cool.nolog", "2"]).good().stdout, "4\n");
    assert_eq!(call(&mesh, ["cool.other"]).failed(65).stdout, "");
}

#[test]
fn plg_25_standard_skills_can_always_be_reached() {
    let plugins = Plugins::new();
    plugins.core("srv", "def status(): return \"own\"", "[\"srv.status\"]");
    let mesh = Mesh::hosting(&plugins.table("core", &["srv"]));
    settled(&mesh, "srv", "running");
    assert_eq!(call(&mesh, ["srv.status"]).good().stdout, "own\n");
    let standard = call(&mesh, ["srv-ci.status", "--json"]).good().json();
    assert_eq!((&standard["ci"], &standard["state"]), (&"srv".into(), &"running".into()));
}

#[test]
fn plg_68_a_plugin_is_added_and_removed_and_the_file_stays_as_it_was() {
    let plugins = Plugins::new();
    plugins.fx().core("bad", "def f(): pass", "[\"bad.g\"]");
    let before = "# what this host runs\n[core]  # in order\n# nothing yet\n";
    let mesh = Mesh::hosting(before);
    let file = mesh.config();
    let source = |name: &str| plugins.path(name).display().to_string();
    let _added = mesh.aish(["plugins", "add", "fx", &source("fx")]).good();
    let added = read(&file);
    assert_eq!(added.lines().count(), before.lines().count() + 1, "{added}");
    assert_eq!(call(&mesh, ["cool.nolog", "2"]).good().stdout, "4\n");
    let ran = mesh.aish(["plugins", "add", "bad", &source("bad")]).failed(1);
    assert!(ran.stderr.contains("bad.g"), "{ran:?}");
    assert_eq!(read(&file), added);
    assert!(row(&mesh, "bad").is_none());
    let _removed = mesh.aish(["plugins", "remove", "fx"]).good();
    assert_eq!(read(&file), before);
    assert!(!mesh.path().join("plugins/fx").exists());
    assert_eq!(call(&mesh, ["cool.nolog", "2"]).failed(68).stdout, "");
}
