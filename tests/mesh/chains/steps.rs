//! A step: what its container is, and what bounds it.

use aigis_tests::{Mesh, docker};

use super::{COPY, Source, ended, write};

#[test]
fn chn_17_an_image_keeps_its_environment_directory_and_user() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    let nonce = aigis_tests::nonce();
    let looks = "echo \"$X $(pwd) $(id -u)\"";
    let folder = source.assistant("own", &format!("{looks}\n{COPY}echo builtin:dockerfile > /out/state/next"));
    let dockerfile = format!(
        "FROM busybox\nCOPY . /assistant\nENV X={nonce}\nWORKDIR /w\nUSER 1000\nENTRYPOINT [\"/assistant/run\"]\n"
    );
    write(&std::path::Path::new(&folder).join("Dockerfile"), &dockerfile);
    source.write("Dockerfile", &format!("FROM busybox\nENV X={nonce}\nWORKDIR /w\nUSER 1000\nCMD {looks}\n"));
    let ran = ended(source.push(&mesh, &["--assistant", &folder]), 0);
    let expected = format!("{nonce} /w 1000");
    assert!(ran.stderr.contains(&format!("[local:own] {expected}\n")), "{}", ran.stderr);
    assert_eq!(ran.stdout.trim(), expected, "{}", ran.stderr);
}

#[test]
fn chn_22_a_flag_that_the_builder_does_not_know_is_dropped_from_a_copy() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("greet", "#!/bin/sh\necho greeted\n")]));
    let dockerfile = "FROM busybox\nCOPY --link --chmod=555 greet /greet\nCMD ls -l /greet && /greet\n";
    source.write("Dockerfile", dockerfile);
    let ran = ended(source.push(&mesh, &[]), 0);
    assert!(ran.stdout.contains("-r-xr-xr-x") && ran.stdout.ends_with("greeted\n"), "{ran:?}");
    assert_eq!(source.read("Dockerfile").as_deref(), Some(dockerfile));
}

#[test]
fn chn_26_a_loop_ends_with_its_budget_or_without_progress() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("count", "0\n")]));
    let again = "echo local:self > /out/state/next\n";
    source.known(&mesh, "self", &format!("{COPY}{again}echo $(($(cat /in/app/count) + 1)) > /out/app/count"));
    let ran = ended(source.push(&mesh, &["--assistant", "self", "--max-steps", "5"]), 1);
    assert!(ran.stderr.contains('5'), "{}", ran.stderr);
    assert_eq!(source.steps(&mesh), ["local:self"; 5]);
    source.known(&mesh, "same", &format!("{COPY}echo local:same > /out/state/next\n"));
    let ran = ended(source.push(&mesh, &["--assistant", "same"]), 1);
    assert_eq!(source.steps(&mesh).len(), 2, "{}", ran.stderr);
    let chain = source.chain(&mesh);
    assert_eq!(chain["error"]["code"], "resource_exhausted", "{chain}");
}

#[test]
fn chn_27_a_step_that_takes_too_long_is_ended() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    let folder = source.assistant("slow", "for i in $(seq 60); do date; sleep 1; done");
    let ran = ended(source.push(&mesh, &["--assistant", &folder, "--step-timeout", "3s"]), 75);
    assert!(ran.stderr.contains("3"), "{}", ran.stderr);
    let id = source.chain(&mesh)["id"].as_str().unwrap().to_owned();
    let left = docker(None, &["ps", "-aq", "--filter", &format!("label=aigis.owner=chain/{id}")]);
    assert_eq!(left.trim(), "");
}

#[test]
fn chn_66_a_deterministic_step_does_not_run_twice() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    let marks = ["cached", "done"].map(|second| {
        let name = format!("det-{second}");
        let folder = source.assistant(&name, COPY);
        let settings = format!("deterministic = {}\n", second == "cached");
        write(&std::path::Path::new(&folder).join("assistant.toml"), &settings);
        let mut statuses = Vec::new();
        for _ in 0..2 {
            let _ran = ended(source.push(&mesh, &["--assistant", &folder, "--no-save"]), 0);
            statuses.push(source.chain(&mesh)["steps"][0]["status"].as_str().unwrap().to_owned());
        }
        (statuses, second)
    });
    for (statuses, second) in marks {
        assert_eq!(statuses, ["done", second]);
    }
}

#[test]
fn chn_67_a_step_without_a_network_reaches_nothing() {
    let mesh = Mesh::up();
    let source = Source::new(&[("keep", "")]);
    let port = mesh.bus().rsplit(':').next().unwrap().to_owned();
    let dial =
        format!("ls /sys/class/net\nnc -w 2 172.17.0.1 {port} </dev/null && echo reached || echo unreached\n{COPY}");
    let folder = source.assistant("cut", &dial);
    write(&std::path::Path::new(&folder).join("assistant.toml"), "network = \"none\"\n");
    let ran = ended(source.push(&mesh, &["--assistant", &folder]), 0);
    assert!(ran.stderr.contains("[local:cut] unreached") && !ran.stderr.contains("eth0"), "{}", ran.stderr);
}

#[test]
fn chn_68_a_step_that_wants_too_much_memory_is_told() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    // busybox's sort keeps all it reads.
    let folder = source.assistant("hog", "head -c 1000000000 /dev/zero | tr '\\0' 'x' | sort > /dev/null");
    write(&std::path::Path::new(&folder).join("assistant.toml"), "memory = \"64m\"\n");
    let ran = ended(source.push(&mesh, &["--assistant", &folder]), 1);
    assert!(ran.stderr.contains("killed for memory"), "{}", ran.stderr);
}
