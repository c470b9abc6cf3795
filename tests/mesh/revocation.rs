//! Users who are revoked, and credentials that are renewed, on the real binary.

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use aigis_proxy::{
    Role,
    identity::{Credential, MeshKeys},
};
use aigis_tests::{Container, Mesh, Ran, nonce, until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

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
    assert!(revoked.took < Duration::from_secs(20) && revoked.stdout.starts_with("vera was revoked"), "{revoked:?}");
    let ended = running.end(SOON);
    assert!(ended.code == 77 && ended.stderr.contains("vera was revoked"), "{ended:?}");
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
    let mesh = short_lived();
    let read = || fs::read_to_string(mesh.path().join("creds/alpha.creds")).unwrap();
    let first = read();
    let second = until("the first renewal", 2 * SOON, || Some(read()).filter(|text| *text != first));
    until("the second renewal", 2 * SOON, || Some(read()).filter(|text| *text != second));
    assert!(mesh.log().contains("renewed"), "{}", mesh.log());
}

/// A mesh whose credentials hold for a minute.
fn short_lived() -> Mesh {
    let mesh = Mesh::absent();
    fs::create_dir_all(mesh.path()).unwrap();
    fs::write(mesh.path().join("node.toml"), "name = \"alpha\"\ncredential_life = \"1m\"\n").unwrap();
    let up = mesh.aish(["up", "--detach", "--listen", "127.0.0.1:0"]);
    assert_eq!(up.code, 0, "{up:?}");
    mesh
}

#[test]
fn r_30_a_persons_credential_is_renewed_and_what_runs_outlives_the_old_one() {
    let mesh = short_lived();
    let beta = mesh.joined("beta");
    let name = format!("x-{}", nonce());
    let count = ["sh", "-c", "i=0; while true; do i=$((i+1)); echo $i; sleep 0.2; done"];
    let container = Container::run(&name, &[], "aigis-test/busybox", &count);
    let _row = mesh.live(&name, &container.id);
    let file = beta.path().join("creds/default.creds");
    let first = fs::read_to_string(&file).unwrap();
    let begun = Instant::now();
    // Over the bus, over this host's socket, and what only looks.
    let far = format!("{name}@alpha");
    let near = format!("{name}@beta");
    let mut streams = [&far, &near].map(|ci| beta.running(["logs", "--follow", "--tail", "1", ci]));
    let exec = beta.running(["exec", &far, "--", "sh", "-c", "sleep 75; echo done"]);
    let mut watch = beta.running(["list", "--watch", "--json"]);
    let renewed =
        until("the file is renewed", 2 * SOON, || Some(fs::read_to_string(&file).unwrap()).filter(|f| *f != first));
    let seed = |text: &str| text.lines().rfind(|line| line.starts_with("SU")).unwrap().to_owned();
    assert_eq!(seed(&renewed), seed(&first), "the key stays");
    let mut last = [0_u64; 2];
    while begun.elapsed() < Duration::from_secs(80) {
        for (stream, last) in streams.iter_mut().zip(&mut last) {
            let next = stream.until("the next line", SOON, |line| line.parse().ok());
            assert!(*last == 0 || next == *last + 1, "after {last} came {next}");
            *last = next;
        }
    }
    let ended = exec.end(2 * SOON);
    assert!(ended.code == 0 && ended.stdout == "done\n", "{ended:?}");
    while let Some(line) = watch.next(Duration::ZERO) {
        assert!(!line.contains("offline"), "{line}");
    }
    let stays = until("the watch goes on", SOON, || Some(watch.id()));
    assert!(fs::exists(format!("/proc/{stays}")).unwrap());
    let _list = beta.aish(["list"]).good();
}

