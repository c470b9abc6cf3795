use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::Path};

use super::*;
use crate::{Tree, plan::Bases};

const EXPRESS: [(&str, &str); 3] = [
    (
        "package.json",
        r#"{"name":"shop","scripts":{"start":"node server.js"},"dependencies":{"express":"4.19.2"},"description":"words"}"#,
    ),
    ("package-lock.json", r#"{"lockfileVersion":3}"#),
    ("server.js", "const app = require('express')();\napp.listen(process.env.PORT || 3000);\n"),
];

fn wanted() -> Wanted {
    Wanted { bases: Bases::known(), ..Wanted::default() }
}

fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn proposed(root: &Path) -> Proposal {
    let present = |path: &str| present(&root.join(path)).unwrap();
    propose(Tree::read(root).unwrap(), &wanted(), present).unwrap().0
}

fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())).collect()
}

#[test]
fn pkg_17_a_proposal_writes_nothing_and_is_the_same_everywhere() {
    let (one, other) = (written(&EXPRESS), written(&EXPRESS));
    let before = contents(one.path());
    let proposal = proposed(one.path());
    assert_eq!(proposal, proposed(other.path()));
    assert_eq!(contents(one.path()), before);
    assert!(proposal.id.starts_with("prop-") && proposal.id.len() == 21, "{}", proposal.id);
    let paths: Vec<&str> = proposal.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, [".dockerignore", "Dockerfile"]);
    assert!(proposal.files.iter().all(|file| !file.exists && !file.same && file.replaces.is_none()));
    assert!(proposal.files[1].diff.contains("+CMD [\"npm\",\"run\",\"start\"]"), "{}", proposal.files[1].diff);
    assert!(proposal.lint.iter().all(|finding| finding.rule == "base-not-pinned"), "{:?}", proposal.lint);
    let edited = EXPRESS.map(|(path, text)| (path, if path == "server.js" { "x" } else { text }));
    assert_ne!(proposed(written(&edited).path()).id, proposal.id);
}

#[test]
fn pkg_18_bases_stand_with_the_digests_that_the_lock_knows() {
    let dir = written(&EXPRESS);
    let plain = proposed(dir.path());
    let dockerfile = |proposal: &Proposal| proposal.files[1].content.clone();
    let content = dockerfile(&plain);
    let reference = content.lines().find_map(|line| line.strip_prefix("FROM ")?.split(' ').next()).unwrap();
    let digest = crate::Digest::of(b"an image");
    let lock = |manifest: &str| {
        format!(
            "{{\"bases\":{{\"{reference}\":{{\"linux/amd64\":{{\"config\":\"{digest}\",\"diff_ids\":[],\
             \"manifest\":{manifest}}}}}}},\"lock_version\":1,\"system_packages\":{{}}}}"
        )
    };
    fs::write(dir.path().join("aigis.lock"), lock(&format!("\"{digest}\""))).unwrap();
    let pinned = proposed(dir.path());
    assert!(dockerfile(&pinned).contains(&format!("FROM {reference}@{digest} AS build\n")), "{pinned:?}");
    assert!(pinned.lint.is_empty() && pinned.notes == plain.notes, "{pinned:?}");
    fs::write(dir.path().join("aigis.lock"), lock("null")).unwrap();
    assert_eq!(dockerfile(&proposed(dir.path())), content, "a base that was made on a host has no digest");
    fs::write(dir.path().join("aigis.lock"), "{}").unwrap();
    let unread = proposed(dir.path());
    assert_eq!(dockerfile(&unread), content);
    assert_eq!(unread.notes.last().map(|note| note.code.as_str()), Some("lock"));
}

#[test]
fn pkg_21_what_stands_there_is_replaced_only_when_it_is_to_be() {
    let (dir, other) = (written(&EXPRESS), tempfile::tempdir().unwrap());
    let (root, keep) = (dir.path(), other.path().join("kept"));
    fs::write(root.join("Dockerfile"), "FROM mine:1\n").unwrap();
    let proposal = proposed(root);
    assert!(proposal.files[1].exists && proposal.files[1].diff.contains("-FROM mine:1"));
    let before = contents(root);
    let refused = save(root, &proposal.files, false, &keep).unwrap_err();
    assert!(
        matches!(&refused, SaveError::Exists { path, diff } if path == "Dockerfile" && diff.contains("-FROM mine:1"))
    );
    assert_eq!(contents(root), before, "neither file");

    let saved = save(root, &proposal.files, true, &keep).unwrap();
    let kept = saved[1].kept.clone().unwrap();
    assert_eq!(fs::read_to_string(kept).unwrap(), "FROM mine:1\n");
    assert!(saved.iter().all(|file| file.written));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(root.join("Dockerfile")).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o644);

    let again = proposed(root);
    assert!(again.files.iter().all(|file| file.same) && again.id == proposal.id, "it is the same before and after");
    let saved = save(root, &proposal.files, false, &keep).unwrap();
    assert!(saved.iter().all(|file| !file.written && file.kept.is_none()));
}

