//! Programs that are wrapped: their names, what reaches them and what comes back, and what is left when they end.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use aigis_tests::{Mesh, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use uuid::Uuid;

mod life;
mod size;

const LIMIT: Duration = Duration::from_secs(60);

/// A program of these tests.
fn script(name: &str) -> String {
    format!("{}/mesh/wrap/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The arguments that wrap `lines.py` in that mode.
fn line(name: &str, mode: &str) -> Vec<String> {
    ["-n", name, "--", "python3", &script("lines.py"), mode].map(str::to_owned).to_vec()
}

/// A file for what a program notes.
fn log(mesh: &Mesh) -> PathBuf {
    mesh.path().join(format!("{}.log", Uuid::new_v4()))
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn ci_24_of_two_that_claim_a_name_one_gets_it() {
    let alpha = Mesh::up();
    let beta = alpha.joined("beta");
    for round in 0..20 {
        let mut wraps = [&alpha, &beta].map(|mesh| mesh.wrapping(["-n", "solo", "--", "cat"]));
        let said = wraps.each_mut().map(|wrap| {
            wrap.until("a word", LIMIT, |line| {
                line.split_whitespace().any(|word| word.contains("solo@")).then(|| line.to_owned())
            })
        });
        let winners: Vec<&String> = said.iter().filter(|said| said.starts_with("wrapped solo@")).collect();
        assert_eq!(winners.len(), 1, "round {round}: {said:?}");
        let holder = winners[0].trim_start_matches("wrapped ").to_owned();
        for (wrap, said) in wraps.into_iter().zip(&said) {
            if !said.starts_with("wrapped") {
                assert!(said.contains(&holder), "round {round}: {said}");
                assert_eq!(wrap.end(LIMIT).code, 1);
                continue;
            }
            wrap.signal(Signal::TERM);
            assert_eq!(wrap.end(LIMIT).code, 130);
        }
    }
}

#[test]
fn ci_25_bad_names_start_no_child() {
    let mesh = Mesh::up();
    let witness = mesh.path().join("witness");
    let touch = witness.display().to_string();
    for name in ["list", "a.b", "", &"a".repeat(64), ">"] {
        let ran = mesh.aish(["wrap", "-n", name, "--", "touch", &touch]).refused(2);
        assert!(!ran.stderr.contains('\u{1b}'), "{ran:?}");
    }
    assert!(!witness.exists());
    assert_eq!(mesh.rows(&["--kind", "wrapped"]).len(), 0);
}

#[test]
fn ci_59_what_a_program_gets() {
    let alpha = Mesh::up();
    let beta = alpha.joined("beta");
    let log = log(&beta);
    let (env, script) = (format!("LOG={}", log.display()), script("lines_of_json.py"));
    let _echo = beta.wrap(["-n", "echo", "--jsonl", "--env", &env, "--", "python3", &script, "echo"]);
    found(&alpha, "echo");
    for (line, expected) in [
        ("printf IN | aish echo MSG", json!(["MSG", "IN"])),
        ("printf IN | aish echo -", json!(["IN", null])),
        ("printf IN | aish -n echo MSG", json!(["MSG", null])),
        ("printf '\\377' | aish echo MSG", json!(["MSG", {"$bytes": "/w=="}])),
        ("printf '' | aish echo MSG", json!(["MSG", null])),
    ] {
        let ran = alpha.shell(line);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (0, format!("{}\n", expected[0].as_str().unwrap()).as_str()),
            "{ran:?}"
        );
        let last: Value = serde_json::from_str(lines(&log).last().unwrap()).unwrap();
        assert_eq!(last, expected, "{line}");
    }
}

#[test]
fn ci_60_replies_are_messages_of_the_next() {
    let alpha = Mesh::up();
    let beta = alpha.joined("beta");
    let _programs = [alpha.wrap(line("upper", "upper")), beta.wrap(line("rev", "rev"))];
    found(&alpha, "rev");
    let nonce = Uuid::new_v4().simple().to_string();
    let ran = alpha.shell(&format!("echo {nonce} | aish upper | aish rev")).good();
    let expected: String = nonce.to_uppercase().chars().rev().collect();
    assert_eq!(ran.stdout, format!("{expected}\n"));
}

#[test]
fn ci_61_a_failed_stage_leaves_the_next_one_nothing() {
    let alpha = Mesh::up();
    let beta = alpha.joined("beta");
    let _programs =
        [alpha.wrap(line("upper", "upper")), alpha.wrap(line("rev", "rev")), beta.wrap(line("mid", "upper"))];
    let requests = || alpha.aish(["call", "rev.status", "--json"]).good().json()["requests"].clone();
    found(&alpha, "mid");
    beta.kill("node.pid");
    until("mid is offline", Duration::from_secs(30), || alpha.row("mid").filter(|row| row["state"] == "offline"));
    let before = requests();
    let ran = alpha.shell("echo x | aish upper | aish mid | aish rev; echo ${PIPESTATUS[@]}");
    assert_eq!(ran.stdout, "0 0 69 65\n", "{ran:?}");
    assert_eq!(requests(), before);
}

#[test]
fn ci_62_a_slow_stage_is_waited_for() {
    let alpha = Mesh::up();
    let _programs = [alpha.wrap(line("slow", "slow")), alpha.wrap(line("rev", "rev"))];
    let ran = alpha.shell("aish slow go | aish rev");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "og\n"), "{ran:?}");
}

