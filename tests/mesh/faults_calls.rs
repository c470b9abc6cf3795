//! What calls meet while nodes die, freeze, end in order, and while their callers die.

use std::time::{Duration, Instant};

use aigis_tests::{Container, Events, Mesh, PrivateEngine, Running, nonce, until};
use rustix::process::{Signal, kill_process};

const BUSYBOX: &str = "aigis-test/busybox";
/// What a row grants, and room for a machine that does much else.
const SOON: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(30);

/// Two nodes over one engine, and the container `web` on it: what alpha's commands ask of `web@beta` goes over the bus.
struct Two {
    web: Container,
    beta: Mesh,
    alpha: Mesh,
    engine: PrivateEngine,
}

impl Two {
    fn up() -> Self {
        let engine = PrivateEngine::start();
        engine.load(BUSYBOX);
        let web = Container::run_on(Some(&engine.host()), "web", &[], BUSYBOX, &["sleep", "1000"]);
        let alpha = Mesh::up_over(Some(&engine.host()));
        let beta = alpha.joined("beta");
        let two = Self { web, beta, alpha, engine };
        two.is_live();
        two
    }

    fn is_live(&self) {
        until("web@beta answers", PATIENCE, || (self.alpha.aish(["web@beta", "status"]).code == 0).then_some(()));
    }

    fn events(&self) -> Events {
        Events::follow_on(Some(&self.engine.host()))
    }

    fn signal(&self, signal: Signal) {
        let node = self.beta.pid("node.pid").unwrap();
        assert_eq!(kill_process(node, signal), Ok(()));
    }
}

/// How often an engine saw a container end.
fn deaths(events: &mut Events, web: &Container) -> usize {
    events.of(web).iter().filter(|action| *action == "die").count()
}

#[test]
fn flt_03_a_node_that_dies_inside_an_effect_repeats_nothing() {
    let two = Two::up();
    let mut events = two.events();
    let id = nonce();
    let restart = ["call", "--json", "--id", &id, "web@beta.restart", "grace_s=0"];
    let call = two.alpha.running(restart);
    until("the container ends", PATIENCE, || (deaths(&mut events, &two.web) > 0).then_some(()));
    let _killed = two.beta.kill("node.pid");
    let killed = Instant::now();
    let ran = call.end(SOON).failed(69);
    assert!(killed.elapsed() < SOON, "{ran:?}");
    assert!(ran.stderr.contains("\"sent\":true"), "{ran:?}");

    two.beta.start();
    two.is_live();
    let again = two.alpha.aish(restart).failed(1);
    assert!(again.stderr.contains("outcome is not known"), "{again:?}");
    assert_eq!(deaths(&mut events, &two.web), 1);
    let other = two.alpha.aish(["call", "--json", "--id", &id, "web@beta.restart", "grace_s=1"]).failed(1);
    assert!(other.stderr.contains("other arguments"), "{other:?}");
}

#[test]
fn flt_04_a_node_that_ends_in_order_leaves_nobody_without_an_answer() {
    let two = Two::up();
    let mut streams: Vec<Running> =
        (0..5).map(|_| two.alpha.running(["call", "web@beta.monitor", "interval_s=1"])).collect();
    for stream in &mut streams {
        stream.until("a first frame", PATIENCE, |_| Some(()));
    }
    let calls: Vec<Running> = (0..10).map(|_| two.alpha.running(["call", "web@beta.optimize", "window_s=8"])).collect();
    until("the calls run", PATIENCE, || {
        let status = two.alpha.aish(["call", "beta.status", "--json"]).good().json();
        (status["calls_in_flight"].as_u64() >= Some(15)).then_some(())
    });
    let down = two.beta.running(["down"]);
    until("beta is offline", SOON, || {
        two.alpha.rows(&["--node", "beta"]).iter().all(|row| row["state"] == "offline").then_some(())
    });
    let _new = two.alpha.aish(["web@beta", "status"]).failed(69);
    for call in calls {
        let ran = call.end(PATIENCE);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    for stream in streams {
        let ran = stream.end(PATIENCE);
        assert_eq!(ran.code, 69, "{ran:?}");
    }
    assert_eq!(down.end(PATIENCE).code, 0);
}

#[test]
fn flt_05_a_frozen_node_runs_nothing_whose_caller_gave_up() {
    let two = Two::up();
    let mut events = two.events();
    two.signal(Signal::STOP);
    let frozen = Instant::now();
    let late = two.alpha.running(["call", "--timeout", "6s", "web@beta.restart", "grace_s=0"]);
    let waiting = two.alpha.running(["call", "--json", "--timeout", "60s", "web@beta.status"]);
    let stood = two.alpha.running(["call", "--json", "web@beta.monitor"]);
    assert_eq!(late.end(PATIENCE).code, 75);
    for call in [waiting, stood] {
        let ran = call.end(PATIENCE).failed(69);
        assert!(frozen.elapsed() < Duration::from_secs(20), "{ran:?}");
    }
    until("beta was away for 20 s", PATIENCE, || (frozen.elapsed() > Duration::from_secs(20)).then_some(()));
    two.signal(Signal::CONT);
    two.is_live();
    until("beta is live", PATIENCE, || {
        two.alpha.rows(&["--node", "beta"]).iter().all(|row| row["state"] == "live").then_some(())
    });
    assert_eq!(deaths(&mut events, &two.web), 0, "nobody waited for the restart any more");
    let _restarted = two.alpha.aish(["call", "web@beta.restart", "grace_s=0"]).good();
    assert_eq!(deaths(&mut events, &two.web), 1);
}

#[test]
fn flt_07_nothing_outlives_a_killed_caller_but_its_effect() {
    let two = Two::up();
    for (mesh, at) in [(&two.alpha, "over the bus"), (&two.beta, "over the socket")] {
        let before = two.web.inspect()["State"]["StartedAt"].clone();
        let follow = mesh.running(["logs", "web@beta", "--follow"]);
        let exec = mesh.running(["exec", "web@beta", "--", "sleep", "777"]);
        let top = || aigis_tests::docker(Some(&two.engine.host()), &["top", &two.web.id, "-eo", "pid,args"]);
        until("the command runs", PATIENCE, || top().contains("sleep 777").then_some(()));
        for caller in [follow, exec] {
            caller.signal(Signal::KILL);
        }
        until("the command ended", PATIENCE, || (!top().contains("sleep 777")).then_some(()));
        let restart = mesh.running(["call", "web@beta.restart", "grace_s=2"]);
        let in_flight = || {
            let status = two.alpha.aish(["call", "beta.status", "--json"]).good().json();
            status["calls_in_flight"].as_u64()
        };
        until("the restart runs", PATIENCE, || (in_flight() >= Some(1)).then_some(()));
        restart.signal(Signal::KILL);
        until(at, PATIENCE, || {
            let state = &two.web.inspect()["State"];
            (state["Running"] == true && state["StartedAt"] != before).then_some(())
        });
        until("nothing is in flight", PATIENCE, || (in_flight() == Some(0)).then_some(()));
    }
}
