//! Plugins and config files are checked without a mesh.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aigis_tests::{Mesh, Ran};

/// The directory of a plugin, with that AIGIS.config.
fn plugin(settings: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let write = |file: &str, content: &str| {
        let path = directory.path().join(file);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&path, content)).unwrap_or_else(|e| panic!("{file}: {e}"));
    };
    write("AIGIS/AIGIS.config", settings);
    write("AIGIS/AIGIS.core", "SKILLS = []");
    write("requirements.txt", "requests");
    write("src/main.py", "");
    directory
}

fn check(path: &Path) -> Ran {
    Mesh::absent().aish(["plugins", "check", &path.to_string_lossy(), "--static", "--json"])
}

fn check_config(text: &str) -> Ran {
    let directory = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let file = directory.path().join("config.aigis");
    fs::write(&file, text).unwrap_or_else(|e| panic!("{e}"));
    Mesh::absent().aish(["plugins", "check", "--config", &file.to_string_lossy(), "--json"])
}

#[test]
fn plg_05_a_config_file_is_listed_in_the_order_of_starting() {
    let text = "[external]\nmeter = \"./meter\"\n[internal]\nmadbot = \"https://git.example/mad-bot\"\narchive = \"/srv/a\"\n\
        [core]\nbackdoorgery = \"https://git.example/b.git\"\ndnd = \"git@git.example:dnd\"\n[internal-local]\nl = \"./l\"\n";
    let listed = check_config(text).good().json();
    let rows = listed.as_array().unwrap_or_else(|| panic!("{listed}"));
    let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["backdoorgery", "dnd", "l", "madbot", "archive", "meter"]);
    assert_eq!((rows[1]["source"].as_str(), rows[1]["table"].as_str()), (Some("git@git.example:dnd"), Some("core")));
    assert_eq!(check_config("").good().stdout, "[]\n");
}

#[test]
fn plg_03_a_wrong_config_file_is_65_with_its_place() {
    for (text, words) in [
        ("[core]\na = \"x\"\na = \"y\"", &["config.aigis:3:1", "on line 2 and on line 3"][..]),
        ("[externl]\na = \"x\"", &["config.aigis:1:2", "external"]),
        ("[core]\nnum = 5", &["config.aigis:2:7"]),
        ("[core]\nx = \"a\"\n[external]\nx = \"b\"", &["line 2 in [core]", "line 4 in [external]"]),
        ("[core]\nlist = \"a\"", &["config.aigis:2:1", "reserved"]),
    ] {
        let ran = check_config(text).failed(65);
        for word in words {
            assert!(ran.stderr.contains(word), "{word:?} is not in {ran:?}");
        }
    }
}

