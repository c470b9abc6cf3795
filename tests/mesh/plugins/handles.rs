//! What outlives a call: objects that are held, and streams that are read slowly.

use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// Skills whose objects say when they are left.
const HELD: &str = r#"
import contextlib, os
PLACE = os.path.join(os.path.dirname(__file__), "left")
class Thing:
    def hi(self): return "hi"
@contextlib.contextmanager
def cm():
    try:
        yield Thing()
    finally:
        with open(PLACE, "a") as f: f.write("left\n")
def thing(): return Thing()
def large():
    number = 0
    while True:
        number += 1
        yield bytes([number % 256]) * 100_000
"#;

fn holding(body: &str) -> (Plugins, Mesh) {
    let plugins = Plugins::new();
    plugins
        .core("held", HELD, "[\"held.cm\", \"held.thing\", \"held.large\"]")
        .internal("holder", "internal", "", body);
    let mesh = Mesh::hosting(&[plugins.table("core", &["held"]), plugins.table("internal", &["holder"])].concat());
    (plugins, mesh)
}

/// What the owner says of who holds objects there.
fn notes(mesh: &Mesh) -> String {
    call(mesh, ["held-ci.status", "--json"]).good().json()["notes"].to_string()
}

#[test]
fn plg_43_what_a_killed_process_held_is_let_go_when_its_lease_ends() {
    let body = "things = [aigis.held.thing() for _ in range(3)]\nwith aigis.held.cm() as thing:\n    print(\"it says\", thing.hi(), flush=True)\n    time.sleep(1000)";
    let (_plugins, mesh) = holding(body);
    logged(&mesh, "holder", "it says hi");
    let held = notes(&mesh);
    assert!(held.contains("plugin-holder holds"), "{held}");
    let left = copy(&mesh, "held").join("left");
    assert_eq!(read(&left), "");
    let pid = settled(&mesh, "holder", "running")["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    until("nothing is held", Duration::from_secs(90), || (!notes(&mesh).contains("holder")).then_some(()));
    until("the context is left", LIMIT, || (!read(&left).is_empty()).then_some(()));
    // Whatever else would leave it has had its turn by then.
    let _down = mesh.aish(["down"]).good();
    assert_eq!(read(&left), "left\n");
}

/// The node, its bus server, and the processes of its plugins.
fn processes(mesh: &Mesh) -> Vec<u64> {
    let own = [mesh.pid("node.pid"), mesh.pid("bus/nats-server.pid")];
    let own = own.map(|pid| u64::try_from(pid.unwrap().as_raw_nonzero().get()).unwrap());
    let of_plugins = ["held", "holder"].map(|name| settled(mesh, name, "running")["pid"].as_u64().unwrap());
    own.into_iter().chain(of_plugins).collect()
}

/// What they have in memory, in bytes, by their ids.
fn memory(processes: &[u64]) -> Vec<(u64, u64)> {
    let resident = |pid: &u64| {
        let status = read(Path::new(&format!("/proc/{pid}/status")));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().to_owned();
        line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() << 10
    };
    processes.iter().map(|pid| (*pid, resident(pid))).collect()
}

#[test]
fn plg_45_a_slow_reader_slows_the_writer_and_nothing_grows() {
    let body = "for number, item in enumerate(aigis.held.large()):\n    assert item == bytes([(number + 1) % 256]) * 100_000\n    print(\"item\", number, flush=True)\n    open(\"progress\", \"w\").write(str(number))\n    time.sleep(1)";
    let (_plugins, mesh) = holding(body);
    logged(&mesh, "holder", "item 0\n");
    let processes = processes(&mesh);
    let (before, began) = (memory(&processes), Instant::now());
    let mut most = before.clone();
    until("twenty more are read", LIMIT, || {
        for (most, (_, now)) in most.iter_mut().zip(memory(&processes)) {
            most.1 = most.1.max(now);
        }
        // No command is asked meanwhile: each would have the bus server remember more than the stream does.
        let progress = read(&copy(&mesh, "holder").join("progress"));
        progress.parse().is_ok_and(|number: u32| number >= 20).then_some(())
    });
    assert!(began.elapsed() >= Duration::from_secs(15), "it reads slowly");
    let grown: u64 = most.iter().zip(&before).map(|(most, before)| most.1.saturating_sub(before.1)).sum();
    assert!(grown < 32 << 20, "{grown} bytes: {before:?} {most:?}");
}
