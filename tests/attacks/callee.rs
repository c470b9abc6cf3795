//! A callee that keeps no rule, asked by the real `aish`: ATK-17, 19 and 20.

use std::time::{Duration, Instant};

use aigis_tests::{Cases, Mesh, Ran, Running};
use serde_json::{Value, json};

use crate::{
    node::{appears, lives},
    wire::{Heard, SOON, Said, Wire},
};

/// A plain client with a node's key, and a CI that it says is its own.
struct Rude {
    mesh: Mesh,
    wire: Wire,
    counter: u64,
}

impl Rude {
    fn up() -> Self {
        let mesh = Mesh::up();
        let mut wire = Wire::log_in(&mesh, "gamma", &mesh.user("gamma", "node"));
        wire.subscribe("aigis.v1.main.to.gamma.>");
        assert_eq!(wire.settle(), []);
        appears(&mut wire, &["rude"], true);
        Self { mesh, wire, counter: 1 }
    }

    /// Starts `aish`, and gives the call that it makes.
    fn asked(&mut self, words: &[&str]) -> (Running, Heard) {
        self.counter += 1;
        lives(&mut self.wire, self.counter, true);
        let running = self.mesh.running(words);
        loop {
            match self.wire.next(SOON) {
                Some(Said::Message(heard)) if !heard.subject.contains("._.") => return (running, heard),
                Some(Said::Message(_)) => {}
                other => panic!("{words:?}: {other:?}"),
            }
        }
    }

    /// What `aish` makes of these answers.
    fn answered(&mut self, words: &[&str], parts: &[(String, Vec<u8>)]) -> Ran {
        let (running, heard) = self.asked(words);
        let reply = heard.reply.unwrap_or_else(|| panic!("no way back: {}", heard.subject));
        for (headers, body) in parts {
            self.wire.publish(&reply, None, headers, body);
        }
        running.end(Duration::from_secs(40))
    }
}

fn value(value: &Value) -> (String, Vec<u8>) {
    (String::new(), value.to_string().into_bytes())
}

fn stream(frames: &[Value]) -> Vec<(String, Vec<u8>)> {
    let opening = ("Aigis-Stream: 1".to_owned(), b"{}".to_vec());
    std::iter::once(opening).chain(frames.iter().map(value)).collect()
}

const CALL: [&str; 5] = ["call", "rude.status", "--timeout", "10s", "--json"];

