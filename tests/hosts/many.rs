//! Many CIs on many hosts: listed, counted, and asked at once.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use aigis_tests::{Container, Fleet, docker, nonce, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::crew::{BUSYBOX, SHOWN, events, idle, live, parsed, script};

#[test]
fn ci_23_ci_27_ci_29_ci_76_ninety_nine_containers_at_once() {
    let fleet = Fleet::alone();
    let hosts = ["alpha", "beta", "gamma"];
    let engines = hosts.map(|host| {
        let engine = fleet.lab().engine(host).unwrap();
        engine.load(BUSYBOX).unwrap();
        engine.host()
    });
    let run = |index: usize| {
        let options = ["--network", "none"];
        Container::run_on(Some(&engines[index % 3]), &format!("many-{index}"), &options, BUSYBOX, &["sleep", "100000"])
    };
    let run = &run;
    let containers: Vec<Container> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..99).map(|index| scope.spawn(move || run(index))).collect();
        started.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let (alpha, last) = (fleet.on("alpha"), Instant::now());
    let running = || -> BTreeSet<String> {
        let lists = engines.iter().map(|engine| docker(Some(engine), &["ps", "--quiet", "--no-trunc"]));
        lists.flat_map(|list| list.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    let ids = running();
    assert_eq!(ids.len(), 99);
    // Twice what is granted: the machine that starts them all is one.
    until("exactly these are listed as live", Duration::from_secs(20), || {
        let rows = alpha.rows(&["--kind", "container"]);
        let found: BTreeSet<String> = rows
            .iter()
            .filter(|row| row["state"] == "live")
            .filter_map(|row| row["container"]["id"].as_str().map(str::to_owned))
            .collect();
        (rows.len() == 99 && found == ids).then_some(())
    });
    let took = last.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");

    let rows = alpha.rows(&[]);
    let key = |row: &Value| (row["name"].to_string(), row["node"].to_string());
    assert!(rows.iter().map(key).is_sorted(), "{rows:?}");
    let others: Vec<_> = rows.iter().filter(|row| row["kind"] != "container").map(|row| row["name"].clone()).collect();
    assert_eq!((rows.len(), others), (102, hosts.map(Value::from).to_vec()), "the containers, and the nodes");
    let first = alpha.shell("aish list | head -1");
    assert_eq!((first.code, first.stderr.as_str(), first.stdout.lines().count()), (0, "", 1), "{first:?}");

    let nodes = alpha.aish(["nodes", "--json"]).good().json();
    let named: Vec<_> = nodes.as_array().unwrap().iter().map(|node| node["name"].clone()).collect();
    assert_eq!(named, hosts);
    for ((host, engine), node) in hosts.iter().zip(&engines).zip(nodes.as_array().unwrap()) {
        let version = docker(Some(engine), &["version", "--format", "{{.Server.Version}}"]);
        assert_eq!(node["engine"]["version"], version.as_str(), "{node}");
        let own = rows.iter().filter(|row| row["node"] == *host).count();
        assert_eq!(node["cis"], json!(own), "{node}");
    }
    // Each engine removes its own, one after the other, beside the others.
    let mut parts = [const { Vec::new() }; 3];
    for (index, container) in containers.into_iter().enumerate() {
        parts[index % 3].push(container);
    }
    std::thread::scope(|scope| {
        for part in parts {
            scope.spawn(move || drop(part));
        }
    });
    until("none is listed", SHOWN * 2, || alpha.rows(&["--kind", "container"]).is_empty().then_some(()));
}

#[test]
fn ci_69_whoever_does_not_answer_all_is_named() {
    let fleet = Fleet::alone();
    fleet.past_the_guard();
    let alpha = fleet.on("alpha");
    until("no other CI is there", SHOWN * 2, || {
        alpha.rows(&["--kind", "container", "--kind", "wrapped"]).is_empty().then_some(())
    });
    let mark = nonce();
    let [fine, away, frozen] = ["fine", "away", "frozen"].map(|name| format!("{name}-{mark}"));
    let _fine = ["alpha", "gamma"].map(|host| (idle(&fleet, host, &format!("{fine}-{host}"), &[]), host));
    let third = idle(&fleet, "gamma", &fine, &[]);
    let _away = idle(&fleet, "beta", &away, &[]);
    let wrap = ["-n", &frozen, "--effect", "read", "--", "python3", &script("lines.py"), "upper"];
    let _frozen = alpha.wrap(wrap);
    for (container, host) in &_fine {
        let _row = live(alpha, &container.name, host);
    }
    let _rows = [live(alpha, &third.name, "gamma"), live(alpha, &away, "beta"), live(alpha, &frozen, "alpha")];
    fleet.on("beta").kill("node.pid");
    until("it is offline", Duration::from_secs(30), || alpha.row(&away).filter(|row| row["state"] == "offline"));
    let status = alpha.aish(["call", &format!("{frozen}.status"), "--json"]).good().json();
    let program = status["pid"].as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).unwrap();
    assert_eq!(kill_process(program, Signal::STOP), Ok(()));

    let kinds = ["--kind", "container", "--kind", "wrapped"];
    let ran = alpha.aish([&["--all", "status", "--timeout", "3s", "--json"], &kinds[..]].concat());
    assert_eq!(kill_process(program, Signal::CONT), Ok(()));
    assert!(ran.code == 1 && ran.took < Duration::from_secs(10), "{ran:?}");
    let said = ran.json();
    assert_eq!((&said["answered"], &said["failed"]), (&json!(3), &json!(2)), "{said}");
    let results = said["results"].as_array().unwrap();
    assert!(results.len() == 5 && results.iter().map(|result| result["address"].as_str()).is_sorted(), "{said}");
    for (ci, code) in [(&away, "unavailable"), (&frozen, "deadline_exceeded")] {
        let result = results.iter().find(|result| result["ci"] == ci.as_str()).unwrap();
        assert_eq!((&result["ok"], &result["error"]["code"]), (&json!(false), &json!(code)), "{result}");
    }
}

#[test]
fn ci_70_selectors_choose_by_whole_words_and_change_nothing() {
    let fleet = Fleet::shared();
    let (alpha, mark) = (fleet.on("alpha"), nonce());
    let run = |host: &str, name: &str, purpose: &str| {
        idle(&fleet, host, &format!("{name}-{mark}"), &["--label", &format!("aigis.purpose={purpose}")])
    };
    let one = run("beta", "one", &format!("Coding{mark}, Web"));
    let two = run("gamma", "two", &format!("research{mark}"));
    let _rows = [live(alpha, &one.name, "beta"), live(alpha, &two.name, "gamma")];
    let mut happens = events(&fleet, "beta");

    let word = format!("@coding{mark}");
    let said = alpha.aish([&word, "status"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.starts_with(&format!("[{}@beta]\n", one.name)), "{said:?}");
    assert_eq!(said.stdout.lines().filter(|line| line.starts_with('[')).count(), 1, "{said:?}");
    let _part_of_a_word = alpha.aish([&word[..word.len() - 1], "status"]).failed(68);
    let changing = alpha.aish([&word, "restart"]);
    assert!(changing.code == 1 && changing.stderr.contains("invalid_argument"), "{changing:?}");
    let json = alpha.aish([&word, "restart", "--json"]);
    assert_eq!((json.code, parsed(json.stdout.trim())["failed"].clone()), (1, json!(1)), "{json:?}");
    let _refused = alpha.aish([&word, "restart", "--yes"]).failed(2);
    assert_eq!(happens.of(&one), [""; 0]);
}
