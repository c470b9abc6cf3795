//! A node that is kept: started again when it dies, and down when it is told.

use std::time::Duration;

use aigis_tests::{Mesh, until};

/// What a row grants, and room for a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn flt_06_a_kept_node_comes_back_each_time_and_goes_down_for_good() {
    let mesh = Mesh::absent();
    let up = ["up", "--detach", "--keep", "--name", "alpha", "--listen", "127.0.0.1:0"];
    let said = mesh.aish(up).good();
    assert!(said.stdout.contains("node alpha"), "{said:?}");
    let keeper = mesh.pid("keeper.pid").unwrap();
    for _ in 0..3 {
        let killed = mesh.kill("node.pid");
        until("the node is back", PATIENCE, || {
            let back = mesh.pid("node.pid").is_some_and(|pid| pid != killed);
            let row = mesh.row("alpha").filter(|row| row["state"] == "live");
            (back && row.is_some() && mesh.aish(["alpha", "status"]).code == 0).then_some(())
        });
        assert_eq!(mesh.rows(&["--kind", "node"]).len(), 1);
        assert_eq!(mesh.pid("keeper.pid"), Some(keeper));
    }
    assert!(mesh.aish(up).good().stdout.contains("is up already"));
    let _down = mesh.aish(["down"]).good();
    for file in ["keeper.pid", "node.pid", "node.sock", "node.ready"] {
        assert!(!mesh.path().join(file).exists(), "{file}");
    }
    until("no keeper stays", PATIENCE, || {
        // One that ended and that nobody has waited for has no command line any more.
        let command = std::fs::read(format!("/proc/{}/cmdline", keeper.as_raw_nonzero())).unwrap_or_default();
        command.is_empty().then_some(())
    });
    let _none = mesh.aish(["down"]).failed(1);
}

#[test]
fn a_kept_node_that_cannot_start_says_why() {
    let mesh = Mesh::absent();
    let up = ["up", "--detach", "--keep", "--name", "alpha", "--listen", "192.0.2.1:4222"];
    let refused = mesh.aish(up);
    assert!(refused.code != 0 && !refused.stderr.is_empty(), "{refused:?}");
    assert!(!mesh.path().join("keeper.pid").exists());
}
