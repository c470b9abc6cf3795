//! Questions of assistants to the user, and who answers them.

use aigis_tests::{Mesh, Running, nonce, until};

use super::{COPY, LIMIT, Source, ended};

/// Asks by files, as a language without sockets does.
fn asking(rest: &str) -> String {
    format!(
        "echo '{{\"id\":\"q\",\"ask\":\"Go on?\",{rest}}}' > /out/ask/.q && mv /out/ask/.q /out/ask/q\n\
        while [ ! -e /in/answer/q ]; do sleep 0.1; done\necho \"answered $(cat /in/answer/q)\"\n{COPY}"
    )
}

#[test]
fn chn_35_who_answers_is_told() {
    let mesh = Mesh::up();
    let source = Source::new(&[("keep", "")]);
    let folder = source.assistant("ask", &asking("\"kind\":\"confirm\",\"timeout_s\":600"));
    let ran = ended(source.push(&mesh, &["--assistant", &folder, "--yes"]), 0);
    assert!(ran.stderr.contains("\"from\":\"flag\""), "{}", ran.stderr);

    let id = source.begun(&mesh, &["--assistant", &folder]);
    until("the chain asks", LIMIT, || (source.chain(&mesh)["status"] == "asking").then_some(()));
    let path = source.path();
    let follow = Running::of_stderr(mesh.spawn(["chains", "follow", &id]));
    let _answered = mesh.aish(["chains", "answer", &id, "yes"]).good();
    let ran = follow.end(LIMIT);
    assert_eq!(ran.code, 0, "{ran:?} {}", path.display());
    let log = mesh.aish(["chains", "show", &id, "--step", "1", "--log"]).good().stdout;
    assert!(log.contains("\"from\":\"user\""), "{log}");

    let defaulted = source.assistant("default", &asking("\"kind\":\"text\",\"default\":\"blue\",\"timeout_s\":1"));
    let ran = ended(source.push(&mesh, &["--assistant", &defaulted]), 0);
    assert!(ran.stderr.contains("blue") && ran.stderr.contains("\"from\":\"default\""), "{}", ran.stderr);
    let alone = source.assistant("alone", &asking("\"kind\":\"text\",\"timeout_s\":1"));
    let _ran = ended(source.push(&mesh, &["--assistant", &alone]), 1);
}

#[test]
fn chn_36_a_question_by_files_is_answered_by_a_flag() {
    let (mesh, source, word) = (Mesh::up(), Source::new(&[("keep", "")]), nonce());
    let folder = source.assistant("ask", &asking("\"kind\":\"text\",\"timeout_s\":600"));
    let ran = ended(source.push(&mesh, &["--assistant", &folder, "--answer", &format!("q={word}")]), 0);
    assert!(ran.stderr.contains(&word), "{}", ran.stderr);
}
