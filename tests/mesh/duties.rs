//! What admins ask of nodes, what nodes tell of themselves, and what becomes of a node that is dead for good.

use std::time::Duration;

use aigis_tests::{Container, Mesh, PrivateEngine, nonce, until};
use serde_json::{Value, json};

use crate::faults::Gate;

const BUSYBOX: &str = "aigis-test/busybox";
const SOON: Duration = Duration::from_secs(60);
/// Beyond a lease, on a machine that does much else.
const DEAD: Duration = Duration::from_secs(40);

fn node(mesh: &Mesh, name: &str) -> Value {
    let rows = mesh.aish(["nodes", "--json"]).good().json();
    rows.as_array().unwrap().iter().find(|row| row["name"] == name).cloned().unwrap_or_default()
}

#[test]
fn a_node_is_cordoned_drained_and_labelled_over_a_restart() {
    let mesh = Mesh::up();
    let cpus = std::process::Command::new("nproc").output().unwrap().stdout;
    let cpus: u64 = String::from_utf8(cpus).unwrap().trim().parse().unwrap();
    assert_eq!(node(&mesh, "alpha")["capacity"]["cpus"], json!(cpus));

    let first = mesh.aish(["nodes", "cordon", "alpha", "--json"]).good().json();
    assert_eq!((&first["changed"], &first["cordoned"]), (&json!(true), &json!(true)), "{first}");
    assert_eq!(node(&mesh, "alpha")["cordoned"], true, "the mesh knows when the command ends");
    let again = mesh.aish(["call", "alpha.cordon", "--json"]).good().json();
    assert_eq!((&again["changed"], &again["cordoned"]), (&json!(false), &json!(true)), "{again}");
    let labelled = mesh.aish(["nodes", "label", "alpha", "zone=b", "gpu=1"]).good().stdout;
    assert!(labelled.contains("gpu=1, zone=b"), "{labelled}");
    let _removed = mesh.aish(["nodes", "label", "alpha", "--remove", "gpu"]).good();

    let _down = mesh.aish(["down"]).good();
    mesh.start();
    let row = node(&mesh, "alpha");
    assert_eq!((&row["cordoned"], &row["draining"]), (&json!(true), &json!(false)), "{row}");
    assert_eq!(row["labels"], json!({"zone": "b"}));
    assert_eq!(mesh.row("alpha").unwrap()["labels"], json!({"zone": "b"}));

    let drained = mesh.aish(["nodes", "drain", "alpha", "--grace", "1", "--json"]).good().json();
    assert_eq!((&drained["changed"], &drained["draining"]), (&json!(true), &json!(true)), "{drained}");
    assert_eq!(drained["calls_in_flight"], 0);
    assert!(mesh.aish(["nodes"]).good().stdout.contains("live, drained"));
    let open = mesh.aish(["nodes", "uncordon", "alpha", "--json"]).good().json();
    assert_eq!((&open["cordoned"], &open["draining"]), (&json!(false), &json!(false)), "{open}");

    let olga = mesh.user("olga", "operator");
    let _denied = mesh.aish(["--creds", &olga, "nodes", "cordon", "alpha"]).failed(77);
    let _unknown = mesh.aish(["nodes", "cordon", "nosuch"]).failed(68);
    let _bad = mesh.aish(["nodes", "label", "alpha", "a\u{7}=b"]).refused(65);
    let lines = mesh.audit("alpha", 11);
    let skills: Vec<&str> = lines.iter().filter_map(|line| line["skill"].as_str()).collect();
    assert!(["cordon", "label", "drain", "uncordon"].iter().all(|skill| skills.contains(skill)), "{skills:?}");
}

