//! Seeing CIs: `aish list`, `nodes`, `describe`, names and registration.

use std::time::Duration;

use aigis_tests::{Container, Mesh, PrivateEngine, nonce, until};

const NGINX: &str = "aigis-test/nginx";
const BUSYBOX: &str = "aigis-test/busybox";

#[test]
fn ci_01_an_empty_list_is_an_empty_array() {
    let engine = PrivateEngine::start();
    let mesh = Mesh::up_over(Some(&engine.host()));
    let list = mesh.aish(["list", "--kind", "container", "--json"]).good();
    assert_eq!(list.stdout, "[]\n");
}

#[test]
fn ci_02_a_started_container_is_listed() {
    let mesh = Mesh::up();
    let name = format!("test-app-{}", nonce());
    let container = Container::run(&name, &[], NGINX, &[]);
    let row = mesh.live(&name, &container.id);
    assert_eq!((&row["node"], &row["kind"]), (&"alpha".into(), &"container".into()));
    assert_eq!(row["container"]["id"], container.inspect()["Id"]);
}

#[test]
fn ci_03_status_in_words() {
    let mesh = Mesh::up();
    let name = format!("test-app-{}", nonce());
    let container = Container::run(&name, &[], NGINX, &[]);
    let _row = mesh.live(&name, &container.id);
    let status = until("nginx listens", Duration::from_secs(10), || {
        let ran = mesh.aish([name.as_str(), "What's your status?"]).good();
        ran.stdout.starts_with(&format!("{name}@alpha is running: healthy\n")).then_some(ran)
    });
    assert!(status.stdout.lines().nth(1).is_some_and(|line| line.contains("nginx (80/tcp")), "{status:?}");
    assert_eq!(status.stdout.lines().count(), 8, "{status:?}");
}

#[test]
fn ci_13_a_removed_container_is_gone_and_says_so() {
    let mesh = Mesh::up();
    let name = format!("x-{}", nonce());
    let container = Container::run(&name, &[], BUSYBOX, &["sleep", "1000"]);
    let _row = mesh.live(&name, &container.id);
    drop(container);
    until("it is not listed", Duration::from_secs(5), || mesh.row(&name).is_none().then_some(()));
    let status = mesh.aish([name.as_str(), "status"]).failed(69);
    assert!(status.stderr.contains("removed"), "{status:?}");
    let gone = mesh.aish(["list", "--state", "gone", "--json"]).good().json();
    assert!(gone.as_array().is_some_and(|rows| rows.iter().any(|row| row["name"] == name.as_str())));
}
