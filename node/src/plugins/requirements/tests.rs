use std::{fs, path::PathBuf};

use aigis_proxy::Name;

use super::*;
use crate::plugins::{
    Folder, interpreter,
    manifest::{CORE_FILE, FILE, Manifest},
};

fn text(words: &str) -> Result<Command, Refusal> {
    Command::read(&Words::Text(words.to_owned()))
}

fn run(words: &str) -> String {
    let argv = text(words).unwrap().argv(Path::new("/v"), Some(Path::new("/r/requirements.txt")));
    argv.iter().map(|word| word.display().to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn pip_is_the_environments_own_and_what_has_no_place_there_goes() {
    for words in [
        "pip install -r",
        "pip3.7 install --user -r",
        "python3.8 -m pip install --user --break-system-packages -r",
        "/usr/bin/pip3 install --index-url https://pypi.python.org/simple/ -r",
        "pip install --index-url=http://pypi.python.org/pypi -r",
        "pip install -i https://me:x@PYPI.python.org:443/simple -r",
    ] {
        assert_eq!(run(words), "/v/bin/python -m pip install -r /r/requirements.txt", "{words}");
    }
    let kept = "pip --quiet install -i https://pypi.example/simple --index-url=https://files.python.org/x -U -r";
    let expected = "/v/bin/python -m pip install --quiet -i https://pypi.example/simple \
        --index-url=https://files.python.org/x -U -r /r/requirements.txt";
    assert_eq!(run(kept), expected);
    let python = |words: &str| text(words).unwrap().python().map(str::to_owned);
    assert_eq!(python("pip3.7 install -r").as_deref(), Some("python3.7"));
    assert_eq!(python("python3.12 -m pip install -r").as_deref(), Some("python3.12"));
    assert_eq!((python("pip install -r"), python("pip3 install -r")), (None, None));
}

#[test]
fn any_other_command_runs_by_its_words() {
    assert_eq!(run("make 'a b' c\\ d \"e \\\" f\""), "make a b c d e \" f /r/requirements.txt");
    assert_eq!(text("touch").unwrap(), Command::Other(vec!["touch".into()]));
    assert_eq!(text("a '' b").unwrap(), Command::Other(vec!["a".into(), String::new(), "b".into()]));
    for other in
        ["pip download -r", "pip list install", "python setup.py install", "python -m venv x", "pipx install y"]
    {
        assert!(!text(other).unwrap().is_pip(), "{other}");
    }
}

#[test]
fn plg_63_nothing_is_for_a_shell() {
    for words in [
        "pip install -r; touch M",
        "a | b",
        "a & b",
        "a > b",
        "a < b",
        "a $B",
        "a `b`",
        "a \"$(b)\"",
        "a \"`b`\"",
        "a\nb",
    ] {
        let error = text(words).unwrap_err();
        assert!(
            matches!(error, Refusal::Shell(_)) && error.to_string().contains("[\"sh\", \"-c\""),
            "{words}: {error}"
        );
    }
    assert_eq!(text("a 'b; $c'").unwrap(), Command::Other(vec!["a".into(), "b; $c".into()]));
    assert!(text("pip install \"x>=2\" -r").unwrap().is_pip());
    assert_eq!(text("a 'b"), Err(Refusal::Quote));
    assert_eq!((text(""), text("  ")), (Err(Refusal::Empty), Err(Refusal::Empty)));
    let list = Words::List(["sh", "-c", "a; b > c"].map(str::to_owned).to_vec());
    assert!(matches!(Command::read(&list), Ok(Command::Other(words)) if words.len() == 3));
}

/// A plugin with a runtime copy.
struct Scene {
    directory: tempfile::TempDir,
    folder: Folder,
}

impl Scene {
    fn new(settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::new(directory.path(), &Name::parse("fx").unwrap());
        fs::create_dir_all(folder.copy().join("AIGIS")).unwrap();
        let scene = Self { directory, folder };
        scene.write(FILE, &format!("PLUGIN_TYPE = 'core'\nENTRYPOINT = '{{root}}'\n{settings}"));
        scene.write(CORE_FILE, "SKILLS = []");
        scene
    }

    fn write(&self, file: &str, content: &str) {
        fs::write(self.folder.copy().join(file), content).unwrap();
    }

    async fn install(&self) -> (Result<Environment, Error>, Vec<String>) {
        let copy = self.folder.copy();
        let manifest = Manifest::read(&copy, &copy).unwrap();
        let interpreter = interpreter::choose(None, None).await.unwrap();
        let installation =
            Installation { folder: &self.folder, manifest: &manifest, tree: &copy, interpreter: &interpreter };
        let mut lines = Vec::new();
        (install(&installation, &mut |line| lines.push(line.to_owned())).await, lines)
    }

    /// A wheel by hand, in a directory that pip may look into: no registry is asked.
    fn wheel(&self) -> PathBuf {
        const MAKE: &str = "import sys, zipfile\n\
            with zipfile.ZipFile(sys.argv[1], 'w') as wheel:\n\
            \x20   wheel.writestr('aigisprobe.py', 'ANSWER = 42\\n')\n\
            \x20   about = 'aigisprobe-1.0.dist-info/'\n\
            \x20   wheel.writestr(about + 'METADATA', 'Metadata-Version: 2.1\\nName: aigisprobe\\nVersion: 1.0\\n')\n\
            \x20   wheel.writestr(about + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
            \x20   wheel.writestr(about + 'RECORD', 'aigisprobe.py,,\\n' + ''.join(about + n + ',,\\n' for n in ('METADATA', 'WHEEL', 'RECORD')))\n";
        let wheels = self.directory.path().join("wheels");
        fs::create_dir_all(&wheels).unwrap();
        let path = wheels.join("aigisprobe-1.0-py3-none-any.whl");
        let made = std::process::Command::new("python3").args(["-c", MAKE]).arg(&path).status().unwrap();
        assert!(made.success());
        wheels
    }
}

#[tokio::test]
async fn plg_62_requirements_are_installed_once_and_into_an_environment_of_their_own() {
    let scene = Scene::new("");
    let wheels = scene.wheel();
    let command = format!(
        "pip3 install --user --index-url https://pypi.python.org/simple --no-index --find-links {} -r",
        wheels.display()
    );
    let settings = format!(
        "PLUGIN_TYPE = 'core'\nENTRYPOINT = '{{root}}'\nREQUIREMENT_COMMAND = '{command}'\nREQUIREMENT_FILE = '{{root}}/r.txt'"
    );
    scene.write(FILE, &settings);
    scene.write("r.txt", "aigisprobe==1.0\n");
    let (first, lines) = scene.install().await;
    let first = first.unwrap_or_else(|error| panic!("{error}"));
    assert!(!first.is_reused && lines.join("\n").contains("Successfully installed aigisprobe"), "{lines:?}");
    let answers = |python: &Path| {
        let asked =
            std::process::Command::new(python).args(["-c", "import aigisprobe; print(aigisprobe.ANSWER)"]).output();
        String::from_utf8(asked.unwrap().stdout).unwrap()
    };
    assert_eq!(answers(&first.python()), "42\n");
    assert_eq!(answers(Path::new("python3")), "", "the host's own packages are as they were");
    // Nothing is needed for the second time: neither the wheel nor a command.
    fs::remove_dir_all(&wheels).unwrap();
    let (second, lines) = scene.install().await;
    let second = second.unwrap();
    assert_eq!((second.is_reused, &second.path, lines.len()), (true, &first.path, 0));
    // Other requirements: beside the former, which serve until the new ones are whole.
    scene.write("r.txt", "aigisprobe==2.0\n");
    let (failed, _) = scene.install().await;
    assert!(matches!(failed, Err(Error::Failed { .. })));
    assert_eq!(answers(&first.python()), "42\n");
    let environments = || {
        let entries = fs::read_dir(scene.folder.path()).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("venv-")).count()
    };
    assert_eq!(environments(), 1, "what failed leaves nothing");
    scene.write("r.txt", "# nothing\n");
    let third = scene.install().await.0.unwrap();
    assert_eq!((third.is_reused, environments()), (false, 2));
    third.keep_alone(&scene.folder).unwrap();
    assert_eq!((environments(), third.python().exists()), (1, true));
}

#[tokio::test]
async fn plg_63_a_command_that_fails_is_told_with_its_last_lines() {
    let scene = Scene::new(
        "REQUIREMENT_COMMAND = ['sh', '-c', 'i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); done; exit 7']",
    );
    let (failed, lines) = scene.install().await;
    let error = failed.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("sh -c") && text.contains("exit code 7") && text.contains("line 29"), "{text}");
    assert!(!text.contains("line 9\n") && lines.len() == 30, "{text}");
    let error = aigis_proxy::Error::from(error);
    assert_eq!(error.detail("exit_code").and_then(serde_json::Value::as_i64), Some(7));
}

#[tokio::test]
async fn without_requirements_there_is_a_plain_environment_and_other_commands_see_it() {
    let scene = Scene::new("");
    let (plain, _) = scene.install().await;
    let plain = plain.unwrap();
    assert!(plain.python().exists() && !plain.path.join("bin/pip").exists());
    let scene = Scene::new("REQUIREMENT_COMMAND = ['sh', '-c', 'pwd; command -v python; env']");
    let (made, lines) = scene.install().await;
    let (made, copy) = (made.unwrap(), scene.folder.copy());
    assert_eq!(lines.first(), Some(&copy.canonicalize().unwrap().display().to_string()));
    assert_eq!(lines.get(1), Some(&made.python().display().to_string()));
    assert!(lines.iter().any(|line| line == &format!("VIRTUAL_ENV={}", made.path.display())), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("CARGO")), "what is the node's own is not seen: {lines:?}");
}
