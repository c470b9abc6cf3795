//! How programs end, and what is left of them: nothing.

use super::*;

/// How long it takes what is told of an end at once, on a machine that does much else: a lease would end later.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Whether a process is there and no zombie.
fn lives(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

fn pid(mesh: &Mesh, name: &str) -> u64 {
    mesh.aish(["call", &format!("{name}.status"), "--json"]).good().json()["pid"].as_u64().unwrap()
}

#[test]
fn ci_66_a_program_that_ends_during_a_call() {
    let mesh = Mesh::up();
    let end = log(&mesh);
    let program = format!("read line; : >{}; exit 3", end.display());
    let wrap = mesh.wrap(["-n", "three", "--", "sh", "-c", &program]);
    let ran = mesh.aish(["three", "hi"]).failed(69);
    let since = fs::metadata(&end).unwrap().modified().unwrap().elapsed().unwrap();
    assert!(since < AT_ONCE && ran.stderr.contains("exit code 3"), "{since:?}: {ran:?}");
    let ended = wrap.end(LIMIT);
    assert!(ended.code == 1 && ended.stdout.is_empty(), "{ended:?}");
    assert_eq!(mesh.rows(&["--state", "gone"])[0]["name"], "three");
    let wrap = mesh.wrap(["-n", "zero", "--", "sh", "-c", "read line; echo $line; exit 0"]);
    assert_eq!(mesh.aish(["zero", "last words"]).good().stdout, "last words\n");
    assert_eq!(wrap.end(LIMIT).code, 0);
}

#[test]
fn ci_66_what_a_killed_wrap_leaves_is_ended_and_its_name_free() {
    let mesh = Mesh::up();
    let wrap = mesh.wrap(["-n", "solo", "--", "sh", "-c", "sleep 1000 & cat"]);
    let leader = pid(&mesh, "solo");
    let group = |pid: u64| {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([pid]).collect::<Vec<u64>>()
    };
    let members = group(leader);
    assert!(members.len() >= 2 && members.iter().all(|pid| lives(*pid)), "{members:?}");
    let mut watch = mesh.running(["list", "--watch", "--json"]);
    watch.until("the list is whole", LIMIT, |line| line.contains("synced").then_some(()));
    let killed = Instant::now();
    wrap.signal(Signal::KILL);
    watch.until("the name is free", AT_ONCE, |line| {
        (line.contains("solo") && (line.contains("removed") || line.contains("gone"))).then_some(())
    });
    until("the group is gone", AT_ONCE.saturating_sub(killed.elapsed()), || {
        members.iter().all(|pid| !lives(*pid)).then_some(())
    });
    let _again = mesh.wrap(["-n", "solo", "--", "cat"]);
    assert_eq!(mesh.aish(["solo", "hi"]).good().stdout, "hi\n");
}

#[test]
fn a_program_outlives_its_node() {
    let mesh = Mesh::up();
    let wrap = mesh.wrap(["-n", "keep", "--", "cat"]);
    let before = pid(&mesh, "keep");
    mesh.kill("node.pid");
    mesh.start();
    until("it is offered again", LIMIT, || (mesh.aish(["keep", "hi"]).stdout == "hi\n").then_some(()));
    assert_eq!(pid(&mesh, "keep"), before);
    assert_eq!(mesh.rows(&["--kind", "wrapped"]).len(), 1);
    assert_eq!(mesh.aish(["call", "keep.stop", "--json"]).good().json()["changed"], true);
    assert_eq!(wrap.end(LIMIT).code, 0);
    assert!(!lives(before));
}

#[test]
fn a_program_that_fails_is_started_again_until_it_is_a_crash_loop() {
    let mesh = Mesh::up();
    let wrap = mesh.wrap([
        "-n",
        "flaky",
        "--restart",
        "on-failure",
        "--",
        "sh",
        "-c",
        "read line; echo $line; read line; exit 1",
    ]);
    assert_eq!(mesh.aish(["flaky", "one"]).good().stdout, "one\n");
    let ran = mesh.aish(["flaky", "two"]).failed(69);
    assert!(ran.stderr.contains("exit code 1"), "{ran:?}");
    until("it runs again", LIMIT, || (mesh.aish(["flaky", "three"]).stdout == "three\n").then_some(()));
    wrap.signal(Signal::INT);
    assert_eq!(wrap.end(LIMIT).code, 130);
    let wrap = mesh.wrap(["-n", "broken", "--restart", "on-failure", "--", "sh", "-c", "exit 1"]);
    let ended = wrap.end(Duration::from_secs(40));
    assert!(ended.code == 1 && ended.stderr.contains("5 times in 60 s"), "{ended:?}");
}

#[test]
fn who_may_wrap_and_where() {
    let mesh = Mesh::up();
    let viewer = mesh.user("vera", "viewer");
    let ran = mesh.aish(["wrap", "-n", "solo", "--creds", &viewer, "--", "cat"]).failed(77);
    assert!(ran.stderr.contains("viewer"), "{ran:?}");
    let _solo = mesh.wrap(["-n", "solo", "--purpose", "Testing", "--", "cat"]);
    let ran = mesh.aish(["wrap", "-n", "solo", "--", "cat"]).failed(1);
    assert!(ran.stderr.contains("solo@alpha"), "{ran:?}");
    let _ = mesh.aish(["solo", "hi", "--creds", &viewer]).failed(77);
    let _ = mesh.aish(["wrap", "-n", "x", "--concurrency", "2", "--", "cat"]).failed(2);
    let _ = mesh.aish(["wrap", "-n", "x", "--", "no-such-program"]).failed(65);
    let nowhere = Mesh::absent();
    let _ = nowhere.aish(["wrap", "-n", "solo", "--", "cat"]).failed(69);
}

#[test]
fn every_skill_that_is_described_answers_as_described() {
    let mesh = Mesh::up();
    let _solo = mesh.wrap(["-n", "solo", "--effect", "read", "--", "sh", "-c", "echo hello >&2; cat"]);
    let described = mesh.aish(["describe", "solo", "--json"]).good().json();
    assert_eq!(described["kind"], "wrapped");
    let paths: Vec<&str> =
        described["skills"].as_array().unwrap().iter().map(|skill| skill["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["describe", "health", "logs", "message", "restart", "status", "stop"]);
    let viewer = mesh.user("vera", "viewer");
    assert_eq!(mesh.aish(["solo", "hi", "--creds", &viewer]).good().stdout, "hi\n");
    for skill in described["skills"].as_array().unwrap().iter().filter(|skill| skill["stream"] == false) {
        let path = skill["path"].as_str().unwrap();
        if matches!(path, "restart" | "stop") {
            continue;
        }
        let call = format!("solo.{path}");
        let args = if path == "message" { vec!["call", &call, "hi", "--json"] } else { vec!["call", &call, "--json"] };
        let value = mesh.aish(args).good().json();
        let schema = jsonschema::validator_for(&skill["output"]).unwrap();
        assert!(schema.is_valid(&value), "{path}: {value}");
    }
    assert_eq!(mesh.aish(["solo", "hi", "--json"]).good().json(), json!({"ci": "solo", "node": "alpha", "text": "hi"}));
    let logs = mesh.aish(["logs", "solo"]).good().stdout;
    assert!(logs.contains("hello\n"), "{logs}");
    let ran = mesh.aish(["call", "solo.nosuch"]).failed(65);
    assert!(ran.stderr.contains("message"), "{ran:?}");
    let before = pid(&mesh, "solo");
    let _ = mesh.aish(["call", "solo.restart"]).good();
    assert_ne!(pid(&mesh, "solo"), before);
    assert_eq!(mesh.aish(["solo", "again"]).good().stdout, "again\n");
}

#[test]
fn a_container_that_comes_later_leaves_the_name_alone() {
    let mesh = Mesh::up();
    let name = format!("aigis-test-{}", Uuid::new_v4().simple());
    let _program = mesh.wrap(["-n", &name, "--", "cat"]);
    let container = aigis_tests::Container::run(&name, &[], "aigis-test/busybox", &["sleep", "1000"]);
    let row = until("the container has a name of its own", LIMIT, || {
        mesh.rows(&["--kind", "container"]).into_iter().find(|row| row["container"]["name"] == *name)
    });
    assert!(row["name"].as_str().unwrap().starts_with(&format!("{name}-")), "{row}");
    assert_eq!(mesh.aish([name.as_str(), "hi"]).good().stdout, "hi\n");
    drop(container);
}

#[test]
fn an_offline_holder_keeps_its_name_until_it_is_replaced() {
    let alpha = Mesh::up();
    let beta = alpha.joined("beta");
    let former = beta.wrap(["-n", "solo", "--", "cat"]);
    found(&alpha, "solo");
    let taken = alpha.aish(["wrap", "-n", "solo", "--replace", "--", "cat"]).failed(1);
    assert!(taken.stderr.contains("solo@beta"), "a live one keeps it: {taken:?}");
    beta.kill("node.pid");
    until("it is offline", Duration::from_secs(30), || alpha.row("solo").filter(|row| row["state"] == "offline"));
    // Each observer finds out by itself, and it is the node that answers here.
    let taken = until("its node knows it too", LIMIT, || {
        let taken = alpha.aish(["wrap", "-n", "solo", "--", "cat"]).failed(1);
        (!taken.stderr.contains("unknown")).then_some(taken)
    });
    assert!(taken.stderr.contains("offline") && taken.stderr.contains("--replace"), "{taken:?}");
    let _upper = alpha.wrap(["-n", "solo", "--replace", "--", "python3", &script("lines.py"), "upper"]);
    assert_eq!(alpha.aish(["solo", "hi"]).good().stdout, "HI\n");
    assert_eq!(alpha.rows(&["--kind", "wrapped"]).len(), 1);
    beta.start();
    let ended = former.end(LIMIT);
    assert!(ended.code == 1 && ended.stderr.contains("solo@alpha"), "{ended:?}");
    assert_eq!(beta.aish(["solo", "hi"]).good().stdout, "HI\n");
}
