//! Reloads, deaths and ends.

use rustix::process::{Pid, test_kill_process};

use super::*;

#[test]
fn plg_11_plg_12_a_changed_source_is_taken_by_a_reload_and_nothing_the_plugin_wrote_is_lost() {
    let plugins = Plugins::new();
    let module = |answer: u8| format!("def f(): return {answer}");
    plugins.core("own", &module(1), "[\"own.f\"]").write("own", &[("state.json", "0")]);
    let mesh = Mesh::hosting(&plugins.table("core", &["own"]));
    settled(&mesh, "own", "running");
    let copy = copy(&mesh, "own");
    fs::write(copy.join("state.json"), "1").unwrap();
    fs::write(copy.join("new.json"), "1").unwrap();
    plugins.write("own", &[("own_module.py", &module(2))]);
    let _down = mesh.aish(["down"]).good();
    mesh.start();
    settled(&mesh, "own", "running");
    assert_eq!(call(&mesh, ["own.f"]).good().stdout, "1\n");
    assert!(log(&mesh, "own").contains("source changed"));
    let _reloaded = mesh.aish(["plugins", "reload", "own"]).good();
    assert_eq!(call(&mesh, ["own.f"]).good().stdout, "2\n");
    assert_eq!((read(&copy.join("state.json")), read(&copy.join("new.json"))), ("1".into(), "1".into()));
    plugins.write("own", &[("state.json", "2")]);
    let _reloaded = mesh.aish(["plugins", "reload", "own"]).good();
    assert_eq!((read(&copy.join("state.json")), read(&copy.join("state.json.new"))), ("1".into(), "2".into()));
    assert!(log(&mesh, "own").contains("state.json"));
}

#[test]
fn plg_34_plugins_that_do_not_get_on_have_hosts_of_their_own() {
    let plugins = Plugins::new();
    for name in ["first", "second"] {
        let core = "import src.which as which\nSKILLS = [\"".to_owned() + name + ".name\"]\n" + name + " = which\n";
        let which = format!("def name(): return \"{name}\"");
        plugins.write(
            name,
            &[
                ("AIGIS/AIGIS.config", CORE),
                ("AIGIS/AIGIS.core", &core),
                ("src/__init__.py", ""),
                ("src/which.py", &which),
            ],
        );
    }
    let mesh = Mesh::hosting(&plugins.table("core", &["first", "second"]));
    settled(&mesh, "second", "running");
    for name in ["first", "second"] {
        assert_eq!(call(&mesh, [&*format!("{name}.name")]).good().stdout, format!("{name}\n"));
    }
    let (one, two) = (row(&mesh, "first").unwrap(), row(&mesh, "second").unwrap());
    assert_ne!(one["pid"], two["pid"]);
    assert!(two["warnings"].to_string().contains("core host of its own"), "{two}");
}

#[test]
fn plg_52_a_reload_fails_no_call_and_leaves_other_plugins_alone() {
    let (plugins, mesh) = {
        let plugins = Plugins::new();
        plugins.fx().core(
            "counter",
            "n = 0\ndef next():\n    global n\n    n += 1\n    return n",
            "[\"counter.next\"]",
        );
        let mesh = Mesh::hosting(&plugins.table("core", &["fx", "counter"]));
        settled(&mesh, "counter", "running");
        (plugins, mesh)
    };
    assert_eq!(call(&mesh, ["counter.next"]).good().stdout, "1\n");
    let calls = "for i in $(seq 60); do aish call cool.nolog 7 || echo failed; done";
    let calling = mesh.spawn_shell(calls);
    plugins.write("fx", &[("amod.py", &FX.replace("return 2 * x", "return 3 * x"))]);
    let _reloaded = mesh.aish(["plugins", "reload", "fx"]).good();
    let output = calling.wait_with_output().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), 60);
    let switch = answers.iter().position(|answer| *answer == "21").unwrap_or(60);
    assert!(answers[..switch].iter().all(|answer| *answer == "14"), "{answers:?}");
    assert!(answers[switch..].iter().all(|answer| *answer == "21"), "{answers:?}");
    assert_eq!(call(&mesh, ["cool.nolog", "7"]).good().stdout, "21\n");
    assert_eq!(call(&mesh, ["counter.next"]).good().stdout, "2\n");
}

