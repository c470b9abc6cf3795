//! What plugins call, and how they are called.

use super::*;

/// A program of calls, whose lines go to the log of an internal plugin.
fn caller(plugins: &Plugins, kind: &str, body: &str) {
    plugins.internal("caller", kind, "", &format!("{body}\nprint(\"that is all\", flush=True)\ntime.sleep(1000)"));
}

/// A mesh with FX and a caller, and what the caller said.
fn said(kind: &str, body: &str) -> (Plugins, Mesh, String) {
    let plugins = Plugins::new();
    plugins.fx();
    caller(&plugins, kind, body);
    let mesh = Mesh::hosting(&[plugins.table("core", &["fx"]), plugins.table(kind, &["caller"])].concat());
    let text = logged(&mesh, "caller", "that is all");
    (plugins, mesh, text)
}

#[test]
fn plg_24_a_ci_has_its_own_skills_whoever_claims_below_its_name() {
    let plugins = Plugins::new();
    plugins.fx();
    let mesh = Mesh::hosting(&plugins.table("core", &["fx"]));
    settled(&mesh, "fx", "running");
    let _wrapped = mesh.wrap(["-n", "cool", "--", "cat"]);
    until("cool is there", LIMIT, || mesh.row("cool"));
    assert_eq!(call(&mesh, ["cool.status", "--json"]).good().json()["ci"], "cool");
    assert_eq!(call(&mesh, ["cool.nolog", "2"]).good().stdout, "4\n");
}

#[test]
fn plg_26_plg_27_the_logger_is_given_once_and_never_a_body_run_twice() {
    let (_plugins, mesh) = fx();
    let _ran = call(&mesh, ["cool.typeerr"]).failed(1);
    assert_eq!(read(&copy(&mesh, "fx").join("ran")), "once\n");
    assert_eq!(call(&mesh, ["cool.withlog", "4"]).good().stdout, "5\n");
    let lines = mesh.aish(["plugins", "logs", "fx", "--source", "log", "--json"]).good().stdout;
    let line: Value = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .find(|line: &Value| line["line"] == "with 4")
        .unwrap();
    assert!(line["call"].as_str().is_some_and(|call| !call.is_empty()), "{line}");
    assert_eq!((&line["level"], &line["plugin"]), (&"info".into(), &"fx".into()));
    assert_eq!(call(&mesh, ["cool.kw", "a=1"]).good().json(), serde_json::json!(["a"]));
}

#[test]
fn plg_35_plg_40_plg_42_an_internal_plugin_calls_as_if_it_were_here() {
    let body = r#"
def t(name, f):
    try: print(name, "->", f(), flush=True)
    except BaseException as e: print(name, "raises", [k.__name__ for k in type(e).__mro__], str(e), flush=True)
t("const", lambda: aigis.cool.CONST())
t("argument", lambda: aigis.cool.CONST(1))
c = aigis.cool
t("again", lambda: (c.nolog(1), c.nolog(2)))
def imported():
    from aigis import cool
    return cool.nolog(3)
t("from", imported)
def dotted():
    import aigis.cool
t("dotted", dotted)
t("nobody", lambda: aigis.nope.x())
t("set", lambda: setattr(aigis, "x", 1))
t("boom", lambda: aigis.cool.boom())
def mine():
    try: aigis.cool.mine()
    except aigis.cool.Mine as e: return "caught " + str(e)
t("mine", mine)
def not_mine():
    try: aigis.cool.boom()
    except aigis.cool.Mine: return "wrong"
    except ValueError as e: return "right " + str(e) + ("amod.py" in e.traceback and " there" or "") 
t("not mine", not_mine)
k = aigis.cool.K(5)
t("handle", lambda: k.hi())
t("private", lambda: k._x)
k.release()
t("released", lambda: k.hi())
t("value", lambda: aigis.value(aigis.cool.CONST))
"#;
    let (_plugins, _mesh, text) = said("internal", body);
    let line = |name: &str| {
        let found = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        found.unwrap_or_else(|| panic!("{name} is not in {text}")).to_owned()
    };
    assert_eq!(line("const"), "const -> 42");
    assert!(line("argument").contains("TypeError"), "{text}");
    assert_eq!(line("again"), "again -> (2, 4)");
    assert_eq!(line("from"), "from -> 6");
    assert!(line("dotted").contains("ModuleNotFoundError"), "{text}");
    assert!(line("nobody").contains("NotFound"), "{text}");
    assert!(line("set").contains("AttributeError"), "{text}");
    assert!(line("boom").contains("ValueError") && line("boom").contains("boom!"), "{text}");
    assert_eq!(line("mine"), "mine -> caught mine!");
    assert_eq!(line("not mine"), "not mine -> right boom! there");
    assert_eq!(line("handle"), "handle -> hi 5");
    assert!(line("private").contains("AttributeError") || line("private").contains("PermissionDenied"), "{text}");
    assert!(line("released").contains("FailedPrecondition"), "{text}");
    assert_eq!(line("value"), "value -> 42");
}

