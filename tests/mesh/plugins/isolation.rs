//! What goes wrong in one plugin harms no other, and not the node.

use super::*;

/// A plugin whose skills never come to an end, on so many threads.
fn endless(plugins: &Plugins, threads: u32) {
    let module = "def spin():\n    while True: pass\ndef answer(): return 1";
    plugins.core("endless", module, "[\"endless.spin\", \"endless.answer\"]");
    plugins.write("endless", &[("AIGIS/AIGIS.config", &format!("{CORE}CONCURRENCY = {threads}\n"))]);
}

/// The number of the node's process.
fn node(mesh: &Mesh) -> i32 {
    mesh.pid("node.pid").unwrap().as_raw_nonzero().get()
}

#[test]
fn isolation_an_endless_loop_ends_its_own_call_alone_and_is_counted() {
    let plugins = Plugins::new();
    plugins.fx();
    endless(&plugins, 4);
    let mesh = Mesh::hosting(&plugins.table("core", &["fx", "endless"]));
    settled(&mesh, "endless", "running");
    let host = row(&mesh, "fx").unwrap()["pid"].clone();
    for abandoned in 1..=2 {
        let ran = mesh.aish(["call", "endless.spin", "--timeout", "1s"]).failed(75);
        assert!(ran.took < Duration::from_secs(20), "{ran:?}");
        let status = until("it is counted", LIMIT, || {
            let status = mesh.aish(["endless", "status", "--json"]).good().json();
            (status["abandoned"] == abandoned).then_some(status)
        });
        assert_eq!(status["state"], "running", "{status}");
        assert_eq!(call(&mesh, ["cool.nolog", "2"]).good().stdout, "4\n");
        assert_eq!(call(&mesh, ["endless.answer"]).good().stdout, "1\n");
    }
    assert_eq!(mesh.aish(["endless", "health", "--json"]).good().json()["verdict"], "degraded");
    assert_eq!(mesh.aish(["fx", "health", "--json"]).good().json()["verdict"], "healthy");
    assert_eq!(row(&mesh, "fx").unwrap()["pid"], host);
}

#[test]
fn isolation_a_core_host_whose_threads_are_all_abandoned_is_started_again() {
    let plugins = Plugins::new();
    plugins.fx();
    endless(&plugins, 1);
    let mesh = Mesh::hosting(&plugins.table("core", &["fx", "endless"]));
    settled(&mesh, "endless", "running");
    let host = row(&mesh, "fx").unwrap()["pid"].clone();
    let _late = mesh.aish(["call", "endless.spin", "--timeout", "1s"]).failed(75);
    let _queued = mesh.aish(["call", "endless.answer", "--timeout", "1s"]).failed(75);
    let again = until("its host is another one", Duration::from_secs(150), || {
        row(&mesh, "endless").filter(|row| row["state"] == "running" && row["pid"].is_u64() && row["pid"] != host)
    });
    assert_eq!(again["restarts"], 1, "{again}");
    assert_eq!(call(&mesh, ["endless.answer"]).good().stdout, "1\n");
    assert_eq!(call(&mesh, ["cool.nolog", "2"]).good().stdout, "4\n");
}

#[test]
fn isolation_who_fills_memory_is_the_first_to_go() {
    let plugins = Plugins::new();
    plugins.fx();
    // Within a limit of its own: a test must not fill the machine.
    let body = "import resource, subprocess\nchild = subprocess.Popen([\"sleep\", \"1000\"])\n\
        scores = [open(f\"/proc/{pid}/oom_score_adj\").read().strip() for pid in (\"self\", child.pid)]\n\
        print(\"scores\", *scores, flush=True)\n\
        resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))\nheld = []\n\
        while True: held.append(bytes(2**24))";
    plugins.internal("greedy", "internal", "", body);
    let mesh = Mesh::hosting(&[plugins.table("core", &["fx"]), plugins.table("internal", &["greedy"])].concat());
    let node = node(&mesh);
    let failed = settled(&mesh, "greedy", "failed");
    assert_eq!(failed["last_exit"]["code"], 1, "{failed}");
    let text = log(&mesh, "greedy");
    assert!(text.contains("scores 500 500") && text.contains("MemoryError"), "{text}");
    let own = read(Path::new(&format!("/proc/{node}/oom_score_adj")));
    assert!(own.trim().parse::<i32>().unwrap() < 500, "{own}");
    let host = row(&mesh, "fx").unwrap()["pid"].to_string();
    assert_eq!(read(Path::new(&format!("/proc/{host}/oom_score_adj"))).trim(), "500");
    assert_eq!(call(&mesh, ["cool.nolog", "2"]).good().stdout, "4\n");
    assert_eq!(self::node(&mesh), node);
}

