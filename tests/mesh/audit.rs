//! The audit of a mesh: whole under load and deaths, and what is wrong with it named.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use aigis_proxy::blob::Digest;
use aigis_tests::{Mesh, nonce, until};
use async_nats::HeaderMap;
use serde_json::Value;

use crate::client::Client;

const SOON: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(60);
/// How many calls each caller is to have acknowledged.
const CALLS: usize = 25;

/// Calls until enough are acknowledged, each under an id of its own, and gives the ids of those that were.
fn calls(mesh: &Mesh, creds: &str, stop: &AtomicBool) -> Vec<String> {
    let mut done = Vec::new();
    while done.len() < CALLS && !stop.load(Ordering::Relaxed) {
        let id = nonce();
        let label = format!("set={{\"turn\": \"{id}\"}}");
        let ran = mesh.aish(["--creds", creds, "call", "--json", "--id", &id, "beta.label", &label]);
        if ran.code == 0 {
            done.push(id);
        }
    }
    done
}

#[test]
fn every_acknowledged_call_is_on_audit_once_whoever_dies() {
    let mesh = Mesh::up();
    let beta = mesh.joined("beta");
    let callers = ["ann", "ben", "cat"].map(|name| mesh.user(name, "admin"));
    let stop = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        let threads: Vec<_> = callers.iter().map(|creds| scope.spawn(|| calls(&mesh, creds, &stop))).collect();
        for _ in 0..2 {
            beta.kill("node.pid");
            beta.start();
        }
        let before = mesh.kill("bus/nats-server.pid");
        until("another bus server", SOON, || mesh.pid("bus/nats-server.pid").filter(|pid| *pid != before));
        let done: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        stop.store(true, Ordering::Relaxed);
        done.concat()
    });
    assert_eq!(done.len(), callers.len() * CALLS);
    let phases = until("all of it is delivered", PATIENCE, || {
        let lines = mesh.aish(["audit", "--json", "--limit", "100000"]);
        let lines: Vec<Value> = serde_json::from_str(&lines.stdout).ok()?;
        let mut phases: HashMap<String, Vec<String>> = HashMap::new();
        for line in lines.iter().filter(|line| line["code"].is_null()) {
            let phase = line["phase"].as_str().unwrap_or_default().to_owned();
            phases.entry(line["call"].as_str().unwrap_or_default().to_owned()).or_default().push(phase);
        }
        done.iter().all(|id| phases.get(id).is_some_and(|phases| phases.len() >= 2)).then_some(phases)
    });
    for id in &done {
        assert_eq!(phases[id], ["begin", "end"], "{id}");
    }
    until("all of it is delivered", SOON, || {
        let verified: Value = serde_json::from_str(&mesh.aish(["audit", "--verify", "--json"]).stdout).ok()?;
        (verified["whole"] == true).then_some(())
    });
}

#[test]
fn atk_57_a_node_that_cooks_its_audit_is_named() {
    let mesh = Mesh::up();
    let beta = mesh.joined("beta");
    for turn in 0..3 {
        let label = format!("set={{\"turn\": \"{turn}\"}}");
        let _set = beta.aish(["call", "--json", "beta.label", &label]).good();
    }
    let whole = until("all of it is delivered", SOON, || {
        let verified = mesh.aish(["audit", "--verify", "--json"]);
        let json: Value = serde_json::from_str(&verified.stdout).ok()?;
        let of_beta = json["nodes"].as_array()?.iter().find(|node| node["node"] == "beta")?.clone();
        (of_beta["lines"].as_u64()? >= 6 && verified.code == 0).then_some(of_beta)
    });
    let table = mesh.aish(["audit", "--verify"]).good();
    assert!(table.stdout.contains("beta") && table.stdout.contains("whole"), "{table:?}");

    // Beta's own key, in other hands: an edited line, a repeated one, and one that is left out.
    let client = Client::log_in(&mesh, "beta", &beta.path().join("creds/beta.creds").display().to_string());
    let stored = client.request("$JS.API.DIRECT.GET.AUDIT", r#"{"last_by_subj":"aigis.v1.main.event.audit.beta.end"}"#);
    let line = String::from_utf8(stored.payload.to_vec()).unwrap();
    assert!(line.contains("\"signature\""), "{line}");
    let publish = |body: &str| client.publish("aigis.v1.main.event.audit.beta.end", None, HeaderMap::new(), body);
    publish(&line.replace("admin-beta", "admin-alpha"));
    let flawed = |what: &str| {
        until(what, SOON, || {
            let verified = mesh.aish(["audit", "--verify", "--json"]);
            let json: Value = serde_json::from_str(&verified.stdout).ok()?;
            let flaws = json["flaws"].as_array()?.clone();
            flaws
                .iter()
                .any(|flaw| flaw["node"] == "beta" && flaw["what"].as_str().is_some_and(|it| it.contains(what)))
                .then(|| {
                    assert_eq!((verified.code, &json["whole"]), (70, &false.into()), "{verified:?}");
                })
        });
    };
    flawed("the line is damaged");
    // With its digest made anew it is still not what the key signed.
    let signed: Value = serde_json::from_str(&line).unwrap();
    let text = signed["line"].to_string().replace("admin-beta", "admin-alpha");
    let digest = Digest::of(text.as_bytes()).hex();
    publish(&format!("{{\"digest\":\"{digest}\",\"signature\":{},\"line\":{text}}}", signed["signature"]));
    flawed("the signature is not the node's");
    // The next good line follows one that the forger put between.
    let _set = beta.aish(["call", "--json", "beta.label", "set={\"turn\": \"9\"}"]).good();
    flawed("it does not follow the line before it");
    let table = mesh.aish(["audit", "--verify"]);
    assert!(table.code == 70 && table.stdout.contains("of beta:") && whole["first"] == 1, "{table:?}");
}