#[test]
fn plg_36_plg_37_who_shares_a_process_with_core_plugins() {
    for (kind, shares) in [("internal-local", true), ("internal", false)] {
        let body = "print(\"pid\", aigis.cool.pid() == os.getpid(), aigis.value(aigis.cool.CONST), flush=True)";
        let (_plugins, mesh, text) = said(kind, body);
        let expected = if shares { "pid True 42" } else { "pid False 42" };
        assert!(text.contains(expected), "{kind}: {text}");
        let host = row(&mesh, "fx").unwrap()["pid"].to_string();
        assert_eq!(call(&mesh, ["cool.pid"]).good().stdout.trim(), host);
    }
    let plugins = Plugins::new();
    let module = "import aigis, os\ndef same(): return [aigis.cool.pid() == os.getpid(), aigis.value(aigis.cool.CONST), aigis.cool.CONST == 42]";
    plugins.fx().core("beside", module, "[\"beside.same\"]");
    let mesh = Mesh::hosting(&plugins.table("core", &["fx", "beside"]));
    settled(&mesh, "beside", "running");
    assert_eq!(call(&mesh, ["beside.same"]).good().json(), serde_json::json!([true, 42, true]));
}

#[test]
fn plg_38_plg_39_values_come_back_as_they_were() {
    let body = r#"
import datetime, decimal, random, uuid
zone = datetime.timezone(datetime.timedelta(hours=2))
values = [None, True, 1.0, -0.0, 2**100, -2**63, 2**64-1, float("inf"), "ä\u0000", b"\x00\xff", (1, [2]), {1: 2}, {"$ref": 1},
    {"b": 1, "a": 2}, {3, 1}, frozenset([1]), datetime.datetime(2026, 1, 2, 3, 4, 5, 678, zone), datetime.date(2026, 1, 2),
    datetime.timedelta(seconds=1.5), decimal.Decimal("1.10"), uuid.UUID(int=5), complex(1, float("inf"))]
source = random.Random(7)
def some(depth):
    kind = source.randrange(6 if depth else 3)
    if kind == 0: return source.randrange(-2**70, 2**70)
    if kind == 1: return source.random()
    if kind == 2: return "".join(chr(source.randrange(32, 0x2000)) for _ in range(5))
    if kind == 3: return [some(depth - 1) for _ in range(3)]
    if kind == 4: return tuple(some(depth - 1) for _ in range(2))
    return {source.randrange(9): some(depth - 1), "k": some(depth - 1)}
values += [some(3) for _ in range(1000 - len(values))]
wrong = 0
for value in values:
    back = aigis.cool.echo(value)
    if type(back) is not type(value) or back != value or repr(back) != repr(value) and not isinstance(value, (set, frozenset)):
        wrong += 1
        print("wrong", repr(value)[:200], repr(back)[:200], flush=True)
nan = aigis.cool.echo(float("nan"))
large = os.urandom(5_000_000)
print("wrong:", wrong, nan != nan, aigis.cool.echo(large) == large, flush=True)
circle = []
circle.append(circle)
deep = []
for _ in range(200): deep = [deep]
for name, bad in [("circle", circle), ("deep", deep), ("lone", "\ud800")]:
    try: aigis.cool.echo(bad)
    except aigis.errors.InvalidArgument as e: print(name, "args[0]" in str(e), flush=True)
"#;
    let (_plugins, mesh, text) = said("internal", body);
    assert!(text.contains("wrong: 0 True True"), "{text}");
    for name in ["circle", "deep", "lone"] {
        assert!(text.contains(&format!("{name} True")), "{text}");
    }
    let ran = call(&mesh, ["cool.echo", "{\"$foo\":1}"]).failed(65);
    assert!(ran.stderr.contains("$foo"), "{ran:?}");
    assert_eq!(call(&mesh, ["cool.nolog", "2"]).good().stdout, "4\n");
}

#[test]
fn plg_41_an_exception_of_a_skill_is_shown_and_is_1() {
    let (_plugins, mesh) = fx();
    let ran = call(&mesh, ["cool.boom"]).failed(1);
    assert!(
        ran.stdout.is_empty() && ran.stderr.contains("ValueError: boom!") && ran.stderr.contains("logs"),
        "{ran:?}"
    );
}

#[test]
fn plg_44_a_stream_that_is_left_ends_over_there() {
    let body = "for x in aigis.cool.gen(10**6):\n    print(\"item\", x, flush=True)\n    if x == 4: break";
    let (_plugins, mesh, text) = said("internal", body);
    let items: Vec<&str> = text.lines().filter(|line| line.starts_with("item")).collect();
    assert_eq!(items, ["item 0", "item 1", "item 2", "item 3", "item 4"]);
    let closed = copy(&mesh, "fx").join("closed");
    let count = until("the generator is closed", LIMIT, || read(&closed).parse::<u32>().ok());
    assert!((5..=40).contains(&count), "{count}");
}

