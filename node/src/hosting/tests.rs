//! Core hosts and programs, with the real Python and the real package.

use std::{
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

use super::{
    core_host::CoreHost,
    line::{Generation, Line, Sink, Source},
    program::Program,
    start::{Plugin, Python, Start},
};
use crate::plugins::Type;

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

fn plugin(name: &str, kind: Type, root: &Path) -> Plugin {
    Plugin {
        name: Name::parse(name).unwrap(),
        kind,
        root: root.to_owned(),
        entrypoint: root.to_owned(),
        path: Vec::new(),
        launch: None,
        timeout_s: 30.0,
        concurrency: 32,
        effects: serde_json::json!({}),
        leaves: Vec::new(),
    }
}

fn fx() -> Plugin {
    plugin("fx", Type::Core, &sdk().join("tests/plugins/fx"))
}

/// Writes a core plugin that consists of `AIGIS.core`.
fn written(folder: &Path, name: &str, core: &str) -> Plugin {
    let root = folder.join(name);
    fs::create_dir_all(root.join("AIGIS")).unwrap();
    fs::write(root.join("AIGIS/AIGIS.core"), core).unwrap();
    plugin(name, Type::Core, &root)
}

struct Core {
    host: Arc<CoreHost>,
    lines: Arc<Lines>,
    way: Arc<Mirror>,
    folder: TempDir,
}

impl Core {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (lines, way) = (Arc::<Lines>::default(), Arc::<Mirror>::default());
        let start = start_in(folder.path(), None);
        let host = CoreHost::start(&start, &python(), way.clone(), lines.clone()).await.unwrap();
        Self { host: Arc::new(host), lines, way, folder }
    }

    async fn served(&self, generation: u64, plugin: &Plugin) -> bridge::Ready {
        let ready = self.host.load(Generation(generation), plugin, LONG).await.unwrap();
        self.host.serve(Generation(generation)).await.unwrap();
        ready
    }

    async fn ask(&self, generation: u64, path: &str, args: &str) -> Result<String, Error> {
        match self.host.invoke(invocation(Some(generation), path, args)).await? {
            Answered::Value(value) => Ok(String::from_utf8(value.to_vec()).unwrap()),
            Answered::Items(_) => panic!("{path} answers with a stream"),
        }
    }
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

#[tokio::test]
async fn plg_21_a_plugin_is_loaded_called_and_ended() {
    let core = Core::start().await;
    let ready = core.host.load(Generation(1), &fx(), LONG).await.unwrap();
    let skill = |path: &str| ready.skills.iter().find(|skill| skill.path.as_str() == path).unwrap();
    assert_eq!((skill("cool.CONST").effect, skill("cool.nolog").effect), (Effect::Read, Effect::Write));
    assert_eq!((skill("cool.gen").stream, skill("cool.watched").timeout_ms), (true, Some(600_000)));
    let early = core.ask(1, "cool.nolog", "[2]").await.unwrap_err();
    assert_eq!((early.code, early.detail("sent")), (Code::Unavailable, Some(&false.into())), "it is not served yet");
    core.host.serve(Generation(1)).await.unwrap();
    assert_eq!(core.ask(1, "cool.nolog", "[2]").await.unwrap(), "4");
    assert_eq!(
        core.ask(1, "cool.echo", r#"[{"b":1.0,"a":{"$duration":"1.5"}}]"#).await.unwrap(),
        r#"{"b":1.0,"a":{"$duration":"1.5"}}"#
    );
    assert_eq!(core.ask(1, "cool.withlog", "[4]").await.unwrap(), "5");
    core.lines.has("withlog has 4").await;
    assert_eq!(core.ask(1, "cool.pid", "[]").await.unwrap(), core.host.pid().to_string());
    assert!(core.ask(1, "cool.me", "[]").await.unwrap().starts_with(r#"["operator","alice",true,"01J"#));
    let error = core.ask(1, "cool.boom", "[]").await.unwrap_err();
    let exception = error.detail("exception").unwrap();
    assert_eq!((error.code, &exception["type"]), (Code::Internal, &"ValueError".into()));
    assert!(exception["traceback"].as_str().unwrap().contains("amod.py"));
    let error = core.ask(1, "cool.nope", "[]").await.unwrap_err();
    assert_eq!(error.code, Code::NotFound);
    assert_eq!(core.host.status().await.unwrap().plugins["fx"].generation, 1);
    let ended = core.host.stop(Duration::from_secs(5)).await;
    assert_eq!(ended.code, Some(0));
    core.lines.has("cleaned up").await;
    assert!(core.host.ran_at_the_end().is_empty());
}

#[tokio::test]
async fn plg_44_a_stream_is_no_further_than_its_reader_lets_it_and_ends_when_he_leaves() {
    let core = Core::start().await;
    core.served(1, &fx()).await;
    for skill in ["cool.gen", "cool.agen"] {
        let answered = core.host.invoke(invocation(Some(1), skill, "[1000000]")).await.unwrap();
        let Answered::Items(mut items) = answered else { panic!("no stream") };
        for expected in 0..5 {
            assert_eq!(items.next().await.unwrap().unwrap(), expected.to_string());
        }
        drop(items);
        while core.host.under_way() > 0 {
            tokio::task::yield_now().await;
        }
    }
    let count = core.host.invoke(invocation(Some(1), "cool.produced", "[]")).await.unwrap();
    let Answered::Value(produced) = count else { panic!("a stream") };
    let produced: Vec<u64> = serde_json::from_slice(&produced).unwrap();
    println!("{} items were produced, 5 were read", produced.len());
    assert!((5..=40).contains(&produced.len()));
    assert_eq!(core.ask(1, "cool.finished", "[]").await.unwrap(), r#"["gen","agen"]"#);
    // All of them come as they are granted.
    let answered = core.host.invoke(invocation(Some(1), "cool.gen", "[5000]")).await.unwrap();
    let Answered::Items(mut items) = answered else { panic!("no stream") };
    let (pace, mut count) = (items.pace(), 0_u64);
    while let Some(item) = items.next().await {
        assert_eq!(item.unwrap(), count.to_string());
        count += 1;
        if count.is_multiple_of(8) {
            pace.grant(8);
        }
    }
    assert_eq!(count, 5_000);
}

#[tokio::test]
async fn what_is_cancelled_ends_and_large_bodies_pass() {
    let core = Core::start().await;
    core.served(1, &fx()).await;
    let late = core.host.invoke(invocation(Some(1), "cool.aslow", "[600]"));
    assert!(tokio::time::timeout(Duration::from_millis(500), late).await.is_err());
    while core.host.under_way() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(core.ask(1, "cool.finished", "[]").await.unwrap(), r#"["aslow"]"#);
    let large = "x".repeat(80 * 1024 * 1024);
    let answer = core.ask(1, "cool.echo", &format!("[\"{large}\"]")).await.unwrap();
    assert!(answer.len() == large.len() + 2 && answer.trim_matches('"') == large);
}

#[tokio::test]
async fn plg_55_a_process_that_ends_in_a_skill_is_unavailable_at_once() {
    let core = Core::start().await;
    core.served(1, &fx()).await;
    let fatal = written(core.folder.path(), "fatal", "import os\ndef die(): os._exit(9)\nSKILLS = ['die']\n");
    core.served(2, &fatal).await;
    let begun = std::time::Instant::now();
    let error = core.ask(2, "die", "[]").await.unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&true.into())));
    println!("it was heard after {:?}", begun.elapsed());
    assert_eq!(core.host.ended().await.code, Some(9));
    assert_eq!(core.host.ran_at_the_end().into_iter().collect::<Vec<_>>(), [Generation(2)]);
    let error = core.ask(1, "cool.nolog", "[1]").await.unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&false.into())));
}

