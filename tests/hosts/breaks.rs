//! Hosts that die, are cut off, and end in order.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use aigis_tests::{Fleet, Mesh, nonce, until};
use serde_json::Value;

use crate::crew::{SHOWN, events, idle, live, parsed};

/// The state in which a host lists the node beta.
fn beta(seen_by: &Mesh) -> Option<Value> {
    seen_by
        .rows(&[])
        .into_iter()
        .find(|row| row["name"] == "beta" && row["kind"] == "node")
        .map(|row| row["state"].clone())
}

#[test]
fn ci_19_ci_71_a_killed_node_is_away_at_once_offline_in_time_and_keeps_its_names() {
    let fleet = Fleet::alone();
    fleet.past_the_guard();
    let (alpha, mark) = (fleet.on("alpha"), nonce());
    let (web, x) = (format!("web-{mark}"), format!("x-{mark}"));
    let webs = ["alpha", "beta"].map(|host| idle(&fleet, host, &web, &[]));
    let other = idle(&fleet, "beta", &x, &[]);
    let _rows = [live(alpha, &web, "alpha"), live(alpha, &web, "beta"), live(alpha, &x, "beta")];
    let mut happens = events(&fleet, "alpha");

    fleet.on("beta").kill("node.pid");
    let killed = Instant::now();
    let status = alpha.aish([&format!("{x}@beta"), "status"]).failed(69);
    // Twice what is granted: the process itself has to start on a machine that does much else.
    assert!(status.took < Duration::from_secs(5), "{status:?}");
    let offline = until("it is offline", Duration::from_secs(17), || {
        // What is read now was so when the reading began, at the earliest.
        let since = killed.elapsed();
        let state = alpha.row(&x).map(|row| row["state"].clone());
        assert!(state.as_ref().is_some_and(|state| *state != "gone"), "{state:?}");
        (state? == "offline").then_some(since)
    });
    // A reading takes up to 2 s.
    assert!(offline >= Duration::from_secs(8), "{offline:?}");
    assert_eq!(other.inspect()["State"]["Running"], true);

    let refused = alpha.aish([&web, "restart", "--yes"]).failed(68);
    assert!(refused.stderr.contains(&format!("{web}@beta")), "{refused:?}");
    assert_eq!(happens.of(&webs[0]), [""; 0]);
    fleet.on("beta").start();
    let _row = live(alpha, &x, "beta");
}

#[test]
fn ci_72_ci_73_a_cut_host_is_noticed_and_comes_back_with_what_changed() {
    let fleet = Fleet::alone();
    fleet.past_the_guard();
    let (alpha, cut_off, mark) = (fleet.on("alpha"), fleet.on("beta"), nonce());
    let [stays, goes, comes] = ["stays", "goes", "comes"].map(|name| format!("{name}-{mark}"));
    let stays = idle(&fleet, "beta", &stays, &[]);
    let gone = idle(&fleet, "beta", &goes, &[]);
    for node in [alpha, cut_off] {
        let _rows = [live(node, &stays.name, "beta"), live(node, &goes, "beta"), live(node, "alpha", "alpha")];
    }
    let mut watch = cut_off.running(["list", "--watch", "--json"]);
    watch.until("synced", SHOWN, |line| (parsed(line)["type"] == "synced").then_some(()));
    let mut not_unknown: BTreeSet<String> =
        watch.seen().iter().filter_map(|line| parsed(line)["row"]["address"].as_str().map(str::to_owned)).collect();

    fleet.lab().cut("beta").unwrap();
    let since = Instant::now();
    // Twice what is granted, as a machine that does much else may need.
    watch.until("every row is unknown", Duration::from_secs(30), |line| {
        let row = &parsed(line)["row"];
        if row["state"] == "unknown" {
            not_unknown.remove(row["address"].as_str().unwrap_or_default());
        }
        not_unknown.is_empty().then_some(())
    });
    let mut seen = BTreeSet::new();
    until("it is offline", Duration::from_secs(20).saturating_sub(since.elapsed()), || {
        let state = beta(alpha)?.as_str()?.to_owned();
        seen.insert(state.clone());
        (state == "offline").then_some(())
    });
    assert!(!seen.contains("gone"), "{seen:?}");
    assert_eq!(alpha.row(&stays.name).map(|row| row["state"].clone()), Some("offline".into()));
    let new = cut_off.aish(["list"]).failed(69);
    assert!(new.took < Duration::from_secs(10) && new.stderr.contains("bus"), "{new:?}");
    let _nothing_waits = cut_off.aish([&format!("{}@alpha", stays.name), "status"]).failed(69);

    drop(gone);
    let comes = idle(&fleet, "beta", &comes, &[]);
    fleet.lab().heal("beta").unwrap();
    for node in [alpha, cut_off] {
        until("its rows are right", Duration::from_secs(20), || {
            let rows = node.rows(&["--node", "beta"]);
            let mut named: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
            named.retain(|name| name.ends_with(&mark) || *name == "beta");
            (named == ["beta", &comes.name, &stays.name] && rows.iter().all(|row| row["state"] == "live")).then_some(())
        });
    }
    let status = alpha.aish([&comes.name, "status", "--json"]).good().json();
    assert_eq!(status["container_id"], comes.id.as_str());
    watch.until("the watch goes on", Duration::from_secs(30), |line| {
        (parsed(line)["row"]["name"] == comes.name.as_str()).then_some(())
    });
    assert!(watch.seen().iter().all(|line| parsed(line)["row"]["state"] != "offline"), "{:#?}", watch.seen());
}

#[test]
fn ci_80_a_node_that_ends_in_order_is_offline_at_once_and_comes_back_as_it_was() {
    let fleet = Fleet::alone();
    let (alpha, ending) = (fleet.on("alpha"), fleet.on("beta"));
    let containers = [idle(&fleet, "beta", &format!("x-{}", nonce()), &[]), idle(&fleet, "beta", &nonce(), &[])];
    for container in &containers {
        let _row = live(alpha, &container.name, "beta");
    }
    let mut names: Vec<&str> = containers.iter().map(|container| container.name.as_str()).chain(["beta"]).collect();
    names.sort_unstable();
    let own = |state: &str| {
        let rows = alpha.rows(&["--node", "beta"]);
        let all = rows.iter().map(|row| &row["name"]).eq(&names) && rows.iter().all(|row| row["state"] == state);
        all.then_some(())
    };
    // What former tests left is gone by then.
    until("all are live", SHOWN, || own("live"));
    assert_eq!(ending.aish(["down"]).code, 0);
    // A second, and what a list takes on a machine that does much else.
    until("all are offline", Duration::from_secs(9), || own("offline"));
    let _away = alpha.aish([&containers[0].name, "status"]).failed(69);
    ending.start();
    until("all are live again", Duration::from_secs(20), || own("live"));
}
