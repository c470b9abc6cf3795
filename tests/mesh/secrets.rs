//! Secrets: who may set one, who can open it, where its value is found and where it never is.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use aigis_tests::{Container, Mesh, Ran, Running, nonce, until};
use rustix::process::Signal;
use serde_json::Value;

use crate::client::Client;

mod attacks;
mod canaries;

const SOON: Duration = Duration::from_secs(60);
const VALUE: &[u8] = b"correct-horse-battery";

/// Sets a secret.
fn set(mesh: &Mesh, name: &str, value: &[u8], options: &[&str]) -> Ran {
    mesh.with_input([&["secrets", "set", name], options].concat(), Some(value))
}

/// The row of a secret in `aish secrets list`.
fn listed(mesh: &Mesh, name: &str) -> Option<Value> {
    let rows = mesh.aish(["secrets", "list", "--json"]).good().json();
    rows.as_array().cloned().unwrap_or_default().into_iter().find(|row| row["name"] == name)
}

/// Wraps a program that says where its secrets are.
fn wrapped(mesh: &Mesh, name: &str, options: &[&str]) -> (Running, PathBuf) {
    let program = ["--", "sh", "-c", "while read line; do echo \"$AIGIS_SECRETS\"; done"];
    let wrap = mesh.wrap([&["-n", name], options, &program].concat());
    let directory = mesh.aish([name, "where?"]).good().stdout.trim_end().into();
    (wrap, directory)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn bad_71_names_that_lead_elsewhere_are_refused_and_no_value_is_shown() {
    let host = Mesh::absent();
    for name in ["../x", "/x", "", "a\nb", &"a".repeat(300), "a/../b", "a b", "."] {
        let ran = set(&host, name, VALUE, &[]).refused(65);
        assert!(ran.stderr.contains("no name of a secret") && !ran.stderr.contains("correct-horse"), "{ran:?}");
        assert!(ran.stderr.len() < 1_000, "{ran:?}");
        let _rm = host.aish(["secrets", "rm", name]).refused(65);
    }
    assert!(!host.path().exists(), "nothing was made for what was refused");
}

#[test]
fn bad_72_values_are_no_arguments_and_are_kept_byte_for_byte() {
    let mesh = Mesh::up();
    for arguments in
        [&["db", "correct-horse-battery"][..], &["db", "--", "-correct-horse"], &["db", "a", "correct-horse"]]
    {
        let ran = mesh.aish([&["secrets", "set"], arguments].concat()).refused(2);
        assert!(ran.stderr.contains("no argument") && !ran.stderr.contains("correct-horse"), "{ran:?}");
    }
    let most = 1024 * 1024;
    for (value, code) in [(Vec::new(), 65), (vec![b'x'; most + 1], 1)] {
        let ran = set(&mesh, "db", &value, &[]).refused(code);
        assert!(ran.stderr.contains("the value of db"), "{ran:?}");
    }
    let file = mesh.path().join("no-such-file");
    let _none = mesh.aish(["secrets", "set", "db", "--file", &file.display().to_string()]).refused(65);
    assert_eq!(listed(&mesh, "db"), None, "what was refused changed nothing");

    let every: Vec<u8> = (0..=255).chain(*b"\r\n\0\r\n").collect();
    let large: Vec<u8> = every.iter().copied().cycle().take(most).collect();
    let (_wrap, directory) = {
        let _first = set(&mesh, "odd/every.byte", &every, &[]).good();
        wrapped(&mesh, "reader", &["--secret", "odd/every.byte", "--secret", "odd/every.byte=again"])
    };
    for file in ["every.byte", "again"] {
        assert_eq!(fs::read(directory.join(file)).unwrap(), every);
        assert_eq!((mode(&directory), mode(&directory.join(file))), (0o700, 0o600));
    }
    // From a file too, and as large as it may be.
    let file = mesh.path().join("value");
    fs::write(&file, &large).unwrap();
    let changed =
        mesh.aish(["secrets", "set", "odd/every.byte", "--json", "--file", &file.display().to_string()]).good();
    assert_eq!(changed.json()["version"], 2);
    fs::remove_file(&file).unwrap();
    until("the program has the new value", SOON, || {
        (fs::read(directory.join("again")).unwrap() == large).then_some(())
    });

    let short = set(&mesh, "pin", b"1234\n", &[]);
    assert!(short.code == 0 && short.stderr.contains("cannot be masked"), "{short:?}");
}

#[test]
fn programs_get_secrets_as_files_and_variables_and_lose_them_when_they_are_removed() {
    let mesh = Mesh::up();
    let _db = set(&mesh, "db", VALUE, &[]).good();
    let _api = set(&mesh, "api/key", b"key-of-the-api\n", &["--for", "alpha"]).good();
    let script = "echo \"db is $(cat \"$AIGIS_SECRETS/db\")\" >&2; \
        while read line; do echo \"$API_KEY\" | rev; echo \"$AIGIS_SECRETS\" >&2; done";
    let options = ["-n", "shop", "--secret", "db", "--secret-env", "api/key=API_KEY", "--", "sh", "-c", script];
    let wrap = mesh.wrap(options);
    // Reversed, so that it is not what is masked; and a variable ends before the line break of its file.
    assert_eq!(mesh.aish(["shop", "hi"]).good().stdout, "ipa-eht-fo-yek\n");
    let logs = mesh.aish(["logs", "shop"]).good().stdout;
    assert!(logs.contains("db is ***") && !logs.contains("correct-horse"), "{logs}");
    let directory: PathBuf = logs.lines().find(|line| line.starts_with('/')).unwrap().into();
    let pid = mesh.aish(["call", "shop.status", "--json"]).good().json()["pid"].as_u64().unwrap();
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(command.starts_with(b"sh\0-c\0"), "our own start of it has become the program");

    let _changed = set(&mesh, "db", b"tr0ub4dor-and-3", &[]).good();
    until("the file has the new value", SOON, || {
        fs::read(directory.join("db")).ok().filter(|value| value == b"tr0ub4dor-and-3")
    });
    let logs = mesh.aish(["logs", "shop"]).good().stdout;
    assert!(logs.contains("the secret db has version 2"), "{logs}");
    let removed = mesh.aish(["secrets", "rm", "db", "--json"]).good().json();
    assert_eq!(removed["state"], "removed");
    until("the file is gone", SOON, || (!directory.join("db").exists()).then_some(()));
    assert!(directory.join("key").exists() && listed(&mesh, "db").is_none());
    let _again = mesh.aish(["secrets", "rm", "db"]).failed(65);

    // What a node that starts again gives to a program that is still there.
    mesh.kill("node.pid");
    mesh.start();
    let _other = set(&mesh, "api/key", b"another-key", &[]).good();
    until("the file follows again", SOON, || {
        fs::read(directory.join("key")).ok().filter(|value| value == b"another-key")
    });

    // Nothing is left of a wrap that is killed, nor of one that ends.
    wrap.signal(Signal::KILL);
    until("the directory of a killed wrap is gone", SOON, || (!directory.exists()).then_some(()));
    let (wrap, directory) = wrapped(&mesh, "other", &["--secret", "api/key"]);
    assert!(directory.join("key").exists());
    wrap.signal(Signal::TERM);
    let _ended = wrap.end(SOON);
    assert!(!directory.exists());
}

#[test]
fn what_a_program_asks_for_must_be_for_its_node() {
    let mesh = Mesh::up();
    let beta = mesh.joined("beta");
    let wrap = |options: &[&str]| mesh.aish([&["wrap", "-n", "x"], options, &["--", "cat"]].concat());
    let none = wrap(&["--secret", "nosuch"]).refused(65);
    assert!(none.stderr.contains("there is no secret nosuch") && none.stderr.contains("aish secrets set"), "{none:?}");
    let _set = set(&mesh, "db", VALUE, &["--for", "beta"]).good();
    until("the node has heard of it", SOON, || {
        let ran = wrap(&["--secret", "db"]);
        (ran.code == 77 && ran.stderr.contains("is not for the node alpha")).then_some(())
    });
    let (_wrap, directory) = wrapped(&beta, "y", &["--secret", "db=password"]);
    assert_eq!(fs::read(directory.join("password")).unwrap(), VALUE);
    for (options, named) in [
        (&["--secret", "../x"][..], "no name of a secret"),
        (&["--secret", "db=../x"], "FILE is"),
        (&["--secret-env", "db"], "NAME=VARIABLE"),
        (&["--secret-env", "db=1"], "VARIABLE is"),
        (&["--secret", "a/db", "--secret", "b/db"], "both be the file db"),
    ] {
        let ran = wrap(options).refused(2);
        assert!(ran.stderr.contains(named), "{options:?}: {ran:?}");
    }
    let missing = mesh.aish(["secrets", "set", "db", "--for", "gamma", "--file", "/etc/hostname"]).failed(68);
    assert!(missing.stderr.contains("alpha, beta"), "{missing:?}");
    let _nobody = mesh.aish(["secrets", "set", "db", "--for", "role=db", "--file", "/etc/hostname"]).failed(1);
    assert_eq!(listed(&mesh, "db").unwrap()["version"], 1);
}

#[test]
fn secrets_of_a_revoked_node_are_due_for_change() {
    let mesh = Mesh::up();
    let beta = mesh.joined("beta");
    let _own = set(&mesh, "own", VALUE, &[]).good();
    let _both = set(&mesh, "both", VALUE, &["--for", "alpha", "--for", "beta"]).good();
    let row = listed(&mesh, "both").unwrap();
    assert_eq!((&row["state"], &row["nodes"]), (&"current".into(), &serde_json::json!(["alpha", "beta"])));
    assert!(row["set_by"].is_string() && row["set_at"].is_string() && row["due"] == serde_json::json!([]), "{row}");

    let _revoked = mesh.aish(["users", "revoke", "beta"]).good();
    let row = until("it is due", SOON, || listed(&mesh, "both").filter(|row| row["state"] == "due"));
    assert!(row["due"][0].as_str().unwrap().contains("the node beta was revoked"), "{row}");
    assert_eq!(listed(&mesh, "own").unwrap()["state"], "current");
    let shown = mesh.aish(["secrets", "list"]);
    assert!(
        shown.stdout.starts_with("both\tdue\t1\talpha, beta\t") && shown.stderr.contains("due for change"),
        "{shown:?}"
    );
    // It is sealed to nobody who was revoked, and is as it should be once it is changed.
    let refused = set(&mesh, "both", b"another-value", &[]).failed(1);
    assert!(refused.stderr.contains("beta"), "{refused:?}");
    let _changed = set(&mesh, "both", b"another-value", &["--for", "alpha"]).good();
    assert_eq!(listed(&mesh, "both").unwrap()["state"], "current");
    drop(beta);
}

#[test]
fn what_a_container_prints_of_a_known_secret_is_masked() {
    let mesh = Mesh::up();
    let secret = nonce();
    let _set = set(&mesh, "db", secret.as_bytes(), &[]).good();
    let script = format!("printf 'value {}'; sleep 0.3; printf '{}\\n'; sleep 1000", &secret[..7], &secret[7..]);
    let x = Container::run(&format!("x-{}", nonce()), &[], "aigis-test/busybox", &["sh", "-c", &script]);
    let _row = mesh.live(&x.name, &x.id);
    let logs = until("it has printed", SOON, || {
        let logs = mesh.aish(["logs", &x.name]).good().stdout;
        logs.contains("value").then_some(logs).filter(|logs| logs.ends_with('\n') && logs.contains("***"))
    });
    assert_eq!(logs, "value ***\n");
    let report = mesh.aish(["call", &format!("{}.debug", x.name), "--json"]).good().json();
    assert!(report["logs"].to_string().contains("value ***"), "{}", report["logs"]);
    assert!(!report["logs"].to_string().contains(&secret), "{}", report["logs"]);
}
