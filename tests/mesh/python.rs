//! Python programs as clients of the mesh: a real `python3` with the package of this tree, over `aish sdk-bridge`.

use std::{
    io::{Read as _, Write as _},
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use aigis_tests::{Container, Mesh, Ran, Running, nonce, until};
use rustix::process::Signal;
use serde_json::Value;

use crate::client::Client;

const BUSYBOX: &str = "aigis-test/busybox";
/// What a row grants, and room for a machine that does much else.
const SOON: Duration = Duration::from_secs(60);

/// A mesh with one container, and Python beside it.
struct Scene {
    container: Container,
    mesh: Mesh,
}

/// The Python package of this tree.
fn package() -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../sdk/python").canonicalize().unwrap().display().to_string()
}

impl Scene {
    /// The container has a name that Python can write.
    fn up(command: &[&str]) -> Self {
        let mesh = Mesh::up();
        let container = Container::run(&format!("x{}", nonce().to_lowercase()), &[], BUSYBOX, command);
        let _row = mesh.live(&container.name, &container.id);
        Self { container, mesh }
    }

    /// The command line of a program that has `c` for the container's path and `NAME` for its name.
    fn line(&self, python: &str, program: &str) -> String {
        let file = self.mesh.path().join(format!("{}.py", nonce()));
        let name = &self.container.name;
        let begin = format!("import aigis, json, sys, time\nNAME = {name:?}\nc = aigis.{name}\n");
        std::fs::write(&file, format!("{begin}{program}")).unwrap();
        format!("exec {python} {}", file.display())
    }

    fn environment(&self) -> String {
        format!("PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={} ", package())
    }

    /// Runs a program to its end.
    fn python(&self, program: &str) -> Ran {
        self.mesh.shell(&format!("export {}; {}", self.environment(), self.line("python3", program)))
    }

    /// Starts a program, its lines to be read as they come.
    fn running(&self, program: &str) -> Running {
        let line = format!("export {}; {}", self.environment(), self.line("python3", program));
        Running::new(self.mesh.spawn_shell(&line))
    }

    /// How many calls the node runs, as it says itself.
    fn in_flight(&self) -> Option<u64> {
        self.mesh.aish(["call", "alpha.status", "--json"]).good().json()["calls_in_flight"].as_u64()
    }

    fn nothing_is_in_flight(&self) {
        until("no call is in flight", SOON, || (self.in_flight() == Some(0)).then_some(()));
    }
}

/// A status without what is measured anew at each call.
fn settled(mut answer: Value) -> Value {
    for measured in ["observed_at", "uptime_s", "pids", "cpu", "memory"] {
        answer.as_object_mut().unwrap().remove(measured);
    }
    answer
}

#[test]
fn plg_50_a_program_outside_any_host_calls_what_aish_calls() {
    let scene = Scene::up(&["sleep", "1000"]);
    let name = &scene.container.name;
    let by_aish = scene.mesh.aish(["call", &format!("{name}.status"), "--json"]).good().json();
    let program =
        "print(json.dumps([c.status(), aigis[NAME + '@alpha'].status(), aigis.with_timeout(5)[NAME].status()]))";
    let by_python = scene.python(program).good().json();
    for answer in by_python.as_array().unwrap() {
        assert!(answer["memory"].is_object() && answer["observed_at"].is_string(), "{answer}");
        assert_eq!(settled(answer.clone()), settled(by_aish.clone()));
    }

    // The same from the wheel, in an environment that has nothing else. What builds wheels may be missing beside the
    // first Python on the path, but the set-up of the tests has put it beside the machine's own.
    let place = scene.mesh.path().join("python");
    let made = scene.mesh.shell(&format!(
        "mkdir {place} && cd {place} && cp -r {package} package && export PIP_DISABLE_PIP_VERSION_CHECK=1 && \
         for builder in python3 /usr/bin/python3; do $builder -c 'import setuptools, wheel, pip' && break; done 2>/dev/null && \
         $builder -m pip wheel -q --no-index --no-build-isolation --no-deps -w . ./package && \
         python3 -m venv venv && venv/bin/pip install -q --no-index ./*.whl && venv/bin/pip show aigis",
        place = place.display(),
        package = package(),
    ));
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.stdout.lines().any(|line| line.trim_end() == "Requires:"), "{made:?}");
    let python = place.join("venv/bin/python").display().to_string();
    let program = "print(json.dumps([aigis.__file__, c.status()['container_id']]))";
    let installed = scene.mesh.shell(&scene.line(&python, program)).good().json();
    assert!(installed[0].as_str().unwrap().contains("site-packages"), "{installed}");
    assert_eq!(installed[1], scene.container.id.as_str());
}