#[tokio::test]
async fn plg_19_what_cannot_be_loaded_leaves_all_else_as_it_was() {
    let core = Core::start().await;
    core.served(1, &fx()).await;
    for (generation, text, says) in [
        (2, "SKILLS = ['x.y']\n", "x"),
        (3, "def (\n", "AIGIS/AIGIS.core, line 1"),
        (4, "a = 1\n", "SKILLS"),
        (5, "raise ValueError('no, thanks')\n", "no, thanks"),
    ] {
        let broken = written(core.folder.path(), &format!("broken{generation}"), text);
        let error = core.host.load(Generation(generation), &broken, LONG).await.unwrap_err();
        assert!(error.code == Code::InvalidArgument && error.message.contains(says), "{error}");
        assert!(error.detail("file").is_some());
        assert!(core.ask(generation, "x", "[]").await.is_err());
    }
    let slow = written(core.folder.path(), "slow", "import time\ntime.sleep(600)\nSKILLS = []\n");
    let error = core.host.load(Generation(6), &slow, Duration::from_secs(1)).await.unwrap_err();
    assert_eq!((error.code, error.detail("stuck")), (Code::DeadlineExceeded, None));
    assert_eq!(core.ask(1, "cool.nolog", "[2]").await.unwrap(), "4");
}

