//! A lab is gone when its owner is, however that ended.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use aigis_lab::Lab;
use aigis_tests::{Running, docker, until};
use rustix::process::Signal;

const BUSYBOX: &str = "aigis-test/busybox";

/// The process that the next test kills: not a test by itself.
#[test]
#[ignore = "run by a_killed_owner_leaves_nothing"]
fn owner() {
    let lab = Lab::start(&["alpha", "beta"]).unwrap();
    let engine = lab.engine("alpha").unwrap();
    engine.load(BUSYBOX).unwrap();
    for name in ["one", "two"] {
        docker(Some(&engine.host()), &["run", "-d", "--name", name, BUSYBOX, "sleep", "1000"]);
    }
    docker(Some(&engine.host()), &["pause", "two"]);
    println!("\nlab {}", lab.directory().display());
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_owner_leaves_nothing() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "reaper::owner", "--ignored", "--nocapture"]);
    let mut owner = Running::new(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let place =
        owner.until("the lab stands", Duration::from_secs(90), |line| line.strip_prefix("lab ").map(PathBuf::from));
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(place.join("lab.json")).unwrap()).unwrap();
    let prefix = format!("aigis-{}-", state["id"].as_str().unwrap());
    let running = processes_below(&place);
    assert!(!running.is_empty() && namespaces(&prefix) == 4, "{running:?}");

    owner.signal(Signal::KILL);
    until("the lab is gone", Duration::from_secs(30), || (!place.exists()).then_some(()));
    assert_eq!(namespaces(&prefix), 0);
    assert_eq!(processes_below(&place), [""; 0]);
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(place.to_str().unwrap()), "{mounts}");
}

fn namespaces(prefix: &str) -> usize {
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)).count()
}

/// The command lines that name a file of the lab: engines, and what they run. The reaper has ended as well.
fn processes_below(place: &Path) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let words = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    words.filter(|line| line.contains(place.to_str().unwrap())).collect()
}
