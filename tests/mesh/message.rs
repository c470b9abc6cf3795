//! Free text: what runs, what runs nothing, and what is not even sent.

use std::time::Duration;

use aigis_tests::{Container, Mesh, nonce, now, until};
use serde_json::{Value, json};

const BUSYBOX: &str = "aigis-test/busybox";

fn container(mesh: &Mesh) -> (String, Container) {
    let name = format!("x-{}", nonce());
    let says = format!("echo {name} says so; exec sleep 1000");
    let container = Container::run(&name, &[], BUSYBOX, &["sh", "-c", &says]);
    let _row = mesh.live(&name, &container.id);
    (name, container)
}

#[test]
fn ci_55_what_runs_nothing_says_why_and_what_could_be_asked() {
    let mesh = Mesh::up();
    let (name, container) = container(&mesh);
    let (before, since) = (container.inspect(), now());
    for (reason, texts) in [
        ("negated", &["please do not optimize anything", "don't restart", "don’t restart", "status but not logs"][..]),
        ("ambiguous", &["status of optimize?", "status logs", "status or health", "status and restart"]),
        ("needs_yes", &["restart", "please stop"]),
        ("needs_arguments", &["exec", "optimize.apply"]),
        ("unknown", &["exec ls", "statusx", "write me a poem", "статус", "状态"]),
    ] {
        for text in texts {
            let plain = mesh.aish([name.as_str(), text]).failed(65);
            assert!(plain.stderr.contains("status") && plain.stderr.contains("health"), "{text}: {plain:?}");
            let json = mesh.aish([name.as_str(), text, "--json"]).failed(65);
            let error: Value = serde_json::from_str(&json.stderr).unwrap();
            assert_eq!(
                (&error["code"], &error["data"]["reason"]),
                (&json!("invalid_argument"), &json!(reason)),
                "{text}"
            );
            let could_ask: Vec<&str> =
                error["data"]["could_ask"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            assert!(could_ask.contains(&"status") && !could_ask.contains(&"restart"), "{text}: {error}");
        }
    }
    // Without confirmation nothing changes; the words that were negated are not confirmed by it either.
    let _refused = mesh.aish([name.as_str(), "don't restart", "--yes"]).failed(65);
    let hint = mesh.aish([name.as_str(), "restart"]).failed(65);
    assert!(hint.stderr.contains(&format!("aish {name}@alpha restart --yes")), "{hint:?}");
    assert_eq!(container.events_since(&since), [""; 0]);
    assert_eq!(container.inspect(), before);
}

#[test]
fn ci_56_what_is_understood_runs_and_is_shaped_as_its_own_call() {
    let mesh = Mesh::up();
    let (name, _container) = container(&mesh);
    let ask = |text: &str| mesh.aish([name.as_str(), text, "--json"]).good().json();
    let call = |skill: &str| mesh.aish(["call", &format!("{name}.{skill}"), "--json"]).good().json();

    for text in ["services and health", "services, health", "ports & health"] {
        let both = ask(text);
        assert_eq!(keys(&both), ["services", "health"], "{text}: {both}");
        for skill in ["services", "health"] {
            assert_eq!(keys(&both[skill]), keys(&call(skill)), "{text}: {skill}");
        }
    }
    let status = call("status");
    for text in [
        "STATUS!",
        "status",
        "What's your status?",
        "What’s your status?",
        "please show me the status of the container",
        "how are you",
        "ｓｔａｔｕｓ",
        &format!("what is the state of {name}?"),
    ] {
        let said = ask(text);
        assert_eq!((keys(&said), &said["container_id"]), (keys(&status), &status["container_id"]), "{text}");
    }
    assert_eq!(keys(&ask("are you healthy?")), keys(&call("health")));
    assert_eq!(mesh.aish([name.as_str(), "show me the log"]).good().stdout, format!("{name} says so\n"));
    let refused = mesh.aish([name.as_str(), "status of optimize?", "--json"]).failed(65);
    assert!(refused.stderr.contains("ambiguous"), "{refused:?}");

    let text = mesh.aish([name.as_str(), "health, status"]);
    let (health, status) = text.stdout.split_once("\n\n").unwrap_or_else(|| panic!("{text:?}"));
    assert!(health.starts_with(&format!("{name}@alpha: ")), "{text:?}");
    assert!(status.starts_with(&format!("{name}@alpha is running")), "{text:?}");
}

#[test]
fn ci_57_hostile_texts_are_refused_alike_by_every_process_and_shown_safely() {
    let mesh = Mesh::up();
    let (name, container) = container(&mesh);
    let since = now();
    let letters = random_letters(100_000);
    for text in ["\u{1b}[31mstatus\u{1b}[0m", "status \u{1b}]0;x\u{7}", letters.as_str(), "状态"] {
        let three: Vec<_> = (0..3).map(|_| mesh.aish([name.as_str(), text]).failed(65)).collect();
        let (first, others) = three.split_first().unwrap();
        assert!(!first.stderr.contains('\u{1b}'), "{first:?}");
        assert!(first.stderr.contains("status") && first.stderr.len() < 2000, "{first:?}");
        assert!(others.iter().all(|other| other.stderr == first.stderr), "{three:?}");
        let piped = mesh.with_input([name.as_str()], Some(text.as_bytes())).failed(65);
        assert_eq!(piped.stderr, first.stderr);
    }
    assert_eq!(container.events_since(&since), [""; 0]);
}

#[test]
fn ci_58_nothing_to_say_is_never_sent() {
    let mesh = Mesh::up();
    let (name, _container) = container(&mesh);
    // A node that is stopped answers no call: one that was made would end by its deadline, with 75.
    let node = mesh.pid("node.pid").unwrap();
    rustix::process::kill_process(node, rustix::process::Signal::STOP).unwrap();
    let within = ["--timeout", "5s", name.as_str()];
    let said = |words: &[&str], input: Option<&[u8]>| mesh.with_input([&within[..], words].concat(), input);
    let ran = [
        (2, said(&[""], None)),
        (2, said(&[" \t"], None)),
        (65, said(&[], Some(b""))),
        (65, said(&[], Some(b" \n"))),
        (2, said(&[], None)),
        (65, said(&[""], Some(b""))),
        (2, said(&["-n"], Some(b"status"))),
    ];
    let made = said(&["status"], None);
    rustix::process::kill_process(node, rustix::process::Signal::CONT).unwrap();
    for (code, ran) in ran {
        let ran = ran.failed(code);
        assert!(!ran.stderr.is_empty() && ran.took < Duration::from_secs(20), "{ran:?}");
    }
    assert_eq!(made.code, 75, "the control: {made:?}");
    until("the node is back", Duration::from_secs(30), || (said(&["status"], None).code == 0).then_some(()));
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

fn random_letters(count: usize) -> String {
    let hex = std::iter::repeat_with(nonce).flat_map(|word| word.into_bytes());
    hex.map(|byte| char::from(b'a' + byte % 26)).take(count).collect()
}
