//! Calls from one host to CIs on another.

use std::{fs, path::Path, process::Command, time::Duration};

use aigis_tests::{Fleet, Ran, docker, nonce, until};

use crate::crew::{BUSYBOX, events, idle, live, operator, script};

#[test]
fn ci_39_ten_thousand_lines_come_over_the_bus_as_they_were() {
    let fleet = Fleet::shared();
    let (x, said) = (format!("x-{}", nonce()), nonce());
    let print = format!("i=0; while [ $i -lt 10000 ]; do i=$((i+1)); echo \"$i {said}\"; done; exec sleep 1000");
    let container = fleet.container("beta", &x, &[], BUSYBOX, &["sh", "-c", &print]);
    let engine = fleet.lab().engine("beta").unwrap().host();
    let whole = until("it has printed all", Duration::from_secs(60), || {
        let log = docker(Some(&engine), &["logs", "--tail", "10000", &container.id]);
        log.ends_with(&format!("\n10000 {said}")).then_some(log)
    });
    let _row = live(fleet.on("alpha"), &x, "beta");
    let logs = fleet.on("alpha").aish(["call", &format!("{x}.logs"), "tail=10000", "source=stdout"]).good();
    assert!(logs.stdout == format!("{whole}\n"), "{} lines came", logs.stdout.lines().count());
}

#[test]
fn ci_50_a_restart_from_another_host_keeps_the_container_and_is_on_record() {
    let fleet = Fleet::shared();
    let (alpha, x) = (fleet.on("alpha"), format!("x-{}", nonce()));
    let container =
        fleet.container("beta", &x, &[], BUSYBOX, &["sh", "-c", "trap exit TERM; while :; do sleep 0.1; done"]);
    let before = container.inspect();
    let _row = live(alpha, &x, "beta");
    let _restarted = alpha.aish([&x, "restart", "--yes"]).good();
    let after = container.inspect();
    assert_eq!((&after["Id"], &after["State"]["Running"]), (&before["Id"], &true.into()));
    assert!(after["State"]["StartedAt"].as_str() > before["State"]["StartedAt"].as_str(), "{after}");
    let audit = alpha.audit(&x, 2);
    assert!(audit.iter().all(|line| line["skill"] == "restart"), "{audit:?}");
}

#[test]
fn ci_57_hostile_texts_are_refused_with_the_same_bytes_on_every_host() {
    let fleet = Fleet::shared();
    let x = format!("x-{}", nonce());
    let container = idle(&fleet, "beta", &x, &[]);
    for (_, node) in fleet.nodes() {
        let _row = live(node, &x, "beta");
    }
    let mut happens = events(&fleet, "beta");
    let letters: String = std::iter::repeat_with(nonce).take(5_000).collect();
    for text in ["\u{1b}[31mstatus\u{1b}[0m", "status \u{1b}]0;x\u{7}", &letters[..100_000.min(letters.len())], "状态"]
    {
        let all: Vec<Ran> = fleet.nodes().map(|(_, node)| node.aish([x.as_str(), text]).refused(65)).collect();
        assert!(all.iter().all(|ran| ran.stderr == all[0].stderr), "{all:?}");
        assert!(all[0].stderr.contains("status") && all[0].stderr.len() < 2_000, "{:?}", all[0]);
    }
    assert_eq!(happens.of(&container), [""; 0]);
}

#[test]
fn ci_63_six_kilobytes_to_fifty_megabytes_travel_between_hosts_both_ways() {
    const MIB: usize = 1024 * 1024;
    let fleet = Fleet::shared();
    let (alpha, beta, creds) = (fleet.on("alpha"), fleet.on("beta"), operator(&fleet));
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str| place.path().join(name).display().to_string();
    let (log, given, got, mark) = (format!("LOG={}", file("log")), file("given"), file("got"), nonce());
    let program = script("lines_of_json.py");
    let _programs = ["digest", "random"].map(|mode| {
        let name = format!("{mode}-{mark}");
        let wrap =
            beta.wrap(["-n", &name, "--creds", &creds, "--jsonl", "--env", &log, "--", "python3", &program, mode]);
        let _row = live(alpha, &name, "beta");
        wrap
    });
    for size in [6_000, MIB - 1, MIB, MIB + 1, 2_000_000, 50_000_000] {
        let ran = alpha.shell(&format!("head -c {size} /dev/urandom >{given}"));
        assert_eq!(ran.code, 0);
        let ran = alpha.shell(&format!("aish digest-{mark} what --timeout 10m <{given}")).good();
        assert_eq!(ran.stdout, format!("{} {size}\n", digest(Path::new(&given))));
        let _ = alpha.shell(&format!("aish random-{mark} {size} --timeout 10m >{got}")).good();
        assert_eq!(fs::metadata(&got).unwrap().len(), size as u64);
        let kept = fs::read_to_string(file("log")).unwrap();
        assert_eq!(kept.lines().last(), Some(digest(Path::new(&got)).as_str()), "{size}");
    }
}

/// The SHA-256 of a file, as the operating system's own program has it.
fn digest(path: &Path) -> String {
    let ran = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8_lossy(&ran.stdout).split_whitespace().next().unwrap().to_owned()
}

#[test]
fn ci_65_fifty_callers_on_three_hosts_each_get_their_own_reply() {
    // By itself: so many processes starve whatever else a small machine does.
    let fleet = Fleet::alone();
    let (creds, name) = (operator(&fleet), format!("jitter-{}", nonce()));
    let program = script("lines.py");
    let wrap = ["-n", &name, "--creds", &creds, "--", "python3", &program, "jitter"];
    let _jitter = fleet.on("beta").wrap(wrap);
    let nodes: Vec<_> = fleet.nodes().map(|(_, node)| node).collect();
    for node in &nodes {
        let _row = live(node, &name, "beta");
    }
    let call = |number: usize| {
        let word = nonce();
        let timeout = if number.is_multiple_of(5) { "100ms" } else { "60s" };
        // Fifty processes that start at once may keep one another from the bus beyond 5 s: then nothing is sent.
        let starved =
            |ran: &Ran| ["registry was not read", "no bus answers"].iter().any(|why| ran.stderr.contains(why));
        let ask = || nodes[number % nodes.len()].aish([&name, &word, "--timeout", timeout, "--creds", &creds]);
        let ran = std::iter::repeat_with(ask).take(5).find(|ran| !starved(ran));
        (timeout, word, ran.unwrap_or_else(|| panic!("five times starved")))
    };
    let callers: Vec<_> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..50).map(|number| scope.spawn(move || call(number))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let mut replied = 0;
    for (timeout, word, ran) in callers {
        match ran.code {
            0 => assert_eq!(ran.stdout, format!("{word}\n")),
            code => assert_eq!((code, timeout, ran.stdout.as_str()), (75, "100ms", ""), "{ran:?}"),
        }
        replied += usize::from(ran.code == 0);
    }
    assert!(replied >= 40, "{replied} replied");
    // Nothing of the callers that gave up is left for the next one.
    let last = fleet.on("gamma").aish([&name, "last", "--creds", &creds]).good();
    assert!(last.stdout == "last\n" && last.took < Duration::from_secs(15), "{last:?}");
}
