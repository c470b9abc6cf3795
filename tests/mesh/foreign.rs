//! A bus that somebody else runs: one that knows nothing of the mesh, and one that has the mesh's accounts.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use aigis_tests::{Mesh, until};

const SOON: Duration = Duration::from_secs(20);

/// A server of others, which ends with it.
struct Foreign {
    place: tempfile::TempDir,
    port: u16,
    server: Option<Child>,
}

impl Foreign {
    fn new() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { place: tempfile::tempdir().unwrap(), port, server: None }
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts it, with more lines of configuration.
    fn serve(&mut self, more: &str) {
        self.end();
        let (place, file) = (self.place.path(), self.place.path().join("server.conf"));
        let (port, store) = (self.port, place.join("store").display().to_string());
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{store}\", sync_interval: always }}\n{more}\n"
        );
        fs::write(&file, config).unwrap();
        let mut command = Command::new("nats-server");
        command.arg("--config").arg(file).current_dir(place).stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(command.spawn().unwrap());
        until("the server listens", SOON, || TcpStream::connect(("127.0.0.1", port)).ok().map(drop));
    }

    fn end(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.end();
    }
}

/// Brings a mesh up over that bus, and gives what was said of it.
fn up(mesh: &Mesh, bus: &Foreign) -> aigis_tests::Ran {
    let up = mesh.aish(["up", "--detach", "--name", "alpha", "--bus", &bus.url()]);
    assert_eq!(up.code, 0, "{up:?}");
    until("the node is live", SOON, || mesh.row("alpha").filter(|row| row["state"] == "live"));
    up
}

#[test]
fn a_bus_that_keeps_nobody_apart_is_used_and_what_it_cannot_stop_is_said() {
    let (mesh, mut bus) = (Mesh::absent(), Foreign::new());
    bus.serve("");
    let up = up(&mesh, &bus);
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
    let (mesh, mut bus) = (Mesh::absent(), Foreign::new());
    // There is no server yet; what it must be given is written all the same.
    let refused = mesh.aish(["up", "--detach", "--name", "alpha", "--bus", &bus.url()]);
    assert_ne!(refused.code, 0, "{refused:?}");
    fs::copy(mesh.path().join("bus/operator.conf"), bus.place.path().join("operator.conf")).unwrap();
    bus.serve("include \"operator.conf\"");
    let up = up(&mesh, &bus);
    assert!(up.stderr.contains("durability: unknown") && !up.stderr.contains("isolation"), "{up:?}");
    let doctor = mesh.aish(["doctor"]).good();
    assert!(doctor.stdout.contains("pass  isolation") && doctor.stdout.contains("both were tried"), "{doctor:?}");
    let _ = mesh.aish(["down"]).good();
}
