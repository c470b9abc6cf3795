//! Plugins on several hosts: one calls what another offers, is cut off from it, and serves again.

use std::{fs, path::Path, time::Duration};

use aigis_tests::{Fleet, Mesh, nonce, until};
use serde_json::Value;

/// A bound on every wait, far above what is granted: what is asked here is whether, not how soon.
const LIMIT: Duration = Duration::from_secs(90);

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (file, content) in files {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn row(mesh: &Mesh, name: &str) -> Option<Value> {
    let listed = mesh.aish(["plugins", "list", "--json"]);
    let rows = (listed.code == 0).then(|| listed.json())?;
    rows.as_array()?.iter().find(|row| row["name"] == name).cloned()
}

#[test]
fn a_plugin_calls_over_hosts_is_cut_off_and_serves_again() {
    let fleet = Fleet::alone();
    let (alpha, mark) = (fleet.on("alpha"), nonce().replace('-', "_"));
    let folder = tempfile::tempdir().unwrap();
    let [fx, asks, caller] = ["fx", "asks", "caller"].map(|name| folder.path().join(name));
    let core = "PLUGIN_TYPE = \"core\"\nENTRYPOINT = \"{root}\"\n";
    let (first, second) = (format!("cool_{mark}"), format!("asks_{mark}"));
    let twice = "def nolog(x): return 2 * x\n";
    let skills =
        |module: &str, name: &str, leaf: &str| format!("import {module} as {name}\nSKILLS = [\"{name}.{leaf}\"]\n");
    write(
        &fx,
        &[("AIGIS/AIGIS.config", core), ("AIGIS/AIGIS.core", &skills("amod", &first, "nolog")), ("amod.py", twice)],
    );
    let ask = format!("import aigis\ndef ask(x): return aigis.{first}.nolog(x)\n");
    write(
        &asks,
        &[("AIGIS/AIGIS.config", core), ("AIGIS/AIGIS.core", &skills("bmod", &second, "ask")), ("bmod.py", &ask)],
    );
    let settings = "PLUGIN_TYPE = \"internal\"\nENTRYPOINT = \"{root}\"\nLAUNCH = \"main\"\nRESTART = -1\n";
    let launch = format!(
        "import aigis, time\ndef launch():\n    print('six is', aigis.{first}.nolog(3))\n    time.sleep(1000)\n"
    );
    write(&caller, &[("AIGIS/AIGIS.config", settings), ("main.py", &launch)]);
    let names = ["fx", "asks", "here", "there"].map(|name| format!("{name}-{}", mark.replace('_', "-")));
    for (name, source, node) in [
        (&names[0], &fx, "alpha"),
        (&names[1], &asks, "beta"),
        (&names[2], &caller, "alpha"),
        (&names[3], &caller, "beta"),
    ] {
        let _added = alpha.aish(["plugins", "add", name, source.to_str().unwrap(), "--node", node]).good();
    }
    for name in &names[2..] {
        until("the same source calls from both hosts", LIMIT, || {
            alpha.aish(["plugins", "logs", name]).stdout.contains("six is 6").then_some(())
        });
    }
    let path = format!("{second}.ask");
    let ask = || alpha.aish(["call", &path, "4", "--timeout", "10s"]);
    until("the other host's plugin answers", LIMIT, || (ask().stdout == "8\n").then_some(()));

    let before = row(alpha, &names[3]).unwrap();
    fleet.lab().cut("beta").unwrap();
    until("its callers are told that it is away", LIMIT, || (ask().code == 69).then_some(()));
    // Its own host keeps it: a process that dies meanwhile is started again.
    let pid = i32::try_from(before["pid"].as_i64().unwrap()).unwrap();
    let process = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    fleet.lab().heal("beta").unwrap();
    until("it serves again", LIMIT, || (ask().code == 0).then_some(()));
    until("the one that died runs again", LIMIT, || {
        let row = row(alpha, &names[3])?;
        (row["state"] == "running" && row["pid"] != before["pid"]).then_some(())
    });
    for name in &names {
        let _removed = alpha.aish(["plugins", "remove", name]).good();
    }
}
