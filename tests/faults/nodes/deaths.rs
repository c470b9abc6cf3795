//! Nodes that are killed.

use std::time::{Duration, Instant};

use aigis_tests::{Events, nonce, until};
use rustix::process::Signal;

use super::{
    BACK, PATIENCE, SLACK, admit_admin, deaths, engine, error, fades, join, kill, remove, renewed, renews_reconciled,
    until_past, until_right,
};
use crate::{row::Run, scene::Scene};

/// FLT-01.
pub(super) fn comes_back(scene: &mut Scene, run: &mut Run) {
    for _ in 0..run.of(20, 2) {
        let process = |scene: &Scene| scene.container("one-beta").inspect()["State"]["Pid"].clone();
        let before = process(scene);
        let killed = kill(scene, "beta");
        for caller in ["alpha", "gamma"] {
            let call = scene.on(caller).aish(["call", "--json", "one-beta.status"]).failed(69);
            run.took("a call fails", call.took);
            assert!(call.took < Duration::from_secs(1) + SLACK && error(&call)["data"]["sent"] != true, "{call:?}");
        }
        scene.replace("two-beta");
        assert_eq!(process(scene), before, "the container runs on");
        let dead = scene.dead("gamma");
        assert!(dead.is_empty() || killed.elapsed() > Duration::from_secs(10), "{dead:?}");
        let last = renewed(scene, "gamma", "beta");
        until_past(killed, Duration::from_secs(3));

        let (scene, begun) = (&*scene, Instant::now());
        std::thread::scope(|scope| {
            let _start = scope.spawn(|| scene.on("beta").start());
            renews_reconciled(scene, &last, &scene.container("two-beta").id);
            run.took("live", until_right(scene, "gamma", begun));
        });
        for (_, other) in scene.fleet.nodes() {
            assert_eq!(other.aish(["one-beta", "status"]).code, 0);
        }
        scene.is_whole();
    }
}

/// FLT-02.
pub(super) fn for_good(scene: &mut Scene, run: &mut Run) {
    for host in ["beta", "gamma"] {
        admit_admin(scene, host);
    }
    let held = scene.on("beta").wrap(["-n", "held", "--", "cat"]);
    let of_beta = |seen_by: &str| scene.on(seen_by).rows(&["--node", "beta"]).len();
    until("gamma lists what is wrapped", PATIENCE, || (of_beta("gamma") == 4).then_some(()));
    let killed = kill(scene, "beta");
    drop(held);
    fades(scene, run, killed);
    for seen_by in ["alpha", "gamma"] {
        assert_eq!(of_beta(seen_by), 4, "the records stay");
        let call = scene.on(seen_by).aish(["one-beta", "status"]).failed(69);
        assert!(call.stderr.contains("beta"), "{call:?}");
        let others = scene.dead(seen_by).into_iter().find(|row| row["node"] != "beta");
        assert_eq!(others, None);
    }

    remove(scene, "beta");
    let removed = Instant::now();
    let free = scene.on("gamma").wrap(["-n", "held", "--", "cat"]);
    let took = removed.elapsed();
    run.took("its name is free", took);
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
    for seen_by in ["alpha", "gamma"] {
        assert_eq!(of_beta(seen_by), 0, "{seen_by}");
    }

    // What it held before its removal is another's now, and stays so.
    let begun = Instant::now();
    join(scene, "beta");
    let holders = || {
        let rows = scene.on("alpha").rows(&["--kind", "wrapped"]);
        rows.iter().filter_map(|row| row["node"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let left = (BACK + SLACK).saturating_sub(begun.elapsed());
    until("beta is back, without what it held", left, || {
        (scene.states("alpha", "beta") == ["live"; 3] && holders() == ["gamma"]).then_some(())
    });
    run.took("joined again", begun.elapsed());
    free.signal(Signal::TERM);
    assert_eq!(free.end(PATIENCE).code, 130);
}

/// FLT-03.
pub(super) fn inside_an_effect(scene: &mut Scene, run: &mut Run) {
    let (alpha, one) = (scene.on("alpha"), scene.container("one-beta"));
    let mut events = Events::follow_on(Some(&engine(scene)));
    let id = nonce();
    let restart = ["call", "--json", "--id", &id, "one-beta.restart", "grace_s=0"];
    let call = alpha.running(restart);
    until("the container ends", PATIENCE, || (deaths(&mut events, one) > 0).then_some(()));
    let killed = kill(scene, "beta");
    let ran = call.end(PATIENCE).failed(69);
    run.took("the caller knows", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_secs(1) + SLACK, "{ran:?}");
    assert_eq!(error(&ran)["data"]["sent"], true, "{ran:?}");

    let begun = Instant::now();
    scene.on("beta").start();
    run.took("live", until_right(scene, "alpha", begun));
    until("beta answers", PATIENCE, || (alpha.aish(["beta", "status"]).code == 0).then_some(()));
    let again = alpha.aish(restart);
    let said = again.code == 0 || again.code == 1 && again.stderr.contains("outcome is not known");
    assert!(said, "{again:?}");
    assert_eq!(deaths(&mut events, one), 1, "one restart");
    until("the container runs", PATIENCE, || (one.inspect()["State"]["Running"] == true).then_some(()));
}
