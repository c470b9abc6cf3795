//! What comes from outside: the bus server and the dependencies, ATK-70 and ATK-71.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use aigis_tests::{Cases, Mesh, docker};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn atk_70_a_false_bus_server_is_not_run() {
    let mut cases = Cases::of("ATK-70");
    let _engine = docker(None, &["version", "--format", "{{.Server.Version}}"]);
    let place = tempfile::tempdir().unwrap();
    let fake = place.path().join("nats-server");
    let witness = place.path().join("ran");
    let server = |said: &str| {
        // Whatever else it is asked to do, it says that it was run.
        let text = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && {{ {said}; exit 0; }}\ntouch {}\nexit 0\n",
            witness.display()
        );
        fs::write(&fake, text).unwrap();
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    };
    for version in ["2.9.10", "2.10.29", "2.11.15", "2.12.6", "2.13.9", "0.0.0"] {
        server(&format!("echo nats-server: v{version}"));
        for by in ["AIGIS_NATS_SERVER", "PATH"] {
            cases.case(format!("{version} by {by}"), || {
                // A server that is named goes before the one in PATH.
                let setting = match by {
                    "PATH" => format!("unset AIGIS_NATS_SERVER; export PATH={}:$PATH", place.path().display()),
                    _ => format!("export AIGIS_NATS_SERVER={}", fake.display()),
                };
                let mesh = Mesh::absent();
                let ran = mesh.shell(&format!("{setting}; aish up --detach --name alpha --listen 127.0.0.1:0"));
                assert_eq!(ran.code, 1, "{ran:?}");
                assert!(ran.stderr.contains(version) && ran.stderr.contains("2.11.16"), "{ran:?}");
                assert!(!witness.exists(), "it was not started");
            });
        }
    }
    for (what, said) in [
        ("no version", "echo hello"),
        ("nothing", "true"),
        ("a version of something else", "echo redis 7.2"),
        ("a version that is none", "echo nats-server: v2.x"),
        ("control characters", "printf 'nats-server: v2.9.10\\033[2J'"),
    ] {
        server(said);
        cases.case(what, || {
            let mesh = Mesh::absent();
            let line = format!("export AIGIS_NATS_SERVER={}; aish up --detach --name alpha", fake.display());
            let ran = mesh.shell(&line);
            assert!(ran.code == 1 && !ran.stderr.contains('\u{1b}'), "{ran:?}");
            assert!(!witness.exists(), "it was not started");
        });
    }
    // One that lies about its version is started, and is no bus.
    server("echo nats-server: v2.15.1");
    cases.case("a liar that ends", || {
        let mesh = Mesh::absent();
        let line =
            format!("export AIGIS_NATS_SERVER={}; aish up --detach --name alpha --listen 127.0.0.1:0", fake.display());
        let ran = mesh.shell(&line);
        assert!(ran.code != 0 && ran.stderr.contains("bus server"), "{ran:?}");
        assert!(mesh.pid("node.pid").is_none_or(|pid| rustix::process::test_kill_process(pid).is_err()), "{ran:?}");
    });
}

/// Whether a package of that name lies in this tree.
fn is_ours(name: &str) -> bool {
    let is_example = || root().join("examples").join(name).join("Cargo.toml").is_file();
    name.starts_with("aigis") || name == "aish" || (!name.is_empty() && is_example())
}

/// What no lock file may have.
fn flaws(lock: &str) -> Vec<String> {
    const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
    const PROVIDERS: [&str; 6] = ["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl-sys", "boring-sys", "mbedtls"];
    let mut flaws = Vec::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        let name = field("name").unwrap_or_default();
        match (field("source"), field("checksum")) {
            (None, None) if is_ours(&name) => {}
            (Some(source), Some(checksum)) if source == REGISTRY && checksum.len() == 64 => {}
            other => flaws.push(format!("{name} comes from {other:?}")),
        }
        if PROVIDERS.contains(&name.as_str()) {
            flaws.push(format!("{name} is a second TLS provider"));
        }
    }
    flaws
}

#[test]
fn atk_71_dependencies_come_from_one_place_with_one_tls() {
    let mut cases = Cases::of("ATK-71");
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let none: [String; 0] = [];
    cases.case("the lock file", || assert_eq!(flaws(&lock), none));
    let another = |text: &str| flaws(&format!("{lock}\n[[package]]\n{text}\n"));
    for (what, text) in [
        ("a git source", "name = \"x\"\nversion = \"1\"\nsource = \"git+https://example.com/x#0\""),
        (
            "another registry",
            "name = \"x\"\nversion = \"1\"\nsource = \"registry+https://example.com\"\nchecksum = \"00\"",
        ),
        (
            "no checksum",
            "name = \"x\"\nversion = \"1\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"",
        ),
        ("a path", "name = \"x\"\nversion = \"1\""),
        (
            "another TLS",
            "name = \"openssl-sys\"\nversion = \"1\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"",
        ),
    ] {
        cases.case(what, || assert!(!another(text).is_empty(), "{what} is not noticed"));
    }
    let rules = fs::read_to_string(root().join("deny.toml")).unwrap();
    for rule in
        ["unknown-git = \"deny\"", "unknown-registry = \"deny\"", "crate = \"aws-lc-rs\"", "crate = \"openssl-sys\""]
    {
        cases.case(rule, || assert!(rules.contains(rule), "{rule}"));
    }
    // A lock file that no longer fits is not mended on the way.
    let scripts = ["scripts/test", "scripts/bench", "scripts/faults", "scripts/attacks", "scripts/lib/rows.sh"];
    for script in scripts {
        let text = fs::read_to_string(root().join(script)).unwrap();
        for line in text.lines().filter(|line| {
            line.contains("cargo build") || line.contains("cargo test") || line.contains("cargo nextest run")
        }) {
            cases.case(line.trim(), || {
                assert!(line.contains("--locked") || line.contains("cargo nextest --version"), "{script}: {line}");
            });
        }
    }
}