#[test]
fn plg_35_names_lead_to_cis_or_say_what_is_wrong() {
    let scene = Scene::up(&["sleep", "1000"]);
    let program = r#"
def error(call):
    try:
        call()
    except Exception as e:
        return [k.__name__ for k in type(e).__mro__], str(e), getattr(e, "data", None)
    return [], "no error", None
kinds, text, data = error(lambda: aigis.nope.x())
assert "NotFound" in kinds and "AttributeError" in kinds and "nope" in text, (kinds, text)
kinds, text, data = error(lambda: c.nosuch())
assert "NotFound" in kinds and "status" in data["skills"], (kinds, data)
kinds, text, data = error(lambda: c())
assert "InvalidArgument" in kinds and "status" in data["skills"], (kinds, text)
kinds, text, data = error(lambda: c.logs(tail="many"))
assert "InvalidArgument" in kinds and "TypeError" in kinds, (kinds, text)
kinds, text, data = error(lambda: aigis["Not A Name"].status())
assert "InvalidArgument" in kinds, (kinds, text)
kinds, text, data = error(lambda: setattr(aigis, "x", 1))
assert "AttributeError" in kinds, kinds
kinds, text, data = error(lambda: __import__("aigis." + NAME))
assert "ModuleNotFoundError" in kinds, kinds
exec(f"from aigis import {NAME} as again")
assert again.status()["container_id"] == c.status()["container_id"]
assert error(lambda: c.status())[1] == "no error"
print("all")
"#;
    assert_eq!(scene.python(program).good().stdout, "all\n");

    // As whom it calls is the user's own credential.
    let vera = scene.mesh.user("vera", "viewer");
    let program = r#"
try:
    c.restart()
except PermissionError as e:
    print(e.code, e.ci == NAME + "@alpha")
"#;
    let line = format!("export {} AIGIS_CREDS={vera}; {}", scene.environment(), scene.line("python3", program));
    assert_eq!(scene.mesh.shell(&line).good().stdout, "permission_denied True\n");
}

#[test]
fn plg_46_a_deadline_is_kept_at_the_caller_and_ends_what_runs() {
    let scene = Scene::up(&["sh", "-c", "echo one; exec sleep 1000"]);
    let program = r#"
began = time.monotonic()
try:
    for line in aigis.with_timeout(1)[NAME].logs(follow=True):
        assert line["line"] == "one", line
except TimeoutError as e:
    assert e.code == "deadline_exceeded", e.code
    print("late", 0.5 < time.monotonic() - began < 20)
for bad in (0, -1, 86401, float("nan")):
    try:
        aigis.with_timeout(bad)
    except ValueError:
        print("refused")
"#;
    assert_eq!(scene.python(program).good().stdout, "late True\nrefused\nrefused\nrefused\nrefused\n");
    scene.nothing_is_in_flight();
}

