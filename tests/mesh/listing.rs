//! `aish list` and `aish nodes`: what is there, and that it is what the engine has.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use aigis_tests::{Container, Mesh, PrivateEngine, docker, nonce, until};
use serde_json::Value;

const NGINX: &str = "aigis-test/nginx";
const BUSYBOX: &str = "aigis-test/busybox";
const EVERY_STATE: [&str; 8] = ["--state", "live", "--state", "unknown", "--state", "offline", "--state", "gone"];

#[test]
fn ci_01_ci_29_an_empty_list_is_an_empty_array_and_nodes_tell_what_they_have() {
    let engine = PrivateEngine::start();
    let host = engine.host();
    let mesh = Mesh::up_over(Some(&host));
    let list = mesh.aish(["list", "--kind", "container", "--json"]).good();
    assert_eq!(list.stdout, "[]\n");

    engine.load(BUSYBOX);
    let run = |name| Container::run_on(Some(&host), name, &[], BUSYBOX, &["sleep", "1000"]);
    let containers = [run("one"), run("two")];
    let _others = [mesh.joined("gamma"), mesh.joined("beta")];
    let rows_of = |node: &str| mesh.rows(&["--node", node]).len();
    until("all nodes list all", Duration::from_secs(30), || {
        ["alpha", "beta", "gamma"].iter().all(|node| rows_of(node) == containers.len() + 1).then_some(())
    });
    let nodes = mesh.aish(["nodes", "--json"]).good().json();
    let names: Vec<&Value> = nodes.as_array().into_iter().flatten().map(|node| &node["name"]).collect();
    assert_eq!(names, ["alpha", "beta", "gamma"]);
    let version = docker(Some(&host), &["version", "--format", "{{.Server.Version}}"]);
    for node in nodes.as_array().into_iter().flatten() {
        assert_eq!((&node["state"], &node["engine"]["version"]), (&"live".into(), &version.as_str().into()), "{node}");
        assert_eq!(node["cis"], rows_of(node["name"].as_str().unwrap_or_default()), "{node}");
    }
}

#[test]
fn ci_02_ci_22_ci_26_a_started_container_is_listed_and_its_name_is_known() {
    let mesh = Mesh::up();
    let name = format!("test-app-{}", nonce());
    let container = Container::run(&name, &[], NGINX, &[]);
    let row = mesh.live(&name, &container.id);
    assert_eq!((&row["node"], &row["kind"]), (&"alpha".into(), &"container".into()));
    assert_eq!(row["container"]["id"], container.inspect()["Id"]);

    let text = mesh.aish(["list"]).good().stdout;
    for line in text.lines() {
        assert_eq!(line.split('\t').count(), 5, "{line:?}");
        assert!(!line.contains('\x1b') && !line.starts_with("NAME"), "{line:?}");
    }
    assert_eq!(row["container"]["health"], Value::Null, "no event of the engine tells");
    let expected = format!("{name}\talpha\tcontainer\tlive\trunning");
    assert!(text.lines().any(|line| line == expected), "{text}");

    let _nobody = mesh.aish(["nosuch", "hi"]).failed(68);
    let typo = mesh.aish([&name[..name.len() - 1], "status"]).failed(68);
    assert!(typo.stderr.contains(&name), "{typo:?}");
}

#[test]
fn a_list_shows_the_verdict_of_the_engines_last_event() {
    let mesh = Mesh::up();
    let name = format!("web-{}", nonce());
    let container = Container::run(&name, &[], "aigis-sample/web", &[]);
    let shown = |health: &str, detail: &str| {
        until(detail, Duration::from_secs(30), || {
            let row = mesh.row(&name).filter(|row| row["container"]["health"] == health)?;
            assert_eq!((&row["state"], &row["container"]["id"]), (&"live".into(), &container.id.as_str().into()));
            let text = mesh.aish(["list"]).good().stdout;
            let end = format!("\tlive\t{detail}");
            text.lines().any(|line| line.starts_with(&name) && line.ends_with(&end)).then_some(())
        });
    };
    shown("healthy", "running, healthy");
    docker(None, &["pause", &container.id]);
    shown("paused", "paused");
    docker(None, &["unpause", &container.id]);
    docker(None, &["kill", &container.id]);
    shown("stopped", "exited (137)");
}

