use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use super::*;

/// A step of an assistant of the library, as its container would run it, with `busybox` and a root of its own.
struct Step {
    root: tempfile::TempDir,
    assistant: &'static str,
}

impl Step {
    fn new(assistant: &'static str) -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["in/app", "in/state", "out/app", "out/state", "assistant"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let shipped = all().into_iter().find(|shipped| shipped.name.as_str() == assistant).unwrap();
        shipped.write(&root.path().join("assistant")).unwrap();
        Self { root, assistant }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn file(self, path: &str, content: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn run(&self, step: u32) -> Output {
        let dockerfile = fs::read_to_string(self.path("assistant/Dockerfile")).unwrap();
        assert!(dockerfile.contains("ENTRYPOINT [\"/bin/sh\", \"/assistant/run\"]"), "{}", self.assistant);
        let mut command = Command::new("/bin/busybox");
        command.arg("sh").arg(self.path("assistant/run")).env_clear();
        // A container of busybox finds each of its tools so.
        let tools = self.path("tools");
        if !tools.exists() {
            fs::create_dir(&tools).unwrap();
            let install = Command::new("/bin/busybox").args(["--install", "-s"]).arg(&tools).output().unwrap();
            assert!(install.status.success(), "{install:?}");
        }
        command.env("PATH", &tools).env("AIGIS_ROOT", self.root.path()).env("AIGIS_STEP", step.to_string());
        command.env("AIGIS_ASSISTANT", format!("remote:{}", self.assistant));
        command.current_dir(self.root.path()).output().unwrap()
    }

    fn succeeds(&self, step: u32) -> String {
        let output = self.run(step);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, step: u32) -> String {
        let output = self.run(step);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    fn next(&self) -> Option<String> {
        self.read("out/state/next").map(|next| next.trim().to_owned())
    }

    /// The step that follows: what this one left is what that finds.
    fn follow(self) -> Self {
        let _ = fs::remove_dir_all(self.path("in/app"));
        fs::rename(self.path("out/app"), self.path("in/app")).unwrap();
        fs::create_dir(self.path("out/app")).unwrap();
        for entry in fs::read_dir(self.path("out/state")).unwrap() {
            let from = entry.unwrap().path();
            fs::rename(&from, self.path("in/state").join(from.file_name().unwrap())).unwrap();
        }
        self
    }
}

#[test]
fn each_assistant_of_the_library_reads_as_a_folder() {
    let all = all();
    let names: Vec<&str> = all.iter().map(|shipped| shipped.name.as_str()).collect();
    assert_eq!(names, ["fix-loop", "hello", "procfile", "static", "test-gate"]);
    for shipped in all {
        let directory = tempfile::tempdir().unwrap();
        shipped.write(directory.path()).unwrap();
        let folder = Folder::read(directory.path()).unwrap();
        assert_eq!((folder.name, &folder.settings), (shipped.name, &shipped.settings));
        assert!(shipped.settings.description.is_some_and(|text| text.ends_with('.')));
        assert!(!directory.path().join("README.md").metadata().unwrap().permissions().readonly());
        assert_eq!(shipped.settings.network, folder::Network::None);
        let dockerfile = fs::read_to_string(directory.path().join("Dockerfile")).unwrap();
        assert!(dockerfile.starts_with("FROM busybox\n"));
    }
}

#[test]
fn chn_64_a_bad_folder_is_left_out_with_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let write = |folder: &str, file: &str, content: &str| {
        fs::create_dir_all(directory.path().join(folder)).unwrap();
        fs::write(directory.path().join(folder).join(file), content).unwrap();
    };
    for (folder, name) in [("2", "b"), ("1", "z"), ("3", "b")] {
        write(folder, "name", name);
        write(folder, "Dockerfile", "FROM busybox\nCMD [\"true\"]");
    }
    write("bad", "name", "bad");
    let (found, warnings) = of_directory(directory.path());
    assert_eq!(found.iter().map(|folder| folder.name.as_str()).collect::<Vec<_>>(), ["b", "z"]);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("/3 is left out") && warnings[0].contains("/2 is called b"), "{warnings:?}");
    assert!(warnings[1].contains("/bad is left out") && warnings[1].contains("has no Dockerfile"), "{warnings:?}");
    let (none, warnings) = of_directory(Path::new("/nonexistent/assistants"));
    assert!(none.is_empty() && warnings.len() == 1);
}

#[test]
fn hello_keeps_the_app_and_adds_a_dockerfile() {
    let step = Step::new("hello").file("in/app/deep/keep", "kept");
    step.succeeds(1);
    assert_eq!(step.read("out/app/deep/keep").as_deref(), Some("kept"));
    assert!(step.read("out/app/Dockerfile").unwrap().contains("CMD [\"echo\", \"hello,\", \"world!\"]"));
    assert_eq!(step.next().as_deref(), Some("builtin:dockerfile"));
}

#[test]
fn static_serves_an_index_and_leaves_a_dockerfile_alone() {
    let step = Step::new("static").file("in/app/index.html", "<p>hi");
    step.succeeds(1);
    assert_eq!(step.read("out/app/index.html").as_deref(), Some("<p>hi"));
    let dockerfile = aigis_registry::dockerfile::parse(&step.read("out/app/Dockerfile").unwrap());
    assert_eq!(dockerfile.exposed(), ["8080"]);
    assert!(dockerfile.has_command());
    assert_eq!(step.next().as_deref(), Some("builtin:dockerfile"));

    let own = Step::new("static").file("in/app/index.html", "").file("in/app/Dockerfile", "FROM own");
    own.succeeds(1);
    assert_eq!(own.read("out/app/Dockerfile").as_deref(), Some("FROM own"));
    assert!(Step::new("static").fails(1).contains("no index.html"));
}

#[test]
fn procfile_makes_its_web_line_the_command() {
    let line = r#"exec serve "a b" \$HOME --port $PORT"#;
    let shell = serde_json::to_string(&["/bin/sh", "-c", line]).unwrap();
    let procfile = format!("worker: w\nweb:  {line} \r\n");
    let step = Step::new("procfile").file("in/app/Procfile", &procfile);
    step.succeeds(1);
    let words: Vec<String> = serde_json::from_str(&step.read("out/state/cmd").unwrap()).unwrap();
    assert_eq!(serde_json::to_string(&words).unwrap(), shell);
    assert_eq!(step.next().as_deref(), Some("builtin:detect"));
    assert_eq!(step.read("out/app/Dockerfile"), None);

    let step =
        Step::new("procfile").file("in/app/Procfile", &procfile).file("in/app/Dockerfile", "FROM x\nCMD [\"y\"]");
    step.succeeds(1);
    assert_eq!(step.next().as_deref(), Some("builtin:dockerfile"));
    let once = step.read("out/app/Dockerfile").unwrap();
    let parsed = aigis_registry::dockerfile::parse(&once);
    let last = parsed.instructions.last().unwrap();
    let words: Vec<String> = serde_json::from_str(&last.rest).unwrap();
    assert_eq!((last.keyword.as_str(), words[2].as_str()), ("CMD", line));
    // What it added is replaced by the next run.
    let step = step.follow();
    step.succeeds(1);
    assert_eq!(step.read("out/app/Dockerfile").unwrap(), once);

    assert!(
        Step::new("procfile").file("in/app/Procfile", "worker: w\n").fails(1).contains("no line that begins with web:")
    );
}

#[test]
fn test_gate_lets_only_what_passes_its_tests_on() {
    let step = Step::new("test-gate").file("in/app/test.sh", "echo tested >left; cat name").file("in/app/name", "web");
    assert!(step.succeeds(1).contains("web"));
    assert_eq!(step.next().as_deref(), Some("builtin:detect"));
    assert_eq!((step.read("out/app/name").as_deref(), step.read("out/app/left")), (Some("web"), None));

    let python = Step::new("test-gate").file("in/app/tests/run", "true").file("in/app/__main__.py", "");
    python.succeeds(1);
    assert_eq!(python.next().as_deref(), Some("builtin:python"));
    let named = python.file("in/state/gate-next", "local:mine");
    named.succeeds(1);
    assert_eq!(named.next().as_deref(), Some("local:mine"));

    let failing = Step::new("test-gate").file("in/app/test.sh", "exit 3");
    assert!(failing.fails(1).contains("test.sh failed with 3"));
    assert_eq!(failing.next(), None);
    assert!(Step::new("test-gate").fails(1).contains("neither test.sh nor tests/run"));
}

#[test]
fn fix_loop_begins_with_a_build_whatever_an_earlier_chain_left() {
    let step = Step::new("fix-loop")
        .file("in/app/__main__.py", "import flask")
        .file("in/state/log", "No module named 'flask'")
        .file("in/state/exit", "0")
        .file("in/state/after", "remote:fix-loop");
    step.succeeds(1);
    assert_eq!(step.next().as_deref(), Some("builtin:python"));
    assert_eq!(step.read("out/state/after").as_deref(), Some("remote:fix-loop\n"));
    assert_eq!(step.read("out/app/requirements.txt"), None);
}

fn failed(log: &str) -> Step {
    Step::new("fix-loop").file("in/state/log", log).file("in/state/exit", "1").file("in/state/after", "remote:fix-loop")
}

#[test]
fn chn_25_fix_loop_mends_what_its_rules_know() {
    let python =
        failed("Traceback:\nModuleNotFoundError: No module named 'yaml'\n").file("in/app/requirements.txt", "flask");
    assert_eq!(python.succeeds(4), "fix-loop: require pyyaml\n");
    assert_eq!(python.read("out/app/requirements.txt").as_deref(), Some("flask\npyyaml\n"));
    assert_eq!(python.next().as_deref(), Some("builtin:python"));
    // The same once more: what was done has not helped.
    let again = python.follow();
    assert!(again.fails(7).contains("no rule fits"));

    let missing = failed("cat: ok: No such file or directory\n").file("in/app/Dockerfile", "FROM busybox");
    missing.succeeds(3);
    assert_eq!(missing.read("out/app/ok").as_deref(), Some(""));
    assert_eq!(missing.next().as_deref(), Some("builtin:dockerfile"));

    let placed = failed("FileNotFoundError: [Errno 2] No such file or directory: '/app/data/db.json'\n");
    placed.succeeds(3);
    assert_eq!(placed.read("out/app/data/db.json").as_deref(), Some(""));

    let mode = failed("sh: ./run.sh: Permission denied\n").file("in/app/run.sh", "");
    mode.succeeds(3);
    assert_eq!(mode.path("out/app/run.sh").metadata().unwrap().permissions().mode() & 0o100, 0o100);
}

#[test]
fn fix_loop_is_done_when_the_app_is_well_and_gives_up_where_no_rule_fits() {
    let well = failed("bye\n").file("in/state/exit", "0");
    well.succeeds(5);
    assert_eq!((well.next().as_deref(), well.read("out/state/after").as_deref()), (Some("nil"), Some("")));
    assert!(failed("segmentation fault\n").fails(5).contains("segmentation fault"));
}

#[test]
fn fix_loop_takes_nothing_of_a_log_that_leaves_the_app() {
    for log in ["cat: ../../etc/x: No such file or directory\n", "cat: /etc/x: No such file or directory\n"] {
        failed(log).fails(3);
    }
    let step = failed("cat: link/x: No such file or directory\n");
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), step.path("in/app/link")).unwrap();
    step.fails(3);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}
