//! What plugins require, brought from the registry of packages, and the Pythons that they run on.

use std::process::Command;

use super::*;

/// A small package of one module, and what a test asks it for.
const PACKAGE: &str = "iniconfig==2.0.0";
/// What a plugin would have asked for on a host of its author's.
const COMMAND: &str = "REQUIREMENT_COMMAND = \"pip3.7 install --user --index-url https://pypi.python.org/simple -r\"\nREQUIREMENT_FILE = \"{root}/requirements.txt\"\n";
/// What makes pip find nothing: an index where nobody listens, and nothing that was kept.
const CUT: [(&str, &str); 6] = [
    ("PIP_INDEX_URL", "http://127.0.0.1:9/simple"),
    ("PIP_EXTRA_INDEX_URL", ""),
    ("PIP_FIND_LINKS", ""),
    ("PIP_RETRIES", "0"),
    ("PIP_NO_CACHE_DIR", "1"),
    ("PIP_CONFIG_FILE", "/dev/null"),
];

/// Whether this host can have packages; if not, it is said.
pub(super) fn has_packages(row: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"]).arg(folder.path()).arg(PACKAGE);
    let output = pip.output().unwrap();
    if !output.status.success() {
        println!("not run: {row}, pip brings no package here: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    output.status.success()
}

/// All that the host's own Python can import from, name by name.
fn packages_of_host() -> String {
    let program = "import os, site, sys\nfor place in sorted(set(sys.path + [site.getusersitepackages()])):\n    print(place, sorted(os.listdir(place)) if place and os.path.isdir(place) else None)";
    let output = Command::new("python3").args(["-c", program]).current_dir("/").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn requiring(plugins: &Plugins, name: &str, requirement: &str) {
    let module = "import iniconfig\ndef place(): return iniconfig.__file__";
    plugins.core(name, module, &format!("[\"{name}.place\"]"));
    let settings = format!("{CORE}{COMMAND}");
    plugins.write(name, &[("AIGIS/AIGIS.config", &settings), ("requirements.txt", requirement)]);
}

#[test]
fn plg_62_requirements_are_installed_once_and_into_an_environment_of_the_plugin() {
    if !has_packages("PLG-62") {
        return;
    }
    let plugins = Plugins::new();
    requiring(&plugins, "needs", PACKAGE);
    let before = packages_of_host();
    let mesh = Mesh::hosting(&plugins.table("core", &["needs"]));
    settled(&mesh, "needs", "running");
    let own = mesh.path().join("plugins/needs/venv-");
    let place = || call(&mesh, ["needs.place"]).good().stdout;
    let first = place();
    assert!(first.starts_with(&own.display().to_string()), "{first}");
    assert_eq!(packages_of_host(), before);
    let said = || log(&mesh, "needs").matches("Successfully installed iniconfig").count();
    assert_eq!(said(), 1);

    let _down = mesh.aish(["down"]).good();
    // Another one shows that the network is away.
    requiring(&plugins, "late", &format!("{PACKAGE}\n# anew"));
    mesh.configure(&plugins.table("core", &["needs", "late"]));
    let cut = CUT.map(|(name, value)| (name, value.to_owned()));
    let up = mesh.aish_in(&cut, ["up", "--name", "alpha", "--listen", "127.0.0.1:0", "--detach"]);
    assert_eq!(up.code, 0, "{up:?}");
    settled(&mesh, "needs", "running");
    assert_eq!((place(), said()), (first, 1));
    let late = settled(&mesh, "late", "failed");
    assert!(late["error"].as_str().unwrap().contains("No matching distribution"), "{late}");
}

#[test]
fn plg_63_a_requirement_command_that_fails_is_told_and_none_is_a_line_for_a_shell() {
    let plugins = Plugins::new();
    let marker = plugins.path("marker");
    for (name, command) in [
        ("fails", "[\"sh\", \"-c\", \"for i in $(seq 30); do echo line $i; done; exit 7\"]".to_owned()),
        ("absent", "\"no-such-program --at-all\"".to_owned()),
        ("shell", format!("\"true ; touch {}\"", marker.display())),
        ("works", format!("[\"sh\", \"-c\", \"true ; echo made >{}\"]", plugins.path("made").display())),
    ] {
        plugins.core(name, "def f(): return 1", &format!("[\"{name}.f\"]"));
        plugins.write(name, &[("AIGIS/AIGIS.config", &format!("{CORE}REQUIREMENT_COMMAND = {command}\n"))]);
    }
    let mesh = Mesh::hosting(&plugins.table("core", &["fails", "absent", "shell", "works"]));
    let error = |name: &str| settled(&mesh, name, "failed")["error"].as_str().unwrap().to_owned();
    let fails = error("fails");
    assert!(fails.contains("exit code 7") && fails.starts_with("sh -c"), "{fails}");
    let lines: Vec<&str> = fails.lines().filter(|line| line.starts_with("line ")).collect();
    assert_eq!((lines.len(), lines[0], lines[19]), (20, "line 11", "line 30"));
    assert!(log(&mesh, "fails").lines().any(|line| line.ends_with("line 1")), "all of it is in the log");
    assert!(error("absent").contains("no-such-program"));
    let shell = error("shell");
    assert!(shell.contains("';'") && shell.contains("[\"sh\", \"-c\""), "{shell}");
    settled(&mesh, "works", "running");
    assert!(!marker.exists() && read(&plugins.path("made")) == "made\n");
    assert_eq!(call(&mesh, ["works.f"]).good().stdout, "1\n");
}

#[test]
fn plg_32_what_a_plugin_uses_and_does_not_require_is_looked_for_on_the_host() {
    let ask = "import sysconfig; print(sysconfig.get_path('purelib', 'posix_user', {'userbase': 'base'}))";
    let output = Command::new("python3").args(["-I", "-c", ask]).output().unwrap();
    let place = String::from_utf8(output.stdout).unwrap();
    let plugins = Plugins::new();
    plugins.write(
        place.trim(),
        &[("of_host.py", "WORD = 'found'"), ("main.py", "raise ImportError('it hides the own one')")],
    );
    plugins.internal("asks", "internal", "", "import of_host\nprint(of_host.WORD, flush=True)\ntime.sleep(1000)");
    let (source, base) = (plugins.path("asks"), plugins.path("base"));
    let entry = format!("{{ source = \"{}\", env = {{ PYTHONUSERBASE = \"{}\" }} }}", source.display(), base.display());
    let mesh = Mesh::hosting(&format!("[internal]\nasks = {entry}\n"));
    logged(&mesh, "asks", "found");
}

/// Every Python from 3.9 on that this host has: on PATH, and as pyenv keeps them.
fn pythons() -> Vec<PathBuf> {
    let home = std::env::home_dir().unwrap_or_default();
    let pyenv = std::env::var_os("PYENV_ROOT").map_or_else(|| home.join(".pyenv"), PathBuf::from).join("versions");
    let kept = fs::read_dir(pyenv).into_iter().flatten().flatten().map(|entry| entry.path().join("bin/python"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path)
        .flat_map(|folder| (9..20).map(move |minor| folder.join(format!("python3.{minor}"))));
    let is_one = |python: &PathBuf| {
        let ask = "import sys; sys.exit(sys.version_info < (3, 9))";
        Command::new(python).args(["-I", "-c", ask]).output().is_ok_and(|output| output.status.success())
    };
    kept.chain(on_path).filter(is_one).collect()
}

#[test]
fn plg_51_a_plugin_runs_on_every_python_from_3_9_on_that_is_here() {
    let plugins = Plugins::new();
    let pythons = pythons();
    assert!(!pythons.is_empty(), "there is no Python here");
    let mut core = "[core]\n".to_owned();
    let mut internal = "[internal]\n".to_owned();
    for (at, python) in pythons.iter().enumerate() {
        let module = format!("import sys\nCONST = 42\ndef run(): return sys.version_info[:2]\n{}", FX.trim_start());
        let (skills, asks) = (format!("c{at}"), format!("i{at}"));
        plugins.core(
            &skills,
            &module,
            &format!("[\"{skills}.\" + n for n in \"run CONST nolog gen K boom kw\".split()]"),
        );
        let body = format!(
            "c = aigis.{skills}\nk = c.K(5)\nprint(\"said\", c.CONST(), c.nolog(2), k.hi(), list(c.gen(3)), c.kw(a=1), sys.version_info[:2] == c.run(), flush=True)\ntry: c.boom()\nexcept ValueError as e: print(\"raised\", e, flush=True)"
        );
        plugins.internal(&asks, "internal", "", &body);
        for (table, name) in [(&mut core, &skills), (&mut internal, &asks)] {
            let (source, python) = (plugins.path(name), python.display());
            *table += &format!("{name} = {{ source = \"{}\", python = \"{python}\" }}\n", source.display());
        }
    }
    let mesh = Mesh::hosting(&[core, internal].concat());
    for (at, python) in pythons.iter().enumerate() {
        let text = logged(&mesh, &format!("i{at}"), "raised boom!");
        assert!(text.contains("said 42 4 hi 5 [0, 1, 2] ['a'] True"), "{}: {text}", python.display());
        let status = call(&mesh, [&*format!("c{at}-ci.status"), "--json"]).good().json();
        let run = call(&mesh, [&*format!("c{at}.run")]).good().stdout;
        let numbers: Vec<&str> = status["python"].as_str().unwrap().split('.').collect();
        assert!(run.contains(&numbers[1].to_owned()), "{run} {status}");
    }
}
