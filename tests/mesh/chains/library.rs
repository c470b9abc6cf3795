//! The assistants that ship with the product, and those of a directory of a node's owner.

use std::{fs, path::Path};

use aigis_tests::{Mesh, nonce};

use super::{COPY, Source, ended, running, write};

#[test]
fn hello_makes_an_app_that_greets() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "kept\n")]));
    let ran = ended(source.push(&mesh, &["--assistant", "hello"]), 0);
    assert_eq!(ran.stdout, "hello, world!\n", "{}", ran.stderr);
    assert_eq!(source.steps(&mesh), ["remote:hello", "builtin:dockerfile", "builtin:exec"]);
    assert_eq!(source.read("keep").as_deref(), Some("kept\n"));
}

#[test]
fn static_serves_a_page() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("index.html", "<p>from the library</p>")]));
    let _ran = ended(source.push(&mesh, &["--until", "ready"]), 0);
    assert_eq!(source.steps(&mesh), ["remote:static", "builtin:dockerfile", "builtin:exec"]);
    let mut forward = running::forward(&mesh, &source.name, "8080");
    assert!(forward.get("/").contains("from the library"));
    running::removed(&mesh, &source);
}

#[test]
fn procfile_has_its_line_run() {
    // On a host whose own image for sites has a server.
    let config = tempfile::tempdir().unwrap();
    write(&config.path().join("packages.toml"), "[bases]\nstatic = \"busybox\"\n");
    let mesh = Mesh::up_in(vec![("AIGIS_CONFIG_DIR", config.path().display().to_string())]);
    // With a Dockerfile that runs something else, and without one.
    let source = Source::new(&[("Procfile", "worker: none\nweb: echo \"from the $0 \\\\ line\"\n")]);
    source.write("Dockerfile", "FROM busybox\nENTRYPOINT [\"echo\", \"not\"]\nCMD [\"this\"]\n");
    let ran = ended(source.push(&mesh, &["--assistant", "procfile"]), 0);
    assert_eq!(ran.stdout, "from the /bin/sh \\ line\n", "{}", ran.stderr);
    let site =
        Source::new(&[("index.html", "<p>by its own server</p>"), ("Procfile", "web: httpd -f -p $PORT -h .\n")]);
    let _ran = ended(site.push(&mesh, &["--until", "ready"]), 0);
    assert_eq!(site.steps(&mesh), ["remote:procfile", "builtin:detect", "builtin:dockerfile", "builtin:exec"]);
    let mut forward = running::forward(&mesh, &site.name, "80");
    assert!(forward.get("/").contains("by its own server"));
    running::removed(&mesh, &site);
}

#[test]
fn test_gate_lets_an_app_pass_that_is_well_and_keeps_back_one_that_fails() {
    let mesh = Mesh::up();
    let source = Source::new(&[("index.html", "<p>good</p>"), ("test.sh", "grep -q good index.html || exit 4\n")]);
    source.write(
        "Dockerfile",
        "FROM busybox\nCOPY . /site\nEXPOSE 8080\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/site\"]\n",
    );
    let gated = ["--assistant", "test-gate", "--until", "ready"];
    let _ran = ended(source.push(&mesh, &gated), 0);
    assert_eq!(source.steps(&mesh), ["remote:test-gate", "builtin:dockerfile", "builtin:exec"]);
    source.write("index.html", "<p>bad</p>");
    let ran = ended(source.push(&mesh, &gated), 1);
    assert!(ran.stderr.contains("test.sh failed with 4"), "{}", ran.stderr);
    assert_eq!(source.steps(&mesh), ["remote:test-gate"]);
    // What served goes on.
    let mut forward = running::forward(&mesh, &source.name, "8080");
    assert!(forward.get("/").contains("good"));
    running::removed(&mesh, &source);
}