#[test]
fn pkg_22_nothing_is_written_through_a_link_or_over_a_change() {
    let outside = written(&[("x", "theirs")]);
    let dir = written(&EXPRESS);
    let (root, keep) = (dir.path(), dir.path().join("kept"));
    symlink(outside.path().join("x"), root.join("Dockerfile")).unwrap();
    let proposal = proposed(root);
    let refused = save(root, &proposal.files, true, &keep).unwrap_err();
    assert!(matches!(refused, SaveError::NoFile { what: "a link", .. }), "{refused}");
    assert_eq!(fs::read_to_string(outside.path().join("x")).unwrap(), "theirs");
    assert!(!root.join(".dockerignore").exists());

    fs::remove_file(root.join("Dockerfile")).unwrap();
    let proposal = proposed(root);
    fs::write(root.join("Dockerfile"), "FROM meanwhile:1\n").unwrap();
    let before = contents(root);
    assert!(matches!(save(root, &proposal.files, true, &keep).unwrap_err(), SaveError::Changed { .. }));
    assert_eq!(contents(root), before);

    let mut escaping = proposal.files.clone();
    escaping[1].path = "../Dockerfile".to_owned();
    assert!(matches!(save(root, &escaping, true, &keep).unwrap_err(), SaveError::NoFile { .. }));
    symlink(outside.path(), root.join("away")).unwrap();
    escaping[1].path = "away/Dockerfile".to_owned();
    let refused = save(root, &escaping, true, &keep).unwrap_err();
    assert!(
        matches!(refused, SaveError::NoFile { what: "below a link that leads out of the project", .. }),
        "{refused}"
    );
    assert!(!outside.path().join("Dockerfile").exists() && contents(root) == before);
}

#[test]
fn development_dependencies_stay_where_one_of_them_is_started() {
    let prunes = |start: &str, lock: (&str, &str)| {
        let package = format!(r#"{{"scripts":{{"start":"{start}"}},"devDependencies":{{"tsx":"4"}}}}"#);
        let files = [("package.json", package.as_str()), lock, EXPRESS[2]];
        proposed(written(&files).path()).files[1].content.contains("\"prune\"")
    };
    let unlocked = ("README", "no lock file");
    assert!(prunes("node server.js", EXPRESS[1]) && prunes("node server.js", unlocked));
    assert!(!prunes("NODE_ENV=production tsx server.ts", EXPRESS[1]));
}

#[test]
fn an_ignore_file_that_is_there_stays_and_is_judged() {
    let mut files = EXPRESS.to_vec();
    files.push((".dockerignore", "dist\n"));
    let proposal = proposed(written(&files).path());
    assert_eq!(proposal.files.len(), 1);
    let lacks = proposal.lint.iter().find(|finding| finding.rule == "ignore-lacks").unwrap();
    assert!(lacks.message.contains("**/.git") && lacks.message.contains("**/.env"), "{}", lacks.message);
}

#[test]
fn an_existing_dockerfile_alone_is_nothing_to_go_by() {
    let dir = written(&[("Dockerfile", "FROM a:1\n"), ("README.md", "x")]);
    let tree = Tree::read(dir.path()).unwrap();
    assert!(matches!(propose(tree, &wanted(), |_| None), Err(Refusal::Nothing(_))));
    let named = Wanted { application: Some("nosuch".to_owned()), ..wanted() };
    let refused = propose(Tree::read(written(&EXPRESS).path()).unwrap(), &named, |_| None).unwrap_err();
    assert_eq!(refused.to_string(), "no application is called \"nosuch\": there is shop");
}

#[test]
fn pkg_23_words_of_a_project_do_not_reach_its_dockerfile() {
    let hostile = "x\\nRUN touch M\\n$(touch M) `touch M` \\\" '";
    let package = EXPRESS[0].1.replace("words", hostile).replace("\"shop\"", &format!("\"{hostile}\""));
    let files = [
        ("package.json", package.as_str()),
        EXPRESS[1],
        EXPRESS[2],
        ("README.md", "RUN touch M\n$(touch M)"),
        ("$(touch M)/it's \"a\" [b].js", "x"),
        (".env.example", "A=$(touch M)"),
    ];
    let keywords = |files: &[(&str, &str)]| -> Vec<String> {
        let proposal = proposed(written(files).path());
        let text = &proposal.files[1].content;
        assert!(!text.contains("touch M"), "{text}");
        text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(keywords(&files), keywords(&EXPRESS));
}
