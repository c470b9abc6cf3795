//! A bus that somebody else runs: one that knows nothing of the mesh, and one that has the mesh's accounts.

use std::{fs, time::Duration};

use aigis_tests::{ForeignBus, Mesh, until};

mod cluster;

const SOON: Duration = Duration::from_secs(60);

/// Brings a mesh up over that bus, and gives what was said of it.
fn up(mesh: &Mesh, bus: &str) -> aigis_tests::Ran {
    let up = mesh.aish(["up", "--detach", "--name", "alpha", "--bus", bus]);
    assert_eq!(up.code, 0, "{up:?}");
    until("the node is live", SOON, || mesh.row("alpha").filter(|row| row["state"] == "live"));
    up
}

#[test]
fn a_bus_that_keeps_nobody_apart_is_used_and_what_it_cannot_stop_is_said() {
    let (mesh, mut bus) = (Mesh::absent(), ForeignBus::new());
    bus.serve("");
    let up = up(&mesh, &bus.url());
    let gaps = ["call under another's name and role", "read what others are answered", "any record"];
    let doctor = mesh.aish(["doctor"]).good();
    let isolation = doctor.stdout.lines().find(|line| line.starts_with("warn  isolation")).unwrap_or_default();
    for gap in gaps {
        assert!(isolation.contains(gap) && up.stderr.contains(gap), "{gap}: {up:?} {doctor:?}");
    }
    assert!(doctor.stdout.contains("warn  durability") && up.stderr.contains("durability: unknown"), "{doctor:?}");
    let beta = mesh.joined("beta");
    assert_eq!(beta.aish(["alpha", "status", "--json"]).good().json()["bus"]["supervised"], false);
    let doctor = beta.aish(["doctor"]).good();
    assert!(doctor.stdout.contains("warn  isolation") && doctor.stdout.contains("warn  durability"), "{doctor:?}");
    let _ = beta.aish(["down"]).good();
    let _ = mesh.aish(["down"]).good();
}

#[test]
fn a_bus_with_the_accounts_of_the_mesh_keeps_users_apart_as_was_tried() {
    let (mesh, mut bus) = (Mesh::absent(), ForeignBus::new());
    // There is no server yet; what it must be given is written all the same.
    let refused = mesh.aish(["up", "--detach", "--name", "alpha", "--bus", &bus.url()]);
    assert_ne!(refused.code, 0, "{refused:?}");
    fs::copy(mesh.path().join("bus/operator.conf"), bus.place().join("operator.conf")).unwrap();
    bus.serve("include \"operator.conf\"");
    let up = up(&mesh, &bus.url());
    assert!(up.stderr.contains("durability: unknown") && !up.stderr.contains("isolation"), "{up:?}");
    let doctor = mesh.aish(["doctor"]).good();
    assert!(doctor.stdout.contains("pass  isolation") && doctor.stdout.contains("both were tried"), "{doctor:?}");
    let _ = mesh.aish(["down"]).good();
}
