//! A chain's record under the hands of a node that keeps to no rule: ATK-60.

use std::{fs, time::Duration};

use aigis_tests::{Cases, nonce, until};

use crate::world::World;

/// A bound on every wait, far above what is granted.
const LIMIT: Duration = Duration::from_secs(120);
/// How many versions the store keeps of a key.
const KEPT: usize = 16;

#[test]
fn atk_60_a_chains_record_is_not_overwritten_by_hand() {
    let world = World::up();
    let mesh = &world.mesh;
    let (folder, app) = (tempfile::tempdir().unwrap(), format!("app-{}", nonce()));
    fs::write(folder.path().join("Dockerfile"), "FROM busybox\nCMD sleep 100000\n").unwrap();
    let path = folder.path().to_str().unwrap();
    let pushed = mesh.aish(["push", path, "--name", &app, "--until", "ready"]);
    assert_eq!(pushed.code, 0, "{pushed:?}");
    let chains = mesh.aish(["chains", "list", "--app", &app, "--json"]).good().json();
    let id = chains[0]["id"].as_str().unwrap().to_owned();
    let shown = || mesh.aish(["chains", "show", &id, "--json"]);
    let before = until("it serves", LIMIT, || Some(shown().json()).filter(|chain| chain["status"] == "serving"));

    let mut gamma = world.user("gamma", "node");
    let subject = format!("$KV.shared.chain.{id}");
    let mut cases = Cases::of("ATK-60");
    let mut write = |headers: &str, body: &[u8]| {
        let answer = gamma.request_with(&subject, headers, body).json();
        assert!(answer["seq"].is_u64(), "the bus lets a node write there: {answer}");
    };
    let forged = serde_json::json!({
        "content": before, "digest": "0".repeat(64), "follows": 0, "by": "alpha", "signature": "AAAA",
    });
    for (case, headers, body) in [
        ("what is no record", "", "{}".to_owned()),
        ("in another's name", "", forged.to_string()),
        ("a deletion", "KV-Operation: DEL", String::new()),
    ] {
        cases.case(case, || {
            write(headers, body.as_bytes());
            // Whoever reads is warned, and reads the version before.
            let ran = shown();
            assert!(ran.code == 0 && ran.stderr.contains("passed over"), "{case}: {ran:?}");
            assert_eq!(ran.json(), before, "{case}");
        });
    }
    cases.case("it is told", || {
        until("the node warns", LIMIT, || {
            mesh.log().lines().any(|line| line.contains("passed over") && line.contains(&id)).then_some(())
        });
    });
    cases.case("a flood ends that chain alone", || {
        for _ in 0..KEPT {
            write("", b"{}");
        }
        let over = until("its end", LIMIT, || {
            let ran = shown();
            (ran.code == 0).then(|| ran.json()).filter(|chain| chain["status"] == "failed")
        });
        assert_eq!(over["error"]["code"], "data_loss", "{over}");
        let followed = mesh.aish(["chains", "follow", &id]);
        assert_eq!(followed.code, 70, "{followed:?}");
        let apps = mesh.aish(["apps", "list", "--json"]).good().json();
        assert!(apps.as_array().unwrap().iter().any(|row| row["name"] == app.as_str()), "{apps}");
    });
    let removed = mesh.aish(["apps", "rm", &app, "--data", "--yes"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    until("nothing of it is left", LIMIT, || {
        let filter = format!("label=aigis.owner=app/{app}");
        aigis_tests::docker(None, &["ps", "-aq", "--filter", &filter]).trim().is_empty().then_some(())
    });
}