#[test]
fn bad_52_flt_02_only_a_dead_node_is_removed_and_its_names_are_free() {
    let engine = PrivateEngine::start();
    engine.load(BUSYBOX);
    let mesh = Mesh::up_over(Some(&engine.host()));
    let beta = mesh.joined("beta");
    let web = Container::run_on(Some(&engine.host()), "web", &[], BUSYBOX, &["sleep", "1000"]);
    until("both serve it", SOON, || {
        (mesh.rows(&[]).iter().filter(|row| row["name"] == "web" && row["state"] == "live").count() == 2).then_some(())
    });

    let unknown = mesh.aish(["nodes", "remove", "nosuch"]).refused(68);
    assert!(unknown.stderr.contains("nosuch"), "{unknown:?}");
    let live = mesh.aish(["nodes", "remove", "beta", "--json"]).refused(1);
    let error: Value = serde_json::from_str(&live.stderr).unwrap();
    assert_eq!((&error["code"], &error["data"]["state"]), (&json!("failed_precondition"), &json!("live")), "{error}");
    let olga = mesh.user("olga", "operator");
    let _denied = mesh.aish(["--creds", &olga, "nodes", "remove", "beta"]).failed(77);

    let _killed = beta.kill("node.pid");
    until("beta is offline", DEAD, || (node(&mesh, "beta")["state"] == "offline").then_some(()));
    let _ambiguous = mesh.aish(["web", "status"]).failed(68);
    let _removed = mesh.aish(["nodes", "remove", "beta"]).good();
    let status = mesh.aish(["web", "status", "--json"]).good().json();
    assert_eq!((&status["node"], &status["container_id"]), (&json!("alpha"), &json!(web.id)));
    assert_eq!(node(&mesh, "beta"), Value::Null);
    assert!(mesh.aish(["web@beta", "status"]).failed(69).stderr.contains("removed"));
    let _again = mesh.aish(["nodes", "remove", "beta"]).good();
    until("the removal is on record", SOON, || {
        let lines = mesh.aish(["audit", "--json"]).good().json();
        lines.as_array()?.iter().any(|line| line["skill"] == "nodes.remove").then_some(())
    });
}

#[test]
fn what_happens_is_heard_in_order() {
    let engine = PrivateEngine::start();
    engine.load(BUSYBOX);
    let mesh = Mesh::up_over(Some(&engine.host()));
    let vera = mesh.user("vera", "viewer");
    let mut heard = mesh.running(["--creds", vera.as_str(), "events", "--json"]);
    // What is told before the command listens is not heard: it listens once one comes.
    let name = format!("x-{}", nonce());
    until("the command listens", SOON, || {
        let _labelled = mesh.aish(["nodes", "label", "alpha", &format!("n={}", nonce())]).good();
        heard.next(Duration::from_millis(500)).map(drop)
    });
    let container = Container::run_on(Some(&engine.host()), &name, &[], BUSYBOX, &["sh", "-c", "sleep 1; exit 7"]);
    let what = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        let about = event["event"]["ci"].as_str().is_some_and(|ci| ci == name) || event["kind"] == "node";
        about
            .then(|| (event["event"]["what"].as_str().unwrap_or_default().to_owned(), event["event"]["detail"].clone()))
    };
    let mut next = |wanted: &str| {
        heard.until(wanted, SOON, |line| what(line).filter(|(what, _)| what == wanted).map(|(_, detail)| detail))
    };
    assert_eq!(next("started")["container_id"], container.id.as_str());
    assert_eq!(next("died")["exit_code"], 7);
    drop(container);
    let _removed = next("removed");
    let _cordoned = mesh.aish(["nodes", "cordon", "alpha"]).good();
    let _cordoned = next("cordoned");
    let _drained = mesh.aish(["nodes", "drain", "alpha", "--grace", "0"]).good();
    let _drained = next("drained");
    let _uncordoned = mesh.aish(["nodes", "uncordon", "alpha"]).good();
    let _uncordoned = next("uncordoned");
}

