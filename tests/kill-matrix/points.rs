//! Deaths between any two things that are written down.
//!
//! One node, which is coordinator and place, runs a chain of two assistants in containers, a build and an app that serves. In
//! each cell it runs with `AIGIS_FAULT` and dies the first time that it comes there; started again without, it must bring the
//! chain to what an undisturbed one leaves: the same trees, four steps of which each is committed once, and one instance.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use aigis_lab::Process;
use aigis_proxy::fault::{Point, VARIABLE};
use aigis_tests::{Mesh, docker, nonce, until};
use serde_json::{Value, json};

use crate::Tally;

/// A bound on every wait, far above what is granted.
const LIMIT: Duration = Duration::from_secs(300);
const DOCKERFILE: &str = "FROM busybox\nEXPOSE 8080\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\"]\n";

/// Plays each of these points so many times.
pub(crate) fn play(points: &[Point], times: u32) -> Tally {
    let mut tally = Tally::default();
    let mut stage: Option<Stage> = None;
    for point in points {
        for time in 1..=times {
            let passed = tally.play(&format!("killed at {point} ({time} of {times})"), || {
                let recovered = stage.get_or_insert_with(Stage::up).play(*point);
                format!("served {:.1} s after its start", recovered.as_secs_f64())
            });
            if !passed {
                stage = None;
            }
        }
    }
    tally
}

struct Stage {
    mesh: Mesh,
    /// The app's name, which no other has.
    name: String,
    folder: tempfile::TempDir,
    /// What an undisturbed chain leaves.
    undisturbed: Value,
}

impl Stage {
    fn up() -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let mut stage =
            Self { mesh: Mesh::up(), name: format!("points-{}", nonce()), folder, undisturbed: Value::Null };
        let app = stage.app();
        write(&app.join("trace"), "line 0\n", 0o644);
        write(&app.join("Dockerfile"), DOCKERFILE, 0o644);
        for (name, next) in [("point-1", "local:point-2"), ("point-2", "builtin:dockerfile")] {
            let path = stage.folder.path().join(name);
            let script = format!(
                "#!/bin/sh\nset -e\ncp -a /in/app/. /out/app/\necho {name} >> /out/app/trace\n\
                echo {name} > /out/state/of-{name}\necho {next} > /out/state/next\n"
            );
            write(&path.join("name"), name, 0o644);
            write(&path.join("Dockerfile"), "FROM busybox\nCOPY . /a\nENTRYPOINT [\"/a/run\"]\n", 0o644);
            write(&path.join("run"), &script, 0o755);
            let pushed = stage.mesh.aish(["assistants", "push", path.to_str().unwrap_or_default()]);
            assert_eq!(pushed.code, 0, "{pushed:?}");
        }
        assert!(stage.push(), "the app cannot be pushed");
        stage.undisturbed = stage.served();
        stage.remove();
        stage
    }

    /// What the engine tells the app's containers by.
    fn own(&self) -> String {
        format!("label=aigis.owner=app/{}", self.name)
    }

    fn app(&self) -> std::path::PathBuf {
        self.folder.path().join("app")
    }

    /// Has the node die at that point, and gives how long after its start the app serves.
    fn play(&self, point: Point) -> Duration {
        self.mesh.kill("node.pid");
        self.mesh.start_with(&[(VARIABLE, point.as_str().to_owned())]);
        let node = self.mesh.pid("node.pid").and_then(Process::open).unwrap_or_else(|| panic!("no node"));
        let is_taken = self.push();
        until(&format!("the node dies at {point}: is this a build with the feature faults?"), LIMIT, || {
            node.has_ended().then_some(())
        });
        let started = Instant::now();
        self.mesh.start();
        if self.chains().is_empty() {
            assert!(!is_taken, "a push was taken, and there is no chain");
            assert!(self.push(), "the app cannot be pushed again");
        }
        let served = self.served();
        let recovered = started.elapsed();
        assert_eq!(served, self.undisturbed);
        self.remove();
        recovered
    }

    /// Pushes the app; says whether that was taken.
    fn push(&self) -> bool {
        let app = self.app();
        let path = app.to_str().unwrap_or_default();
        let options =
            ["--assistant", "local:point-1", "--name", &self.name, "--no-follow", "--no-save", "--timeout", "20s"];
        self.mesh.aish([&["push", path][..], &options[..]].concat()).code == 0
    }

    /// The chains of the app that are not over.
    fn chains(&self) -> Vec<Value> {
        let listed = until("chains are listed", LIMIT, || {
            let listed = self.mesh.aish(["chains", "list", "--app", &self.name, "--json"]);
            serde_json::from_str::<Vec<Value>>(&listed.stdout).ok().filter(|_| listed.code == 0)
        });
        let is_over = |chain: &Value| matches!(chain["status"].as_str(), Some("done" | "failed" | "cancelled"));
        listed.into_iter().filter(|chain| !is_over(chain)).collect()
    }

    /// Waits until the app serves, and gives what its chain has left and what runs of it.
    fn served(&self) -> Value {
        let chain = until("the chain serves", LIMIT, || {
            let chains = self.chains();
            let [chain] = chains.as_slice() else { return None };
            let shown = self.mesh.aish(["chains", "show", chain["id"].as_str()?, "--json"]);
            (shown.code == 0).then(|| shown.json()).filter(|chain| chain["status"] == "serving")
        });
        let (own, steps) = (self.own(), format!("label=aigis.owner=chain/{}", text(&chain["id"])));
        let count = |filters: &[&str]| docker(None, &[&["ps", "--all", "--quiet"], filters].concat()).lines().count();
        until("no container of a step is left", LIMIT, || (count(&["--filter", &steps]) == 0).then_some(()));
        let committed = chain["steps"].as_array().map_or(&[][..], Vec::as_slice);
        let committed: Vec<Value> =
            committed.iter().map(|step| json!([step["n"], step["assistant"], step["status"]])).collect();
        json!({
            "app_tree": chain["app_tree"], "state_tree": chain["state_tree"], "steps": committed,
            "instances": count(&["--filter", &own]),
        })
    }

    fn remove(&self) {
        let removed = self.mesh.aish(["apps", "rm", &self.name, "--yes"]);
        assert_eq!(removed.code, 0, "{removed:?}");
        until("the chain is over", LIMIT, || self.chains().is_empty().then_some(()));
        let own = self.own();
        until("the app is gone", LIMIT, || {
            docker(None, &["ps", "--all", "--quiet", "--filter", &own]).is_empty().then_some(())
        });
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn write(path: &Path, content: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;

    fs::create_dir_all(path.parent().unwrap_or(path)).unwrap_or_else(|error| panic!("{error}"));
    fs::write(path, content).unwrap_or_else(|error| panic!("{error}"));
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap_or_else(|error| panic!("{error}"));
}
