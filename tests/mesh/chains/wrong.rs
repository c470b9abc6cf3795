//! What is refused, and with which words.

use aigis_tests::Mesh;

use super::{COPY, Source, ended, write};

#[test]
fn chn_14_names_that_nobody_knows() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    source.known(&mesh, "cp", COPY);
    let next = |name: &str| source.assistant("names", &format!("{COPY}echo {name} > /out/state/next"));
    let ran = ended(source.push(&mesh, &["--assistant", &next("local:cq")]), 1);
    assert!(ran.stderr.contains("local:cp"), "{}", ran.stderr);
    let _ran = ended(source.push(&mesh, &["--assistant", &next("cp")]), 0);
    assert_eq!(source.steps(&mesh), ["local:names", "local:cp"]);
    let _ran = ended(source.push(&mesh, &["--assistant", &next("nocolon")]), 1);
    let before = mesh.aish(["chains", "list", "--json"]).good().json().as_array().map(Vec::len);
    let _refused = source.push(&mesh, &["--assistant", "nosuch"]).failed(65);
    assert_eq!(mesh.aish(["chains", "list", "--json"]).good().json().as_array().map(Vec::len), before);
}

#[test]
fn chn_14_nonsense_of_an_assistant_fails_its_step_and_names_it() {
    let mesh = Mesh::up();
    for (file, value) in
        [("next", "local:nosuch"), ("next", "!!"), ("after", "nosuch"), ("image", "--privileged"), ("ports", "[70000]")]
    {
        let source = Source::new(&[("keep", "kept")]);
        let script = format!("echo words\necho mine > /out/state/mykey\necho new > /out/app/new\n{COPY}");
        let folder = source.assistant("odd", &format!("{script}echo '{value}' > /out/state/{file}"));
        let ran = ended(source.push(&mesh, &["--assistant", &folder]), 1);
        let said = ran.stderr.lines().find(|line| line.contains("local:odd wrote"));
        let said = said.unwrap_or_else(|| panic!("{file}: {}", ran.stderr));
        assert!(said.contains(file) && said.contains(value.trim_matches(['[', ']'])), "{said}");
        assert_eq!((source.state("mykey").as_deref(), source.read("new")), (Some("mine\n"), None));
        let chain = source.chain(&mesh);
        assert_eq!((&chain["status"], &chain["steps"][0]["status"]), (&"failed".into(), &"failed".into()), "{chain}");
        let id = chain["id"].as_str().unwrap();
        assert!(mesh.aish(["chains", "show", id, "--step", "1", "--log"]).good().stdout.contains("words\n"));
    }
}

#[test]
fn an_agent_that_cannot_run_yet_is_refused_before_anything_is_sent() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("agents/x.aip", "")]));
    let refused = source.push(&mesh, &["--assistant", "aip:agents/x.aip"]).failed(1);
    assert!(refused.stderr.contains("this version runs no .aip agents"), "{refused:?}");
    assert_eq!(mesh.aish(["chains", "list", "--json"]).good().stdout.trim(), "[]");
}

#[test]
fn chn_54_where_it_is_to_run_must_be_somewhere() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    let folder = source.assistant("cp", COPY);
    let _unknown = source.push(&mesh, &["--assistant", &folder, "--on", "nosuch"]).failed(68);
    let ran = ended(source.push(&mesh, &["--assistant", &folder, "--on", "zone=nowhere"]), 69);
    assert!(ran.stderr.contains("alpha"), "{}", ran.stderr);
    let _ran = ended(source.push(&mesh, &["--assistant", &folder, "--on", "alpha"]), 0);
    assert_eq!(source.chain(&mesh)["steps"][0]["node"], "alpha");
}

#[test]
fn chn_63_a_folder_that_is_no_assistant_says_why() {
    let (mesh, source) = (Mesh::up(), Source::new(&[]));
    type Files = &'static [(&'static str, &'static str)];
    let cases: [(&str, Files, &str); 4] = [
        ("noname", &[("Dockerfile", "FROM busybox\nCMD true\n")], "name"),
        ("nofile", &[("name", "nofile")], "Dockerfile"),
        ("nocmd", &[("name", "nocmd"), ("Dockerfile", "FROM busybox\n")], "ENTRYPOINT"),
        (
            "badkey",
            &[("name", "badkey"), ("Dockerfile", "FROM busybox\nCMD true\n"), ("assistant.toml", "detekt = []\n")],
            "detekt",
        ),
    ];
    for (folder, files, named) in cases {
        let path = source.path().join(folder);
        files.iter().for_each(|(file, content)| write(&path.join(file), content));
        let ran = mesh.aish(["assistants", "push", path.to_str().unwrap()]).failed(65);
        assert!(ran.stderr.contains(named), "{ran:?}");
    }
}

#[test]
fn chn_65_a_chain_keeps_the_assistant_with_which_it_began() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    source.known(&mesh, "cp", &format!("echo old\n{COPY}"));
    let folder = source.assistant("waits", &format!("sleep 4\n{COPY}echo local:cp > /out/state/next"));
    let id = source.begun(&mesh, &["--assistant", &folder]);
    source.known(&mesh, "cp", &format!("echo new\n{COPY}"));
    let ran = ended(mesh.aish(["chains", "follow", &id]), 0);
    assert!(ran.stderr.contains("[local:cp] old"), "{}", ran.stderr);
    let ran = ended(source.push(&mesh, &["--assistant", "cp"]), 0);
    assert!(ran.stderr.contains("[local:cp] new"), "{}", ran.stderr);
}
