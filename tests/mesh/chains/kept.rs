//! Secrets of assistants: variables of their steps, and nowhere else.

use std::{fs, path::Path, process::Command};

use aigis_tests::{Mesh, docker, nonce, until};

use super::{COPY, LIMIT, Source, ayup, ended, questions::holds, write};

/// What an engine keeps of an image: its configuration, its history, its layers.
fn image(reference: &str) -> Vec<u8> {
    let mut all = docker(None, &["image", "inspect", reference]).into_bytes();
    all.extend(docker(None, &["history", "--no-trunc", reference]).into_bytes());
    let saved = Command::new("docker").args(["save", reference]).output().unwrap();
    assert!(saved.status.success(), "{saved:?}");
    all.extend(saved.stdout);
    all
}

fn is_in(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Asserts that a word is in none of a chain's trees, records and logs, nor in any file of the node.
fn is_nowhere(mesh: &Mesh, id: &str, word: &str) {
    let chain = mesh.aish(["chains", "show", id, "--json"]).good();
    assert!(!chain.stdout.contains(word), "{}", chain.stdout);
    for step in chain.json()["steps"].as_array().unwrap() {
        let number = step["n"].to_string();
        let log = mesh.aish(["chains", "show", id, "--step", &number, "--log"]);
        assert!(log.code == 0 && !log.stdout.contains(word), "{log:?}");
        let pulled = tempfile::tempdir().unwrap();
        let into = pulled.path().join("step");
        let ran = mesh.aish(["chains", "show", id, "--step", &number, "--pull", into.to_str().unwrap()]);
        assert!(ran.code == 0 && into.is_dir(), "{ran:?}");
        assert_eq!(holds(&into, word), None);
    }
    let node = mesh.aish(["logs", "alpha", "--tail", "10000"]);
    assert!(!node.stdout.contains(word), "{}", node.stdout);
    assert!(holds(&mesh.path(), id).is_some(), "what is stored is found so");
    assert_eq!(holds(&mesh.path(), word), None);
}

#[test]
fn chn_34_a_secret_is_known_to_every_run_and_stands_nowhere() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    let (word, base) = (format!("TOKEN{}", nonce()), format!("key-{}", nonce()));
    // It prints them, asks about them, and shows by their length that it has them.
    let script = format!(
        "echo \"has ${{#TOKEN}} and ${{#BASE}}: $TOKEN\"\necho \"$BASE\" >&2\n\
        echo \"{{\\\"ask\\\": \\\"Is $TOKEN right?\\\", \\\"default\\\": \\\"yes\\\", \\\"timeout_s\\\": 600}}\" > /out/ask/.q\n\
        mv /out/ask/.q /out/ask/q\nwhile [ ! -e /in/answer/q ]; do sleep 0.1; done\n{COPY}\
        n=$(( $(cat /in/state/count 2>/dev/null || echo 0) + 1 ))\necho $n > /out/state/count\n\
        [ $((n % 3)) = 0 ] || echo local:keeper > /out/state/next\n"
    );
    let folder = source.assistant("keeper", &script);
    let env = Path::new(&folder).join(".aigis-env");
    write(&env, &format!("# two\nexport TOKEN=\"{word}\"\nBASE='{base}'\n"));
    let _pushed = mesh.aish(["assistants", "push", &folder]).good();
    // Pushed again without it, and it is there still.
    fs::remove_file(&env).unwrap();
    let _pushed = mesh.aish(["assistants", "push", &folder]).good();
    let has = format!("has {} and {}: ***", word.len(), base.len());
    for push in 0..2 {
        let id = source.begun(&mesh, &["--assistant", "local:keeper"]);
        for step in 1..=3 {
            let asked = until("it asks", LIMIT, || {
                let chain = source.chain(&mesh);
                assert!(chain["error"].is_null(), "{chain}");
                (chain["status"] == "asking" && chain["step"] == step).then_some(chain)
            });
            assert_eq!(asked["question"]["ask"], "Is *** right?", "{asked}");
            let containers = docker(None, &["ps", "-q", "--filter", &format!("label=aigis.owner=chain/{id}")]);
            let running = docker(None, &["inspect", containers.trim()]);
            assert!(running.contains("TOKEN") && !running.contains(&word) && !running.contains(&base), "{running}");
            let _answered = mesh.aish(["chains", "answer", &id, "yes"]).good();
        }
        let ran = ended(mesh.aish(["chains", "follow", &id]), 0);
        assert_eq!(ran.stderr.matches(&has).count(), 3, "push {push}: {}", ran.stderr);
        assert!(!ran.stderr.contains(&word) && !ran.stderr.contains(&base), "{}", ran.stderr);
        for word in [&word, &base] {
            is_nowhere(&mesh, &id, word);
        }
    }
    let names = docker(None, &["images", "--format", "{{.ID}} {{.Repository}}"]);
    let own: Vec<&str> = names.lines().filter_map(|line| line.strip_suffix(" aigis/assistant-keeper")).collect();
    assert!(!own.is_empty(), "{names}");
    for id in own {
        let kept = image(id);
        assert!(!is_in(&kept, &word) && !is_in(&kept, &base), "{id} holds one");
    }
    let _gone = ended(mesh.aish(["secrets", "rm", "assistant/local/keeper"]), 0);
    let id = source.begun(&mesh, &["--assistant", "local:keeper", "--answer", "q=no"]);
    let ran = ended(mesh.aish(["chains", "follow", &id]), 0);
    assert!(ran.stderr.contains("has 0 and 0: \n"), "{}", ran.stderr);
}