#[test]
fn plg_47_calls_of_threads_and_coroutines_run_beside_each_other() {
    let scene = Scene::up(&["sleep", "1000"]);
    let program = r#"
import asyncio, threading
def slow():
    frames = list(c.exec(["sleep", "3"]))
    assert frames[-1] == {"exit_code": 0}, frames
slow()
began = time.monotonic()
threads = [threading.Thread(target=slow) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
by_threads = time.monotonic() - began
async def main():
    import aigis.aio
    async def slow():
        return [frame async for frame in aigis.aio[NAME].exec(["sleep", "3"])]
    began = time.monotonic()
    results = await asyncio.gather(*(slow() for _ in range(8)))
    assert all(frames[-1] == {"exit_code": 0} for frames in results), results
    return time.monotonic() - began
by_coroutines = asyncio.run(main())
print(json.dumps([by_threads, by_coroutines]))
"#;
    let took = scene.python(program).good().json();
    println!("8 × 3 s by threads and by coroutines: {took}");
    // One after another they would take 24 s; this machine may do much else.
    assert!(took.as_array().unwrap().iter().all(|took| took.as_f64().unwrap() < 20.0), "{took}");
}

#[test]
fn plg_44_a_stream_is_read_as_its_reader_reads_and_ends_with_it() {
    let print = "i=0; while [ $i -lt 5000 ]; do i=$((i+1)); echo \"$i\"; done; exec sleep 1000";
    let scene = Scene::up(&["sh", "-c", print]);
    let program = r#"
deadline = time.monotonic() + 30
while True:
    lines = [frame["line"] for frame in c.logs(tail=5000)]
    if len(lines) == 5000 or time.monotonic() > deadline: break
assert lines == [str(n) for n in range(1, 5001)], (len(lines), lines[:3])
for frame in c.logs(tail=5000, follow=True):
    if frame["line"] == "3": break
del frame
print("left")
with c.logs(follow=True) as lines:
    for frame in lines:
        print(frame["line"], flush=True)
"#;
    let mut running = scene.running(program);
    running.until("it follows", Duration::from_secs(30), |line| (line == "5000").then_some(()));
    until("one call is in flight", SOON, || (scene.in_flight() == Some(1)).then_some(()));
    running.signal(Signal::INT);
    let ended = running.end(SOON);
    assert!(ended.stderr.contains("KeyboardInterrupt"), "{ended:?}");
    scene.nothing_is_in_flight();

    // A process that is killed says nothing more; its bridge ends with its input.
    let mut killed = scene.running("for frame in c.logs(follow=True): print(frame['line'], flush=True)");
    killed.until("it follows", Duration::from_secs(30), |line| (line == "5000").then_some(()));
    killed.signal(Signal::KILL);
    let _ended = killed.end(SOON);
    scene.nothing_is_in_flight();
}

#[test]
fn a_program_without_a_mesh_is_told_what_to_do() {
    let mesh = Mesh::absent();
    let program =
        "import aigis\ntry: aigis.web.status()\nexcept ConnectionError as e: print(e.code, '|', e, '|', e.hint)";
    let line = |path: &str| format!("export PYTHONPATH={} {path}; exec python3 -c \"{program}\"", package());
    let none = mesh.shell(&line("")).good().stdout;
    assert!(none.contains("knows no mesh") && none.contains("aish up"), "{none}");
    let lost = mesh.shell(&line("AIGIS_AISH=/nonexistent/aish")).good().stdout;
    assert!(lost.contains("unavailable | /nonexistent/aish cannot be started"), "{lost}");
}

#[test]
fn bad_24_what_is_no_frame_ends_the_bridge_with_an_error_without_id() {
    let mesh = Mesh::up();
    let frame = |header: &str, body: &str| {
        let length = |text: &str| u32::try_from(text.len()).unwrap().to_be_bytes();
        [&length(header)[..], &length(body), header.as_bytes(), body.as_bytes()].concat()
    };
    let hello = frame(r#"{"t":"hello"}"#, r#"{"aigis":1,"mode":"client","pid":1,"python":"3.11","sdk":"0.1.0"}"#);
    let newer = frame(r#"{"t":"hello"}"#, r#"{"aigis":2,"mode":"client"}"#);
    let after = |bytes: Vec<u8>| [hello.clone(), bytes].concat();
    let cases = [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 65, "limit"),
        (frame(r#"{"t":"call","id":1,"path":"a.b"}"#, ""), 65, "hello"),
        (newer, 1, "version 2"),
        (after(vec![0xFF; 8]), 65, "limit"),
        (after(frame(r#"{"t":"dance"}"#, "")), 65, "dance"),
        (after(frame(r#"["call",1]"#, "")), 65, "no object"),
        (after(frame(r#"{"t":"call","id":"1","path":"a.b"}"#, "")), 65, "header"),
        (after(frame(r#"{"t":"stop","id":1}"#, "")), 65, "not for this host"),
    ];
    for (input, code, words) in cases {
        let mut child = mesh.spawn_bridge();
        child.stdin.take().unwrap().write_all(&input).unwrap();
        let mut said = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
        let status = until("the bridge ends", SOON, || child.try_wait().unwrap());
        let text = String::from_utf8_lossy(&said);
        let last = text.rfind(r#"{"t":"error","code":"#).map(|at| &text[at..]);
        assert!(last.is_some_and(|last| last.contains(words)), "{words}: {text}");
        assert_eq!(status.code(), Some(code), "{text}");
    }
    // An end before anything was said is nobody's fault.
    let mut child = mesh.spawn_bridge();
    drop(child.stdin.take());
    assert_eq!(until("the bridge ends", SOON, || child.try_wait().unwrap()).code(), Some(0));
}

#[test]
fn plg_48_plg_49_any_client_calls_by_hand() {
    let scene = Scene::up(&["sleep", "1000"]);
    let name = &scene.container.name;
    let olga = Client::of(&scene.mesh, "olga", "operator");
    let own = |skill: &str| format!("aigis.v1.main.call.operator.olga.{name}.{skill}");
    let answer = olga.request(&own("status"), r#"{"args":[],"meta":{"timeout_ms":5000}}"#);
    assert!(answer.headers.is_none(), "{answer:?}");
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["container_id"], scene.container.id.as_str(), "{answer}");

    let since = aigis_tests::now();
    for body in ["[1", r#"{"args":1}"#, r#"{"x":1}"#] {
        let refused = olga.request(&own("restart"), body);
        assert_eq!(refused.headers.unwrap().get("Aigis-Error").unwrap().as_str(), "invalid_argument", "{body}");
        let error: Value = serde_json::from_slice(&refused.payload).unwrap();
        assert_eq!(error["code"], "invalid_argument", "{body}");
    }
    assert!(olga.request(&own("status"), "").headers.is_none(), "an empty body is a call without arguments");
    olga.publish(&own("restart"), None, async_nats::HeaderMap::new(), "{}");
    let others = format!("aigis.v1.main.call.operator.peter.{name}.restart");
    olga.publish(&others, Some("_INBOX.olga.x"), async_nats::HeaderMap::new(), "{}");
    olga.refused("Publish", &others);
    // Whatever was sent before it has been read when this is answered.
    assert!(olga.request(&own("status"), "{}").headers.is_none());
    assert_eq!(scene.container.events_since(&since), [""; 0]);
}

/// Printed, never asserted: what a machine gives while it does much else says nothing of a limit.
#[test]
fn how_many_calls_a_python_program_makes() {
    let scene = Scene::up(&["sleep", "1000"]);
    let program = r#"
import threading
c.health()
def run(count):
    for _ in range(count): c.health()
began = time.monotonic()
run(300)
one = 300 / (time.monotonic() - began)
threads = [threading.Thread(target=run, args=(100,)) for _ in range(8)]
began = time.monotonic()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps([one, 800 / (time.monotonic() - began)]))
"#;
    let rates = scene.python(program).good().json();
    let began = Instant::now();
    for _ in 0..5 {
        let _ran = scene.mesh.aish(["call", &format!("{}.health", scene.container.name)]).good();
    }
    let by_aish = 5.0 / began.elapsed().as_secs_f64();
    println!(
        "calls of health a second: {:.0} by one thread of Python, {:.0} by eight, {by_aish:.1} by `aish call` one after another",
        rates[0].as_f64().unwrap(),
        rates[1].as_f64().unwrap(),
    );
}

/// A bridge whose streams the test has itself.
trait Bridge {
    fn spawn_bridge(&self) -> std::process::Child;
}

impl Bridge for Mesh {
    fn spawn_bridge(&self) -> std::process::Child {
        let mut command = std::process::Command::new(self.binary());
        command.arg("sdk-bridge").env("AIGIS_DATA", self.path().parent().unwrap());
        command.env_remove("AIGIS_BUS").env_remove("AIGIS_CREDS");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }
}
