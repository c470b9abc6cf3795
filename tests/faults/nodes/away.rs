//! Callers that are killed, and an issuer that is away.

use std::{
    fs,
    time::{Duration, Instant},
};

use aigis_tests::{Mesh, docker, nonce, until};
use rustix::process::Signal;

use super::{PATIENCE, SLACK, admit_admin, commands, engine, error, in_flight, join, kill, remove, until_past};
use crate::{row::Run, scene::Scene};

/// FLT-07.
pub(super) fn callers(scene: &mut Scene, run: &mut Run) {
    let host = engine(scene);
    let (alpha, beta, one) = (scene.on("alpha"), scene.on("beta"), scene.container("one-beta"));
    admit_admin(scene, "beta");
    let before = ["alpha", "beta"].map(|host| commands(scene, host));
    let idle = in_flight(scene);
    let runs = |command: &str| docker(Some(&host), &["top", &one.id, "-eo", "pid,args"]).contains(command);
    // Over the bus, and over the node's socket.
    for caller in [alpha, beta] {
        let started = one.inspect()["State"]["StartedAt"].clone();
        let follow = caller.running(["logs", "one-beta", "--follow"]);
        let exec = caller.running(["exec", "one-beta", "--", "sleep", "7777"]);
        until("the command runs, and its log is followed", PATIENCE, || {
            (runs("sleep 7777") && in_flight(scene) >= idle.map(|count| count + 2)).then_some(())
        });
        let killed = Instant::now();
        for call in [follow, exec] {
            call.signal(Signal::KILL);
        }
        until("the command has ended", Duration::from_secs(30), || (!runs("sleep 7777")).then_some(()));
        run.took("the command ended", killed.elapsed());

        let restart = caller.running(["call", "one-beta.restart", "grace_s=2"]);
        until("the restart runs", PATIENCE, || (in_flight(scene) > idle).then_some(()));
        let killed = Instant::now();
        restart.signal(Signal::KILL);
        until("the restart completes", PATIENCE, || {
            let state = &one.inspect()["State"];
            (state["Running"] == true && state["StartedAt"] != started).then_some(())
        });
        until("nothing is in flight", Duration::from_secs(30) + SLACK, || (in_flight(scene) == idle).then_some(()));
        run.took("nothing in flight", killed.elapsed());
    }
    assert_eq!(["alpha", "beta"].map(|host| commands(scene, host)), before, "no process stays");
}

/// FLT-08.
pub(super) fn issuer(scene: &mut Scene, run: &mut Run) {
    // A credential is renewed after a third of its life: that falls into the time that alpha is away.
    let (outage, life) = run.of((300, 540), (20, 90));
    let alpha = scene.on("alpha");
    let setting = alpha.path().join("node.toml");
    fs::write(&setting, format!("credential_life = \"{life}s\"\n")).unwrap_or_else(|error| panic!("{error}"));
    restart(scene, alpha);
    leave(scene, "beta");
    let issued = Instant::now();
    join(scene, "beta");
    let spare = alpha.token("viewer");
    let person = alpha.user(&format!("p-{}", nonce()), "viewer");
    until("all is live", PATIENCE, || scene.is_right(scene.on("gamma")).then_some(()));
    // The next credentials are good ones again.
    fs::remove_file(&setting).unwrap_or_else(|error| panic!("{error}"));
    let due = Duration::from_secs(life / 3);
    until_past(issued, due.saturating_sub(Duration::from_secs(outage / 2)));

    let file = scene.on("beta").path().join("creds/beta.creds");
    let credential = || fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}"));
    let first = credential();
    let of_person = || fs::read_to_string(&person).unwrap_or_else(|error| panic!("{error}"));
    let before = of_person();
    let mut follow = scene.on("gamma").running(["--creds", &person, "logs", "two-gamma", "--follow"]);
    let killed = kill(scene, "alpha");
    assert!(issued.elapsed() < due, "it was renewed before alpha was away");
    is_missed(scene, &spare);
    let over = Duration::from_secs(outage).max((due + 2 * SLACK).saturating_sub(issued.elapsed()));
    while killed.elapsed() < over {
        all_else_is_well(scene);
    }
    assert!(credential() == first && of_person() == before, "nobody could renew them");
    let log = scene.on("beta").log();
    let said = log.lines().find(|line| line.contains("was not renewed"));
    assert!(said.is_some_and(|line| line.contains("alpha")), "{log}");

    let back = Instant::now();
    alpha.start();
    until("the credential is renewed", Duration::from_secs(60) + SLACK, || (credential() != first).then_some(()));
    run.took("renewed", back.elapsed());
    let left = (Duration::from_secs(60) + SLACK).saturating_sub(back.elapsed());
    until("a person's credential is renewed", left, || (of_person() != before).then_some(()));
    run.took("a person's renewed", back.elapsed());
    assert_eq!(follow.next(Duration::ZERO), None);
    follow.signal(Signal::TERM);
    assert_eq!(follow.end(PATIENCE).code, 130, "what it ran goes on");
    scene.is_whole();
    let joined = join_person(scene, &spare);
    assert_eq!(joined.code, 0, "{joined:?}");
}

/// Ends alpha's node as a crash would, and starts it again: its bus server lives on.
fn restart(scene: &Scene, alpha: &Mesh) {
    let _killed = kill(scene, "alpha");
    alpha.start();
    scene.is_whole();
}

/// Lets a node leave the mesh for good.
fn leave(scene: &Scene, host: &str) {
    assert_eq!(scene.on(host).aish(["down"]).code, 0);
    let down = Instant::now();
    let _took = scene.until_all("alpha", host, "offline", down, PATIENCE);
    remove(scene, host);
}

/// Lets a person join on gamma, in a directory of its own.
fn join_person(scene: &Scene, token: &str) -> aigis_tests::Ran {
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let data = directory.path().display().to_string();
    let command = ["join", "-", "--json", "--data", &data, "--name", &format!("v-{}", nonce())];
    scene.on("gamma").with_input(command, Some(token.as_bytes()))
}

/// What only the issuer can do is refused, by its name.
fn is_missed(scene: &Scene, token: &str) {
    let alpha = scene.on("alpha");
    let refused = [
        alpha.aish(["tokens", "create", "--role", "node", "--json"]),
        alpha.aish(["users", "revoke", "gamma", "--json"]),
        alpha.aish(["nodes", "remove", "gamma", "--json"]),
        join_person(scene, token),
    ];
    for ran in refused {
        let ran = ran.failed(69);
        let error = error(&ran);
        assert!(error["message"].as_str().is_some_and(|message| message.contains("alpha")), "{ran:?}");
        assert!(ran.took < Duration::from_secs(1) + 2 * SLACK && error["data"]["sent"] != true, "{ran:?}");
    }
}

/// Nothing but alpha is away: lists say so, and calls between the others are answered.
fn all_else_is_well(scene: &Scene) {
    for (caller, callee) in [("beta", "gamma"), ("gamma", "beta")] {
        let call = scene.on(caller).aish(["call", "--json", &format!("one-{callee}.status")]);
        assert_eq!(call.code, 0, "{call:?}");
        let list = scene.on(caller).aish(["list", "--json"]);
        let rows = list.json();
        let rows = rows.as_array().cloned().unwrap_or_default();
        let others: Vec<_> = rows.iter().filter(|row| row["node"] != "alpha").collect();
        assert!(others.len() == 6 && others.iter().all(|row| row["state"] == "live"), "{rows:?}");
    }
}
