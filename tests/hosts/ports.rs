//! Ports of an app on another host, and a gateway on a third.

use std::{fs, time::Duration};

use aigis_tests::{Fleet, Running, SPEAKER, SPEAKER_PORTS, forwarded, inside, nonce, speak, until};

use crate::crew::operator;

/// A bound on every wait, far above what is granted: what is asked here is whether, not how soon.
const LIMIT: Duration = Duration::from_secs(180);

#[test]
fn chn_39_what_goes_to_an_app_on_another_host_arrives_as_it_was_sent() {
    let fleet = Fleet::shared();
    fleet.lab().engine("beta").unwrap().load("python:3.12-slim").unwrap();
    let (alpha, creds, name) = (fleet.on("alpha"), operator(&fleet), format!("app-{}", nonce()));
    let folder = tempfile::tempdir().unwrap();
    for (file, content) in SPEAKER.into_iter().chain([("version", "1")]) {
        fs::write(folder.path().join(file), content).unwrap();
    }
    let as_operator = |args: &[&str]| alpha.aish([&["--creds", creds.as_str()], args].concat());
    let path = folder.path().to_str().unwrap();
    let begun = as_operator(&["push", path, "--name", &name, "--on", "beta", "--no-follow"]);
    assert_eq!(begun.code, 0, "{begun:?}");
    let id = begun.stdout.trim().to_owned();
    until("its record is there", LIMIT, || (as_operator(&["apps", "show", &name]).code == 0).then_some(()));
    let command = ["--creds", creds.as_str(), "apps", "forward", name.as_str()];
    let mut forward = Running::new(alpha.spawn([&command[..], &SPEAKER_PORTS].concat()));
    let ports = SPEAKER_PORTS.map(|port| forward.until("the port is here", LIMIT, |line| forwarded(line, port)));
    until("it serves", LIMIT, || {
        let chain = as_operator(&["chains", "show", &id, "--json"]).good().json();
        assert!(!matches!(chain["status"].as_str(), Some("failed" | "cancelled")), "{chain}");
        (chain["status"] == "serving").then_some(())
    });
    let app = as_operator(&["apps", "show", &name, "--json"]).good().json();
    assert!(app.to_string().contains("\"node\":\"beta\""), "{app}");
    inside(fleet.lab().host("alpha").unwrap().namespace(), || speak(ports));
    drop(forward);
    let removed = as_operator(&["apps", "rm", &name, "--yes"]);
    assert_eq!(removed.code, 0, "{removed:?}");
}
