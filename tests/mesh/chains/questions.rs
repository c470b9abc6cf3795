//! Questions of assistants to the user, and who answers them.

use std::{fs, path::Path};

use aigis_tests::{Mesh, Running, nonce, until};
use serde_json::Value;

use super::{COPY, LIMIT, Source, ended, write};

/// How an assistant asks: both ways have to be the same to whoever answers.
#[derive(Clone, Copy)]
enum Way {
    /// By files, as a language without sockets does.
    Files,
    /// Over the socket.
    Socket,
}

impl Way {
    /// An assistant that asks the question `q`, and prints what it is answered.
    fn assistant(self, source: &Source, name: &str, rest: &str) -> String {
        let question = format!("{{\"id\":\"q\",\"ask\":\"Go on?\",{rest}}}");
        match self {
            Self::Files => source.assistant(
                name,
                &format!(
                    "echo '{question}' > /out/ask/.q && mv /out/ask/.q /out/ask/q\n\
                    while [ ! -e /in/answer/q ]; do sleep 0.1; done\necho \"answered $(cat /in/answer/q)\"\n{COPY}"
                ),
            ),
            Self::Socket => {
                let folder = source.assistant(name, "");
                let script = format!(
                    "import os, shutil, socket\n\
                    user = socket.socket(socket.AF_UNIX)\nuser.connect(os.environ['AIGIS_USER_SOCKET'])\n\
                    lines = user.makefile('rw')\n\
                    lines.write('{{\"say\": \"said so\"}}\\n{{\"progress\": 0.4, \"text\": \"nearly half\"}}\\n')\n\
                    lines.write('{question}\\n')\nlines.flush()\n\
                    print('answered', lines.readline().strip(), flush=True)\n\
                    shutil.copytree('/in/app', '/out/app', dirs_exist_ok=True)\n"
                );
                write(&Path::new(&folder).join("ask.py"), &script);
                let dockerfile =
                    "FROM python:3.12-slim\nCOPY . /assistant\nENTRYPOINT [\"python\", \"/assistant/ask.py\"]\n";
                write(&Path::new(&folder).join("Dockerfile"), dockerfile);
                folder
            }
        }
    }
}

/// What the first step of a chain wrote.
fn log(mesh: &Mesh, id: &str) -> String {
    mesh.aish(["chains", "show", id, "--step", "1", "--log"]).good().stdout
}

