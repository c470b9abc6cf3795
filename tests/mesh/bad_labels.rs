//! Names and labels of containers that no rule of ours would have given.

use std::time::Duration;

use aigis_tests::{Container, Mesh, docker, nonce, until};

const BUSYBOX: &str = "aigis-test/busybox";

#[test]
fn bad_03_bad_06_bad_66_bad_67_hostile_names_and_labels() {
    let mesh = Mesh::up();
    let tag = nonce();
    let long_name = format!("a-{tag}-{}", "x".repeat(300 - 3 - tag.len()));
    let large = format!("big={}", "b".repeat(100 * 1024));
    let description = "aigis.description=evil \u{1b}[2J\u{1b}]52;c;eA==\u{7} \u{202e}abc\u{200b}";
    let name = format!("odd-{tag}");
    // A host's name has at most 63 characters, and the engine takes the container's for it.
    let long = Container::run(&long_name, &["--hostname", "h"], BUSYBOX, &["sleep", "1000"]);
    let options = ["--label", "aigis.ci.name=\u{43d}\u{435}\u{442}", "--label", &large, "--label", description];
    let odd = Container::run(&name, &options, BUSYBOX, &["sleep", "1000"]);
    assert_eq!(long.inspect()["Name"].as_str().map(str::len), Some(301));

    let _row = mesh.live(&name, &odd.id);
    let record = mesh.aish(["describe", &name, "--json"]).good();
    let described = record.json();
    let warnings = described["warnings"].to_string();
    assert!(warnings.contains("aigis.ci.name is not used") && warnings.contains("\u{43d}"), "{warnings}");
    assert!(warnings.contains("big") && warnings.contains("at most 4096 are kept"), "{warnings}");
    assert!(described["labels"].get("big").is_none() && !record.stdout.contains("bbbbbbbb"), "{described}");

    let cut = until("the long one is live", Duration::from_secs(60), || {
        mesh.rows(&[]).into_iter().find(|row| row["state"] == "live" && row["container"]["id"] == long.id.as_str())
    });
    let short = cut["name"].as_str().unwrap();
    assert!(short.len() <= 63 && short.starts_with(&format!("a-{tag}-xxx")), "{short}");
    let status = mesh.aish([short, "status", "--json"]).good().json();
    assert_eq!(status["state"], "running");

    let _none = mesh.aish(["call", &format!("{name}.__class__")]).refused(65);

    let piped = mesh.aish(["describe", &name]).good().stdout;
    assert!(piped.contains("evil \u{1b}[2J"), "{piped:?}");
    assert!(!record.stdout.contains('\u{1b}') && record.stdout.contains("\\u001b"), "JSON's own escapes");
    let shown = mesh.shell(&format!("TERM=xterm script -qec 'aish describe {name}' /dev/null")).good().stdout;
    assert!(shown.contains("evil \\u{1b}[2J\\u{1b}]52;c;eA==\\u{7} \\u{202e}abc\\u{200b}"), "{shown:?}");
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}') && !shown.contains('\u{200b}'), "{shown:?}");

    let full = mesh.shell(&format!("aish describe {name} >/dev/full"));
    assert!(full.code == 1 && full.stderr.contains("could not be written"), "{full:?}");
    let gone = mesh.shell(&format!("set +o pipefail; aish describe {name} | true; exit ${{PIPESTATUS[0]}}"));
    assert!(gone.code == 0 && gone.stderr.is_empty(), "{gone:?}");
    assert_eq!(docker(None, &["inspect", "--format", "{{.State.Running}}", &odd.id]), "true");
}
