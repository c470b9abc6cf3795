//! Ends and starts that others have a part in: stubborn processes, requirements that change, an issuer that is away.

use std::process::Command;

use super::*;

/// Calls at about 50 a second, and writes down what is answered.
const ASKS: &str = r#"
import aigis, os, time
def ask():
    try:
        return aigis.cool.nolog(7)
    except Exception as error:
        return repr(error)
def launch():
    with open("answers", "a") as file:
        while not os.path.exists("stop"):
            print(ask(), file=file, flush=True)
            time.sleep(0.015)
    open("done", "w").close()
"#;

/// Makes a wheel by hand, whose module has that number; gives its line in a requirement file, for which no registry is asked.
fn wheel(path: &Path, by: u8) -> String {
    const MAKE: &str = r#"
import sys, zipfile
path, by = sys.argv[1:]
about = f"factor-{by}.dist-info/"
with zipfile.ZipFile(path, "w") as wheel:
    wheel.writestr("factor.py", f"BY = {by}\n")
    wheel.writestr(about + "METADATA", f"Metadata-Version: 2.1\nName: factor\nVersion: {by}\n")
    wheel.writestr(about + "WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    names = ["factor.py"] + [about + name for name in ("METADATA", "WHEEL", "RECORD")]
    wheel.writestr(about + "RECORD", "".join(f"{name},,\n" for name in names))
"#;
    let made = Command::new("python3").args(["-c", MAKE]).arg(path).arg(by.to_string()).status().unwrap();
    assert!(made.success());
    format!("{}\n", path.display())
}

#[test]
fn plg_58_processes_that_do_not_want_to_end_are_waited_for_side_by_side() {
    let plugins = Plugins::new();
    let stubborn = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)";
    let names = ["a", "b", "c", "d"];
    for name in names {
        plugins.internal(name, "internal", "", stubborn);
    }
    let mesh = Mesh::hosting(&plugins.table("internal", &names));
    let pids = names.map(|name| settled(&mesh, name, "running")["pid"].as_i64().unwrap());
    let down = mesh.aish(["down"]).good();
    assert!(down.took < Duration::from_secs(15), "{down:?}");
    assert!(pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()), "{pids:?}");
}

#[test]
fn plg_52_a_reload_with_other_requirements_moves_all_plugins_of_the_host_and_fails_no_call() {
    let plugins = Plugins::new();
    let settings = format!(
        "{CORE}REQUIREMENT_COMMAND = \"pip install --no-index -r\"\nREQUIREMENT_FILE = \"{{root}}/requirements.txt\"\n"
    );
    let factor = |by: u8| wheel(&plugins.path(&format!("factor-{by}-py3-none-any.whl")), by);
    let module = FX.replace("return 2 * x", "return factor.BY * x").replace("import os", "import factor, os");
    let files = [("AIGIS/AIGIS.config", settings.as_str()), ("requirements.txt", &factor(2)), ("amod.py", &module)];
    plugins.fx().write("fx", &files);
    plugins.core("other", "import os\ndef pid(): return os.getpid()", "[\"other.pid\"]");
    plugins.internal("asks", "internal", "", "").write("asks", &[("main.py", ASKS)]);
    let config = [plugins.table("core", &["fx", "other"]), plugins.table("internal", &["asks"])].concat();
    let mesh = Mesh::hosting(&config);
    settled(&mesh, "asks", "running");
    let copy = copy(&mesh, "asks");
    let answered = |text: &str, least: usize| {
        until(&format!("{text} {least} times"), LIMIT, || {
            let answers = read(&copy.join("answers"));
            (answers.lines().filter(|line| *line == text).count() >= least).then_some(())
        });
    };
    answered("14", 50);
    let former = row(&mesh, "fx").unwrap()["pid"].clone();
    plugins.write("fx", &[("requirements.txt", &factor(3))]);
    let _reloaded = mesh.aish(["plugins", "reload", "fx"]).good();
    answered("21", 50);
    fs::write(copy.join("stop"), "").unwrap();
    until("the last answer is there", LIMIT, || copy.join("done").exists().then_some(()));
    let text = read(&copy.join("answers"));
    let answers: Vec<&str> = text.lines().collect();
    let switch = answers.iter().position(|answer| *answer == "21").unwrap();
    assert!(answers[..switch].iter().all(|answer| *answer == "14"), "{answers:?}");
    assert!(answers[switch..].iter().all(|answer| *answer == "21"), "{answers:?}");
    let (fx, other) = (row(&mesh, "fx").unwrap(), row(&mesh, "other").unwrap());
    assert!(fx["pid"] != former && fx["pid"] == other["pid"], "both moved: {former}, {fx}, {other}");
    assert_eq!(call(&mesh, ["other.pid"]).good().stdout.trim(), other["pid"].to_string());
    until("the former host has ended", LIMIT, || (!Path::new(&format!("/proc/{former}")).exists()).then_some(()));
    assert_eq!(call(&mesh, ["cool.nolog", "7"]).good().stdout, "21\n");
}

#[test]
fn plg_70_plugins_that_could_not_start_without_the_issuer_start_when_it_is_there() {
    let plugins = Plugins::new();
    plugins.core("one", "def f(): return 1", "[\"one.f\"]").internal("int", "internal", "", "time.sleep(1000)");
    let mesh = Mesh::hosting("");
    let beta = mesh.joined("beta");
    let _down = beta.aish(["down"]).good();
    beta.configure(&[plugins.table("core", &["one"]), plugins.table("internal", &["int"])].concat());
    // The bus stays.
    mesh.kill("node.pid");
    beta.start();
    for name in ["one", "int"] {
        let row = settled(&beta, name, "backing_off");
        assert!(!row["error"].is_null(), "{row}");
    }
    mesh.start();
    for name in ["one", "int"] {
        settled(&beta, name, "running");
    }
    assert_eq!(call(&beta, ["one.f"]).good().stdout, "1\n");
}

#[test]
fn plg_38_what_is_larger_than_a_body_may_be_is_refused_and_nothing_ends_of_it() {
    let plugins = Plugins::new();
    let body = "def tried(size):\n    \
        try: return aigis.cool.echo(bytes(size)) == bytes(size)\n    \
        except Exception as error: return type(error).__name__\n\
        with open(\"tried\", \"w\") as f: f.write(\"%s %s\" % (tried(45_000_000), tried(70_000_000)))\n\
        open(\"done\", \"w\").close()\ntime.sleep(1000)";
    plugins.fx().internal("large", "internal", "", body);
    let config = [plugins.table("core", &["fx"]), plugins.table("internal", &["large"])].concat();
    let mesh = Mesh::hosting(&config);
    let copy = copy(&mesh, "large");
    until("both were tried", 3 * LIMIT, || copy.join("done").exists().then_some(()));
    assert_eq!(read(&copy.join("tried")), "True ResourceExhausted");
    for name in ["fx", "large"] {
        let row = row(&mesh, name).unwrap();
        assert!(row["state"] == "running" && row["restarts"] == 0, "{row}");
    }
}