#[test]
fn chn_34_a_file_of_secrets_never_goes_with_its_folder() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    let folder = source.assistant("open", COPY);
    write(&Path::new(&folder).join(".aigis-env"), "TOKEN=hush-hush\n");
    write(&Path::new(&folder).join(".aigisignore"), "!.aigis-env\n");
    let refused = mesh.aish(["assistants", "push", &folder]).failed(65);
    assert!(refused.stderr.contains(".aigis-env holds secrets"), "{refused:?}");
    let listed = mesh.aish(["assistants", "list", "--json"]).good().stdout;
    assert!(!listed.contains("\"open\"") && mesh.aish(["secrets", "list", "--json"]).good().stdout.trim() == "[]");
    assert_eq!(holds(&mesh.path(), "hush-hush"), None);
}

/// Copies a folder of another product's as it is.
fn copy(folder: &str, into: &Path) {
    fs::create_dir_all(into).unwrap();
    for entry in fs::read_dir(ayup(folder)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), into.join(entry.file_name())).unwrap();
    }
}

#[test]
fn chn_06_an_assistant_of_anothers_needs_its_key_and_does_not_tell_it() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("spec", "A page that greets.\n")]));
    let folders = tempfile::tempdir().unwrap();
    let folder = folders.path().join("prem");
    copy("examples/assistants/prem", &folder);
    let assistant = folder.to_str().unwrap();
    let ran = ended(source.push(&mesh, &["--assistant", assistant]), 1);
    assert!(ran.stderr.contains("PREM_API_KEY is not set"), "{}", ran.stderr);

    let word = format!("PREM{}", nonce());
    write(&folder.join(".ayup-env"), &format!("PREM_API_KEY={word}\nPREM_PROJECT_ID=1\n"));
    let ran = ended(source.push(&mesh, &["--assistant", assistant]), 1);
    // It comes to where it asks a service that does not know the key.
    assert!(ran.stderr.contains("Generating code...") && !ran.stderr.contains(&word), "{}", ran.stderr);
    let id = source.chain(&mesh)["id"].as_str().unwrap().to_owned();
    is_nowhere(&mesh, &id, &word);
    let kept = docker(None, &["images", "-q", "aigis/assistant-prem"]);
    for id in kept.split_whitespace() {
        let shown = docker(None, &["image", "inspect", id]) + &docker(None, &["history", "--no-trunc", id]);
        assert!(!shown.contains(&word), "{shown}");
    }
}