#[test]
fn the_first_admin_is_renewed_by_up_and_a_revoked_one_gets_nothing() {
    let mesh = Mesh::up();
    let file = mesh.path().join("creds/default.creds");
    let read = || Credential::read_ended(&file, None).unwrap();
    let first = read();
    let keys = MeshKeys::open(&mesh.path().join("issuer")).unwrap();
    let token = keys.issue(first.name(), Role::Admin, first.public(), Duration::from_secs(1)).unwrap();
    drop(keys);
    first.renew(&token, None).unwrap();
    first.replace(&file).unwrap();
    // A command before its end would renew it.
    let ends = read().expires().unwrap();
    until("it has ended", SOON, || (SystemTime::now() > ends + Duration::from_secs(1)).then_some(()));
    let _refused = mesh.aish(["list"]).failed(77);
    let _down = mesh.aish(["down"]);
    mesh.start();
    assert_eq!((read().public(), read().name()), (first.public(), first.name()), "the key stays");
    let _list = mesh.aish(["list"]).good();

    let adam = mesh.user("adam", "admin");
    let name = first.name().to_string();
    let _revoked = mesh.aish(["--creds", &adam, "users", "revoke", &name]).good();
    let _down = mesh.aish(["--creds", &adam, "down"]).good();
    let up = mesh.try_start();
    assert!(up.code == 0 && up.stderr.contains("refuses the credential"), "{up:?}");
    assert_eq!(read().jwt(), fs::read_to_string(&file).unwrap().lines().nth(1).unwrap());
    assert_eq!(read().public(), first.public(), "no new key");
    assert!(mesh.log().contains("users create"), "{}", mesh.log());
    let _refused = mesh.aish(["list"]).failed(77);
    let _good = mesh.aish(["--creds", &adam, "list"]).good();
    fs::remove_file(&file).unwrap();
    let _down = mesh.aish(["--creds", &adam, "down"]).good();
    mesh.start();
    assert!(!file.exists(), "nor where there is none");
}

#[test]
fn signing_keys_are_rotated_while_everybody_goes_on() {
    let mesh = Mesh::up();
    let beta = mesh.joined("beta");
    let issuer = || fs::read_to_string(mesh.path().join("issuer.json")).unwrap();
    let of_beta = || fs::read_to_string(beta.path().join("issuer.json")).unwrap();
    let node = || fs::read_to_string(beta.path().join("creds/beta.creds")).unwrap();
    let (before, credential) = (issuer(), node());
    let away = mesh.user("away", "viewer");
    let follow = beta.running(["logs", "--follow", "alpha"]);

    let begun = mesh.aish(["users", "rotate-keys", "--json"]).good().json();
    assert_eq!(begun["began"], true, "{begun}");
    assert!(begun["waiting"].as_array().unwrap().contains(&"away".into()), "{begun}");
    until("beta knows and has renewed", SOON, || (of_beta() != before && node() != credential).then_some(()));
    for mesh in [&mesh, &beta] {
        // Persons renew with a command, and who was away can still do so.
        let _list = mesh.aish(["list"]).good();
    }
    let _late = mesh.aish(["--creds", &away, "list"]).good();
    let joined = mesh.joined("gamma");
    until("the former keys are removed", 2 * SOON, || {
        for mesh in [&mesh, &beta, &joined] {
            let _list = mesh.aish(["list"]);
        }
        let _late = mesh.aish(["--creds", &away, "list"]);
        let text = issuer();
        (!text.contains("former") && text != before).then_some(())
    });
    let state = mesh.aish(["users", "rotate-keys", "--json"]).good().json();
    assert_eq!(state["began"], true, "another one begins: {state}");
    let kept = fs::read_to_string(&away).unwrap();
    let ended = mesh.aish(["users", "rotate-keys", "--end", "--json"]).good().json();
    assert!(ended["former_keys_since"].is_null(), "{ended}");
    let refused = mesh.aish(["--creds", &away, "list"]).failed(77);
    assert!(refused.stderr.contains("rotated") && kept == fs::read_to_string(&away).unwrap(), "{refused:?}");
    drop(follow);
}