#[test]
fn isolation_a_flood_of_output_is_bounded_and_holds_up_nobody() {
    let plugins = Plugins::new();
    let module = "def f():\n    line = \"x\" * 1000\n    for _ in range(20000): print(line)\n    return \"said\"";
    plugins.fx().core("talks", module, "[\"talks.f\"]");
    // 40 MB on both outputs together, more than is kept; the last line of each says that all of it was taken: which of the two
    // is read last is chance.
    let body = "line = \"y\" * 1000\nfor i in range(40000): print(line, file=[sys.stdout, sys.stderr][i % 2])\n\
        for out in [sys.stdout, sys.stderr]: print(\"that is all\", file=out, flush=True)\ntime.sleep(1000)";
    plugins.internal("floods", "internal", "", body);
    let mesh =
        Mesh::hosting(&[plugins.table("core", &["fx", "talks"]), plugins.table("internal", &["floods"])].concat());
    settled(&mesh, "talks", "running");
    let mut talking = mesh.running(["call", "talks.f"]);
    let mut answers = 0;
    until("all was printed", LIMIT, || {
        let ran = call(&mesh, ["cool.nolog", "2"]).good();
        assert!(ran.stdout == "4\n" && ran.took < Duration::from_secs(20), "{ran:?}");
        answers += 1;
        let last = mesh.aish(["plugins", "logs", "floods", "--tail", "1"]).good().stdout;
        (last.contains("that is all") && talking.has_ended()).then_some(())
    });
    assert!(answers > 0 && talking.end(LIMIT).code == 0);
    let kept: u64 = until("it is let go of", LIMIT, || {
        let size = size(&mesh.path().join("plugins/floods"));
        (size < 30 * 1024 * 1024).then_some(size)
    });
    assert!(kept > 0);
}

/// How many bytes the files below a folder have.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

#[test]
fn isolation_a_flood_of_calls_is_refused_beyond_its_bound_and_holds_up_nobody() {
    let plugins = Plugins::new();
    plugins.fx();
    let body = r#"
import asyncio
from aigis import aio
refused = answered = 0
async def one(i):
    nonlocal refused, answered
    try:
        await (aio.cool.slow(0.01) if i % 2 else aio.cool.nolog(i))
        answered += 1
    except aigis.errors.ResourceExhausted: refused += 1
async def flood():
    while time.monotonic() < until: await asyncio.gather(*(one(i) for i in range(2000)))
until = time.monotonic() + 15
asyncio.run(flood())
print("flooded", answered > 0, refused > 0, flush=True)
time.sleep(1000)
"#;
    plugins.internal("floods", "internal", "", body);
    plugins.core("beside", "def f(): return 1", "[\"beside.f\"]");
    let mesh =
        Mesh::hosting(&[plugins.table("core", &["fx", "beside"]), plugins.table("internal", &["floods"])].concat());
    settled(&mesh, "floods", "running");
    let node = node(&mesh);
    let mut answers = 0;
    until("the flood has ended", LIMIT, || {
        let ran = call(&mesh, ["beside.f"]).good();
        assert!(ran.stdout == "1\n" && ran.took < Duration::from_secs(20), "{ran:?}");
        assert!(mesh.aish(["list"]).good().stdout.contains("beside"));
        answers += 1;
        let log = log(&mesh, "floods");
        assert!(!log.contains("Traceback"), "{log}");
        log.contains("flooded True True").then_some(())
    });
    assert!(answers >= 3, "{answers}");
    assert_eq!(self::node(&mesh), node);
    assert_eq!(call(&mesh, ["cool.nolog", "2"]).good().stdout, "4\n");
}
