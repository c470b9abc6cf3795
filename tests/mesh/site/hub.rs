//! A site whose hub is a bus of three servers.

use std::{
    fs,
    time::{Duration, Instant},
};

use aigis_tests::{ForeignBus, Mesh, until};
use rustix::process::Signal;

use super::{SOON, all_live, bridged};

/// A bus of three is well again 15 s after one of its servers was killed; twice that on a machine that does much else.
const BACK: Duration = Duration::from_secs(30);

#[test]
fn a_site_goes_on_whichever_of_its_hubs_three_servers_is_killed() {
    let nodes = Mesh::clustered("unix:///var/run/docker.sock");
    // The first one makes the site; the others learn of it, and listen for it from their next start on.
    for (place, node) in nodes.iter().enumerate() {
        until("its server can be spared", BACK, || (node.aish(["down"]).code == 0).then_some(()));
        let up: &[&str] = if place == 0 { &["up", "--detach", "--bus-site", "paris"] } else { &["up", "--detach"] };
        let up = node.aish(up);
        assert_eq!(up.code, 0, "{up:?}\n{}", node.log());
        until("all copies are whole", 2 * BACK, || nodes.iter().all(Mesh::is_grown).then_some(()));
    }
    let [alpha, ..] = &nodes;
    let mut server = ForeignBus::new();
    let given = alpha.path().join("bus/sites/paris");
    for file in ["site.conf", "site.creds"] {
        fs::copy(given.join(file), server.place().join(file)).unwrap();
    }
    let text = fs::read_to_string(given.join("site.conf")).unwrap();
    assert_eq!(text.matches("nats-leaf://").count(), 3, "the site knows all three: {text}");
    let store = server.place().join("store").display().to_string();
    server.serve(&format!("include \"site.conf\"\njetstream {{ domain: paris, store_dir: \"{store}\" }}"));
    bridged(alpha, &server);
    let delta = alpha.joined_by("delta", &["--bus", &server.url()]);
    let all = ["alpha", "beta", "gamma", "delta"];
    for mesh in [alpha, &delta] {
        all_live(mesh, &all, SOON);
    }

    let watches = [alpha, &delta].map(|mesh| {
        let mut watch = mesh.running(["list", "--watch", "--json"]);
        watch.until("synced", SOON, |line| line.contains("synced").then_some(()));
        watch
    });
    for killed in &nodes {
        let before = killed.kill("bus/nats-server.pid");
        let begun = Instant::now();
        until("another server runs", BACK, || killed.pid("bus/nats-server.pid").filter(|pid| *pid != before));
        for (mesh, other) in [(alpha, "delta"), (&delta, "alpha")] {
            let left = BACK.saturating_sub(begun.elapsed());
            until("a call crosses", left, || (mesh.aish([other, "status"]).code == 0).then_some(()));
            all_live(mesh, &all, BACK.saturating_sub(begun.elapsed()));
        }
        eprintln!("all is well {:?} after a server was killed", begun.elapsed());
        until("all copies are whole", 2 * BACK, || nodes.iter().all(Mesh::is_grown).then_some(()));
    }
    for watch in watches {
        watch.signal(Signal::INT);
        let seen = watch.end(SOON).stdout;
        assert!(!seen.contains("\"offline\"") && !seen.contains("\"gone\""), "{seen}");
    }

    // The site is told at once who is let in no more, by whichever server it is connected to.
    let vera = alpha.user("vera", "viewer");
    let login = || delta.aish(["--creds", &vera, "list"]).code;
    assert_eq!(login(), 0);
    let _revoked = alpha.aish(["users", "revoke", "vera"]).good();
    assert_eq!(login(), 77);
}
