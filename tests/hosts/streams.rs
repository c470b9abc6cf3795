//! Streams over the bus: a reader on another host that stands still, and lists that are followed.

use std::{
    io::{BufRead as _, BufReader},
    time::{Duration, Instant},
};

use aigis_tests::{Fleet, docker, nonce, resident_bytes, until};
use rustix::process::{Pid, Signal, kill_process};

use crate::crew::{SHOWN, idle, live, parsed};

const MIB: u64 = 1024 * 1024;

#[test]
fn ci_28_a_watch_shows_what_another_host_starts() {
    let fleet = Fleet::shared();
    let mut watch = fleet.on("alpha").running(["list", "--watch", "--json"]);
    watch.until("synced", SHOWN, |line| (parsed(line)["type"] == "synced").then_some(()));
    let container = idle(&fleet, "beta", &format!("x-{}", nonce()), &[]);
    watch.until("the new one", SHOWN, |line| {
        let row = &parsed(line)["row"];
        (row["node"] == "beta" && row["state"] == "live" && row["container"]["id"] == container.id.as_str())
            .then_some(())
    });
    watch.signal(Signal::INT);
    let ended = watch.end(SHOWN);
    assert_eq!((ended.code, ended.stderr.as_str()), (130, ""));
}

#[test]
fn ci_41_a_reader_on_another_host_that_stands_still_costs_no_memory() {
    let fleet = Fleet::shared();
    let (alpha, gamma) = (fleet.on("alpha"), fleet.on("gamma"));
    // 10 MiB a second at most: far more than what may be held, far less than what would fill a disk.
    let program = "import itertools, time\nfor i in itertools.count():\n    print(i, 'x' * 1015, flush=True)\n    \
                   if i % 100 == 0: time.sleep(0.01)";
    let name = format!("x-{}", nonce());
    let x = fleet.container("gamma", &name, &[], "aigis-test/stack", &["python3", "-c", program]);
    let _row = live(alpha, &name, "gamma");
    let engine = fleet.lab().engine("gamma").unwrap().host();
    let number = || -> u64 {
        let last = docker(Some(&engine), &["logs", "--tail", "1", &x.id]);
        last.split_once(' ').and_then(|(number, _)| number.parse().ok()).unwrap_or_default()
    };
    let mut child = alpha.spawn(["call", &format!("{name}.logs"), "follow=true"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    for _ in 0..200 {
        line.clear();
        assert!(stdout.read_line(&mut line).is_ok_and(|bytes| bytes > 0), "the log ended");
    }
    let (node, aish) = (gamma.pid("node.pid").unwrap(), Pid::from_child(&child));
    let (printed, before) = (number(), [node, aish].map(resident_bytes));
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
    for _ in 0..2_000 {
        line.clear();
        assert!(stdout.read_line(&mut line).is_ok_and(|bytes| bytes > 0), "the log ended");
        let number: u64 = line.split_once(' ').and_then(|(number, _)| number.parse().ok()).unwrap();
        assert!(previous.is_none_or(|previous| number == previous + 1), "{previous:?}, then {number}");
        previous = Some(number);
    }
    assert_eq!(kill_process(aish, Signal::INT), Ok(()));
    let status = until("it ends", SHOWN, || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
}

#[test]
fn ci_78_a_watch_that_slept_calls_no_host_offline() {
    let fleet = Fleet::shared();
    let containers = ["alpha", "beta", "gamma"].map(|host| (host, idle(&fleet, host, &format!("x-{}", nonce()), &[])));
    let alpha = fleet.on("alpha");
    for (host, container) in &containers {
        let _row = live(alpha, &container.name, host);
    }
    let mut watch = alpha.running(["list", "--watch", "--json"]);
    watch.until("synced", SHOWN, |line| (parsed(line)["type"] == "synced").then_some(()));
    watch.signal(Signal::STOP);
    let slept = Instant::now();
    until("30 s are over", Duration::from_secs(60), || (slept.elapsed() > Duration::from_secs(30)).then_some(()));
    watch.signal(Signal::CONT);
    // It is awake once it tells of something new.
    let news = idle(&fleet, "gamma", &format!("y-{}", nonce()), &[]);
    let is_live =
        |line: &str, name: &str| parsed(line)["row"]["name"] == name && parsed(line)["row"]["state"] == "live";
    watch.until("something new", Duration::from_secs(40), |line| is_live(line, &news.name).then_some(()));
    // Containers of other tests come and go meanwhile: only its own and the nodes are asked about.
    let own = containers.iter().flat_map(|(host, container)| [*host, container.name.as_str()]);
    for name in own {
        let last = |lines: &[String]| {
            let mut rows = lines.iter().rev().map(|line| parsed(line)["row"].take());
            rows.find(|row| row["name"] == name).is_some_and(|row| row["state"] == "live")
        };
        if !last(watch.seen()) {
            watch.until("it is live again", Duration::from_secs(40), |line| is_live(line, name).then_some(()));
        }
    }
    watch.signal(Signal::INT);
    let all = watch.end(SHOWN).stdout;
    assert!(all.lines().all(|line| parsed(line)["row"]["state"] != "offline"), "{all}");
}