#[test]
fn fix_loop_mends_an_app_and_so_does_a_copy_of_it() {
    let mesh = Mesh::up();
    let app = "FROM busybox\nWORKDIR /app\nCOPY . .\nCMD cat needed && ./start\n";
    let files = [("Dockerfile", app), ("start", "#!/bin/sh\necho started\n")];
    let source = Source::new(&files);
    let ran = ended(source.push(&mesh, &["--assistant", "fix-loop"]), 0);
    assert!(ran.stdout.ends_with("started\n"), "{}", ran.stdout);
    let round = ["remote:fix-loop", "builtin:dockerfile", "builtin:exec"];
    assert_eq!(source.steps(&mesh), [round, round, round].concat());
    assert_eq!(source.read("needed").as_deref(), Some(""), "what it mended comes back");

    // As its README says that one begins.
    let copy = tempfile::tempdir().unwrap();
    let folder = copy.path().join("mender");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assistants/library/fix-loop");
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(shipped).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let name = format!("mender-{}", nonce());
    write(&folder.join("name"), &format!("{name}\n"));
    let rules = fs::read_to_string(folder.join("rules")).unwrap();
    write(&folder.join("rules"), &format!("{rules}lacks ([a-z]+)\tcreate \\1\n"));
    let app = "FROM busybox\nWORKDIR /app\nCOPY . .\nCMD [ -e own ] || { echo lacks own; exit 1; }; echo started\n";
    let source = Source::new(&[("Dockerfile", app)]);
    let ran = ended(source.push(&mesh, &["--assistant", folder.to_str().unwrap()]), 0);
    assert!(ran.stdout.ends_with("started\n"), "{}", ran.stdout);
    let own = format!("local:{name}");
    let round = [own.as_str(), "builtin:dockerfile", "builtin:exec"];
    assert_eq!(source.steps(&mesh), [round, round].concat());

    // What no rule knows ends the chain.
    let source = Source::new(&[("Dockerfile", "FROM busybox\nCMD echo odd; exit 9\n")]);
    let ran = ended(source.push(&mesh, &["--assistant", "fix-loop"]), 1);
    assert!(ran.stderr.contains("no rule fits the log"), "{}", ran.stderr);
}

#[test]
fn chn_64_a_bad_folder_of_a_nodes_directory_is_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let name = |short: &str| format!("{short}-{}", nonce());
    let (good, other) = (name("good"), name("also"));
    for name in [&good, &other] {
        let folder = directory.path().join(name);
        write(&folder.join("name"), name);
        write(&folder.join("Dockerfile"), "FROM busybox\nCOPY . /assistant\nENTRYPOINT [\"sh\", \"/assistant/run\"]\n");
        write(&folder.join("run"), COPY);
    }
    write(&directory.path().join("lacking/name"), "lacking\n");
    let mesh = Mesh::up_in(vec![("AIGIS_ASSISTANTS_DIR", directory.path().display().to_string())]);
    let listed = || mesh.aish(["assistants", "list", "--json"]).good().json();
    let names = aigis_tests::until("they are known", super::LIMIT, || {
        let listed = listed();
        let names: Vec<String> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|row| format!("{}:{}", row["kind"].as_str().unwrap(), row["name"].as_str().unwrap()))
            .collect();
        [&good, &other].into_iter().all(|name| names.contains(&format!("remote:{name}"))).then_some(names)
    });
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(names, sorted);
    for shipped in ["builtin:exec", "remote:hello"] {
        assert!(names.iter().any(|name| name == shipped), "{names:?}");
    }
    assert!(!names.contains(&"remote:lacking".to_owned()), "{names:?}");
    let log = mesh.log();
    let warning = log.lines().find(|line| line.contains("lacking") && line.contains("WARN"));
    assert!(warning.is_some_and(|line| line.contains("has no Dockerfile")), "{log}");
    let source = Source::new(&[("keep", "")]);
    let _ran = ended(source.push(&mesh, &["--assistant", &good]), 0);
    assert_eq!(source.steps(&mesh), [format!("remote:{good}")]);
}
