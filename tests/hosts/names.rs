//! Names that stand on several hosts, and names that stand only once.

use std::collections::BTreeSet;

use aigis_tests::{Fleet, nonce, until};
use rustix::process::Signal;
use serde_json::json;

use crate::crew::{SHOWN, events, idle, live, operator, parsed};

#[test]
fn ci_18_a_name_on_two_hosts_is_ambiguous_and_each_is_reached_by_its_address() {
    let fleet = Fleet::shared();
    let web = format!("web-{}", nonce());
    let _containers = ["alpha", "beta"].map(|host| idle(&fleet, host, &web, &[]));
    for (host, node) in fleet.nodes() {
        for at in ["alpha", "beta"] {
            let _row = live(node, &web, at);
        }
        let both = node.aish([&web, "status"]).failed(68);
        let named = |at: &str| both.stderr.contains(&format!("{web}@{at}"));
        assert!(named("alpha") && named("beta"), "on {host}: {both:?}");
        let one = node.aish([&format!("{web}@beta"), "status", "--json"]).good().json();
        assert_eq!(one["node"], "beta", "on {host}");
    }
}

#[test]
fn ci_20_ci_21_replicas_on_two_hosts_share_reads_and_nothing_else() {
    let fleet = Fleet::shared();
    let alpha = fleet.on("alpha");
    let web = format!("web-{}", nonce());
    let label = format!("aigis.service={web}");
    let containers = ["alpha", "beta"].map(|host| idle(&fleet, host, &web, &["--label", &label]));
    until("both replicas are live", SHOWN, || {
        let service = alpha.rows(&[]).into_iter().find(|row| row["name"] == web.as_str() && row["node"].is_null())?;
        (service["replicas"] == json!({"live": 2, "running": 2, "total": 2})).then_some(())
    });
    let mut answered = BTreeSet::new();
    for _ in 0..50 {
        let status = alpha.aish([&web, "status", "--json"]).good().json();
        assert_eq!(status["replica_of"], web.as_str(), "{status}");
        answered.insert(status["node"].as_str().unwrap().to_owned());
    }
    assert_eq!(answered.iter().collect::<Vec<_>>(), ["alpha", "beta"]);

    let mut happens = ["alpha", "beta"].map(|host| events(&fleet, host));
    let refused = alpha.aish(["call", &format!("{web}.stop"), "--json"]).failed(1);
    let error = parsed(refused.stderr.trim());
    assert_eq!(error["code"], "failed_precondition", "{error}");
    assert_eq!(error["data"]["candidates"], json!([format!("{web}@alpha"), format!("{web}@beta")]), "{error}");
    for (events, container) in happens.iter_mut().zip(&containers) {
        assert_eq!(events.of(container), [""; 0]);
    }
}

#[test]
fn ci_24_of_two_hosts_that_claim_a_name_at_once_one_gets_it() {
    let fleet = Fleet::shared();
    let (creds, solo) = (operator(&fleet), format!("solo-{}", nonce()));
    let at = format!("{solo}@");
    for round in 0..20 {
        let mut wraps = ["alpha", "beta"]
            .map(|host| fleet.on(host).wrapping(["-n", solo.as_str(), "--creds", &creds, "--", "cat"]));
        let said = wraps
            .each_mut()
            .map(|wrap| wrap.until("a word of the name", SHOWN, |line| line.contains(&at).then(|| line.to_owned())));
        let winners: Vec<_> = said.iter().filter_map(|said| said.strip_prefix("wrapped ")).collect();
        assert_eq!(winners.len(), 1, "round {round}: {said:?}");
        for (wrap, said) in wraps.into_iter().zip(&said) {
            if said.starts_with("wrapped") {
                wrap.signal(Signal::TERM);
                assert_eq!(wrap.end(SHOWN).code, 130, "round {round}");
            } else {
                assert!(said.contains(winners[0]), "round {round}: {said}");
                assert_eq!(wrap.end(SHOWN).code, 1, "round {round}");
            }
        }
    }
}
