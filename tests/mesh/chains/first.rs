//! What a chain begins with, and its way to the app's end.

use aigis_tests::Mesh;

use super::{COPY, Source, ayup, copied, ended};

const GREETING: [&str; 3] = ["local:test2", "builtin:dockerfile", "builtin:exec"];

#[test]
fn chn_01_an_assistant_of_anothers_makes_an_app_that_greets() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "kept\n")]));
    let assistant = ayup("assistants/test");
    let ran = ended(source.push(&mesh, &["--assistant", assistant.to_str().unwrap()]), 0);
    assert_eq!(ran.stdout, "hello, world!\n", "{}", ran.stderr);
    assert_eq!(source.steps(&mesh), GREETING);
    assert!(source.read("Dockerfile").is_some_and(|text| text.contains("FROM busybox")));
    assert_eq!(source.read("keep").as_deref(), Some("kept\n"));
    assert!(source.state("log").is_some_and(|log| log.contains("hello, world!")));
}

#[test]
fn chn_02_what_an_app_begins_with_is_remembered() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "kept\n")]));
    let assistant = ayup("examples/assistants/test2");
    let pushed = mesh.aish(["assistants", "push", assistant.to_str().unwrap()]).good();
    assert!(pushed.stdout.starts_with("local:test2 sha256:"), "{pushed:?}");
    let path = source.path();
    let set = |name: &str| mesh.in_directory(&path, ["apps", "assistant", name]);
    assert_eq!(set("local:nosuch").code, 65);
    let _set = set("local:test2").good();
    let ran = ended(source.push(&mesh, &[]), 0);
    assert_eq!((ran.stdout.as_str(), source.steps(&mesh)), ("hello, world!\n", GREETING.map(str::to_owned).to_vec()));
    assert_eq!(mesh.in_directory(&path, ["apps", "assistant"]).good().stdout.trim(), "local:test2");
    let _cleared = set("nil").good();
    assert_eq!(source.state("first").map(|first| first.trim().to_owned()).filter(|first| first != "nil"), None);
}

#[test]
fn chn_18_the_first_assistant_follows_from_what_is_there() {
    let mesh = Mesh::up();
    for (files, first) in [
        (&[("Dockerfile", "FROM busybox\nCMD [\"true\"]\n"), ("requirements.txt", "")][..], "builtin:dockerfile"),
        (&[("requirements.txt", "flask\n"), ("__main__.py", "")][..], "builtin:python"),
        (&[("index.html", "<p>here</p>")][..], "remote:static"),
    ] {
        let source = Source::new(files);
        let planned = source.push(&mesh, &["--dry-run", "--json"]).good().json();
        assert_eq!(planned["assistant"], first, "{planned}");
    }
    let source = Source::new(&[("notes.txt", "nothing that is known")]);
    let ran = ended(source.push(&mesh, &[]), 1);
    assert!(ran.stderr.contains("package.json") && ran.stderr.contains("go.mod"), "{}", ran.stderr);
}

#[test]
fn chn_19_several_that_would_do_are_listed() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("site.conf", "")]));
    for name in ["one", "two"] {
        let folder = source.assistant(name, COPY);
        super::write(&std::path::Path::new(&folder).join("assistant.toml"), "detect = [\"site.conf\"]\n");
        let _pushed = mesh.aish(["assistants", "push", &folder]).good();
    }
    let ran = source.push(&mesh, &["--yes"]).failed(65);
    assert!(ran.stderr.contains("local:one") && ran.stderr.contains("local:two"), "{ran:?}");
}

#[test]
fn chn_20_a_dockerfile_says_command_and_ports() {
    let mesh = Mesh::up();
    let source = Source::new(&[("Dockerfile", "FROM busybox\nEXPOSE 80/udp 3000\nCMD echo hello $((20 + 3))\n")]);
    let ran = ended(source.push(&mesh, &[]), 0);
    assert_eq!(ran.stdout, "hello 23\n", "{}", ran.stderr);
    assert_eq!(source.state("ports").as_deref().map(str::trim), Some("[3000]"));
    let cmd = source.state("cmd").unwrap();
    let cmd: Vec<String> = serde_json::from_str(&cmd).unwrap();
    assert_eq!(cmd, ["/bin/sh", "-c", "echo hello $((20 + 3))"]);
    let without = Source::new(&[("Dockerfile", "FROM scratch\nCOPY . /\n")]);
    let ran = ended(without.push(&mesh, &[]), 1);
    assert!(ran.stderr.contains("CMD"), "{}", ran.stderr);
}

#[test]
fn chn_05_an_app_with_a_dockerfile_of_anothers_serves() {
    let (mesh, source) = (Mesh::up(), Source::new(&[]));
    copied("examples/apps/dockerfile", &source);
    let _pushed = ended(source.push(&mesh, &["--until", "ready"]), 0);
    assert_eq!(source.state("ports").as_deref().map(str::trim), Some("[3000]"));
    let mut forward = super::running::forward(&mesh, &source.name, "3000");
    let body = forward.get("/");
    assert!(body.contains("Your IP is"), "{body}");
    super::running::removed(&mesh, &source);
}
