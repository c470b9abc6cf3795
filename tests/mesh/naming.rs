//! Names: which CI a container is, and that it stays the same one.

use std::time::Duration;

use aigis_tests::{Container, Mesh, PrivateEngine, docker, nonce, until};

const BUSYBOX: &str = "aigis-test/busybox";
/// Three times what the mesh promises.
const SHOWN: Duration = Duration::from_secs(60);

fn idle(name: &str, options: &[&str]) -> Container {
    Container::run(name, options, BUSYBOX, &["sleep", "1000"])
}

#[test]
fn ci_14_a_renamed_container_is_listed_under_its_new_name() {
    let mesh = Mesh::up();
    let (a, b) = (format!("a-{}", nonce()), format!("b-{}", nonce()));
    let container = idle(&a, &[]);
    let _row = mesh.live(&a, &container.id);
    docker(None, &["rename", &a, &b]);
    let _row = mesh.live(&b, &container.id);
    until("the old name is not listed", SHOWN, || mesh.row(&a).is_none().then_some(()));
    assert_eq!(mesh.aish([b.as_str(), "status", "--json"]).good().json()["container_name"], b.as_str());
}

#[test]
fn ci_15_names_are_folded_and_commands_stay_free() {
    let engine = PrivateEngine::start();
    engine.load(BUSYBOX);
    let host = engine.host();
    let mesh = Mesh::up_over(Some(&host));
    let run = |name: &str| Container::run_on(Some(&host), name, &[], BUSYBOX, &["sleep", "1000"]);
    for (container, name) in [(run("My.App_1"), "my-app_1"), (run("list"), "list-ci")] {
        let row = mesh.live(name, &container.id);
        assert_eq!(row["container"]["name"], container.name.as_str());
        let status = mesh.aish([name, "status", "--json"]).good().json();
        assert_eq!(status["container_id"], container.id.as_str());
    }
}

#[test]
fn ci_16_clashing_names_stay_apart_and_stay_the_same() {
    let mesh = Mesh::up();
    let nonce = nonce();
    let (dotted, dashed) = (format!("a.{nonce}"), format!("a-{nonce}"));
    let names = |dotted: &Container, dashed: &Container| {
        until("both are live", SHOWN, || {
            let rows = mesh.rows(&["--state", "live"]);
            let name = |container: &Container| {
                let mut own = rows.iter().filter(|row| row["container"]["id"] == container.id.as_str());
                let name = own.next()?["name"].as_str()?.to_owned();
                assert!(own.next().is_none(), "{} is listed twice", container.name);
                Some(name)
            };
            Some((name(dotted)?, name(dashed)?))
        })
    };
    let first = idle(&dotted, &[]);
    let _row = mesh.live(&dashed, &first.id);
    let second = idle(&dashed, &[]);
    let before = names(&first, &second);
    assert_eq!(before.0, dashed);
    assert!(before.1.starts_with(&format!("{dashed}-")) && before.1.len() == dashed.len() + 7, "{before:?}");
    drop(second);
    let second = idle(&dashed, &[]);
    assert_eq!(names(&first, &second), before);
}

#[test]
fn ci_17_a_bad_label_is_told_and_a_container_may_stay_out() {
    let mesh = Mesh::up();
    let (x, y) = (format!("x-{}", nonce()), format!("y-{}", nonce()));
    let _out = idle(&y, &["--label", "aigis.ci=false"]);
    let container = idle(&x, &["--label", "aigis.ci.name=Bad Name!", "--label", "aigis.purpose=test"]);
    let _row = mesh.live(&x, &container.id);
    let described = mesh.aish(["describe", &x, "--json"]).good().json();
    assert_eq!((&described["name"], &described["labels"]["aigis.purpose"]), (&x.as_str().into(), &"test".into()));
    let warnings = described["warnings"].as_array().cloned().unwrap_or_default();
    assert!(
        warnings.iter().any(|line| line.as_str().is_some_and(|line| line.contains("aigis.ci.name"))),
        "{described}"
    );
    assert!(mesh.row(&y).is_none());
    let _nobody = mesh.aish([y.as_str(), "status"]).failed(68);
}
