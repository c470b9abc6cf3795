use super::*;
use aigis_registry::dockerfile::{Parsed, parse};

use crate::builtin::testing::Bench;

/// The Dockerfile that is proposed for an app of these files, its log, and the state `ports`.
async fn proposed(files: &[(&str, &str)]) -> (Parsed, String, Option<String>) {
    let bench = Bench::new(files);
    let outcome = bench.run(NAME, &[]).await.unwrap();
    assert_eq!((outcome.app_tree, outcome.next.as_deref()), (None, Some("builtin:dockerfile")));
    let text = outcome.state.text("dockerfile").unwrap();
    (parse(&text), bench.log().join("\n"), outcome.state.text("ports"))
}

/// What an instruction of the last stage says.
fn said<'a>(dockerfile: &'a Parsed, keyword: &str) -> &'a str {
    let found = dockerfile.last_stage().filter(|one| one.keyword == keyword).last();
    found.map_or("", |one| one.rest.as_str())
}

#[tokio::test]
async fn each_kind_of_app_is_known_by_its_files() {
    for (files, command, port, base, proof) in [
        (
            &[("package.json", r#"{"main":"a.js","dependencies":{"express":"4"}}"#), ("a.js", "listen(4000)")][..],
            r#"["node","a.js"]"#,
            Some(4000),
            "node:22-bookworm-slim",
            "package.json:1",
        ),
        (
            &[("requirements.txt", "fastapi\nuvicorn\n"), ("main.py", "from fastapi import FastAPI\napi = FastAPI()")],
            r#"["uvicorn","main:api","--host","0.0.0.0","--port","8000"]"#,
            Some(8000),
            "python:3.13-slim-bookworm",
            "main.py:2",
        ),
        (&[("go.mod", "module x\n\ngo 1.22.3\n"), ("main.go", "package main\nfunc main() {}")], "", None, "", "go.mod"),
        (&[("index.php", "<?php")], r#"["apache2-foreground"]"#, Some(80), "php:8.4-apache-bookworm", "index.php:1"),
        (
            &[("index.html", "")],
            r#"["caddy","run","--config","/app/Caddyfile"]"#,
            Some(80),
            "caddy:2.10-alpine",
            "index.html:1",
        ),
    ] {
        let (dockerfile, log, ports) = proposed(files).await;
        assert!(dockerfile.has_command(), "{files:?}");
        assert_eq!(ports, port.map(|port| format!("[{port}]")), "{files:?}");
        assert_eq!(dockerfile.exposed(), port.iter().map(u16::to_string).collect::<Vec<_>>(), "{files:?}");
        assert!(said(&dockerfile, "CMD").contains(command), "{files:?}: {}", said(&dockerfile, "CMD"));
        assert!(dockerfile.instructions[0].rest.starts_with(base), "{files:?}: {:?}", dockerfile.instructions[0]);
        assert!(log.contains(proof), "{log}");
    }
}

#[tokio::test]
async fn the_proposal_is_that_of_aish_dockerfile() {
    let files = [
        ("requirements.txt", "flask\n"),
        ("app.py", "from flask import Flask\napp = Flask(__name__)\n"),
        (".dockerignore", "x\n"),
    ];
    let bench = Bench::new(&files);
    let text = bench.run(NAME, &[]).await.unwrap().state.text("dockerfile").unwrap();
    let wanted = Wanted { bases: Bases::known(), ..Wanted::default() };
    let (proposal, _) = dockerfile::propose(Tree::of(files), &wanted, |_| None).unwrap();
    let file = proposal.files.iter().find(|file| file.path == "Dockerfile").unwrap();
    // A state file is kept as it was written, without the end of its last line or with it.
    assert_eq!(text.trim_end(), file.content.trim_end());
}

#[tokio::test]
async fn the_line_of_a_procfile_goes_before_what_was_found() {
    let line = "worker: w\nweb: gunicorn \"a b\" \\ app:app $PORT\n";
    let (dockerfile, log, _) = proposed(&[
        ("requirements.txt", "flask\n"),
        ("app.py", "from flask import Flask\napp = Flask(__name__)"),
        ("Procfile", line),
    ])
    .await;
    assert_eq!(said(&dockerfile, "CMD"), r#"["/bin/sh","-c","gunicorn \"a b\" \\ app:app $PORT"]"#);
    assert!(log.contains("(procfile.web, Procfile:2)"), "{log}");
    // Of a site too, and it runs where the app's files are.
    let (dockerfile, ..) = proposed(&[("index.html", ""), ("Procfile", "web: httpd -f -p $PORT")]).await;
    assert_eq!(said(&dockerfile, "CMD"), r#"["/bin/sh","-c","httpd -f -p $PORT"]"#);
    assert_eq!((said(&dockerfile, "WORKDIR"), said(&dockerfile, "COPY")), ("/app", r#"[".","./"]"#));
}

#[tokio::test]
async fn an_app_below_the_root_is_copied_from_its_directory() {
    let files = [
        ("README.md", "# two"),
        ("api/requirements.txt", "flask\n"),
        ("api/app.py", "from flask import Flask\napp = Flask(__name__)"),
        ("web/index.html", ""),
    ];
    let (dockerfile, log, ports) = proposed(&files).await;
    let copied: Vec<&str> = dockerfile
        .instructions
        .iter()
        .filter(|one| one.keyword == "COPY" && one.flag("from").is_none())
        .map(|one| one.rest.as_str())
        .collect();
    assert_eq!(copied, [r#"["api/requirements.txt","./"]"#, r#"["api/","./"]"#]);
    assert_eq!(ports.as_deref(), Some("[8000]"));
    assert!(log.contains("api is taken: the others run when their directories are pushed"), "{log}");
}

#[tokio::test]
async fn nothing_of_an_apps_files_becomes_an_instruction_of_its_own() {
    let (dockerfile, ..) = proposed(&[("a \"]; RUN evil $(x)/index.html", "")]).await;
    let mut said = dockerfile.instructions.iter().filter(|one| matches!(one.keyword.as_str(), "RUN" | "COPY"));
    let words: Vec<String> = serde_json::from_str(&said.next().unwrap().rest).unwrap();
    assert_eq!((words.len(), words[1].as_str()), (2, "/app/site/"), "{words:?}");
    assert!(said.all(|one| serde_json::from_str::<Vec<String>>(&one.rest).is_ok()), "{dockerfile:?}");
    let error = Bench::new(&[("a\nRUN evil/index.html", ""), ("Procfile", "web: x")]).run(NAME, &[]).await.unwrap_err();
    assert!(!error.message.contains('\n'), "{error}");
}

#[tokio::test]
async fn chn_18_an_app_that_nothing_is_known_of_fails_with_what_was_looked_for() {
    let error = Bench::new(&[("notes.txt", "")]).run(NAME, &[]).await.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    let looked_for = error.detail("looked_for").unwrap().to_string();
    for file in ["Dockerfile", "package.json", "requirements", "main.py", "go.mod", "Cargo.toml", "index.html"] {
        assert!(error.message.contains(file) && looked_for.contains(file), "{file}: {error}");
    }
    // What it is, is known; what is missing is told.
    let error =
        Bench::new(&[("package.json", r#"{"dependencies":{"express":"4"}}"#)]).run(NAME, &[]).await.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    assert!(error.message.contains("how it is started is not known"), "{error}");
    // An ecosystem without a template says to write a Dockerfile.
    let error = Bench::new(&[("shard.yml", "name: shop\n")]).run(NAME, &[]).await.unwrap_err();
    assert_eq!(error.code, Code::Unimplemented, "{error}");
    assert!(error.message.contains("crystal") && error.message.contains("write a Dockerfile"), "{error}");
}

#[tokio::test]
async fn python_apps_are_proposed_on_the_image_of_the_node() {
    let bench =
        Bench::new(&[("requirements.txt", "flask\n"), ("app.py", "from flask import Flask\napp = Flask(__name__)")]);
    bench.python_image("registry.example/python:3.13");
    let outcome = bench.run(NAME, &[]).await.unwrap();
    let dockerfile = parse(&outcome.state.text("dockerfile").unwrap());
    assert!(dockerfile.instructions[0].rest.starts_with("registry.example/python:3.13"));
}

#[tokio::test]
async fn an_app_with_a_dockerfile_keeps_it() {
    let bench = Bench::new(&[("index.html", ""), ("Dockerfile", "FROM x"), ("keep", "")]);
    let outcome = bench.run(NAME, &[("mine", "x")]).await.unwrap();
    assert_eq!((outcome.next.as_deref(), outcome.state.text("dockerfile")), (Some("builtin:dockerfile"), None));
    assert_eq!(outcome.state.text("mine").as_deref(), Some("x"));
    assert_eq!(bench.log(), ["Dockerfile: the app says by itself how it is built"]);
}
