//! A bus of three servers, one on each of three hosts.

use std::time::{Duration, Instant};

use aigis_tests::{Fleet, until};
use rustix::process::{Signal, kill_process};

const HOSTS: [&str; 3] = ["alpha", "beta", "gamma"];
/// For how long the row polls.
const POLLED: Duration = Duration::from_secs(60);

/// The host whose server leads the registry, as the last words of its server's log about it say.
fn leader(fleet: &Fleet) -> String {
    let led = |host: &str| {
        let log = std::fs::read_to_string(fleet.on(host).path().join("bus/server.log")).unwrap_or_default();
        let last = log.lines().rfind(|line| line.contains("stream leader for") && line.contains("KV_records"))?;
        Some((last.split(' ').skip(1).take(2).collect::<Vec<_>>().join(" "), host.to_owned()))
    };
    let last = HOSTS.into_iter().filter_map(led).max();
    last.unwrap_or_else(|| panic!("nobody leads the registry")).1
}

/// How many connections a host's node has to the bus.
fn connections(fleet: &Fleet, host: &str) -> usize {
    let node = fleet.on(host).pid("node.pid").unwrap_or_else(|| panic!("no node on {host}"));
    let lab = fleet.lab().host(host).unwrap_or_else(|error| panic!("{error}"));
    let output = lab.command("ss").args(["-Htnp", "state", "established", "dport", "=", ":4222"]).output();
    let output = output.unwrap_or_else(|error| panic!("ss cannot be run: {error}"));
    assert!(output.status.success(), "{output:?}");
    let its = format!("pid={},", node.as_raw_nonzero());
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains(&its)).count()
}

#[test]
fn ci_79_a_leaders_death_calls_nobody_dead() {
    let fleet = Fleet::clustered(HOSTS);
    fleet.past_the_guard();
    let states = |host: &str| -> Vec<String> {
        let rows = fleet.on(host).rows(&[]);
        rows.iter().filter_map(|row| row["state"].as_str().map(str::to_owned)).collect()
    };
    let all_live = |host: &str| {
        let states = states(host);
        (states.len() >= HOSTS.len() && states.iter().all(|state| state == "live")).then_some(())
    };
    for host in HOSTS {
        until(&format!("{host} lists all as live"), Duration::from_secs(30), || all_live(host));
    }
    let host = leader(&fleet);
    let pid = fleet.on(&host).pid("bus/nats-server.pid").unwrap_or_else(|| panic!("no bus server on {host}"));
    assert_eq!(kill_process(pid, Signal::KILL), Ok(()));
    let (begun, mut polls) = (Instant::now(), 0);
    while begun.elapsed() < POLLED {
        for host in HOSTS {
            let states = states(host);
            assert!(!states.iter().any(|state| state == "offline"), "{host} after {:?}: {states:?}", begun.elapsed());
            polls += usize::from(!states.is_empty());
        }
    }
    assert!(polls > HOSTS.len() * 5, "hardly anything was listed: {polls}");
    for host in HOSTS {
        until(&format!("{host} lists all as live"), Duration::from_secs(60), || all_live(host));
    }
}

#[test]
fn a_bus_grows_with_all_it_has_and_tells_a_server_that_was_away_who_was_revoked() {
    let fleet = Fleet::clustered(HOSTS);
    // One for its lease, one for all else; none is left of the node that knew a lone server.
    for host in HOSTS {
        until("its node has two connections", Duration::from_secs(20), || {
            (connections(&fleet, host) == 2).then_some(())
        });
    }
    let alpha = fleet.on("alpha");
    // What was known to the lone server is known to all.
    let users = alpha.aish(["users", "list", "--json"]).good().json();
    let names: Vec<_> = users.as_array().into_iter().flatten().filter_map(|user| user["name"].as_str()).collect();
    assert!(HOSTS.iter().all(|host| names.contains(host)), "{names:?}");
    assert!(!alpha.path().join("bus/store.alone").exists());

    let victim = alpha.user("victim", "viewer");
    let gamma = fleet.lab().host("gamma").unwrap_or_else(|error| panic!("{error}"));
    let bus = format!("tls://{}:4222", gamma.address());
    let ca = alpha.path().join("ca.pem").display().to_string();
    let calls = || alpha.aish(["--bus", &bus, "--ca", &ca, "--creds", &victim, "list", "--json"]);
    until("gamma's server lets the user in", Duration::from_secs(20), || (calls().code == 0).then_some(()));

    let (program, aside) = (fleet.server_program("gamma"), fleet.server_program("aside"));
    std::fs::rename(&program, &aside).unwrap_or_else(|error| panic!("{error}"));
    let pid = fleet.on("gamma").pid("bus/nats-server.pid").unwrap_or_else(|| panic!("no bus server on gamma"));
    assert_eq!(kill_process(pid, Signal::KILL), Ok(()));
    let revoked = alpha.aish(["users", "revoke", "victim"]);
    assert!(revoked.code == 1 && revoked.stderr.contains("gamma"), "{revoked:?}");
    assert!(revoked.stdout.contains("was revoked"), "{revoked:?}");
    let again = alpha.aish(["users", "revoke", "victim"]).good();
    assert!(again.stdout.contains("before"), "{again:?}");
    std::fs::rename(&aside, &program).unwrap_or_else(|error| panic!("{error}"));
    until("gamma's server is back and refuses the user", Duration::from_secs(30), || {
        (calls().code == 77).then_some(())
    });
}
