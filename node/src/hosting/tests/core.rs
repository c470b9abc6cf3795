//! Core hosts.

use super::*;

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

    async fn served(&self, generation: u64, plugin: &Told) -> bridge::Ready {
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

#[tokio::test]
async fn core_plugins_of_the_corpus_run_side_by_side() {
    let Some(corea) = of_corpus("corea") else { return eprintln!("there is no corpus here: set AIGIS_CORPUS") };
    let core = Core::start().await;
    core.served(1, &corea).await;
    let broken = core.host.load(Generation(2), &of_corpus("coreb").unwrap(), LONG).await.unwrap_err();
    assert_eq!(broken.code, Code::InvalidArgument);
    core.served(3, &of_corpus("slowc").unwrap()).await;
    assert_eq!(core.ask(1, "X", "[]").await.unwrap(), "7");
    assert_eq!(core.ask(1, "cool.nolog", "[4]").await.unwrap(), core.ask(1, "topfn", "[4]").await.unwrap());
    let raised = core.ask(1, "cool.boom", "[]").await.unwrap_err();
    assert!(raised.detail("exception").is_some(), "{raised}");
    core.host.unload(Generation(1), LONG).await.unwrap();
    core.lines.has("CLEANUP corea called").await;
    assert_eq!(core.host.stop(LONG).await.code, Some(0));
}