#[test]
fn plg_14_what_a_plugin_says_of_itself_is_shown() {
    let plugin = plugin(
        "PLUGIN_TYPE = \"core\"\nENTRYPOINT = \"{root}/src\"\nREQUIREMENT_COMMAND = \"pip3.7 install --user -r\"\n\
         REQUIREMENT_FILE = \"{root}/requirements.txt\"\nSYSTEM_REQUIREMENTS = [\"no-such-program\", \"pip3.7\"]\n",
    );
    let shown = check(plugin.path()).good().json();
    let copy = plugin.path().canonicalize().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(shown["type"], "core");
    assert_eq!(shown["requirement_file"].as_str().map(PathBuf::from), Some(copy.join("requirements.txt")));
    assert_eq!(shown["missing_programs"], serde_json::json!(["no-such-program"]));
    let path = plugin.path().to_string_lossy().into_owned();
    let ran = Mesh::absent().aish(["plugins", "check", &path, "--static"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("type         core\n") && ran.stdout.contains("no-such-program (missing)"), "{ran:?}");
    assert!(ran.stderr.contains("note: this host lacks programs"), "{ran:?}");
}

#[test]
fn plg_16_both_forms_are_one_object() {
    let python = plugin(
        "# as Python\nPLUGIN_TYPE = 'external'\nENTRYPOINT = '{root}'\nLAUNCH = ['sh', '-c', \"\"\"x\"\"\"]\nSERVES = True",
    );
    let shown = |settings: Option<&str>| {
        if let Some(settings) = settings {
            fs::write(python.path().join("AIGIS/AIGIS.config"), settings).unwrap_or_else(|e| panic!("{e}"));
        }
        check(python.path()).good().stdout
    };
    let toml = "# as TOML\nPLUGIN_TYPE = 'external'\nENTRYPOINT = '{root}'\nLAUNCH = ['sh', '-c', 'x']\nSERVES = true";
    assert_eq!(shown(None), shown(Some(toml)));
}

#[test]
fn plg_17_plg_18_what_is_wrong_is_65_with_key_and_line() {
    let core = "PLUGIN_TYPE = 'core'\nENTRYPOINT = '{root}'\n";
    let both = "REQUIREMENT_COMMAND = 'make'\nREQUIREMENTS_COMMAND = 'pip install -r'";
    for (settings, words) in [
        (format!("{core}{both}"), &["AIGIS.config:4:", "REQUIREMENT_COMMAND", "REQUIREMENTS_COMMAND"][..]),
        (format!("{core}SECRETS = {{'a': '{{weird}}'}}"), &["AIGIS.config:3:", "SECRETS", "{weird}"]),
        (format!("{core}SECRETS = {{'a': '{{root}}/../x'}}"), &["AIGIS.config:3:", "SECRETS"]),
        ("PLUGIN_TYPE = 'core'".to_owned(), &["AIGIS.config:1:", "ENTRYPOINT is missing"]),
        ("PLUGIN_TYPE = 'cor'\nENTRYPOINT = '{root}'".to_owned(), &["AIGIS.config:1:15", "PLUGIN_TYPE"]),
        (format!("{core}HOST = "), &["AIGIS.config:3:8", "only literal values are allowed here"]),
    ] {
        let plugin = plugin(&settings);
        let ran = check(plugin.path()).failed(65);
        for word in words {
            assert!(ran.stderr.contains(word), "{word:?} is not in {ran:?}");
        }
    }
    let (one, other) = ("REQUIREMENT_COMMAND = 'pip install -r'\n", "REQUIREMENTS_COMMAND = 'pip install -r'\n");
    for spelling in [one.to_owned(), other.to_owned(), format!("{one}{other}")] {
        let plugin = plugin(&format!("{core}{spelling}REQUIREMENTS_FILE = '{{root}}/requirements.txt'"));
        let shown = check(plugin.path()).good().json();
        assert_eq!(shown["requirement_command"], "pip install -r");
        assert!(shown["requirement_file"].as_str().is_some_and(|path| path.ends_with("/requirements.txt")), "{shown}");
    }
}

#[test]
fn plg_19_files_that_are_missing_are_named() {
    let plugin = plugin("PLUGIN_TYPE = 'core'\nENTRYPOINT = '{root}'");
    for file in ["AIGIS/AIGIS.core", "AIGIS/AIGIS.config"] {
        fs::remove_file(plugin.path().join(file)).unwrap_or_else(|e| panic!("{e}"));
        let ran = check(plugin.path()).failed(65);
        assert!(ran.stderr.contains(file), "{ran:?}");
    }
    for (args, code, word) in [
        (&["check"][..], 2, "PATH"),
        (&["check", "x", "--config", "y"], 2, "cannot be used with"),
        (&["check", "/no/such/plugin", "--static"], 65, "/no/such/plugin"),
        (&["check", "--config", "/no/such/file"], 65, "/no/such/file"),
    ] {
        let ran = Mesh::absent().aish([&["plugins"], args].concat());
        assert!(ran.code == code && ran.stderr.contains(word), "{args:?}: {ran:?}");
    }
}

/// The small plugins that exercise both dialects lie beside the repository, or where `AIGIS_CORPUS` says.
fn corpus() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/aigis-plugins");
    Some(std::env::var_os("AIGIS_CORPUS").map_or_else(beside, PathBuf::from)).filter(|path| path.is_dir())
}

#[test]
fn plg_14_both_dialects_of_the_corpus_are_read() {
    let Some(corpus) = corpus() else { return eprintln!("there is no corpus here: set AIGIS_CORPUS") };
    for (names, kind) in [
        (&["corea", "coreb", "corec", "cored", "coren", "corep", "rl", "slowc"][..], "core"),
        (&["int1", "int2", "int3", "int4", "ctl", "exit0", "forever", "victim", "w1", "w2", "w3"], "internal"),
        (&["ext1"], "external"),
    ] {
        for name in names {
            assert_eq!(check(&corpus.join(name)).good().json()["type"], kind, "{name}");
        }
    }
    for (name, word) in [
        ("coree", "AIGIS.core"),
        ("coref", "LAUNCH is missing"),
        ("coreh", "ENTRYPOINT is missing"),
        ("coreo", "AIGIS.config:2:"),
    ] {
        let ran = check(&corpus.join(name)).failed(65);
        assert!(ran.stderr.contains(word), "{name}: {word:?} is not in {ran:?}");
    }
    let shown = |name: &str| check(&corpus.join(name)).good().json();
    assert_eq!(shown("int1")["restart"], 2);
    assert_eq!(shown("forever")["restart"], 1, "True is 1");
    assert_eq!(shown("int2")["host"], "otherhost.example");
    assert!(shown("int2")["launch"]["file"].as_str().is_some_and(|path| path.ends_with("int2/main.py")));
    assert!(shown("corea")["secrets"]["a.secret"].as_str().is_some_and(|path| path.ends_with("corea/sec")));
}
