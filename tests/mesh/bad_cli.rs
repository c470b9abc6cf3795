//! Bad input on the command line, in the environment, and an output that cannot be written.

use aigis_tests::{Mesh, Ran};

fn says(ran: &Ran, words: &[&str]) {
    for word in words {
        assert!(ran.stderr.contains(word), "{word:?} is not in {ran:?}");
    }
}

#[test]
fn bad_01_names_say_rule_character_and_place() {
    let mesh = Mesh::absent();
    let long = "a".repeat(64);
    let names = ["", "a.b", "-x", "_x", &long, "*", ">", "a b", "a\nb", "\u{435}", "A", "list", "all"];
    for name in names {
        let option = |option: &str| format!("{option}={name}");
        for args in [
            vec!["up".to_owned(), option("--name")],
            vec![option("--mesh"), "list".to_owned()],
            ["users", "create", "--role", "viewer", "--", name].map(str::to_owned).to_vec(),
        ] {
            let ran = mesh.aish(&args).refused(2);
            assert!(!mesh.path().exists(), "{args:?} left something behind");
            says(&ran, &["name"]);
        }
    }
    for (name, words) in [
        ("", &["node name is empty"][..]),
        ("ab c", &["node name \"ab c\"", "' '", "position 3", "1 to 63 of a-z"]),
        ("a\u{1b}[2J", &["\\u{1b}", "position 2"]),
        ("w\u{435}b", &["'\u{435}'", "position 2"]),
        (&long, &["64 bytes long", "at most 63"]),
        ("list", &["reserved"]),
    ] {
        says(&mesh.aish(["up", &format!("--name={name}")]).refused(2), words);
    }
}

#[test]
fn bad_02_bad_03_addresses_and_paths_say_the_part() {
    let mesh = Mesh::absent();
    let long = "a".repeat(300);
    for (address, part) in [
        ("web@", "node name is empty"),
        ("web@b@c", "more than one '@'"),
        ("web@*", "node name \"*\""),
        ("a..b", "name \"a..b\" has '.' at position 2"),
        ("$SYS", "'$' at position 1"),
        (&long, "300 bytes long"),
    ] {
        for args in [vec![address, "status"], vec!["describe", address], vec!["logs", address]] {
            says(&mesh.aish(args).refused(2), &[part]);
        }
    }
    let (segment, path) = (format!("web.{}", "a".repeat(65)), format!("web.{}x", "abcdefg.".repeat(64)));
    for (path, part) in [
        ("web.", "skill path"),
        ("web..x", "skill path"),
        ("web.$JS", "'$'"),
        (segment.as_str(), "skill path segment"),
        (path.as_str(), "513 bytes long; at most 512"),
    ] {
        says(&mesh.aish(["call", path]).refused(2), &[part]);
    }
}

#[test]
fn bad_42_the_environment_is_checked_and_no_password_is_shown() {
    let mesh = Mesh::absent();
    for bus in ["foo", "http://x", "nats://:0", "nats://u:hunter2@127.0.0.1:4222", "nats://hunter2@h"] {
        for command in ["list", "up", "nodes --json"] {
            let ran = mesh.shell(&format!("AIGIS_BUS='{bus}' aish {command}")).refused(2);
            says(&ran, &["AIGIS_BUS"]);
            assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
        }
        let ran = mesh.aish(["--bus", bus, "list"]).refused(2);
        assert!(ran.stderr.contains("--bus") && !ran.stderr.contains("hunter2"), "{ran:?}");
    }
    says(&mesh.shell("AIGIS_MESH='a b' aish list").refused(2), &["mesh name \"a b\""]);
    let file = mesh.path().with_extension("file");
    std::fs::write(&file, "").unwrap();
    let directory = file.parent().unwrap().display().to_string();
    for (server, why) in [(directory, "is a directory"), (file.display().to_string(), "cannot be run")] {
        for detach in ["", "--detach"] {
            let ran = mesh.shell(&format!("AIGIS_NATS_SERVER='{server}' aish up --name alpha {detach}")).refused(1);
            says(&ran, &["AIGIS_NATS_SERVER", &server, why]);
        }
    }
}

#[test]
fn bad_43_bad_69_options_and_durations_say_what_is_valid() {
    let mesh = Mesh::absent();
    says(&mesh.aish(["list", "--bogus"]).refused(2), &["--bogus"]);
    says(&mesh.aish(["web", "--bogus\u{1b}[2J"]).refused(2), &["\\u{1b}"]);
    says(&mesh.aish(["list", "--timeout", "1s", "--timeout", "2s"]).refused(2), &["--timeout"]);
    says(&mesh.aish(["list", "--kind", "bogus"]).refused(2), &["bogus", "container", "wrapped"]);
    says(&mesh.aish(["list", "--state", "bogus"]).refused(2), &["live", "offline"]);
    says(&mesh.shell("aish web $'\\xff\\xfe'").refused(2), &["argument 2 is not UTF-8"]);
    let large = "a".repeat(100_000);
    let many: Vec<&str> = std::iter::once("web").chain(std::iter::repeat_n(large.as_str(), 19)).collect();
    let ran = mesh.aish(many).refused(2);
    assert!(ran.stderr.contains("at most 1048576") && ran.stderr.len() < 400, "{ran:?}");
    let ran = mesh.aish(["list", "--kind", &large]).refused(2);
    assert!(ran.stderr.contains(&"a".repeat(64)) && ran.stderr.len() < 1000, "{ran:?}");
    for duration in ["0", "-1s", "25h", "1e3", "5 s", "∞", "\u{1b}"] {
        says(&mesh.aish(["list", &format!("--timeout={duration}")]).refused(2), &["--timeout", "at most 24h"]);
        let error = mesh.aish(["list", "--json", &format!("--timeout={duration}")]).refused(2);
        let error: serde_json::Value = serde_json::from_str(&error.stderr).unwrap();
        assert_eq!(error["code"], "invalid_argument");
    }
    says(&mesh.aish(["up", "--listen", "0.0.0.0:4222"]).refused(2), &["--listen", "every container"]);
    for listen in ["127.0.0.1:70000", "127.0.0.1:-1", "here"] {
        says(&mesh.aish(["up", "--listen", listen]).refused(2), &["--listen", "IP:PORT"]);
    }
    assert!(!mesh.path().exists());
}

#[test]
fn bad_67_an_output_that_is_gone_or_full() {
    let mesh = Mesh::absent();
    let plain = mesh.aish(["list", "--help"]).good().stdout;
    for closed in ["aish list --help | true", "aish list --help >&-"] {
        let ran = mesh.shell(&format!("set +o pipefail; {closed}; exit ${{PIPESTATUS[0]}}"));
        assert!(ran.code == 0 && ran.stderr.is_empty(), "{closed}: {ran:?}");
    }
    let ran = mesh.shell("aish list --help >/dev/full").refused(1);
    says(&ran, &["the output could not be written"]);
    let both = mesh.shell("aish list --help >/dev/full 2>&1");
    assert_eq!(both.code, 1, "{both:?}");
    for environment in
        ["COLUMNS=0", "COLUMNS=-1", "COLUMNS=1000000", "COLUMNS=x", "-u TERM", "TERM=dumb", "LC_ALL=C", "LC_ALL=POSIX"]
    {
        let ran = mesh.shell(&format!("env {environment} aish list --help")).good();
        let same = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(same(&ran.stdout), same(&plain), "{environment}");
        assert!(!ran.stdout.contains('\u{1b}'));
    }
}
