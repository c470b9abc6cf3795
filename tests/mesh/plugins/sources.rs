//! Where plugins come from: repositories and directories, good ones and bad ones.

use std::process::Command;

use super::*;

/// A repository of a core plugin, which ends with the test.
struct Repository(tempfile::TempDir);

impl Repository {
    fn new(branch: &str) -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        let _made = repository.git(&["init", "--quiet", "--initial-branch", branch]);
        repository
    }

    fn url(&self) -> String {
        format!("file://{}", self.0.path().display())
    }

    fn git(&self, words: &[&str]) -> String {
        git(self.0.path(), words)
    }

    /// Commits a core plugin that holds that word, and gives the commit.
    fn commit(&self, word: &str) -> String {
        let folder = self.0.path();
        fs::create_dir_all(folder.join("AIGIS")).unwrap();
        for (file, text) in [("AIGIS/AIGIS.config", CORE), ("AIGIS/AIGIS.core", "SKILLS = []\n"), ("word", word)] {
            fs::write(folder.join(file), text).unwrap();
        }
        let _added = self.git(&["add", "--all"]);
        let _committed = self.git(&["commit", "--quiet", "--message", word]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }
}

/// Runs git in a folder, as nobody in particular.
fn git(folder: &Path, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(folder).args(["-c", "user.name=nobody", "-c", "user.email=nobody@example"]).args(words);
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The revision that a plugin runs, and what is in its copy.
fn runs(mesh: &Mesh, name: &str) -> (String, String) {
    let row = settled(mesh, name, "running");
    (row["revision"].as_str().unwrap().to_owned(), read(&copy(mesh, name).join("word")))
}

fn restart(mesh: &Mesh) {
    let _down = mesh.aish(["down"]).good();
    mesh.start();
}

#[test]
fn plg_07_a_repository_is_brought_anew_at_each_start_as_long_as_it_is_there() {
    let repository = Repository::new("main");
    let one = repository.commit("one");
    let mesh = Mesh::hosting(&format!("[core]\nown = \"{}\"\n", repository.url()));
    assert_eq!(runs(&mesh, "own"), (one, "one".into()));
    let two = repository.commit("two");
    restart(&mesh);
    assert_eq!(runs(&mesh, "own"), (two.clone(), "two".into()));
    assert!(!log(&mesh, "own").contains("could not update"));
    drop(repository);
    restart(&mesh);
    assert_eq!(runs(&mesh, "own"), (two.clone(), "two".into()));
    let log = log(&mesh, "own");
    assert!(log.contains("could not update own") && log.contains(&format!("using {two}")), "{log}");
}

#[test]
fn plg_08_a_clone_that_fails_leaves_nothing_and_touches_no_repository_around_it() {
    let plugins = Plugins::new();
    plugins.fx();
    let mesh = Mesh::absent();
    let outer = mesh.config().parent().unwrap().to_owned();
    let _made = git(&outer, &["init", "--quiet"]);
    fs::write(outer.join(".gitignore"), "/main/\n/sdk/\n/config.aigis\n").unwrap();
    fs::write(outer.join("staged"), "as it was").unwrap();
    let _added = git(&outer, &["add", "--all"]);
    let _committed = git(&outer, &["commit", "--quiet", "--message", "outer"]);
    fs::write(outer.join("staged"), "staged").unwrap();
    let _added = git(&outer, &["add", "staged"]);
    fs::write(outer.join("staged"), "changed since").unwrap();
    let state = || {
        let status = git(&outer, &["status", "--porcelain"]);
        (git(&outer, &["rev-parse", "HEAD"]), git(&outer, &["ls-files", "--stage"]), status)
    };
    let before = state();
    assert_eq!(before.2, "MM staged\n");

    let [away, fx] = ["away", "fx"].map(|name| plugins.path(name).display().to_string());
    mesh.configure(&format!("[core]\naway = \"file://{away}\"\nfx = \"{fx}\"\n"));
    let up = mesh.aish(["up", "--name", "alpha", "--listen", "127.0.0.1:0", "--detach"]).good();
    assert!(up.stdout.contains("is up"), "{up:?}");
    let away = settled(&mesh, "away", "failed");
    assert!(away["error"].as_str().unwrap().contains("git fetch failed"), "{away}");
    settled(&mesh, "fx", "running");
    assert!(mesh.path().starts_with(&outer) && !mesh.path().join("plugins/away").exists());
    assert_eq!(state(), before);
}

#[test]
fn plg_09_a_commit_a_tag_or_a_branch_is_what_runs() {
    let repository = Repository::new("main");
    let commits = ["one", "two", "three"].map(|word| repository.commit(word));
    let _tagged = repository.git(&["tag", "--annotate", "--message", "x", "v1", &commits[1]]);
    let _branched = repository.git(&["branch", "old", &commits[0]]);
    let url = repository.url();
    let entry = |name: &str, reference: &str| format!("{name} = {{ source = \"{url}\", ref = \"{reference}\" }}\n");
    let entries =
        [entry("commit", &commits[2]), entry("tag", "v1"), entry("branch", "old"), entry("absent", "nowhere")];
    let mesh = Mesh::hosting(&format!("[core]\n{}", entries.concat()));
    for (name, at, word) in [("commit", 2, "three"), ("tag", 1, "two"), ("branch", 0, "one")] {
        assert_eq!(runs(&mesh, name), (commits[at].clone(), word.into()), "{name}");
    }
    let absent = settled(&mesh, "absent", "failed");
    assert!(absent["error"].as_str().unwrap().contains("\"nowhere\""), "{absent}");
}

#[test]
fn plg_10_no_source_makes_git_run_something() {
    let plugins = Plugins::new();
    let marker = plugins.path("marker");
    let mesh = Mesh::hosting("");
    let marker_text = marker.display();
    for (source, code) in [
        (format!("--upload-pack=touch {marker_text}"), 65),
        (format!("ssh://-oProxyCommand=touch%20{marker_text}/x"), 1),
        (format!("git@-oProxyCommand=touch {marker_text}:x"), 1),
        (format!("ext::sh -c touch% {marker_text}"), 1),
        (format!("fd://17/{marker_text}"), 65),
    ] {
        let ran = mesh.aish(["plugins", "add", "evil", "--", &source]).failed(code);
        assert!(ran.stderr.contains("error"), "{ran:?}");
        assert!(row(&mesh, "evil").is_none() && !mesh.path().join("plugins/evil").exists(), "{source}");
        // In the file it is refused as a whole, or fails alone.
        let line = format!("[core]\nevil = \"{source}\"\n");
        let other = Mesh::absent();
        other.configure(&line);
        let up = other.aish(["up", "--name", "alpha", "--listen", "127.0.0.1:0", "--detach"]);
        match code {
            65 => assert!(up.failed(65).stderr.contains("config.aigis:2"), "{source}"),
            _ => {
                let _up = up.good();
                settled(&other, "evil", "failed");
            }
        }
        assert!(!marker.exists(), "{source}");
    }
}

#[test]
fn plg_13_what_cannot_be_copied_is_named_and_nothing_of_it_stays() {
    let plugins = Plugins::new();
    plugins.core("dangling", "def f(): pass", "[\"dangling.f\"]").core("pipe", "def f(): pass", "[\"pipe.f\"]");
    plugins.core("circle", "def f(): pass", "[\"circle.f\"]").fx();
    std::os::unix::fs::symlink("nowhere", plugins.path("dangling").join("link")).unwrap();
    std::os::unix::fs::symlink("ring", plugins.path("circle").join("ring")).unwrap();
    let fifo = plugins.path("pipe").join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mesh = Mesh::hosting(&plugins.table("core", &["dangling", "pipe", "circle", "fx"]));
    for (name, file) in [("dangling", "dangling/link"), ("pipe", "pipe/fifo"), ("circle", "circle/ring")] {
        let row = settled(&mesh, name, "failed");
        assert!(row["error"].as_str().unwrap().contains(file), "{row}");
        assert!(!mesh.path().join("plugins").join(name).exists(), "{name}");
    }
    settled(&mesh, "fx", "running");
}
