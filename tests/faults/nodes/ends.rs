//! Nodes that end in order, stand still, and die again and again.

use std::time::{Duration, Instant};

use aigis_tests::{Events, Running, until};
use rustix::process::Signal;

use super::{
    BACK, PATIENCE, SLACK, commands, deaths, engine, error, fades, in_flight, kill, node, renewed, renews_reconciled,
    until_past, until_right,
};
use crate::{row::Run, scene::Scene};

/// FLT-04.
pub(super) fn in_order(scene: &mut Scene, run: &mut Run) {
    let callers = [scene.on("alpha"), scene.on("gamma")];
    let mut streams: Vec<Running> =
        (0..5).map(|_| callers[1].running(["call", "--json", "two-beta.monitor", "interval_s=1"])).collect();
    for stream in &mut streams {
        stream.until("a first frame", PATIENCE, |_| Some(()));
    }
    // So many commands take seconds to start: the most of the calls outlast the grace, and some do not.
    let begin = |count: usize, window: &str, within: Duration, in_all: usize| -> Vec<Running> {
        let call = |index: usize| callers[index % 2].running(["call", "--json", "one-beta.optimize", window]);
        let calls = (0..count).map(call).collect();
        until("the calls run", within, || {
            in_flight(scene).filter(|seen| usize::try_from(*seen).is_ok_and(|seen| seen >= in_all))
        });
        calls
    };
    let (count, few) = (run.of(50, 10), 5);
    let long = begin(count, "window_s=60", Duration::from_secs(40), 5 + count);
    let calls = begin(few, "window_s=8", Duration::from_secs(7), 5 + count + few);

    let beta = node(scene, "beta");
    let told = Instant::now();
    beta.signal(Signal::TERM);
    let offline = scene.until_all("alpha", "beta", "offline", told, Duration::from_secs(1) + 2 * SLACK);
    run.took("offline", offline);
    let call = callers[0].aish(["call", "--json", "one-beta.status"]).failed(69);
    assert!(error(&call)["data"]["sent"] != true, "{call:?}");
    for call in calls {
        let ran = call.end(PATIENCE);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    for call in long {
        let ran = call.end(PATIENCE).failed(69);
        assert_eq!(error(&ran)["data"]["sent"], true, "{ran:?}");
    }
    for stream in streams {
        let ran = stream.end(PATIENCE);
        assert!(ran.code == 69 && error(&ran)["code"] == "unavailable", "{ran:?}");
    }
    run.took("all have an answer", told.elapsed());
    until("the node has ended", PATIENCE, || beta.has_ended().then_some(()));
    run.took("ended", told.elapsed());
    assert!(told.elapsed() < Duration::from_secs(10) + 2 * SLACK, "{:?}", told.elapsed());
    scene.on("beta").start();
}

/// FLT-05.
pub(super) fn frozen(scene: &mut Scene, run: &mut Run) {
    let (alpha, one) = (scene.on("alpha"), scene.container("one-beta"));
    let mut events = Events::follow_on(Some(&engine(scene)));
    let beta = node(scene, "beta");
    let begun = Instant::now();
    beta.signal(Signal::STOP);
    let late = alpha.running(["call", "--json", "--timeout", "6s", "one-beta.restart", "grace_s=0"]);
    let waiting = [
        alpha.running(["call", "--json", "--timeout", "60s", "one-beta.status"]),
        scene.on("gamma").running(["call", "--json", "--timeout", "60s", "two-beta.status"]),
        alpha.running(["call", "--json", "two-beta.monitor"]),
    ];
    fades(scene, run, begun);
    let late = late.end(PATIENCE);
    assert!(late.code == 75 && late.took < Duration::from_secs(7) + PATIENCE, "{late:?}");
    for call in waiting {
        let ran = call.end(PATIENCE).failed(69);
        assert!(begun.elapsed() < Duration::from_secs(17) + 2 * SLACK, "{ran:?}");
    }
    run.took("the waiting know", begun.elapsed());
    until_past(begun, Duration::from_secs(30));

    let thawed = Instant::now();
    beta.signal(Signal::CONT);
    for seen_by in ["gamma", "alpha"] {
        run.took("live", until_right(scene, seen_by, thawed));
    }
    until("beta answers", PATIENCE, || (alpha.aish(["one-beta", "status"]).code == 0).then_some(()));
    assert_eq!(deaths(&mut events, one), 0, "nobody waited for the restart any more");
    let restarted = alpha.aish(["call", "one-beta.restart", "grace_s=0"]);
    assert_eq!((restarted.code, deaths(&mut events, one)), (0, 1), "{restarted:?}");
}

/// FLT-06.
pub(super) fn crash_loop(scene: &mut Scene, run: &mut Run) {
    let before = commands(scene, "beta");
    let beta = scene.on("beta");
    assert_eq!(beta.aish(["down"]).code, 0);
    let kept = beta.aish(["up", "--detach", "--keep", "--name", "beta"]);
    assert_eq!(kept.code, 0, "{kept:?}");
    until("beta is live", PATIENCE, || scene.is_right(scene.on("gamma")).then_some(()));

    let mut killed = kill(scene, "beta");
    let last = renewed(scene, "gamma", "beta");
    scene.replace("two-beta");
    let scene = &*scene;
    let beta = scene.on("beta");
    let lab = scene.fleet.lab().host("beta").unwrap_or_else(|error| panic!("{error}"));
    let mut pause = Duration::from_secs(1);
    let mut begun = killed;
    for round in 1..=run.of(10, 3) {
        let limit = pause + 2 * SLACK;
        until("the node is started again", limit, || lab.node());
        begun = Instant::now();
        let waited = begun - killed;
        assert!(waited >= pause, "started again {waited:?} after death {round}, not {pause:?}");
        run.took("started again", waited);
        if round < run.of(10, 3) {
            killed = kill(scene, "beta");
            assert!(killed - begun < Duration::from_secs(1), "it lived for {:?}", killed - begun);
            // So short a life is mostly over before the first renewal.
            if renewed(scene, "gamma", "beta").is_some_and(|now| Some(now) != last) {
                renews_reconciled(scene, &last, &scene.container("two-beta").id);
            }
            pause = (pause * 2).min(Duration::from_secs(30));
        }
    }
    renews_reconciled(scene, &last, &scene.container("two-beta").id);
    run.took("live", until_right(scene, "gamma", begun));
    assert_eq!(beta.aish(["beta", "status"]).code, 0);
    assert_eq!(commands(scene, "beta"), before + 1, "the node and its keeper");

    let down = beta.aish(["down"]);
    assert_eq!(down.code, 0, "{down:?}");
    for file in ["keeper.pid", "node.pid", "node.sock", "node.ready"] {
        assert!(!beta.path().join(file).exists(), "{file}");
    }
    until("nothing stays", BACK, || (commands(scene, "beta") == before - 1).then_some(()));
    beta.start();
}
