//! Clocks that are wrong: of a host, and of the bus.

use std::{
    fs,
    time::{Duration, Instant},
};

use aigis_proxy::{Role, UserName, identity::Credential};
use aigis_tests::{Mesh, until};
use serde_json::Value;

use crate::{
    calls::keys,
    row::{Row, Run},
    scene::Scene,
};

pub(crate) const ROWS: &[Row] =
    &[Row { id: "FLT-40", what: "the clock of a host, or of the bus, is wrong", play: wrong }];

/// What shifts the clock of the programs that it is loaded into. A bus server is none of these: it asks the kernel itself.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
/// What a call or a list may take beyond its row on a machine that does much else.
const SLACK: Duration = Duration::from_secs(2);
/// A bound for what no row bounds.
const PATIENCE: Duration = Duration::from_secs(60);
/// The row grants 10 s until all is well again; twice that on a machine that does much else.
const WELL: Duration = Duration::from_secs(20);

/// What a command gets in its environment so that its clock, and that of what it starts, is that far off.
fn clock_at(clock: &str) -> [(&'static str, String); 3] {
    // The clock on the wall alone: spans of time are as long as they are.
    let wall = ("DONT_FAKE_MONOTONIC", "1".to_owned());
    [("LD_PRELOAD", LIBRARY.to_owned()), ("FAKETIME", clock.to_owned()), wall]
}

/// FLT-40.
fn wrong(scene: &mut Scene, run: &mut Run) {
    assert!(fs::exists(LIBRARY).unwrap_or_default(), "FLT-40 needs faketime: apt-get install faketime");
    of_a_host(scene, run);
    of_the_bus(run);
    of_the_bus_for_a_person(scene, run);
}

fn of_a_host(scene: &mut Scene, run: &mut Run) {
    for clock in run.of(&["+1h", "-1h", "+0 x1.5", "@1970-01-02 00:00:00"][..], &["+1h", "-1h"][..]) {
        let beta = scene.on("beta");
        assert_eq!(beta.aish(["down"]).code, 0);
        let faked = clock_at(clock);
        let begun = Instant::now();
        let up = beta.aish_in(&faked, ["up", "--detach", "--name", "beta"]);
        if clock.starts_with('@') {
            // The certificate of the bus is of its future, so that it trusts nobody.
            let refused = up.failed(69);
            assert!(refused.stderr.contains("valid"), "{refused:?}");
        } else {
            assert_eq!(up.code, 0, "{up:?}\n{}", beta.log());
            let _took = scene.until_all("alpha", "beta", "live", begun, PATIENCE);
            let doctor = beta.aish_in(&faked, ["doctor"]);
            assert!(doctor.stdout.contains("warn  clock") || clock.contains('x'), "{doctor:?}");
            // Deadlines are spans of time, and states are judged by what is seen to move.
            let asked = Instant::now();
            let late = scene.on("alpha").aish(["--timeout", "2s", "call", "one-beta.logs", "follow=true", "tail=0"]);
            assert!(late.code == 75 && asked.elapsed() < Duration::from_secs(4) + SLACK, "{late:?}");
            let status = beta.aish_in(&faked, ["call", "--json", "one-gamma.status"]);
            assert_eq!(status.code, 0, "{status:?}");
            let watched = Instant::now();
            while watched.elapsed() < Duration::from_secs(run.of(20, 8)) {
                for seen_by in ["alpha", "gamma"] {
                    assert_eq!(scene.dead(seen_by), Vec::<Value>::new(), "{clock}");
                }
            }
            assert_eq!(beta.aish(["down"]).code, 0);
        }
        let begun = Instant::now();
        beta.start();
        run.took("right again", scene.until_all("alpha", "beta", "live", begun, PATIENCE));
    }
}

/// A bus that is eight days ahead of the host that starts it: what is signed there for a week has ended for the bus.
fn of_the_bus(run: &mut Run) {
    let mesh = Mesh::absent();
    let up = ["up", "--detach", "--name", "alpha", "--listen", "127.0.0.1:0"];
    let refused = mesh.aish_in(&clock_at("-8d"), up).failed(77);
    assert!(
        refused.stderr.contains("the clock of the bus says") && refused.stderr.contains("this machine's clock says"),
        "{refused:?}"
    );
    run.took("a bus that is ahead: refused", refused.took);
    let begun = Instant::now();
    let right = mesh.aish(up);
    assert_eq!(right.code, 0, "{right:?}\n{}", mesh.log());
    until("its node is live", WELL, || {
        let rows = mesh.rows(&[]);
        rows.iter().any(|row| row["name"] == "alpha" && row["state"] == "live").then_some(())
    });
    run.took("a bus that is ahead: well again", begun.elapsed());
}

/// A host a day behind a bus of others, with a credential that holds by its own clock alone. More than two days, and the
/// bus's certificate is not valid yet there.
fn of_the_bus_for_a_person(scene: &Scene, run: &mut Run) {
    let beta = scene.on("beta");
    let key = Credential::generate().unwrap_or_else(|error| panic!("{error}"));
    let name = UserName::parse("late").unwrap_or_else(|error| panic!("{error}"));
    let token = keys(scene).issue(&name, Role::Viewer, key.public(), Duration::from_secs(1));
    let token = token.unwrap_or_else(|error| panic!("{error}"));
    let credential = Credential::timeless(&token, key).unwrap_or_else(|error| panic!("{error}"));
    let file = beta.path().join("creds/late.creds");
    credential.write(&file).unwrap_or_else(|error| panic!("{error}"));
    let list = ["--creds", &file.display().to_string(), "list"].map(str::to_owned);
    // By this clock it is over as well: it is not even shown to the bus.
    let ended = until("it has ended", PATIENCE, || {
        let ran = beta.aish(&list);
        (ran.code == 77).then_some(ran)
    });
    assert!(ended.stderr.contains("ended at") && ended.stderr.contains("clock says"), "{ended:?}");
    let behind = beta.aish_in(&clock_at("-1d"), &list).failed(77);
    assert!(behind.stderr.contains("it holds until") && behind.stderr.contains("clock says"), "{behind:?}");
    run.took("a host that is behind: refused", behind.took);
    let begun = Instant::now();
    until("who has a credential that holds is let in", WELL, || (beta.aish(["list"]).code == 0).then_some(()));
    run.took("a host that is behind: well again", begun.elapsed());
}
