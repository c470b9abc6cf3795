//! Arguments that cannot be: each is refused by its name, with what is expected, and nothing is done.

use aigis_tests::{Container, Mesh, nonce, now};

/// Calls `SKILL ARGUMENT…` and asserts that the refusal holds all these words.
fn refused(mesh: &Mesh, name: &str, call: &str, words: &[&str]) {
    let mut parts = call.split(' ');
    let target = format!("{name}.{}", parts.next().unwrap_or_default());
    let args: Vec<&str> = ["call", &target, "--json"].into_iter().chain(parts).collect();
    let ran = mesh.aish(&args).failed(65);
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap_or_else(|_| panic!("{call}: {ran:?}"));
    assert_eq!(error["code"], "invalid_argument", "{call}: {error}");
    let message = error["message"].as_str().unwrap_or_default();
    for word in words {
        assert!(message.contains(word), "{call}: \"{word}\" is not in: {message}");
    }
}

#[test]
fn bad_12_bad_70_arguments_are_refused_by_name_with_what_is_expected() {
    let mesh = Mesh::up();
    let name = format!("x-{}", nonce());
    let container = Container::run(&name, &[], "aigis-test/busybox", &["sleep", "1000"]);
    let _row = mesh.live(&name, &container.id);
    let (before, since) = (container.inspect(), now());
    let refused = |call: &str, words: &[&str]| refused(&mesh, &name, call, words);

    // Unknown.
    refused("status colour=red", &["colour"]);
    refused("logs tial=3", &["tial", "tail"]);
    refused("stop grace=3", &["grace", "grace_s"]);
    refused("status 7", &["without a name"]);
    // Missing.
    refused("optimize.apply", &["id", "string"]);
    refused("message", &["text", "string"]);
    refused("exec", &["argv", "array"]);
    // Given twice.
    refused("logs tail=1 tail=2", &["tail", "twice"]);
    refused("optimize 5 window_s=6", &["window_s", "twice"]);
    // Of a wrong type, and null where a number is expected.
    refused("stop grace_s=soon", &["grace_s", "from 0 to 300"]);
    refused("stop grace_s=null", &["grace_s", "from 0 to 300"]);
    refused("optimize window_s=[5]", &["window_s", "from 5 to 300"]);
    refused("logs follow=1", &["follow", "boolean"]);
    refused("logs tail=null", &["tail", "from 0 to 100000"]);
    refused("exec argv=ls", &["argv", "sequence"]);
    refused("optimize.apply id=7", &["id", "string"]);
    refused("message text=null", &["text", "string"]);
    // Out of range.
    for interval in ["0", "3601", "-1", "1.5"] {
        refused(&format!("monitor count=1 interval_s={interval}"), &["interval_s", "from 1 to 3600"]);
    }
    for window in ["4", "301"] {
        refused(&format!("optimize window_s={window}"), &["window_s", "from 5 to 300"]);
    }
    for grace in ["-1", "301"] {
        refused(&format!("stop grace_s={grace}"), &["grace_s", "from 0 to 300"]);
        refused(&format!("restart grace_s={grace}"), &["grace_s", "from 0 to 300"]);
    }
    for tail in ["100001", "-1"] {
        refused(&format!("logs tail={tail}"), &["tail", "from 0 to 100000"]);
    }
    for count in ["0", "-1"] {
        refused(&format!("monitor count={count}"), &["count", "from 1 to"]);
    }
    // A number that no 64 bits hold is refused before its range is known.
    for (skill, argument) in [
        ("monitor", "interval_s"),
        ("monitor", "count"),
        ("optimize", "window_s"),
        ("stop", "grace_s"),
        ("logs", "tail"),
    ] {
        refused(&format!("{skill} {argument}=1e300"), &[argument, "does not fit 64 bits"]);
    }
    assert_eq!(container.inspect(), before);
    assert_eq!(container.events_since(&since), [""; 0]);
}