#[test]
fn ci_12_a_recreated_container_is_the_same_ci() {
    let mesh = Mesh::up();
    let name = format!("x-{}", nonce());
    let run = || Container::run(&name, &[], BUSYBOX, &["sleep", "1000"]);
    let mut container = run();
    let _row = mesh.live(&name, &container.id);
    // A machine that is too slow to be back in time proves nothing, so it may try again.
    for _ in 0..20 {
        let over = AtomicBool::new(false);
        let (at_once, polls) = std::thread::scope(|scope| {
            let polls = scope.spawn(|| {
                let mut polls = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let rows = mesh.rows(&EVERY_STATE);
                    polls.push(rows.into_iter().filter(|row| row["name"] == name.as_str()).collect::<Vec<_>>());
                }
                polls
            });
            let started = Instant::now();
            let old = container.id.clone();
            docker(None, &["rm", "--force", &old]);
            container = run();
            let at_once = started.elapsed() < Duration::from_millis(1500);
            let _row = mesh.live(&name, &container.id);
            over.store(true, Ordering::Relaxed);
            (at_once, polls.join().unwrap_or_default())
        });
        assert!(polls.iter().all(|rows| rows.len() == 1), "{polls:#?}");
        if at_once {
            assert!(polls.iter().flatten().all(|row| row["state"] == "live"), "{polls:#?}");
            return;
        }
    }
    panic!("no container was recreated within 1.5 s");
}

#[test]
fn ci_13_a_removed_container_is_gone_and_says_so() {
    let mesh = Mesh::up();
    let name = format!("x-{}", nonce());
    let container = Container::run(&name, &[], BUSYBOX, &["sleep", "1000"]);
    let _row = mesh.live(&name, &container.id);
    drop(container);
    until("it is not listed", Duration::from_secs(60), || mesh.row(&name).is_none().then_some(()));
    let status = mesh.aish([name.as_str(), "status"]).failed(69);
    assert!(status.stderr.contains("removed"), "{status:?}");
    let gone = mesh.rows(&["--state", "gone"]);
    assert!(gone.iter().any(|row| row["name"] == name.as_str() && row["state"] == "gone"), "{gone:?}");
}

#[test]
fn ci_23_ci_27_ci_76_thirty_three_containers_at_once() {
    let engine = PrivateEngine::start();
    engine.load(BUSYBOX);
    let host = engine.host();
    let mesh = Mesh::up_over(Some(&host));
    let run = |index: usize| {
        let name = format!("many-{index}");
        Container::run_on(Some(&host), &name, &["--network", "none"], BUSYBOX, &["sleep", "1000"])
    };
    let containers: Vec<Container> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..33).map(|index| scope.spawn(move || run(index))).collect();
        started.into_iter().map(|one| one.join().unwrap_or_else(|_| panic!("a container did not start"))).collect()
    });
    let ids: BTreeSet<&str> = containers.iter().map(|container| container.id.as_str()).collect();
    let listed = docker(Some(&host), &["ps", "--all", "--quiet", "--no-trunc"]);
    assert_eq!(ids, listed.lines().collect());
    until("all are live", Duration::from_secs(30), || {
        let rows = mesh.rows(&["--kind", "container"]);
        let live = rows.iter().filter(|row| row["state"] == "live");
        let found: BTreeSet<&str> = live.filter_map(|row| row["container"]["id"].as_str()).collect();
        (rows.len() == 33 && found == ids).then_some(())
    });

    lists_write_nothing(&mesh);
    let bogus = mesh.aish(["list", "--kind", "bogus"]).failed(2);
    assert!(bogus.stderr.contains("container, plugin, node, app, aip, wrapped"), "{bogus:?}");
    let nosuch = mesh.aish(["list", "--node", "nosuch"]).failed(68);
    assert!(nosuch.stderr.contains("alpha"), "{nosuch:?}");

    let first = mesh.shell("aish list | head -1");
    assert_eq!((first.code, first.stderr.as_str(), first.stdout.lines().count()), (0, "", 1), "{first:?}");
    let closed = mesh.shell("aish list | true");
    assert_eq!((closed.code, closed.stderr.as_str()), (0, ""), "{closed:?}");
}

/// Lists twenty times, sorted each time; the registry's file of records stays as it is.
fn lists_write_nothing(mesh: &Mesh) {
    // The node looks at itself once a minute and may write: not twice in a row within so short a time.
    let unchanged = (0..3).any(|_| {
        let before = records(mesh);
        for _ in 0..20 {
            let rows = mesh.aish(["list", "--json"]).good().json();
            let key = |row: &Value| (row["name"].to_string(), row["node"].to_string());
            let order: Vec<_> = rows.as_array().into_iter().flatten().map(key).collect();
            assert!(order.len() == 34 && order.is_sorted(), "{order:?}");
        }
        before == records(mesh)
    });
    assert!(unchanged, "lists write to the registry");
}

/// The digest of the stream that holds the records.
fn records(mesh: &Mesh) -> String {
    let blocks = "$AIGIS_DATA/main/bus/store/jetstream/*/streams/KV_records/msgs/*.blk";
    mesh.shell(&format!("cat {blocks} | sha256sum")).good().stdout
}