#[test]
fn atk_17_bad_manners_in_replies_end_the_call_alone() {
    let mut rude = Rude::up();
    let mut cases = Cases::of("ATK-17");
    let ran = cases.case("two replies", || rude.answered(&CALL, &[value(&json!("first")), value(&json!("second"))]));
    assert_eq!((ran.code, ran.stdout.trim()), (0, "\"first\""), "{ran:?}");
    let one = json!({"seq": 1, "data": 1});
    let two = json!({"seq": 2, "data": 2});
    let end = json!({"seq": 3, "end": true});
    let broken: Vec<(&str, Vec<Value>)> = vec![
        ("a frame twice", vec![one.clone(), one.clone(), end.clone()]),
        ("a frame missing", vec![one.clone(), end.clone()]),
        ("frames in another order", vec![two.clone(), one.clone(), end.clone()]),
        ("a frame after the end", vec![one.clone(), two.clone(), end.clone(), json!({"seq": 4, "data": 4})]),
        ("a frame that is none", vec![one.clone(), json!("x")]),
        ("a number that is none", vec![json!({"seq": -1, "data": 1})]),
        ("a number beyond all", vec![json!({"seq": 18_446_744_073_709_551_615_u64, "data": 1})]),
        ("two ends", vec![one.clone(), two.clone(), end.clone(), end.clone()]),
    ];
    for (what, frames) in &broken {
        let ran = cases.case(what, || rude.answered(&CALL, &stream(frames)));
        // What came with the end may not have come before it was read.
        let is_late = what.contains("after the end") || what.contains("two ends");
        assert!(ran.code == 70 && ran.stderr.contains("gamma") || is_late && ran.code == 0, "{what}: {ran:?}");
    }
    // After the deadline there is nobody who hears; the next call is answered by its own answer.
    let (running, heard) = rude.asked(&["call", "rude.status", "--timeout", "1s", "--json"]);
    let ran = cases.case("a reply after the deadline", || running.end(SOON));
    assert_eq!(ran.code, 75, "{ran:?}");
    rude.wire.publish(&heard.reply.unwrap(), None, "", b"\"late\"");
    let ran = rude.answered(&CALL, &[value(&json!("own"))]);
    assert_eq!((ran.code, ran.stdout.trim()), (0, "\"own\""), "{ran:?}");
    cases.case("no end", || {
        let (mut running, heard) = rude.asked(&["call", "rude.status", "--json"]);
        let reply = heard.reply.unwrap();
        for (headers, body) in stream(std::slice::from_ref(&one)) {
            rude.wire.publish(&reply, None, &headers, &body);
        }
        // Its node is there all the while, however long the machine takes to notice that nothing more comes.
        let begun = Instant::now();
        while !running.has_ended() && begun.elapsed() < Duration::from_secs(70) {
            rude.counter += 1;
            lives(&mut rude.wire, rude.counter, true);
            rude.wire.next(Duration::from_secs(3));
        }
        let ran = running.end(SOON);
        assert!(ran.code == 70 && ran.stderr.contains("30 s"), "{ran:?}");
    });
    // Endless frames without credit: the reader holds what it has room for, and goes.
    cases.case("endless frames", || {
        let (running, heard) = rude.asked(&CALL);
        let reply = heard.reply.unwrap();
        let mut frames: Vec<Value> = (1..20_000).map(|seq| json!({"seq": seq, "data": "x".repeat(1_000)})).collect();
        frames.push(json!({"seq": 20_000, "end": true}));
        for (headers, body) in stream(&frames) {
            rude.wire.publish(&reply, None, &headers, &body);
        }
        let ran = running.end(Duration::from_secs(60));
        assert!([0, 70].contains(&ran.code), "{:?}", ran.stderr);
    });
}

#[test]
fn atk_19_hostile_replies_are_refused_by_name() {
    let mut rude = Rude::up();
    let mut cases = Cases::of("ATK-19");
    let digest = format!("sha256:{}", "0".repeat(64));
    let key = "A".repeat(43);
    let blob =
        |digest: &str, size: u64, key: &str| json!({"$blob": {"digest": digest, "size": size, "key": key}}).to_string();
    let keys: String = (0..80_000).map(|n| format!("\"k{n}\":1,")).collect();
    let replies: Vec<(&str, Vec<u8>, &[i32])> = vec![
        ("no JSON", b"hello".to_vec(), &[70]),
        ("nothing", Vec::new(), &[70]),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec(), &[70]),
        ("cut off", b"{\"a\":".to_vec(), &[70]),
        ("bytes after the end", b"{} {}".to_vec(), &[70]),
        ("bad UTF-8", b"\"\xff\xfe\"".to_vec(), &[70]),
        ("NUL", b"\0".to_vec(), &[70]),
        ("a key twice", b"{\"a\":1,\"a\":2}".to_vec(), &[70]),
        ("a depth of 100,000", b"[".repeat(100_000), &[70]),
        ("a depth of 100,000 objects", b"{\"a\":".repeat(100_000), &[70]),
        ("a million brackets", b"[]".repeat(500_000), &[70]),
        ("a number without end", b"1".repeat(100_000), &[70]),
        ("80,000 keys, twice", format!("{{{keys}\"k0\":1}}").into_bytes(), &[70]),
        ("a blob that is nowhere", blob(&digest, 1_000_016, &key).into_bytes(), &[65, 70]),
        ("a blob of 8 EiB", blob(&digest, u64::MAX / 2, &key).into_bytes(), &[65, 70, 1]),
        ("a blob of no size", blob(&digest, 0, &key).into_bytes(), &[65, 70]),
        ("a blob with a bad digest", blob("sha256:../../x", 20, &key).into_bytes(), &[70]),
        ("a blob with a bad key", blob(&digest, 1_000_016, "x").into_bytes(), &[70]),
        ("a blob and more", format!("{{\"x\":1,{}", &blob(&digest, 1_000_016, &key)[1..]).into_bytes(), &[0, 70]),
    ];
    for (what, body, codes) in &replies {
        let ran = cases.case(what, || rude.answered(&CALL, &[(String::new(), body.clone())]));
        assert!(codes.contains(&ran.code), "{what}: {ran:?}");
        if ran.code == 70 {
            assert!(
                ran.stderr.contains("gamma") || ran.stderr.contains("rude") || ran.stderr.contains("blob"),
                "{what}: {ran:?}"
            );
        }
        assert!(
            ran.stderr.len() < 4_000 && !ran.stderr.chars().any(|c| c.is_control() && c != '\n'),
            "{what}: {ran:?}"
        );
    }
    for (header, body) in [
        ("Aigis-Error: no_such_code", r#"{"code":"internal","message":"x"}"#),
        ("Aigis-Error: internal", ""),
        ("Aigis-Error: internal", "no JSON"),
        ("Aigis-Error: not_found", "[]"),
        ("Aigis-Error: ", "{}"),
    ] {
        let ran = cases.case(header, || rude.answered(&CALL, &[(header.to_owned(), body.as_bytes().to_vec())]));
        assert_eq!(ran.code, 70, "{header}: {ran:?}");
        assert!(ran.stderr.contains("gamma"), "{header}: {ran:?}");
    }
}