/// Asks in one way, and has each answer who can.
fn who_answers_is_told(way: Way) {
    let mesh = Mesh::up();
    let source = Source::new(&[("keep", "")]);
    let path = source.path();
    let folder = way.assistant(&source, "ask", "\"kind\":\"confirm\",\"timeout_s\":600");
    // A person at a terminal, who is told what would do.
    let mut push = mesh.at_terminal(["push", path.to_str().unwrap(), "--assistant", &folder]);
    push.until("it is asked", LIMIT, |line| line.contains("? Go on?").then_some(()));
    push.enter("perhaps");
    push.until("it is asked for another", LIMIT, |line| line.contains("answer yes or no").then_some(()));
    push.enter("y");
    let ran = push.end(LIMIT);
    assert!(ran.code == 0 && ran.stdout.contains(r#""answer":true,"from":"user"}"#), "{ran:?}");

    let ran = ended(source.push(&mesh, &["--assistant", &folder, "--yes"]), 0);
    assert!(ran.stderr.contains("\"from\":\"flag\""), "{}", ran.stderr);

    let id = source.begun(&mesh, &["--assistant", &folder]);
    until("the chain asks", LIMIT, || (source.chain(&mesh)["status"] == "asking").then_some(()));
    let follow = Running::of_stderr(mesh.spawn(["chains", "follow", &id]));
    let _refused = mesh.aish(["chains", "answer", &id, "perhaps"]).failed(65);
    let _answered = mesh.aish(["chains", "answer", &id, "yes"]).good();
    let ran = follow.end(LIMIT);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(log(&mesh, &id).contains("\"from\":\"user\""), "{}", log(&mesh, &id));

    // The time of the question is more than the step has, and does not count.
    let rest = "\"kind\":\"choose\",\"choices\":[\"red\",\"blue\"],\"default\":\"blue\",\"timeout_s\":20";
    let defaulted = way.assistant(&source, "default", rest);
    let ran = ended(source.push(&mesh, &["--assistant", &defaulted, "--step-timeout", "15s"]), 0);
    assert!(ran.stderr.contains(r#""answer":"blue","from":"default"}"#), "{}", ran.stderr);

    let alone = way.assistant(&source, "alone", "\"kind\":\"text\",\"timeout_s\":1");
    let ran = ended(source.push(&mesh, &["--assistant", &alone]), 1);
    assert!(ran.stderr.contains("nobody answered the question \"q\""), "{}", ran.stderr);

    // One answer by its id.
    let word = nonce();
    let ran = ended(source.push(&mesh, &["--assistant", &alone, "--answer", &format!("q={word}")]), 0);
    assert!(ran.stderr.contains(&format!(r#""answer":"{word}","from":"flag"}}"#)), "{}", ran.stderr);
    if let Way::Socket = way {
        assert!(ran.stderr.contains("[local:alone] said so\n"), "{}", ran.stderr);
        assert!(ran.stderr.contains("[local:alone] 40 % nearly half\n"), "{}", ran.stderr);
    }
}

#[test]
fn chn_35_who_answers_is_told() {
    who_answers_is_told(Way::Socket);
}

#[test]
fn chn_36_who_answers_is_told_by_files() {
    who_answers_is_told(Way::Files);
}

/// Whether a file below a directory holds a text.
pub(crate) fn holds(directory: &Path, text: &str) -> Option<std::path::PathBuf> {
    let mut open = vec![directory.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(path),
                Ok(kind) if kind.is_file() => {
                    let bytes = fs::read(&path).unwrap_or_default();
                    if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                        return Some(path);
                    }
                }
                _ => {}
            }
        }
    }
    None
}

#[test]
fn chn_35_a_secret_answer_is_stored_nowhere() {
    let (mesh, source, word) = (Mesh::up(), Source::new(&[("keep", "")]), nonce());
    // What it is answered stays in its memory.
    let script = "echo '{\"ask\":\"Password?\",\"kind\":\"secret\"}' > /out/ask/.q && mv /out/ask/.q /out/ask/q\n\
        while [ ! -e /in/answer/q ]; do sleep 0.1; done\nread answer < /in/answer/q\necho \"it has ${#answer} letters\"\n";
    let folder = source.assistant("ask", &format!("{script}{COPY}"));
    let id = source.begun(&mesh, &["--assistant", &folder]);
    until("the chain asks", LIMIT, || (source.chain(&mesh)["status"] == "asking").then_some(()));
    let question = source.chain(&mesh)["question"].clone();
    assert_eq!((question["kind"].as_str(), question["ask"].as_str()), (Some("secret"), Some("Password?")));
    let _answered = mesh.aish(["chains", "answer", &id, &word]).good();
    let _followed = ended(mesh.aish(["chains", "follow", &id]), 0);
    let letters = format!("{{\"id\":\"q\",\"answer\":\"{word}\",\"from\":\"user\"}}").len();
    assert!(log(&mesh, &id).contains(&format!("it has {letters} letters")), "{}", log(&mesh, &id));
    let shown = mesh.aish(["chains", "show", &id, "--json"]).good().stdout;
    let audit: Vec<Value> = mesh.audit("alpha", 1);
    assert!(!shown.contains(&word) && !Value::from(audit).to_string().contains(&word), "{shown}");
    // The step's own directory goes a moment after the chain ended.
    until("no file holds it", LIMIT, || holds(&mesh.path(), &word).is_none().then_some(()));
    assert!(holds(&mesh.path(), &id).is_some(), "what is stored is found so");
}