#[tokio::test]
async fn plg_52_a_reload_switches_once_and_loses_no_call() {
    let core = Core::start().await;
    let text = |version: u32| {
        format!(
            "import aigis\ndef version(): return {version}\ndef cleanup(): print('bye {version}', flush=True)\nSKILLS = ['version']\n"
        )
    };
    core.served(1, &written(core.folder.path(), "dice", &text(1))).await;
    core.served(9, &fx()).await;
    let host = core.host.clone();
    let (current, watching) = watch::channel(1_u64);
    let calling = aigis_proxy::task::spawn("calling", async move {
        let mut seen = Vec::new();
        while watching.has_changed().is_ok() {
            let generation = *watching.borrow();
            let answer = host.invoke(invocation(Some(generation), "version", "[]")).await;
            match answer {
                Ok(Answered::Value(value)) => seen.push((generation, String::from_utf8(value.to_vec()).unwrap())),
                // Between the look at the claims and the call they passed on: a host looks once more.
                Err(error) => assert_eq!(error.detail("sent"), Some(&false.into()), "{error}"),
                Ok(Answered::Items(_)) => panic!("a stream"),
            }
            tokio::task::yield_now().await;
        }
        seen
    });
    for generation in 2..=4 {
        let version = u32::try_from(generation).unwrap();
        core.served(generation, &written(core.folder.path(), "dice", &text(version))).await;
        current.send_replace(generation);
        core.host.unload(Generation(generation - 1), LONG).await.unwrap();
        core.lines.has(&format!("bye {}", generation - 1)).await;
    }
    drop(current);
    let seen = calling.await.unwrap();
    println!("{} calls were answered", seen.len());
    assert!(!seen.is_empty());
    for (generation, answer) in seen {
        assert_eq!(generation.to_string(), answer);
    }
    assert_eq!(core.ask(4, "version", "[]").await.unwrap(), "4");
    assert!(core.ask(1, "version", "[]").await.is_err());
    assert_eq!(core.ask(9, "cool.CONST", "[]").await.unwrap(), "42");
}

#[tokio::test]
async fn calls_of_a_process_go_by_its_way_and_handles_come_back() {
    let core = Core::start().await;
    let caller = "import aigis\ndef ask(): return aigis.web.status()\nclass Box:\n    def size(self): return 3\n\
                  def box(): return Box()\nSKILLS = ['ask', 'box']\n";
    core.served(1, &written(core.folder.path(), "caller", caller)).await;
    assert_eq!(core.ask(1, "ask", "[]").await.unwrap(), "\"web.status\"");
    assert_eq!(*core.way.0.lock().unwrap(), ["web.status"]);
    let handle: serde_json::Value = serde_json::from_str(&core.ask(1, "box", "[]").await.unwrap()).unwrap();
    let id = handle["$ref"]["id"].as_str().unwrap();
    assert_eq!(handle["$ref"]["ci"], "caller");
    let used = core.host.invoke(invocation(None, &format!("_ref.{id}.call.size"), "[]")).await.unwrap();
    assert!(matches!(used, Answered::Value(value) if value == "3"));
    assert_eq!(core.host.status().await.unwrap().handles["operator.alice"], 1);
}

/// A program in a folder of its own.
fn launched(folder: &Path, name: &str, text: &str) -> (Start, Plugin) {
    let root = folder.join(name);
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("main.py"), text).unwrap();
    let start = Start { directory: root.clone(), ..start_in(folder, Some(name)) };
    (start, Plugin { launch: Some("main".into()), ..plugin(name, Type::InternalLocal, &root) })
}