#[test]
fn plg_53_what_is_wrong_with_the_new_one_leaves_the_old_one() {
    let (plugins, mesh) = fx();
    plugins.write("fx", &[("amod.py", "x = (")]);
    let ran = mesh.aish(["plugins", "reload", "fx"]).failed(1);
    assert!(ran.stderr.contains("amod.py"), "{ran:?}");
    assert_eq!(call(&mesh, ["cool.nolog", "2"]).good().stdout, "4\n");
    assert_eq!(row(&mesh, "fx").unwrap()["state"], "running");
}

#[test]
fn plg_54_an_internal_plugin_is_replaced_by_exactly_one_process() {
    let plugins = Plugins::new();
    let body = "with open(\"runs\", \"a\") as f: f.write(\"%d\\n\" % os.getpid())\ntime.sleep(1000)";
    plugins.internal("int", "internal", "", body);
    let mesh = Mesh::hosting(&plugins.table("internal", &["int"]));
    settled(&mesh, "int", "running");
    let runs = copy(&mesh, "int").join("runs");
    until("it has begun", LIMIT, || (read(&runs).lines().count() == 1).then_some(()));
    let _reloaded = mesh.aish(["plugins", "reload", "int"]).good();
    until("the next one has begun", LIMIT, || (read(&runs).lines().count() == 2).then_some(()));
    let pid = row(&mesh, "int").unwrap()["pid"].clone();
    let text = read(&runs);
    let pids: Vec<&str> = text.lines().collect();
    assert_eq!(pid.to_string(), pids[1]);
    let former = Pid::from_raw(pids[0].parse().unwrap()).unwrap();
    assert!(test_kill_process(former).is_err(), "the former one has ended");
    assert_eq!(row(&mesh, "int").unwrap()["restarts"], 0);
}

#[test]
fn plg_55_a_core_host_that_dies_comes_back_and_who_kills_it_is_taken_out() {
    let plugins = Plugins::new();
    plugins.fx().core("killer", "import os\ndef die(): os._exit(1)", "[\"killer.die\"]");
    let mesh = Mesh::hosting(&plugins.table("core", &["fx", "killer"]));
    settled(&mesh, "killer", "running");
    for death in 1..=3 {
        let ran = call(&mesh, ["killer.die"]).failed(69);
        assert!(ran.took < Duration::from_secs(20), "{ran:?}");
        assert_eq!(call(&mesh, ["cool.nolog", "1"]).good().stdout, "2\n");
        if death < 3 {
            settled(&mesh, "killer", "running");
        }
    }
    settled(&mesh, "killer", "crash_looping");
    assert_eq!(call(&mesh, ["cool.nolog", "1"]).good().stdout, "2\n");
}

#[test]
fn plg_58_nobody_is_left_when_the_node_ends_or_is_killed() {
    let plugins = Plugins::new();
    plugins.fx();
    let stubborn = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)";
    let parent = "import subprocess\nsubprocess.Popen([\"sleep\", \"1000\"])\ntime.sleep(1000)";
    plugins.internal("stubborn", "internal", "", stubborn).internal("parent", "internal", "", parent);
    plugins.internal("plain", "internal-local", "", "time.sleep(1000)");
    let names = ["stubborn", "parent"];
    let config = [
        plugins.table("core", &["fx"]),
        plugins.table("internal", &names),
        plugins.table("internal-local", &["plain"]),
    ];
    let mesh = Mesh::hosting(&config.concat());
    let data = mesh.path().display().to_string();
    // Whatever was started for a plugin knows where its socket is.
    let alive = || {
        let is_ours = |process: &fs::DirEntry| {
            let environment = fs::read(process.path().join("environ")).unwrap_or_default();
            let text = String::from_utf8_lossy(&environment);
            text.split('\0').any(|line| line.starts_with("AIGIS_SOCKET=") && line.contains(&data))
        };
        fs::read_dir("/proc").unwrap().flatten().filter(is_ours).count()
    };
    for how in ["TERM", "KILL"] {
        for name in ["fx", "stubborn", "parent", "plain"] {
            settled(&mesh, name, "running");
        }
        assert!(alive() >= 5, "{}", alive());
        match how {
            "TERM" => drop(mesh.aish(["down"]).good()),
            _ => drop(mesh.kill("node.pid")),
        }
        until(&format!("nobody is left after {how}"), Duration::from_secs(20), || (alive() == 0).then_some(()));
        if how == "TERM" {
            assert_eq!(read(&copy(&mesh, "fx").join("cleaned")), "once\n");
            mesh.start();
        }
    }
}
