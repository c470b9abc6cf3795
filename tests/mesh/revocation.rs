//! Users who are revoked, and credentials that are renewed, on the real binary.

use std::{fs, time::Duration};

use aigis_tests::{Container, Mesh, Ran, nonce, until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

fn error(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stderr).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[test]
fn bad_51_only_a_user_that_may_be_revoked_is() {
    let mesh = Mesh::up();
    let revoke = |name: &str| mesh.aish(["users", "revoke", name, "--json"]);
    let unknown = error(&revoke("nobody").failed(65));
    assert_eq!(unknown["code"], "not_found", "{unknown}");
    let _file = mesh.user("olga", "operator");
    let first = revoke("olga").good().json();
    assert_eq!((&first["name"], &first["changed"]), (&"olga".into(), &true.into()), "{first}");
    let again = revoke("olga").good().json();
    assert_eq!((&again["changed"], &again["revoked_at"]), (&false.into(), &first["revoked_at"]), "{again}");

    let users = fs::read_to_string(mesh.path().join("creds/default.creds")).unwrap();
    let admin = users.lines().find_map(|line| line.split_once("holder is ")?.1.split(':').next()).unwrap().to_owned();
    let last = error(&revoke(&admin).failed(1));
    assert_eq!(last["code"], "failed_precondition", "{last}");
    assert!(error(&revoke("alpha").failed(1))["message"].as_str().unwrap().contains("issues"));
    let adam = mesh.user("adam", "admin");
    // Who ends itself does not hear the answer.
    let _done = mesh.aish(["--creds", adam.as_str(), "users", "revoke", &admin]).good();
    let refused = mesh.aish(["list"]).failed(77);
    assert!(refused.stderr.contains(&admin), "{refused:?}");

    mesh.kill("node.pid");
    let away = mesh.aish(["--creds", adam.as_str(), "users", "revoke", "adam", "--json"]).failed(69);
    let away = error(&away);
    assert!(away["message"].as_str().unwrap().contains("alpha"), "{away}");
    mesh.start();
}

#[test]
fn a_revoked_user_is_cut_off_within_seconds_and_comes_back_with_a_new_key_alone() {
    let mesh = Mesh::up();
    let name = format!("x-{}", nonce());
    let follow = ["sh", "-c", "while true; do echo on; sleep 1; done"];
    let container = Container::run(&name, &[], "aigis-test/busybox", &follow);
    let _row = mesh.live(&name, &container.id);
    let vera = mesh.user("vera", "viewer");
    let mut running = mesh.running(["--creds", vera.as_str(), "logs", "--follow", &name]);
    running.until("a line", SOON, |line| (line == "on").then_some(()));

    let revoked = mesh.aish(["users", "revoke", "vera"]).good();
    assert!(revoked.took < Duration::from_secs(5) && revoked.stdout.starts_with("vera was revoked"), "{revoked:?}");
    let ended = running.end(SOON);
    assert!(ended.code != 0, "{ended:?}");
    let _refused = mesh.aish(["--creds", vera.as_str(), "list"]).failed(77);
    fs::remove_file(&vera).unwrap();
    let anew = mesh.user("vera", "viewer");
    let _again = mesh.aish(["--creds", anew.as_str(), "list"]).good();

    // Another key under that name ends this one.
    let kept = format!("{anew}.kept");
    fs::rename(&anew, &kept).unwrap();
    let other = mesh.user("vera", "viewer");
    let _refused = mesh.aish(["--creds", kept.as_str(), "list"]).failed(77);
    let _good = mesh.aish(["--creds", other.as_str(), "list"]).good();

    // A bus server that starts anew knows of it too.
    let before = mesh.kill("bus/nats-server.pid");
    until("another bus server", SOON, || mesh.pid("bus/nats-server.pid").filter(|pid| *pid != before));
    until("the bus is back", SOON, || (mesh.aish(["list"]).code == 0).then_some(()));
    let _refused = mesh.aish(["--creds", kept.as_str(), "list"]).failed(77);
}

#[test]
fn r_30_the_node_renews_its_credential_while_it_runs() {
    let mesh = Mesh::absent();
    fs::create_dir_all(mesh.path()).unwrap();
    fs::write(mesh.path().join("node.toml"), "name = \"alpha\"\ncredential_life = \"1m\"\n").unwrap();
    let up = mesh.aish(["up", "--detach", "--listen", "127.0.0.1:0"]);
    assert_eq!(up.code, 0, "{up:?}");
    let read = || fs::read_to_string(mesh.path().join("creds/alpha.creds")).unwrap();
    let first = read();
    let second = until("the first renewal", 2 * SOON, || Some(read()).filter(|text| *text != first));
    until("the second renewal", 2 * SOON, || Some(read()).filter(|text| *text != second));
    assert!(mesh.log().contains("renewed"), "{}", mesh.log());
}
