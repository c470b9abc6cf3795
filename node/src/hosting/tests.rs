//! Core hosts and programs, with the real Python and the real package.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use aigis_proxy::{
    Address, Code, Effect, Error, MeshName, Name, NodeName, Role, SkillPath, UserName,
    bridge::{self, Answered, Asked, Invocation, Opened, Refused, Way},
    subject::Caller,
};
use bytes::Bytes;
use futures::StreamExt as _;
use tempfile::TempDir;
use tokio::sync::watch;

mod core;
mod program;

use super::{
    core_host::CoreHost,
    line::{Generation, Line, Sink, Source},
    program::Program,
    start::{Python, Start},
};
use crate::plugins::{Told, Type, manifest::Manifest};

/// More than anything here takes, on a machine that does much besides.
const LONG: Duration = Duration::from_secs(60);

/// What was said.
#[derive(Debug)]
pub(super) struct Lines(watch::Sender<Vec<(Source, Option<u64>, String)>>);

impl Default for Lines {
    fn default() -> Self {
        Self(watch::channel(Vec::new()).0)
    }
}

impl Sink for Lines {
    fn line(&self, line: Line<'_>) {
        assert!(line.pid > 1);
        let generation = line.generation.map(|Generation(number)| number);
        self.0.send_modify(|lines| lines.push((line.source, generation, line.text.to_owned())));
    }
}

impl Lines {
    pub(super) fn of(&self, source: Source) -> Vec<String> {
        let lines = self.0.borrow();
        lines.iter().filter(|line| line.0 == source).map(|line| line.2.clone()).collect()
    }

    pub(super) async fn until(&self, holds: impl FnMut(&Vec<(Source, Option<u64>, String)>) -> bool) {
        let _ = self.0.subscribe().wait_for(holds).await;
    }

    async fn has(&self, text: &str) {
        let found = self.until(|lines| lines.iter().any(|line| line.2.contains(text)));
        tokio::time::timeout(LONG, found).await.unwrap_or_else(|_| panic!("{text} was not said: {self:?}"));
    }
}

/// Answers every call of a process with its path.
#[derive(Default)]
struct Mirror(Mutex<Vec<String>>);

impl Way for Mirror {
    async fn open(&self, asked: Asked) -> Result<Opened, Refused> {
        let path = asked.path.map(|path| path.to_string()).unwrap_or_default();
        self.0.lock().unwrap().push(path.clone());
        let answer = bridge::Answer::Value(format!("\"{path}\"").into());
        Ok(Opened { ci: Address::parse("web@alpha").unwrap(), answer })
    }
}

fn sdk() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/python").canonicalize().unwrap()
}

fn python() -> Python {
    let path = std::env::var_os("PATH").unwrap();
    let interpreter = std::env::split_paths(&path).map(|folder| folder.join("python3")).find(|path| path.is_file());
    Python { interpreter: interpreter.unwrap(), sdk: sdk() }
}

fn start_in(folder: &Path, plugin: Option<&str>) -> Start {
    Start {
        mesh: MeshName::parse("main").unwrap(),
        node: NodeName::parse("alpha").unwrap(),
        user: UserName::parse(&plugin.map_or("core-alpha".into(), |name| format!("plugin-{name}"))).unwrap(),
        plugin: plugin.map(|name| Name::parse(name).unwrap()),
        directory: folder.to_owned(),
        environment: vec![("COLOUR".into(), "blue".into())],
        socket: folder.join("run/bridge.sock"),
    }
}

fn plugin(name: &str, kind: Type, root: &Path) -> Told {
    Told {
        name: Name::parse(name).unwrap(),
        kind,
        root: root.to_owned(),
        entrypoint: root.to_owned(),
        path: Vec::new(),
        launch: None,
        timeout_s: 30.0,
        concurrency: 32,
        effects: BTreeMap::new(),
        env: BTreeMap::new(),
        leaves: Vec::new(),
    }
}

fn fx() -> Told {
    plugin("fx", Type::Core, &sdk().join("tests/plugins/fx"))
}

/// Writes a core plugin that consists of `AIGIS.core`.
fn written(folder: &Path, name: &str, core: &str) -> Told {
    let root = folder.join(name);
    fs::create_dir_all(root.join("AIGIS")).unwrap();
    fs::write(root.join("AIGIS/AIGIS.core"), core).unwrap();
    plugin(name, Type::Core, &root)
}

fn invocation(generation: Option<u64>, path: &str, args: &str) -> Invocation {
    Invocation {
        generation,
        path: SkillPath::parse(path).unwrap(),
        caller: Caller { role: Role::Operator, name: UserName::parse("alice").unwrap() },
        may: Effect::Write,
        timeout: LONG,
        call: Some("01J".into()),
        traceparent: None,
        body: Bytes::from(format!("{{\"args\":{args},\"meta\":{{}}}}")),
    }
}

/// The small plugins that exercise both dialects, where `AIGIS_CORPUS` says that they lie.
fn of_corpus(name: &str) -> Option<Told> {
    let root = PathBuf::from(std::env::var_os("AIGIS_CORPUS")?).join(name);
    let manifest = Manifest::read(&root, &root).unwrap();
    Some(Told::of(&Name::parse(name).unwrap(), &manifest, &root, Vec::new()))
}