#[test]
fn plg_46_plg_47_deadlines_hold_and_one_call_waits_for_no_other() {
    let body = r#"
began = time.monotonic()
try: aigis.with_timeout(1).cool.slow(10)
except TimeoutError as e: print("late", type(e).__name__, time.monotonic() - began < 9, flush=True)
import threading, asyncio
from aigis import aio
began = time.monotonic()
threads = [threading.Thread(target=lambda: aigis.cool.slow(3)) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print("threads", time.monotonic() - began < 20, flush=True)
async def all(): await asyncio.gather(*(aio.cool.slow(3) for _ in range(8)))
began = time.monotonic()
asyncio.run(all())
print("tasks", time.monotonic() - began < 20, flush=True)
"#;
    let (_plugins, mesh, text) = said("internal", body);
    for line in ["late DeadlineExceeded True", "threads True", "tasks True"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let ran = mesh.aish(["call", "cool.slow", "10", "--timeout", "1s"]).failed(75);
    assert!(ran.took < Duration::from_secs(9), "{ran:?}");
}

#[test]
fn plg_49_requests_that_are_none_are_refused_and_an_empty_one_is_a_call() {
    let (_plugins, mesh) = fx();
    let client = crate::client::Client::of(&mesh, "olga", "operator");
    let ask = |path: &str, body: &str| client.request(&format!("aigis.v1.main.call.operator.olga.fx.{path}"), body);
    for body in ["[1", "{\"args\":1}", "{\"x\":1}"] {
        let answer = ask("cool.nolog", body);
        let headers = answer.headers.unwrap_or_default();
        assert_eq!(headers.get("Aigis-Error").map(ToString::to_string).as_deref(), Some("invalid_argument"), "{body}");
    }
    assert_eq!(ask("cool.CONST", "").payload, "42");
    assert_eq!(ask("cool.nolog", "{\"args\":[2]}").payload, "4");

    // Without a subject for the reply nothing is run, and with any time-out in its meta all is.
    let path = "aigis.v1.main.call.operator.olga.fx.cool";
    client.publish(&format!("{path}.typeerr"), None, async_nats::HeaderMap::new(), "");
    for timeout in ["-1", "\"soon\"", "18446744073709551616", "1e400", "null"] {
        let body = format!("{{\"args\":[3],\"meta\":{{\"timeout_ms\":{timeout}}}}}");
        assert_eq!(ask("cool.nolog", &body).payload, "6", "{timeout}");
    }
    assert_eq!(read(&copy(&mesh, "fx").join("ran")), "");
    let notes = call(&mesh, ["alpha.status", "--json"]).good().json()["notes"].to_string();
    assert!(notes.contains("requests not run") && notes.contains(": 1"), "{notes}");
    let answer = ask("cool.nolog", "{\"args\":[1],\"meta\":{\"hops\":17}}");
    assert_eq!(answer.headers.unwrap().get("Aigis-Error").unwrap().as_str(), "failed_precondition");
}

#[test]
fn plg_66_a_plugin_may_what_its_grants_say() {
    let plugins = Plugins::new();
    plugins.fx();
    let body = r#"
def t(name, f):
    try: print(name, "->", type(f()).__name__, flush=True)
    except BaseException as e: print(name, "raises", type(e).__name__, flush=True)
t("status", lambda: aigis.cat.status())
t("message", lambda: aigis.cat.stop())
t("nolog", lambda: aigis.cool.nolog(1))
"#;
    caller(&plugins, "internal", body);
    let granted = format!(
        "[internal]\ncaller = {{ source = \"{}\", grants = [\"cat:read\"] }}\n",
        plugins.path("caller").display()
    );
    let mesh = Mesh::hosting(&plugins.table("core", &["fx"]));
    let _wrapped = mesh.wrap(["-n", "cat", "--", "cat"]);
    until("cat is there", LIMIT, || mesh.row("cat"));
    mesh.configure(&[plugins.table("core", &["fx"]), granted].concat());
    let _synced = mesh.aish(["plugins", "sync"]).good();
    let text = logged(&mesh, "caller", "that is all");
    assert!(text.contains("status -> dict"), "{text}");
    assert!(text.contains("nolog raises PermissionDenied"), "{text}");
}

#[test]
fn plg_67_a_viewer_reads_and_an_operator_adds_nothing() {
    let (plugins, mesh) = fx();
    let creds = |name: &str, role: &str| [("AIGIS_CREDS", mesh.user(name, role))];
    let viewer = creds("vera", "viewer");
    assert_eq!(mesh.aish_in(&viewer, ["call", "cool.CONST"]).good().stdout, "42\n");
    let _refused = mesh.aish_in(&viewer, ["call", "cool.nolog", "1"]).failed(77);
    let before = read(&mesh.config());
    plugins.core("more", "def f(): pass", "[\"more.f\"]");
    let source = plugins.path("more").display().to_string();
    let _refused = mesh.aish_in(&creds("olga", "operator"), ["plugins", "add", "more", &source]).failed(77);
    assert_eq!(read(&mesh.config()), before);
}
