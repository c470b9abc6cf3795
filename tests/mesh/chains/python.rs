//! Apps of Python, from the package index to the browser.

use aigis_tests::{Mesh, Running, docker, until};
use rustix::process::Signal;

use super::{LIMIT, Source, ayup, copied, ended, running};

#[test]
fn chn_03_an_assistant_of_anothers_makes_an_app_of_python() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "kept\n")]));
    let assistant = ayup("examples/assistants/test");
    let options = ["--assistant", assistant.to_str().unwrap(), "--yes", "--until", "ready"];
    let _ran = ended(source.push(&mesh, &options), 0);
    assert_eq!(source.steps(&mesh), ["local:test", "builtin:python", "builtin:exec"]);
    let mut forward = running::forward(&mesh, &source.name, "5000");
    assert!(forward.get("/").ends_with("Hello, World!"));
    assert!(source.read("__main__.py").is_some_and(|text| text.contains("Flask")));
    assert_eq!(source.read("requirements.txt").as_deref(), Some("flask\n"));
    running::removed(&mesh, &source);
}

#[test]
fn chn_04_an_app_of_anothers_serves_until_ctrl_c() {
    let (mesh, source) = (Mesh::up(), Source::new(&[]));
    copied("examples/apps/hello-world-flask", &source);
    let path = source.path();
    let mut push = Running::of_stderr(mesh.spawn(["push", path.to_str().unwrap(), "--yes"]));
    let arrow = format!(" -> {}:5000", source.name);
    // Another app of this machine may have the port itself.
    let port = push.until("its port is here", LIMIT * 3, |line| {
        let (url, _) = line.split_once(&arrow)?;
        url.rsplit(':').next()?.parse::<u16>().ok()
    });
    let answer = until("it answers", LIMIT, || running::get(&format!("127.0.0.1:{port}"), "/"));
    assert!(answer.ends_with("Hello, World!"), "{answer}");
    push.signal(Signal::INT);
    let ran = push.end(LIMIT);
    assert_eq!(ran.code, 130, "{ran:?}");
    assert!(source.read("requirements.txt").is_some(), "what was derived comes back: {ran:?}");
    let label = format!("label=aigis.owner=app/{}", source.name);
    until("no container is left", LIMIT, || docker(None, &["ps", "-aq", "--filter", &label]).is_empty().then_some(()));
}

#[test]
fn chn_21_the_log_has_the_dockerfile_with_what_the_system_needs() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("__main__.py", "")]));
    source.write("requirements.txt", "x @ git+https://git.invalid/x.git\nopencv-python==4\n");
    // Whether the system's packages can be had says nothing of it.
    let _ran = source.push(&mesh, &["--yes", "--no-follow"]);
    let id = source.chain(&mesh)["id"].as_str().unwrap().to_owned();
    let _followed = mesh.aish(["chains", "follow", &id]);
    let chain = source.chain(&mesh);
    assert_eq!(chain["steps"][0]["assistant"], "builtin:python", "{chain}");
    let log = mesh.aish(["chains", "show", &id, "--step", "1", "--log"]).good().stdout;
    let installs = log.lines().find_map(|line| line.strip_prefix("  RUN apt-get update && apt-get install -y "));
    let installs = installs.unwrap_or_else(|| panic!("{log}"));
    let (packages, _) = installs.split_once(" && ").unwrap();
    let packages: Vec<&str> = packages.split(' ').filter(|word| !word.starts_with('-')).collect();
    assert_eq!(packages, ["git", "libgl1", "libglib2.0-0"]);
    for line in ["  FROM python:3.12-slim", "  WORKDIR /app", "  CMD [\"python\",\"__main__.py\"]"] {
        assert!(log.lines().any(|written| written == line), "{line}: {log}");
    }
}