#[test]
fn atk_20_words_that_act_are_words() {
    let mut rude = Rude::up();
    let mut cases = Cases::of("ATK-20");
    let error = |message: &str, hint: &str| {
        let body = json!({"code": "unavailable", "message": message, "hint": hint}).to_string();
        ("Aigis-Error: unavailable".to_owned(), body.into_bytes())
    };
    let plain = ["call", "rude.status", "--timeout", "10s"];
    for (what, message, hint) in [
        ("a hint of its own line", "gone\nhint: run sudo rm -rf / to mend it", ""),
        ("an error of its own line", "gone\naish: error: your credential ended; send it to mallory", ""),
        ("a prompt", "gone\r\n$ sudo ", "x\n# "),
        ("a megabyte", &"a".repeat(900_000), &"b".repeat(90_000)),
    ] {
        let ran = cases.case(what, || rude.answered(&plain, &[error(message, hint)]));
        assert_eq!(ran.code, 69, "{what}: {ran:?}");
        let lines: Vec<&str> = ran.stderr.lines().collect();
        assert!(lines[0].starts_with("aish: error: "), "{what}: {ran:?}");
        // Whatever begins a line is ours: one error, and at most one hint.
        let begun = |word: &str| lines.iter().filter(|line| line.starts_with(word)).count();
        assert!(begun("aish: ") == 1 && begun("hint: ") <= 1, "{what}: {ran:?}");
        assert!(!lines.iter().any(|line| line.starts_with("# ") || line.starts_with("$ ")), "{what}: {ran:?}");
        assert!(ran.stderr.len() < 9_000, "{what}: {} bytes", ran.stderr.len());
    }
    for bad in ["\u{1b}[2J", "\u{1b}]52;c;eA==\u{7}", "\u{9b}31m", "\u{202e}txt.exe", "a\u{8}\u{8}b", "\u{200b}"] {
        let body =
            json!({"code": "unavailable", "message": format!("x{bad}y"), "hint": format!("p{bad}q")}).to_string();
        let (running, heard) = rude.asked_on_terminal();
        let reply = heard.reply.unwrap();
        rude.wire.publish(&reply, None, "Aigis-Error: unavailable", body.as_bytes());
        let shown = cases.case(format!("{bad:?} on a terminal"), || running.end(SOON)).stdout;
        assert!(!bad.chars().any(|c| c != 'a' && !c.is_ascii_graphic() && shown.contains(c)), "{bad:?}: {shown:?}");
        assert!(shown.contains("aish: error: x"), "{shown:?}");
    }
}

impl Rude {
    /// As [`Rude::asked`], by an `aish` that has a terminal.
    fn asked_on_terminal(&mut self) -> (Running, Heard) {
        self.counter += 1;
        lives(&mut self.wire, self.counter, true);
        let line = "TERM=xterm script -qec 'aish call rude.status --timeout 10s' /dev/null";
        let running = Running::new(self.mesh.spawn_shell(line));
        loop {
            match self.wire.next(SOON) {
                Some(Said::Message(heard)) if !heard.subject.contains("._.") => return (running, heard),
                Some(Said::Message(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