struct Launched {
    program: Program,
    lines: Arc<Lines>,
    way: Arc<Mirror>,
    _folder: TempDir,
}

fn launch(text: &str) -> Launched {
    let folder = tempfile::tempdir().unwrap();
    let (start, plugin) = launched(folder.path(), "int1", text);
    let (lines, way) = (Arc::<Lines>::default(), Arc::<Mirror>::default());
    let leaves = vec!["cool.nolog".to_owned(), "cool.pid".to_owned()];
    let core = [Plugin { leaves, ..fx() }];
    let program = Program::launch(&start, &python(), &plugin, &core, way.clone(), lines.clone()).unwrap();
    Launched { program, lines, way, _folder: folder }
}

#[tokio::test]
async fn plg_36_a_program_is_launched_with_copies_and_calls_by_its_way() {
    let text = "import os, aigis\ndef launch(log):\n    log.info('up in %s', os.environ['COLOUR'])\n    \
                print(aigis.cool.pid() == os.getpid(), aigis.web.status(), os.environ['AIGIS_PLUGIN'])\n    raise SystemExit(5)\n";
    let launched = launch(text);
    launched.program.entered(LONG).await.unwrap();
    assert_eq!(launched.program.ended().await.code, Some(5));
    launched.lines.has("up in blue").await;
    assert_eq!(launched.lines.of(Source::Stdout), ["True web.status int1"]);
    assert_eq!(*launched.way.0.lock().unwrap(), ["web.status"]);
    let error = launched.program.invoke(invocation(None, "_ref.r00.text", "[]")).await.unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&false.into())));
}

#[tokio::test]
async fn a_program_without_launch_says_so_and_one_that_ends_before_is_told() {
    let launched = launch("x = 1\n");
    let error = launched.program.entered(LONG).await.unwrap_err();
    assert!(error.code == Code::FailedPrecondition && error.message.contains("no function launch"), "{error}");
    assert_eq!(launched.program.ended().await.code, Some(78));
    let launched = launch("raise ValueError('not today')\n");
    let error = launched.program.entered(LONG).await.unwrap_err();
    assert!(error.message.contains("ended with code 1"), "{error}");
    launched.lines.has("not today").await;
    let launched = launch("import time\ntime.sleep(600)\n");
    let error = launched.program.entered(Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
    assert_eq!(launched.program.stop(Duration::from_secs(5)).await.signal, Some(15));
}

#[tokio::test]
async fn children_of_a_program_call_too_and_strangers_do_not() {
    let text = "import subprocess, sys, time\nCALL = 'import aigis; print(aigis.web.status())'\ndef launch():\n    \
                subprocess.run([sys.executable, '-c', CALL])\n    \
                strange = subprocess.run([sys.executable, '-c', CALL], start_new_session=True, capture_output=True, text=True)\n    \
                print('stranger', strange.returncode != 0, flush=True)\n    time.sleep(600)\n";
    let launched = launch(text);
    launched.program.entered(LONG).await.unwrap();
    launched.lines.has("stranger True").await;
    assert_eq!(launched.lines.of(Source::Stdout), ["web.status", "stranger True"]);
    launched.lines.has("outside the plugin's group was refused").await;
    assert!(launched.program.pid() > 1);
}

#[tokio::test]
async fn an_external_program_runs_and_may_call() {
    let folder = tempfile::tempdir().unwrap();
    let (lines, way) = (Arc::<Lines>::default(), Arc::<Mirror>::default());
    let start = start_in(folder.path(), Some("ext1"));
    let script = "import sys; sys.path.insert(0, sys.argv[1]); import aigis; print(aigis.web.status())";
    let arguments = ["python3".into(), "-c".into(), script.into(), sdk().into_os_string()].to_vec();
    let program = Program::external(&start, arguments, way, lines.clone()).unwrap();
    program.entered(LONG).await.unwrap();
    assert_eq!(program.ended().await.code, Some(0));
    assert_eq!(lines.of(Source::Stdout), ["web.status"]);
    drop(program);
    let arguments = vec!["no-such-program".into()];
    let error = Program::external(&start, arguments, Arc::<Mirror>::default(), lines).unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
}
