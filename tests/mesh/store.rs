//! The disk of the bus, lost and found.

use std::{fs, time::Duration};

use aigis_tests::{Mesh, until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

#[test]
fn flt_16_a_lost_store_is_refused_until_an_admin_accepts_another() {
    let mesh = Mesh::up();
    let known = || {
        let text = fs::read_to_string(mesh.path().join("store.json")).unwrap();
        let known: Value = serde_json::from_str(&text).unwrap();
        (known["store"].as_str().unwrap().to_owned(), known["generation"].as_u64().unwrap())
    };
    let (former, generation) = known();
    assert_eq!(generation, 1);
    assert_eq!(mesh.aish(["down"]).code, 0);
    let (store, aside) = (mesh.path().join("bus/store"), mesh.path().join("bus/aside"));
    fs::rename(&store, &aside).unwrap();
    let refused = mesh.aish(["up", "--detach", "--name", "alpha"]).failed(70);
    assert!(refused.stderr.contains(&former) && refused.stderr.contains("--new-store"), "{refused:?}");
    assert!(mesh.pid("bus/nats-server.pid").is_none_or(|pid| rustix::process::test_kill_process(pid).is_err()));

    // The disk that was lost is found again: all is as before.
    fs::remove_dir_all(&store).unwrap();
    fs::rename(&aside, &store).unwrap();
    mesh.start();
    assert_eq!(known(), (former.clone(), 1));
    assert_eq!(mesh.aish(["down"]).code, 0);

    // It is lost for good.
    fs::rename(&store, &aside).unwrap();
    let up = mesh.aish(["up", "--detach", "--name", "alpha", "--new-store"]);
    assert_eq!(up.code, 0, "{up:?}\n{}", mesh.log());
    let (accepted, generation) = known();
    assert!(accepted != former && generation == 2, "{accepted} {generation}");
    until("the node is listed", SOON, || mesh.row("alpha").filter(|row| row["state"] == "live"));
    let again = mesh.aish(["up", "--new-store"]);
    assert!(again.code == 0 && again.stderr.contains(&accepted), "{again:?}");
    assert_eq!(known(), (accepted.clone(), 2), "what is accepted already stays as it is");

    // The former disk is the wrong one by now.
    assert_eq!(mesh.aish(["down"]).code, 0);
    fs::remove_dir_all(&store).unwrap();
    fs::rename(&aside, &store).unwrap();
    let refused = mesh.aish(["up", "--detach", "--name", "alpha"]).failed(70);
    assert!(refused.stderr.contains(&former) && refused.stderr.contains(&accepted), "{refused:?}");
}
