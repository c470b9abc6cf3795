//! Each host has an engine of its own.

use std::time::Duration;

use aigis_lab::Lab;
use aigis_tests::{Container, docker, nonce, until};

const BUSYBOX: &str = "aigis-test/busybox";

#[test]
fn engines_are_apart_and_containers_outlive_them() {
    let lab = Lab::start(&["alpha", "beta"]).unwrap();
    lab.start_engines().unwrap();
    let engines = ["alpha", "beta"].map(|host| lab.engine(host).unwrap());
    let name = format!("lab-{}", nonce());
    let [first, second] = engines.each_ref().map(|engine| {
        engine.load(BUSYBOX).unwrap();
        Container::run_on(Some(&engine.host()), &name, &[], BUSYBOX, &["sleep", "1000"])
    });
    assert_ne!(first.id, second.id);
    assert!(!docker(None, &["ps", "-aq", "--no-trunc"]).contains(&first.id));
    let listed = |at: usize| docker(Some(&engines[at].host()), &["ps", "-q", "--no-trunc"]);
    assert_eq!([listed(0), listed(1)], [first.id.clone(), second.id.clone()]);

    let before = first.inspect()["State"]["Pid"].clone();
    engines[0].kill().unwrap();
    assert!(engines[0].process().is_none() && engines[1].process().is_some());
    assert!(std::path::Path::new(&format!("/proc/{before}")).exists(), "the container ended with its engine");
    engines[0].resume().unwrap();
    until("the container is back", Duration::from_secs(60), || (listed(0) == first.id).then_some(()));
    assert_eq!(first.inspect()["State"]["Pid"], before);

    engines[1].freeze().unwrap();
    let mut asked = engines[1].docker();
    let mut asked = asked.arg("version").stdout(std::process::Stdio::null()).spawn().unwrap();
    assert_eq!(listed(0), first.id);
    assert!(asked.try_wait().unwrap().is_none(), "a frozen engine answered");
    engines[1].thaw().unwrap();
    until("the engine answers", Duration::from_secs(60), || asked.try_wait().unwrap());
}

#[test]
fn a_host_has_its_own_network_data_and_engine() {
    let lab = Lab::start(&["alpha"]).unwrap();
    let alpha = lab.host("alpha").unwrap();
    let output =
        alpha.command("sh").args(["-c", "ip -4 -brief address; echo $DOCKER_HOST $AIGIS_DATA"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [alpha.address().to_string(), alpha.engine().host(), alpha.data().display().to_string()] {
        assert!(text.contains(&part), "{part} in {text}");
    }
    let version = std::process::Command::new(lab.bus_server_program()).arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("nats-server"), "{version:?}");
    assert!(lab.host("beta").is_err() && lab.host("bus").is_err() && lab.cut("beta").is_err());
}
