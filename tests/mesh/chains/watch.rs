//! `aish push --watch`: what is edited is pushed again.

use aigis_tests::{Mesh, Running, until};

use super::{
    LIMIT, Source, interrupted,
    running::{WEB, forward, removed, web},
};

fn pushed(mesh: &Mesh, source: &Source) -> usize {
    let chains = mesh.aish(["chains", "list", "--app", &source.name, "--json"]).good().json();
    chains.as_array().map(Vec::len).unwrap_or_default()
}

#[test]
fn chn_61_what_changes_is_pushed_again_and_nothing_else() {
    let (mesh, source) = (Mesh::up(), web("body one"));
    source.write(".gitignore", "*.tmp\n");
    let path = source.path();
    let mut push = Running::of_stderr(mesh.spawn(["push", path.to_str().unwrap(), "--watch", "--port", "none"]));
    until("there is an app", LIMIT, || (mesh.aish(["apps", "show", &source.name]).code == 0).then_some(()));
    let mut port = forward(&mesh, &source.name, "8080");
    let mut answers = |body: &str| {
        until(body, LIMIT, || port.get("/").contains(body).then_some(()));
    };
    answers("body one");

    source.write("index.html", "body two");
    answers("body two");
    let before = pushed(&mesh, &source);
    source.write("ignored.tmp", "x");

    // What cannot be built is told, and what served goes on.
    source.write("Dockerfile", "FROM busybox\nRUN echo this is wrong; exit 9\n");
    push.until("the failure is told", LIMIT, |line| line.contains("Dockerfile:2").then_some(()));
    answers("body two");
    assert_eq!(pushed(&mesh, &source), before + 1, "an ignored file is no change");

    source.write("Dockerfile", WEB);
    source.write("index.html", "body three");
    answers("body three");
    let last = source.chain(&mesh)["id"].as_str().unwrap().to_owned();
    until("it serves", LIMIT, || {
        (mesh.aish(["chains", "show", &last, "--json"]).good().json()["status"] == "serving").then_some(())
    });
    interrupted(&mut push);
    let ran = push.end(LIMIT);
    assert_eq!(ran.code, 130, "{ran:?}");
    removed(&mesh, &source);
}
