//! Plugins that a node hosts: the real Python, the real package, a real bus.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use aigis_tests::{Mesh, Ran, until};
use serde_json::Value;

mod again;
mod bus;
mod calls;
mod changes;
mod commands;
mod completion;
mod deadlines;
mod handles;
mod isolation;
mod life;
mod places;
mod processes;
mod public;
mod requirements;
mod serves;
mod sources;
mod start;

/// How long a plugin may take until it stands, on a machine that does much besides.
const LIMIT: Duration = Duration::from_secs(60);

/// The plugin of the acceptance table.
const FX: &str = r#"
import os, time
CONST = 42
count = 0
def nolog(x): return 2 * x
def withlog(x, logger):
    logger.info("with %s", x)
    return x + 1
def kw(**k): return sorted(k)
def boom(): raise ValueError("boom!")
class Mine(Exception): pass
def mine(): raise Mine("mine!")
def gen(n):
    global count
    try:
        for i in range(n):
            count = i + 1
            yield i
    finally:
        open(os.path.join(os.path.dirname(__file__), "closed"), "w").write(str(count))
def slow(t):
    time.sleep(t)
    return t
class K:
    def __init__(self, v): self.v = v
    def hi(self): return f"hi {self.v}"
def echo(v): return v
def pid(): return os.getpid()
def back(call, x): return call(x)
def die(): os._exit(1)
def typeerr():
    with open(os.path.join(os.path.dirname(__file__), "ran"), "a") as f: f.write("once\n")
    raise TypeError("unexpected keyword argument 'logger'")
"#;

const FX_CORE: &str = r#"
import amod as cool
import pathlib
SKILLS = ["cool." + name for name in
    "CONST nolog withlog kw boom Mine mine gen slow K echo pid back die typeerr".split()]
def cleanup():
    with open(pathlib.Path(cool.__file__).with_name("cleaned"), "a") as f: f.write("once\n")
"#;

/// A folder of plugins that ends with the test.
pub(crate) struct Plugins(tempfile::TempDir);

impl Plugins {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Where a plugin of that name lies.
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes files of a plugin, by their paths in it.
    fn write(&self, name: &str, files: &[(&str, &str)]) -> &Self {
        for (file, content) in files {
            let path = self.path(name).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        self
    }

    /// Writes a core plugin with one module of its own name, and its skills.
    fn core(&self, name: &str, module: &str, skills: &str) -> &Self {
        let core = format!("import {name}_module as {name}\nSKILLS = {skills}\n");
        let file = format!("{name}_module.py");
        self.write(name, &[("AIGIS/AIGIS.config", CORE), ("AIGIS/AIGIS.core", &core), (&file, module)])
    }

    /// The plugin of the acceptance table.
    fn fx(&self) -> &Self {
        self.write("fx", &[("AIGIS/AIGIS.config", CORE), ("AIGIS/AIGIS.core", FX_CORE), ("amod.py", FX)])
    }

    /// Writes an internal plugin of that type, which runs that when it is launched.
    fn internal(&self, name: &str, kind: &str, settings: &str, body: &str) -> &Self {
        let settings = format!("PLUGIN_TYPE = \"{kind}\"\nENTRYPOINT = \"{{root}}\"\nLAUNCH = \"main\"\n{settings}\n");
        let body: String = body.lines().map(|line| format!("    {line}\n")).collect();
        let module = format!("import aigis, os, sys, time\ndef launch():\n    pass\n{body}");
        self.write(name, &[("AIGIS/AIGIS.config", &settings), ("main.py", &module)])
    }

    /// The lines of a config file's table.
    fn table(&self, table: &str, names: &[&str]) -> String {
        let lines = names.iter().map(|name| format!("{name} = \"{}\"\n", self.path(name).display()));
        format!("[{table}]\n{}", lines.collect::<String>())
    }
}

/// The settings of a core plugin.
const CORE: &str = "PLUGIN_TYPE = \"core\"\nENTRYPOINT = \"{root}\"\n";

/// A mesh with FX, which runs.
pub(crate) fn fx() -> (Plugins, Mesh) {
    let plugins = Plugins::new();
    let config = plugins.fx().table("core", &["fx"]);
    let mesh = Mesh::hosting(&config);
    settled(&mesh, "fx", "running");
    (plugins, mesh)
}

/// What the list says of a plugin.
fn row(mesh: &Mesh, name: &str) -> Option<Value> {
    let listed = mesh.aish(["plugins", "list", "--json"]);
    let rows: Vec<Value> = serde_json::from_str(&listed.stdout).ok()?;
    rows.into_iter().find(|row| row["name"] == name)
}

/// Waits until a plugin is in that state.
fn settled(mesh: &Mesh, name: &str, state: &str) -> Value {
    until(&format!("{name} is {state}"), LIMIT, || {
        let row = row(mesh, name)?;
        assert!(row["state"] != "failed" || state == "failed", "{row}");
        (row["state"] == state).then_some(row)
    })
}

/// Everything that the log of a plugin holds.
fn log(mesh: &Mesh, name: &str) -> String {
    mesh.aish(["plugins", "logs", name, "--tail", "100000"]).good().stdout
}

/// Waits until the log of a plugin holds that.
fn logged(mesh: &Mesh, name: &str, text: &str) -> String {
    until(&format!("{name} says {text}"), LIMIT, || {
        let log = mesh.aish(["plugins", "logs", name, "--tail", "100000"]).stdout;
        let has_failed = || row(mesh, name).is_some_and(|row| row["state"] == "failed");
        assert!(log.contains(text) || !has_failed(), "{log}");
        log.contains(text).then_some(log)
    })
}

/// Calls a skill by its path.
fn call<'a>(mesh: &Mesh, words: impl IntoIterator<Item = &'a str>) -> Ran {
    mesh.aish(["call"].into_iter().chain(words))
}

/// The runtime copy of a plugin.
fn copy(mesh: &Mesh, name: &str) -> PathBuf {
    mesh.path().join("plugins").join(name).join("source")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
