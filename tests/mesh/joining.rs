//! Hosts and people join by tokens. The lab joins real hosts; here, two directories on one.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use aigis_tests::{Container, Mesh, nonce, until};

use crate::client::Client;

const BUSYBOX: &str = "aigis-test/busybox";
const SOON: Duration = Duration::from_secs(60);

/// The state and uses left of each token, as `aish tokens list` has them.
fn tokens(mesh: &Mesh) -> Vec<(String, String, u64)> {
    let rows = mesh.aish(["tokens", "list", "--json"]).good().json();
    let word = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let rows = rows.as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| (word(row, "id"), word(row, "state"), row["uses_left"].as_u64().unwrap())).collect()
}

#[test]
fn a_joined_host_is_like_the_first_but_for_the_signing_keys() {
    let mesh = Mesh::up();
    let beta = mesh.joined("beta");
    let name = format!("x-{}", nonce());
    let container = Container::run(&name, &[], BUSYBOX, &["sleep", "1000"]);
    for host in [&mesh, &beta] {
        until("both nodes list it on both", SOON, || {
            let rows = host.rows(&[]);
            let live = rows.iter().filter(|row| row["name"] == name.as_str() && row["state"] == "live");
            (live.count() == 2).then_some(())
        });
        for node in ["alpha", "beta"] {
            let status = host.aish([&format!("{name}@{node}"), "status", "--json"]).good().json();
            assert_eq!((&status["node"], &status["container_id"]), (&node.into(), &container.id.as_str().into()));
        }
    }
    assert!(!beta.path().join("issuer").exists(), "the signing keys stay where they are");
    for file in ["mesh.json", "issuer.json", "creds/beta.creds"] {
        let mode = fs::metadata(beta.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let doctor = beta.aish(["doctor"]).good();
    let known = ["pass  durability: flushed", "pass  isolation"];
    assert!(known.iter().all(|line| doctor.stdout.contains(line)), "the issuer's node runs the bus: {doctor:?}");
    // A host where no person joined has its node's credential, which reads.
    fs::remove_file(beta.path().join("creds/default.creds")).unwrap();
    let _denied = beta.aish([&format!("{name}@alpha"), "restart", "--yes"]).failed(77);
    let _denied = beta.aish(["tokens", "create", "--role", "node"]).failed(77);

    let users = beta.aish(["users", "list", "--json"]).good().json();
    let nodes: Vec<_> = users.as_array().unwrap().iter().filter(|user| user["role"] == "node").collect();
    assert_eq!(nodes.iter().map(|user| &user["name"]).collect::<Vec<_>>(), ["alpha", "beta"]);

    assert_eq!(beta.aish(["down"]).code, 0);
    let other = beta.aish(["up", "--detach", "--name", "gamma"]).failed(1);
    assert!(other.stderr.contains("beta"), "{other:?}");
    beta.start();
    until("it is back", SOON, || beta.row("beta").filter(|row| row["state"] == "live"));
}

#[test]
fn atk_08_a_token_is_used_once_and_of_two_at_once_one_wins() {
    let mesh = Mesh::up();
    let token = mesh.token("viewer");
    let (one, two) = (Mesh::absent(), Mesh::absent());
    let joining = [(&one, "vera"), (&two, "vito")].map(|(host, name)| host.spawn(["join", &token, "--name", name]));
    let mut codes = joining.map(|child| child.wait_with_output().unwrap().status.code().unwrap());
    codes.sort_unstable();
    assert_eq!(codes, [0, 77]);
    let third = Mesh::absent().aish(["join", &token, "--name", "vince"]).failed(77);
    assert!(third.stderr.contains("used up") && third.stderr.contains("aish tokens create"), "{third:?}");

    let (id, state, left) = tokens(&mesh).remove(0);
    assert_eq!((state.as_str(), left), ("used up", 0));
    until("each is on record", SOON, || {
        let lines = mesh.aish(["audit", "--json", "--caller", &id]).good().json();
        let of = |phase: &str| lines.as_array().unwrap().iter().filter(|line| line["phase"] == phase).count();
        (of("end") >= 1 && of("refused") >= 1 && of("end") + of("refused") == 3).then_some(())
    });
    let persons = mesh.aish(["users", "list", "--json"]).good().json();
    assert_eq!(persons.as_array().unwrap().iter().filter(|user| user["role"] == "viewer").count(), 1);
}

#[test]
fn atk_08_a_revoked_and_an_expired_token_give_nothing() {
    let mesh = Mesh::up();
    let host = Mesh::absent();
    let revoked = mesh.token("node");
    let (id, ..) = tokens(&mesh).remove(0);
    assert_eq!(mesh.aish(["tokens", "revoke", &id]).good().code, 0);
    let ran = host.aish(["join", &revoked, "--name", "beta"]).failed(77);
    assert!(ran.stderr.contains("revoked"), "{ran:?}");
    let _none = mesh.aish(["tokens", "revoke", "nosuch"]).failed(65);

    let brief = mesh.aish(["tokens", "create", "--role", "node", "--ttl", "1s", "--json"]).json();
    let id = brief["id"].as_str().unwrap();
    until("it has expired", SOON, || tokens(&mesh).into_iter().find(|row| row.0 == id && row.1 == "expired"));
    let ran = host.aish(["join", brief["token"].as_str().unwrap(), "--name", "beta"]).failed(77);
    assert!(ran.stderr.contains("expired"), "{ran:?}");
    assert!(!host.path().join("mesh.json").exists() && !host.path().join("creds").exists());
    until("the refusal is on record", SOON, || {
        let lines = mesh.aish(["audit", "--json", "--caller", id]).good().json();
        lines.as_array().is_some_and(|lines| !lines.is_empty()).then_some(())
    });
}

#[test]
fn atk_08_only_tokens_are_admitted_and_only_nodes_hear_them() {
    let mesh = Mesh::up();
    let node = Client::of(&mesh, "gamma", "node");
    let vera = Client::of(&mesh, "vera", "viewer");
    // A node may hear who asks the issuer, and nobody else may; what it answers is not signed by the account.
    let _hears = node.subscribe("aigis.v1.main.rpc.*.*.issuer.join");
    let _refused = vera.subscribe("aigis.v1.main.rpc.*.*.issuer.join");
    vera.refused("subscription", "aigis.v1.main.rpc.*.*.issuer.join");
    let reply = vera.request(
        "aigis.v1.main.rpc.viewer.vera.issuer.join",
        r#"{"request":{"Join":{"public_key":"U","wanted_name":"x"}}}"#,
    );
    let text = String::from_utf8_lossy(&reply.payload).into_owned();
    assert!(text.contains("permission_denied") && text.contains("vera is viewer"), "{text}");
}

#[test]
fn bad_48_a_damaged_token_is_refused_before_any_connection() {
    let mesh = Mesh::up();
    let host = Mesh::absent();
    let token = mesh.token("viewer");
    assert_eq!(mesh.aish(["down"]).code, 0);
    let mut changed = token.clone().into_bytes();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    for bad in [&token[..token.len() - 1], &token[..40], &changed, "hello", ""] {
        let ran = host.aish(["join", bad]).refused(65);
        assert!(ran.stderr.contains("aish tokens create"), "{ran:?}");
        let ran = host.with_input(["join", "-"], Some(bad.as_bytes())).refused(65);
        assert!(ran.stderr.contains("join token"), "{ran:?}");
    }
    mesh.start();
    let (head, tail) = token.split_at(100);
    let spaced = format!("\n  {head}\n{tail}  \r\n");
    let ran = host.with_input(["join", "-", "--name", "vera"], Some(spaced.as_bytes())).good();
    assert!(ran.stdout.contains("vera (viewer)"), "{ran:?}");
    let again = host.aish(["join", &token]).good();
    assert!(again.stdout.contains("already"), "{again:?}");
    assert!(!host.rows(&[]).is_empty());
    let no_node = host.aish(["up", "--detach"]).failed(1);
    assert!(no_node.stderr.contains("--role node"), "{no_node:?}");
}

#[test]
fn bad_49_a_token_is_bounded() {
    let host = Mesh::absent();
    for (options, named) in [
        (vec!["--role", "root"], "viewer, operator, admin, node, plugin"),
        (vec!["--role", "join"], "viewer, operator, admin, node, plugin"),
        (vec!["--role", "node", "--ttl", "0"], "1s to 24h"),
        (vec!["--role", "node", "--ttl=-1h"], "1s to 24h"),
        (vec!["--role", "node", "--ttl", "25h"], "1s to 24h"),
        (vec!["--role", "node", "--uses", "0"], "1..=1000"),
        (vec!["--role", "node", "--uses", "1001"], "1..=1000"),
        (vec!["--role", "node", "--name", "*"], "a-z 0-9"),
        (vec!["--role", "node", "--name", "beta", "--uses", "2"], "once"),
    ] {
        let ran = host.aish([&["tokens", "create"], options.as_slice()].concat()).refused(2);
        assert!(ran.stderr.contains(named), "{options:?}: {ran:?}");
    }
}

#[test]
fn bad_50_names_that_are_held_other_meshes_and_a_bus_that_is_away() {
    let mesh = Mesh::up();
    let other = Mesh::up();
    let host = Mesh::absent();
    let token = mesh.token("node");
    let taken = host.aish(["join", &token, "--name", "alpha"]).failed(1);
    assert!(taken.stderr.contains("the node alpha, which is live"), "{taken:?}");
    let taken = host.aish(["join", &token, "--name", "issuer"]).failed(1);
    assert!(taken.stderr.contains("issuer"), "{taken:?}");
    assert_eq!(tokens(&mesh)[0].2, 1, "what gave nothing cost nothing");

    let foreign = other.aish(["join", &token, "--name", "beta"]).failed(1);
    assert!(foreign.stderr.contains("\"main\""), "{foreign:?}");
    assert_eq!(mesh.aish(["join", &token, "--no-start"]).good().stdout.lines().count(), 1, "a member already");

    // For one name alone.
    let named = mesh.aish(["tokens", "create", "--role", "viewer", "--name", "vera", "--json"]).json();
    let named = named["token"].as_str().unwrap();
    let _usage = host.aish(["join", named, "--name", "vito"]).refused(2);

    assert_eq!(mesh.aish(["down"]).code, 0);
    let away = host.aish(["join", &token, "--name", "beta"]).failed(69);
    assert!(away.stderr.contains("no bus answers"), "{away:?}");
    assert!(!host.path().join("mesh.json").exists());
}

/// What shifts a process's clock: where `AIGIS_FAKETIME` says, else where Debian puts it.
fn faketime() -> Option<PathBuf> {
    let named = std::env::var_os("AIGIS_FAKETIME").map(PathBuf::from);
    let usual = PathBuf::from(format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH));
    named.or(Some(usual)).filter(|library| library.exists())
}

#[test]
fn bad_50_a_host_whose_clock_is_an_hour_off_joins() {
    let Some(library) = faketime() else {
        eprintln!("nothing shifts a clock here; scripts/bad-input installs libfaketime");
        return;
    };
    let mesh = Mesh::up();
    for (shift, name) in [("+1h", "early"), ("-1h", "late")] {
        let (host, token) = (Mesh::absent(), mesh.token("node"));
        let shifted = format!("LD_PRELOAD='{}' FAKETIME='{shift}' FAKETIME_DONT_FAKE_MONOTONIC=1", library.display());
        let clock = host.shell(&format!("{shifted} date +%s")).good().stdout;
        let seconds: i64 = clock.trim().parse().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!((seconds - i64::try_from(now).unwrap()).abs() > 3_000, "the clock is not shifted: {clock}");
        let joined = host.shell(&format!("{shifted} aish join {token} --name {name}"));
        assert_eq!(joined.code, 0, "{shift}: {joined:?}\n{}", host.log());
        until("it is live as all see it", SOON, || mesh.row(name).filter(|row| row["state"] == "live"));
        let listed = host.shell(&format!("{shifted} aish list --json")).good();
        let live = |name: &str| {
            let rows = listed.json();
            rows.as_array().unwrap().iter().any(|row| row["name"] == name && row["state"] == "live")
        };
        assert!(live("alpha") && live(name), "{shift}: {listed:?}");
        assert_eq!(host.aish(["down"]).code, 0);
    }
}
