//! The state files: what an assistant writes, what the next one finds, what comes back.

use std::fs;

use aigis_tests::Mesh;

use super::{COPY, Source, ended};

#[test]
fn chn_07_what_a_step_finds_cannot_be_written() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "kept\n")]));
    let tries = "for to in /in/app/x /in/state/x; do echo here > $to 2>/dev/null || echo \"not $to\"; done\n\
        grep -q ' /in/app ' /proc/mounts && echo mounted\n";
    let folder = source.assistant("tries", &format!("exec 2>&1\n{tries}{COPY}"));
    let ran = ended(source.push(&mesh, &["--assistant", &folder]), 0);
    assert!(ran.stderr.contains("[local:tries] not /in/app/x"), "{}", ran.stderr);
    assert!(ran.stderr.contains("[local:tries] not /in/state/x"), "{}", ran.stderr);
    let chain = source.chain(&mesh);
    let log = mesh.aish(["chains", "show", chain["id"].as_str().unwrap(), "--step", "1", "--log"]).good().stdout;
    for line in ["x: Read-only file system\nnot /in/app/x\n", "x: Read-only file system\nnot /in/state/x\n"] {
        assert!(log.contains(line), "{log}");
    }
}

#[test]
fn chn_08_what_is_not_copied_is_gone_for_the_next_and_stays_here() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("a", "1"), ("b", "2"), ("c/d", "3")]));
    source.known(&mesh, "looks", "echo \"there are $(ls -A /in/app | wc -l)\"");
    let folder = source.assistant("only", "echo value > /out/state/mykey\necho local:looks > /out/state/next");
    let ran = ended(source.push(&mesh, &["--assistant", &folder]), 0);
    assert!(ran.stderr.contains("[local:looks] there are 0"), "{}", ran.stderr);
    assert_eq!(["a", "b", "c/d"].map(|file| source.read(file).unwrap()), ["1", "2", "3"]);
}

#[test]
fn chn_09_chn_10_state_is_merged_file_by_file() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    let show =
        "for file in cmd ports workingdir mykey next; do echo \"$file=$(cat /in/state/$file 2>/dev/null)\"; done\n";
    source.known(&mesh, "third", &format!("{show}{COPY}"));
    source.known(
        &mesh,
        "second",
        &format!(
            "{show}printf '' > /out/state/cmd\necho null > /out/state/ports\n{COPY}echo local:third > /out/state/next"
        ),
    );
    let wrote = "echo '[\"echo\"]' > /out/state/cmd\necho '[5000]' > /out/state/ports\necho /w > /out/state/workingdir\n\
        echo mine > /out/state/mykey\necho local:second > /out/state/next\n";
    let folder = source.assistant("first", &format!("{COPY}{wrote}"));
    let ran = ended(source.push(&mesh, &["--assistant", &folder]), 0);
    for line in ["cmd=[\"echo\"]", "ports=[5000]", "workingdir=/w", "mykey=mine", "next=nil"] {
        assert!(ran.stderr.contains(&format!("[local:second] {line}\n")), "{line}: {}", ran.stderr);
    }
    for line in ["cmd=", "ports=", "workingdir=/w", "mykey=mine", "next=nil"] {
        assert!(ran.stderr.contains(&format!("[local:third] {line}\n")), "{line}: {}", ran.stderr);
    }
    assert_eq!(source.state("mykey").as_deref(), Some("mine\n"));
    assert_eq!(source.state("workingdir").as_deref(), Some("/w\n"));
    assert_eq!((source.state("cmd"), source.state("ports")), (None, None));
}

#[test]
fn chn_11_a_next_that_is_pushed_is_ignored() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", ""), (".aigis/next", "builtin:exec")]));
    let folder = source.assistant("looks", &format!("echo \"next=$(cat /in/state/next)\"\n{COPY}"));
    let ran = ended(source.push(&mesh, &["--assistant", &folder]), 0);
    assert!(ran.stderr.contains("[local:looks] next=nil"), "{}", ran.stderr);
    assert_eq!(source.steps(&mesh), ["local:looks"]);
}

#[test]
fn chn_12_nothing_next_is_the_end_and_names_are_trimmed() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    for (name, said) in [("nil", "echo nil"), ("empty", "printf ''"), ("nothing", "")] {
        let write = if said.is_empty() { String::new() } else { format!("{said} > /out/state/next\n") };
        let folder = source.assistant(name, &format!("{COPY}{write}"));
        let _ran = ended(source.push(&mesh, &["--assistant", &folder]), 0);
        let chain = source.chain(&mesh);
        assert_eq!((chain["status"].as_str(), chain["steps"].as_array().map(Vec::len)), (Some("done"), Some(1)));
    }
    source.known(&mesh, "cp", COPY);
    let folder = source.assistant("spaces", &format!("{COPY}printf ' local:cp \\n' > /out/state/next"));
    let _ran = ended(source.push(&mesh, &["--assistant", &folder]), 0);
    assert_eq!(source.steps(&mesh), ["local:spaces", "local:cp"]);
}

#[test]
fn chn_13_what_fails_changes_no_file_and_keeps_its_state_and_log() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "kept")]));
    let folder = source.assistant(
        "fail3",
        "echo mine > /out/state/mykey\necho changed > /out/app/keep\necho 'a word of the log'\nexit 3",
    );
    let ran = ended(source.push(&mesh, &["--assistant", &folder]), 1);
    assert!(ran.stderr.contains("a word of the log"), "{}", ran.stderr);
    assert_eq!((source.state("mykey").as_deref(), source.read("keep").as_deref()), (Some("mine\n"), Some("kept")));
    let chain = source.chain(&mesh);
    assert_eq!((chain["status"].as_str(), chain["steps"][0]["exit_code"].as_i64()), (Some("failed"), Some(3)));
}

#[test]
fn chn_15_a_malformed_state_is_refused_before_anything_is_sent() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    let folder = source.assistant("cp", COPY);
    for (file, content) in
        [("ports", "[0]"), ("ports", "[70000]"), ("ports", "\"x\""), ("cmd", "\"\""), ("version", "v1")]
    {
        source.write(&format!(".aigis/{file}"), content);
        let ran = source.push(&mesh, &["--assistant", &folder]).failed(65);
        assert!(ran.stderr.contains(file), "{ran:?}");
        fs::remove_file(source.path().join(".aigis").join(file)).unwrap();
    }
    assert_eq!(mesh.aish(["chains", "list", "--json"]).good().json().as_array().map(Vec::len), Some(0));
}

#[test]
fn chn_16_a_state_under_its_former_name_stays_there() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", ""), (".ayup/mykey", "old")]));
    let folder = source.assistant("says", &format!("cat /in/state/mykey\necho new > /out/state/mykey\n{COPY}"));
    let ran = ended(source.push(&mesh, &["--assistant", &folder]), 0);
    assert!(ran.stderr.contains("[local:says] old"), "{}", ran.stderr);
    assert_eq!((source.read(".ayup/mykey").as_deref(), source.state("mykey")), (Some("new\n"), None));
    source.write(".aigis/mykey", "newer");
    source.write(".aigis/id", &source.read(".ayup/id").unwrap());
    let ran = ended(source.push(&mesh, &["--assistant", &folder]), 0);
    assert!(ran.stderr.contains("[local:says] newer") && ran.stderr.contains(".ayup"), "{}", ran.stderr);
}
