//! Plugins and the bus: called by hand over it, and going on without it.

use std::time::Instant;

use super::*;
use crate::{client::Client, faults::Gate};

/// A plugin as it is found in the wild: a package `src` of modules, and one of them listed as a whole.
const SEARCH: &str = r#"
import pathlib, re
from src.consts import BadTag
def sanitize(tags):
    with open(pathlib.Path(__file__).with_name("ran"), "a") as f: f.write("x")
    for tag in tags:
        if not re.fullmatch("[0-9a-zA-Z_() ]+", tag):
            raise BadTag("ERROR: invalid tag detected: " + tag)
    return "+".join(tag.strip().lower().replace(" ", "_") for tag in tags)
"#;

#[test]
fn plg_48_a_plain_client_calls_by_hand_and_only_as_itself() {
    let plugins = Plugins::new();
    plugins.write(
        "boorunator",
        &[
            ("AIGIS/AIGIS.config", CORE),
            ("AIGIS/AIGIS.core", "from src import boorunator\nSKILLS = [\"boorunator\"]\n"),
            ("src/boorunator.py", SEARCH),
            ("src/consts.py", "class BadTag(Exception):\n    pass\n"),
        ],
    );
    let mesh = Mesh::hosting(&plugins.table("core", &["boorunator"]));
    settled(&mesh, "boorunator", "running");
    let (alice, _bob) = (Client::of(&mesh, "alice", "operator"), mesh.user("bob", "operator"));
    let subject = "aigis.v1.main.call.operator.alice.boorunator.sanitize";
    let answer = alice.request(subject, r#"{"args":[["Blue Sky","cat"]]}"#);
    assert_eq!((answer.payload.as_ref(), answer.headers), (&b"\"blue_sky+cat\""[..], None));

    let answer = alice.request(subject, r#"{"args":[["no!"]],"meta":{"timeout_ms":2000}}"#);
    let headers = answer.headers.unwrap();
    assert_eq!(headers.get("Aigis-Error").unwrap().as_str(), "internal");
    let mut error: Value = serde_json::from_slice(&answer.payload).unwrap();
    let traceback = error["data"]["exception"]["traceback"].take();
    assert!(traceback.as_str().unwrap().contains("src/boorunator.py"), "{traceback}");
    assert!(!traceback.as_str().unwrap().contains(&mesh.path().display().to_string()), "{traceback}");
    let text = "ERROR: invalid tag detected: no!";
    assert_eq!(error["message"], format!("BadTag: {text}"));
    let exception = serde_json::json!({
        "type": "BadTag", "module": "src.consts", "bases": ["Exception"], "args": [text],
        "traceback": null, "exposed_as": ["boorunator.BadTag"],
    });
    assert_eq!((&error["code"], &error["data"]["exception"]), (&"internal".into(), &exception), "{error}");

    let ran = copy(&mesh, "boorunator").join("src/ran");
    assert_eq!(read(&ran), "xx");
    for (role, name) in [("operator", "bob"), ("admin", "alice"), ("plugin", "alice")] {
        let subject = format!("aigis.v1.main.call.{role}.{name}.boorunator.sanitize");
        let since = Instant::now();
        alice.publish(&subject, Some("_INBOX.alice.x"), async_nats::HeaderMap::new(), r#"{"args":[["cat"]]}"#);
        alice.refused("publish", &subject);
        assert!(since.elapsed() < Duration::from_secs(20), "at once, {:?}", since.elapsed());
    }
    // What was refused would have come before this.
    let answer = alice.request(subject, r#"{"args":[["cat"]]}"#);
    assert_eq!((answer.payload.as_ref(), read(&ran).as_str()), (&b"\"cat\""[..], "xxx"));
}

/// A core plugin that calls another one ten times a second, once it was told to begin.
const TICKING: &str = r#"
import aigis, threading, time
def ticks(say):
    number = 0
    while True:
        number += 1
        say("tick %d %d %d", number, aigis.cool.nolog(number), aigis.cool.CONST)
        time.sleep(0.1)
def begin(logger): threading.Thread(target=ticks, args=(logger.info,), daemon=True).start()
"#;

/// An internal plugin that does the same.
const CALLER: &str = r#"
number = 0
while True:
    number += 1
    print("tick", number, aigis.cool.nolog(number), aigis.value(aigis.cool.CONST), flush=True)
    with open("ticks", "w") as f: f.write(str(number))
    time.sleep(0.1)
"#;

#[test]
fn plg_70_plugins_of_one_node_go_on_while_the_bus_is_away() {
    let plugins = Plugins::new();
    plugins.fx().core("beside", TICKING, "[\"beside.begin\"]").internal("caller", "internal-local", "", CALLER);
    let config = [plugins.table("core", &["fx", "beside"]), plugins.table("internal-local", &["caller"])].concat();
    let gate = Gate::open();
    let mesh = Mesh::hosting_in(&config, vec![("AIGIS_NATS_SERVER", gate.program().display().to_string())]);
    logged(&mesh, "caller", "tick 1 2 42");
    let _begun = call(&mesh, ["beside.begin"]).good();

    gate.shut();
    let _killed = mesh.kill("bus/nats-server.pid");
    let away = Instant::now();
    until("commands say so", LIMIT, || (mesh.aish(["list"]).code == 69).then_some(()));
    let file = copy(&mesh, "caller").join("ticks");
    let ticks = || read(&file).parse::<u32>().ok();
    let first = until("the caller calls", LIMIT, ticks);
    until("the bus was away for long", LIMIT, || {
        (ticks()? > first + 100 && away.elapsed() > Duration::from_secs(20)).then_some(())
    });
    gate.reopen();

    until("the bus is back", LIMIT, || (mesh.aish(["plugins", "list", "--json"]).code == 0).then_some(()));
    for name in ["caller", "beside"] {
        let said = mesh.aish(["plugins", "logs", name, "--tail", "100000"]).good().stdout;
        let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("tick ")).collect();
        assert!(lines.len() > 100, "{name}: {said}");
        for (number, line) in (1..).zip(&lines) {
            assert_eq!(**line, format!("tick {number} {} 42", 2 * number), "{name}");
        }
    }
    assert_eq!(row(&mesh, "caller").unwrap()["restarts"], 0);
}