#[test]
fn ci_64_a_line_break_is_refused_and_reaches_nobody() {
    let mesh = Mesh::up();
    let log = log(&mesh);
    let env = format!("LOG={}", log.display());
    let _upper = mesh.wrap(["-n", "upper", "--env", &env, "--", "python3", &script("lines.py"), "upper"]);
    let _ = mesh.aish(["upper", "a\nb"]).refused(65);
    let _ = mesh.with_input(["upper", "a"], Some(b"b")).refused(65);
    assert_eq!(mesh.aish(["upper", "c"]).good().stdout, "C\n");
    assert_eq!(lines(&log), ["c"]);
}

#[test]
fn ci_65_each_caller_gets_its_own_reply() {
    let alpha = Mesh::up();
    let beta = alpha.joined("beta");
    let _jitter = beta.wrap(line("jitter", "jitter"));
    found(&alpha, "jitter");
    let (mut replied, mut late) = (0, 0);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..50)
            .map(|n| {
                let mesh = if n % 2 == 0 { &alpha } else { &beta };
                scope.spawn(move || {
                    let nonce = Uuid::new_v4().simple().to_string();
                    let timeout = if n % 5 == 0 { "100ms" } else { "60s" };
                    // Fifty processes that start at once may keep one another from reading the registry: nothing is sent.
                    let starved = |ran: &aigis_tests::Ran| ran.stderr.contains("registry was not read");
                    let mut tries = (0..5).map(|_| mesh.aish(["jitter", &nonce, "--timeout", timeout]));
                    let ran = tries.find(|ran| !starved(ran)).unwrap_or_else(|| panic!("{timeout}: starved"));
                    (timeout, ran, nonce)
                })
            })
            .collect();
        for caller in callers {
            let (timeout, ran, nonce) = caller.join().unwrap();
            match ran.code {
                0 => {
                    assert_eq!(ran.stdout, format!("{nonce}\n"));
                    replied += 1;
                }
                code => {
                    assert_eq!((code, timeout, ran.stdout.as_str()), (75, "100ms", ""), "{ran:?}");
                    late += 1;
                }
            }
        }
    });
    assert!(replied >= 40 && replied + late == 50, "{replied} replied, {late} late");
}

#[test]
fn ci_67_a_program_with_a_prompt_at_a_terminal() {
    let mesh = Mesh::up();
    let repl = "import sys\nassert sys.stdin.isatty()\nwhile True:\n print(eval(input('> ')))";
    let _calc = mesh.wrap(["-n", "calc", "--pty", "--prompt", "> $", "--", "python3", "-c", repl]);
    for _ in 0..2 {
        assert_eq!(mesh.aish(["calc", "6*7"]).good().stdout, "42\n");
    }
    assert_eq!(mesh.aish(["calc", "'a' * 100000"]).good().stdout.len(), 100_001);
}

#[test]
fn ci_68_a_program_that_never_answers() {
    let mesh = Mesh::up();
    let _hang = mesh.wrap(line("hang", "hang"));
    let ran = mesh.aish(["hang", "hi", "--timeout", "1s"]).failed(75);
    assert!(ran.took < Duration::from_secs(20), "{ran:?}");
}

/// Waits until a host knows of a CI that is on another.
fn found(mesh: &Mesh, name: &str) {
    until(&format!("{name} is live"), LIMIT, || mesh.row(name).filter(|row| row["state"] == "live"));
}
