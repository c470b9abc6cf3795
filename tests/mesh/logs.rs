//! `logs`: whole, followed over a restart, and bounded when nobody reads.

use std::{
    io::{BufRead as _, BufReader},
    time::{Duration, Instant},
};

use aigis_tests::{Container, Mesh, docker, nonce, resident_bytes, until};
use rustix::process::{Pid, Signal, kill_process};

const BUSYBOX: &str = "aigis-test/busybox";
const STACK: &str = "aigis-test/stack";
const MIB: u64 = 1024 * 1024;

/// How many calls the node runs, as it says itself.
fn in_flight(mesh: &Mesh) -> Option<u64> {
    mesh.aish(["call", "alpha.status", "--json"]).good().json()["calls_in_flight"].as_u64()
}

#[test]
fn ci_39_ci_42_a_log_comes_whole_or_not_at_all() {
    let mesh = Mesh::up();
    let (nonce, said) = (nonce(), nonce());
    let print = format!("i=0; while [ $i -lt 10000 ]; do i=$((i+1)); echo \"$i {said}\"; done; exec sleep 1000");
    let x = Container::run(&format!("x-{nonce}"), &[], BUSYBOX, &["sh", "-c", &print]);
    let mute = Container::run(&format!("mute-{nonce}"), &["--log-driver", "none"], BUSYBOX, &["sleep", "1000"]);
    let _row = mesh.live(&x.name, &x.id);
    let whole = until("it has printed all", Duration::from_secs(60), || {
        let log = docker(None, &["logs", "--tail", "10000", &x.id]);
        log.ends_with(&format!("\n10000 {said}")).then_some(log)
    });
    let logs = mesh.aish(["call", &format!("{}.logs", x.name), "tail=10000", "source=stdout"]).good();
    assert_eq!(logs.stdout.lines().count(), 10_000);
    assert!(logs.stdout == format!("{whole}\n"), "the log is another");

    let _row = mesh.live(&mute.name, &mute.id);
    let refused = mesh.aish(["call", &format!("{}.logs", mute.name), "--json"]).failed(1);
    assert!(refused.stderr.contains("\"failed_precondition\""), "{refused:?}");
}

#[test]
fn ci_40_following_goes_on_over_a_restart_and_ends_with_the_reader() {
    let mesh = Mesh::up();
    let (first, second) = (nonce(), nonce());
    let program = format!(
        "if [ -e /tmp/again ]; then sleep 1; echo {second}; else echo {first}; touch /tmp/again; fi; exec sleep 1000"
    );
    let x = Container::run(&format!("x-{}", nonce()), &[], BUSYBOX, &["sh", "-c", &program]);
    let _row = mesh.live(&x.name, &x.id);
    let mut logs = mesh.running(["call", &format!("{}.logs", x.name), "follow=true"]);
    logs.until("the first word", Duration::from_secs(20), |line| (line == first).then_some(()));
    assert_eq!(in_flight(&mesh), Some(1));
    let _ = docker(None, &["restart", "--time", "0", &x.id]);
    logs.until("the word after the restart", Duration::from_secs(30), |line| (line == second).then_some(()));
    logs.signal(Signal::INT);
    let ended = logs.end(Duration::from_secs(60));
    assert_eq!(ended.code, 130, "{ended:?}");
    assert_eq!(ended.stdout, format!("{first}\n{second}\n"), "{ended:?}");
    until("no call is in flight", Duration::from_secs(60), || (in_flight(&mesh) == Some(0)).then_some(()));
}

#[test]
fn ci_41_a_reader_that_stands_still_costs_no_memory() {
    let mesh = Mesh::up();
    // 10 MiB a second at most: far more than what may be held, far less than what would fill a disk.
    let program = "import itertools, time\nfor i in itertools.count():\n    print(i, 'x' * 1015, flush=True)\n    \
                   if i % 100 == 0: time.sleep(0.01)";
    let x = Container::run(&format!("x-{}", nonce()), &[], STACK, &["python3", "-c", program]);
    let _row = mesh.live(&x.name, &x.id);
    let number = || -> u64 {
        let last = docker(None, &["logs", "--tail", "1", &x.id]);
        last.split_once(' ').and_then(|(number, _)| number.parse().ok()).unwrap_or_default()
    };
    let mut child = mesh.spawn(["call", &format!("{}.logs", x.name), "follow=true"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap_or_else(|| panic!("no pipe")));
    let mut line = String::new();
    for _ in 0..200 {
        line.clear();
        assert!(stdout.read_line(&mut line).is_ok_and(|bytes| bytes > 0), "the log ended");
    }
    let node = mesh.pid("node.pid").unwrap_or_else(|| panic!("no node"));
    let aish = Pid::from_child(&child);
    let printed = number();
    let before = [node, aish].map(resident_bytes);
    let end = Instant::now() + Duration::from_secs(20);
    until("20 s without a reader", Duration::from_secs(40), || {
        for (pid, before) in [node, aish].into_iter().zip(before) {
            let now = resident_bytes(pid);
            assert!(now < before + 32 * MIB, "{pid:?} has grown from {before} to {now} bytes");
        }
        (Instant::now() >= end).then_some(())
    });
    assert!((number() - printed) * 1024 > 64 * MIB, "too little was printed to prove anything");
    // It stood still, and was not lost: every line follows the one before it.
    let mut previous = None;
    for _ in 0..2000 {
        line.clear();
        assert!(stdout.read_line(&mut line).is_ok_and(|bytes| bytes > 0), "the log ended");
        let number: Option<u64> = line.split_once(' ').and_then(|(number, _)| number.parse().ok());
        assert!(number.is_some() && (previous.is_none() || number == previous.map(|number: u64| number + 1)), "{line}");
        previous = number;
    }
    // Ctrl-C is heard while the output is stuck.
    assert_eq!(kill_process(aish, Signal::INT), Ok(()));
    let status = until("it ends", Duration::from_secs(60), || child.try_wait().ok().flatten());
    assert_eq!(status.code(), Some(130));
    until("no call is in flight", Duration::from_secs(60), || (in_flight(&mesh) == Some(0)).then_some(()));
}