#[test]
fn the_log_of_a_node_is_read_while_it_lives_and_after_its_death() {
    let mut engine = PrivateEngine::start();
    let mesh = Mesh::up_over(Some(&engine.host()));
    let beta = mesh.joined("beta");
    engine.kill();
    let line = until("the loss of the engine is logged", SOON, || {
        let log = mesh.aish(["logs", "beta", "--tail", "1000"]);
        log.stdout.lines().find(|line| line.contains("the engine is away")).map(str::to_owned)
    });
    let frame = mesh.aish(["call", "beta.logs", "tail=1000", "--json"]).good();
    assert!(frame.stdout.lines().any(|frame| frame.contains("the engine is away") && frame.contains("\"at\"")));
    let _killed = beta.kill("node.pid");
    for _ in 0..2 {
        let log = mesh.aish(["logs", "beta", "--tail", "1000"]).good();
        assert!(log.stdout.lines().any(|known| known == line), "{log:?}");
        until("beta is offline", DEAD, || (node(&mesh, "beta")["state"] == "offline").then_some(()));
    }
    let olga = mesh.user("olga", "operator");
    let _read = mesh.aish(["--creds", &olga, "logs", "beta"]).good();
    let vera = mesh.user("vera", "viewer");
    let denied = mesh.aish(["--creds", &vera, "logs", "beta"]).failed(77);
    assert!(denied.stderr.contains("operators and admins"), "{denied:?}");
}

#[test]
fn flt_13_what_was_logged_while_the_bus_was_away_arrives_in_order() {
    let (engine, gate) = (PrivateEngine::start(), Gate::open());
    engine.load(BUSYBOX);
    let mesh =
        Mesh::up_in(vec![("DOCKER_HOST", engine.host()), ("AIGIS_NATS_SERVER", gate.program().display().to_string())]);
    gate.shut();
    let _killed = mesh.kill("bus/nats-server.pid");
    let tries = "the bus server did not start";
    until("the node has logged that the bus is away", SOON, || {
        (mesh.log().lines().filter(|line| line.contains(tries)).count() >= 3).then_some(())
    });
    gate.reopen();
    let log = until("the lines are there", DEAD, || {
        let log = mesh.aish(["logs", "alpha", "--tail", "1000", "--json"]);
        let frames: Vec<Value> = log.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (frames.iter().filter(|frame| frame["line"].as_str().is_some_and(|line| line.contains(tries))).count() >= 3)
            .then_some(frames)
    });
    let times: Vec<&str> = log.iter().filter_map(|frame| frame["at"].as_str()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let position = |text: &str| log.iter().position(|frame| frame["line"].as_str().is_some_and(|l| l.contains(text)));
    assert!(position("the bus server ended") < position(tries), "{log:?}");
}

#[test]
fn a_cordoned_node_takes_no_program_in_and_a_drained_one_keeps_none() {
    let mesh = Mesh::up();
    let mut kept = mesh.wrap(["-n", "kept", "--", "cat"]);
    let _cordoned = mesh.aish(["nodes", "cordon", "alpha"]).good();
    let refused = mesh.aish(["wrap", "-n", "late", "--", "cat"]).failed(1);
    assert!(refused.stderr.contains("the node alpha is cordoned"), "{refused:?}");
    assert_eq!(mesh.aish(["kept", "hi"]).good().stdout, "hi\n", "what is there stays");

    let _drained = mesh.aish(["nodes", "drain", "alpha", "--grace", "1"]).good();
    kept.until("its program is told why it ends", SOON, |line| {
        line.contains("the node alpha is drained").then_some(())
    });
    assert_ne!(kept.end(SOON).code, 0);
    let _gone = mesh.aish(["kept", "hi"]).failed(69);
    let _open = mesh.aish(["nodes", "uncordon", "alpha"]).good();
    let _again = mesh.wrap(["-n", "kept", "--", "cat"]);
    assert_eq!(mesh.aish(["kept", "hi"]).good().stdout, "hi\n");
}
