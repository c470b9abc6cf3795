//! `aish list --watch`, and what a list shows while its reader sleeps or a node ends and comes back.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Read as _},
    time::{Duration, Instant},
};

use aigis_tests::{Container, Mesh, PrivateEngine, nonce, until};
use rustix::process::Signal;
use serde_json::Value;

const BUSYBOX: &str = "aigis-test/busybox";
const SHOWN: Duration = Duration::from_secs(60);

fn idle(name: &str) -> Container {
    Container::run(name, &[], BUSYBOX, &["sleep", "1000"])
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Whether a line is a live row of that container.
fn shows(line: &str, container: &Container) -> Option<()> {
    let line = parsed(line);
    let row = &line["row"];
    (line["type"] == "row" && row["state"] == "live" && row["container"]["id"] == container.id.as_str()).then_some(())
}

#[test]
fn ci_28_a_watch_tells_what_is_there_and_what_comes() {
    let mesh = Mesh::up();
    let first = idle(&format!("first-{}", nonce()));
    let _row = mesh.live(&first.name, &first.id);
    let mut watch = mesh.running(["list", "--watch", "--json"]);
    watch.until("synced", SHOWN, |line| (parsed(line) == serde_json::json!({"type": "synced"})).then_some(()));
    let (synced, rows) = watch.seen().split_last().unwrap_or_else(|| panic!("no line"));
    assert!(rows.iter().all(|line| parsed(line)["type"] == "row"), "{rows:?} {synced}");
    assert!(rows.iter().any(|line| shows(line, &first).is_some()), "{rows:?}");

    let second = idle(&format!("second-{}", nonce()));
    watch.until("the new one", SHOWN, |line| shows(line, &second));
    let removed = serde_json::json!({"type": "removed", "name": second.name, "node": "alpha"});
    drop(second);
    watch.until("its end", SHOWN, |line| (parsed(line) == removed).then_some(()));
    watch.signal(Signal::INT);
    let ended = watch.end(SHOWN);
    assert_eq!((ended.code, ended.stderr.as_str()), (130, ""));
}

#[test]
fn a_watch_ends_with_its_reader_though_nothing_changes() {
    let engine = PrivateEngine::start();
    let mesh = Mesh::up_over(Some(&engine.host()));
    let mut watch = mesh.spawn(["list", "--watch", "--json"]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| parsed(&line.unwrap())["type"] == "synced"));
    drop(lines);
    let code = until("it ends", SHOWN, || watch.try_wait().unwrap()).code();
    let mut stderr = String::new();
    watch.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}

#[test]
fn ci_78_a_watch_that_slept_calls_nothing_offline() {
    let mesh = Mesh::up();
    let container = idle(&format!("x-{}", nonce()));
    let _row = mesh.live(&container.name, &container.id);
    let mut watch = mesh.running(["list", "--watch", "--json"]);
    watch.until("synced", SHOWN, |line| (parsed(line)["type"] == "synced").then_some(()));
    watch.signal(Signal::STOP);
    let slept = Instant::now();
    until("30 s are over", Duration::from_secs(60), || (slept.elapsed() > Duration::from_secs(30)).then_some(()));
    watch.signal(Signal::CONT);
    // It is awake once it tells of something new.
    let news = idle(&format!("y-{}", nonce()));
    watch.until("something new", Duration::from_secs(60), |line| shows(line, &news));
    let mut latest = latest(watch.seen());
    while latest.values().any(|row| row["state"] != "live") {
        watch.until("every row is live", Duration::from_secs(60), |line| (parsed(line)["type"] == "row").then_some(()));
        latest = self::latest(watch.seen());
    }
    assert!(latest.contains_key(&container.name) && latest.contains_key("alpha"), "{latest:?}");
    watch.signal(Signal::INT);
    let all = watch.end(SHOWN).stdout;
    assert!(all.lines().all(|line| parsed(line)["row"]["state"] != "offline"), "{all}");
}

/// The last row that was told of each CI which was not removed since.
fn latest(lines: &[String]) -> BTreeMap<String, Value> {
    let mut latest = BTreeMap::new();
    for line in lines.iter().map(|line| parsed(line)) {
        let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match line["type"].as_str() {
            Some("row") => _ = latest.insert(name(&line["row"]["name"]), line["row"].clone()),
            Some("removed") => _ = latest.remove(&name(&line["name"])),
            _ => {}
        }
    }
    latest
}

#[test]
fn ci_80_a_node_that_ends_is_offline_at_once_and_comes_back_as_it_was() {
    let mesh = Mesh::up();
    let beta = mesh.joined("beta");
    let containers = [idle(&format!("x-{}", nonce())), idle(&format!("y-{}", nonce()))];
    let names: BTreeSet<&str> = containers.iter().map(|one| one.name.as_str()).chain(["beta"]).collect();
    // What the list shows of this test's own CIs on beta, by address.
    let own = || {
        let rows = mesh.rows(&["--node", "beta"]).into_iter();
        let own = rows.filter(|row| row["name"].as_str().is_some_and(|name| names.contains(name)));
        own.map(|row| (row["address"].to_string(), row["state"].to_string())).collect::<Vec<_>>()
    };
    let all = |state: &str| {
        let rows = own();
        (rows.len() == names.len() && rows.iter().all(|row| row.1 == format!("\"{state}\""))).then_some(rows)
    };
    let before = until("all are live", SHOWN, || all("live"));

    let mut watch = mesh.running(["list", "--watch", "--json", "--node", "beta", "--state", "offline"]);
    watch.until("synced", SHOWN, |line| (parsed(line)["type"] == "synced").then_some(()));
    assert_eq!(beta.aish(["down"]).code, 0);
    let mut missing = names.clone();
    watch.until("all are offline", Duration::from_secs(9), |line| {
        missing.remove(parsed(line)["row"]["name"].as_str().unwrap_or_default());
        missing.is_empty().then_some(())
    });
    assert!(all("offline").is_some(), "{:?}", own());
    let away = mesh.aish([&format!("{}@beta", containers[0].name), "status"]).failed(69);
    assert!(away.stderr.contains("offline"), "{away:?}");
    assert_eq!(containers[0].inspect()["State"]["Running"], true);

    beta.start();
    let after = until("all are live again", Duration::from_secs(30), || all("live"));
    assert_eq!(after, before);
}
