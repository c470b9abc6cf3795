use super::*;
use crate::{
    builtin::testing::{Bench, app},
    folder::dockerfile::Dockerfile,
};

/// The command, the port and the base that are proposed for an app of these files.
fn proposed(files: &[(&str, &str)]) -> Result<(Vec<String>, u16, String), Vec<String>> {
    let (_kept, path) = app(files);
    match analyse(App::new(&path), BASE) {
        Analysis::Found(plan) => {
            for (file, _) in &plan.findings {
                assert!(files.iter().any(|(path, _)| path == file), "{file} proves something and is not there");
            }
            let dockerfile = Dockerfile::parse(&plan.dockerfile());
            assert!(dockerfile.has_command());
            assert_eq!(dockerfile.exposed(), [plan.port.to_string()]);
            let base = dockerfile.instructions[0].rest.clone();
            Ok((plan.cmd, plan.port, base))
        }
        Analysis::Nothing { reasons } => Err(reasons),
        Analysis::HasDockerfile => panic!("there is a Dockerfile"),
    }
}

#[test]
fn each_kind_of_app_is_known_by_its_files() {
    for (files, cmd, port, base) in [
        (&[("package.json", r#"{"scripts":{"start":"x"}}"#)][..], "npm run start", 3000, "node:22-slim"),
        (&[("package.json", r#"{"main":"a.js"}"#), ("a.js", ""), ("yarn.lock", "")], "node a.js", 3000, "node:22-slim"),
        (&[("package.json", "{}"), ("index.ts", ""), ("bun.lockb", "")], "bun run index.ts", 3000, "oven/bun:1"),
        (&[("deno.json", r#"{"tasks":{"start":"x"}}"#)], "deno task start", 8000, "denoland/deno:2.1.4"),
        (&[("requirements.txt", ""), ("__main__.py", "")], "python __main__.py", 5000, "python:3.12-slim"),
        (
            &[("requirements.txt", "fastapi"), ("main.py", "app = FastAPI()")],
            "python -m uvicorn main:app --host 0.0.0.0 --port 8000",
            8000,
            "python:3.12-slim",
        ),
        (
            &[("app.py", "app = Flask(__name__)")],
            "python -m flask --app app run --host 0.0.0.0 --port 5000",
            5000,
            "python:3.12-slim",
        ),
        (
            &[("manage.py", ""), ("package.json", "{}")],
            "python manage.py runserver 0.0.0.0:8000",
            8000,
            "python:3.12-slim",
        ),
        (&[("pyproject.toml", "[project.scripts]\nserve = \"a:b\"")], "serve", 5000, "python:3.12-slim"),
        (&[("go.mod", "module x\n\ngo 1.22.3\n"), ("main.go", "")], "app", 8080, "golang:1.22 AS build"),
        (&[("go.mod", "module x"), ("cmd/x/main.go", "")], "app", 8080, "golang:1 AS build"),
        (&[("Cargo.toml", "[package]\nname = \"web\""), ("src/main.rs", "")], "web", 8080, "rust:1-bookworm AS build"),
        (&[("Gemfile", ""), ("config.ru", "")], "bundle exec rackup --host 0.0.0.0 --port 9292", 9292, "ruby:3.3"),
        (&[("index.php", "")], "php -S 0.0.0.0:8000 -t .", 8000, "php:8.3-cli"),
        (&[("pom.xml", "")], "/bin/sh -c exec java -jar /app/*.jar", 8080, "maven:3-eclipse-temurin-21 AS build"),
        (&[("build.gradle", "")], "/bin/sh -c exec java -jar /app/*.jar", 8080, "gradle:8-jdk21 AS build"),
        (&[("public/index.html", "")], "httpd -f -v -p 8080 -h /site", 8080, "busybox"),
    ] {
        let (found, at, from) = proposed(files).unwrap();
        assert_eq!((found.join(" ").as_str(), at, from.as_str()), (cmd, port, base), "{files:?}");
    }
}

#[test]
fn the_line_of_a_procfile_goes_before_what_was_found() {
    let files = [("requirements.txt", ""), ("app.py", ""), ("Procfile", "worker: w\n web : gunicorn app:app \n")];
    let (cmd, port, _) = proposed(&files).unwrap();
    assert_eq!((cmd, port), (["/bin/sh", "-c", "gunicorn app:app"].map(str::to_owned).to_vec(), 5000));
}

#[test]
fn nothing_of_an_apps_files_becomes_an_instruction_of_its_own() {
    let name = "[package]\nname = \"x\\nRUN evil\"";
    assert!(proposed(&[("Cargo.toml", name), ("src/main.rs", "")]).is_err());
    let (_kept, path) = app(&[("go.mod", "go 1.2\"; RUN evil"), ("cmd/a b\"; evil/main.go", "")]);
    let Analysis::Found(plan) = analyse(App::new(&path), BASE) else { panic!("it is an app of Go") };
    let dockerfile = plan.dockerfile();
    assert!(dockerfile.contains(r#"RUN ["go","build","-o","/out/app","./cmd/a b\"; evil"]"#), "{dockerfile}");
    assert!(dockerfile.starts_with("FROM golang:1 AS build\n"), "{dockerfile}");
    let procfile = [("index.html", ""), ("Procfile", "web: a \"b\" \\ $PORT")];
    let (_kept, path) = app(&procfile);
    let Analysis::Found(plan) = analyse(App::new(&path), BASE) else { panic!("it is a site") };
    assert_eq!(
        Dockerfile::parse(&plan.dockerfile()).last_stage().last().unwrap().rest,
        r#"["/bin/sh","-c","a \"b\" \\ $PORT"]"#
    );
}

#[tokio::test]
async fn chn_18_an_app_that_nothing_is_known_of_fails_with_what_was_looked_for() {
    let error = Bench::new(&[("notes.txt", "")]).run(NAME, &[]).await.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    for file in ["Dockerfile", "package.json", "requirements.txt", "__main__.py", "go.mod", "Cargo.toml", "index.html"]
    {
        assert!(error.message.contains(file), "{file}: {error}");
    }
    let error = Bench::new(&[("package.json", "{}")]).run(NAME, &[]).await.unwrap_err();
    assert!(error.message.contains("package.json says that it is Node, but it has neither a script start"), "{error}");
}

#[tokio::test]
async fn python_apps_are_proposed_on_the_image_of_the_node() {
    let bench = Bench::new(&[("requirements.txt", ""), ("app.py", "")]);
    bench.python_image("registry.example/python:3.13");
    let outcome = bench.run(NAME, &[]).await.unwrap();
    assert!(outcome.state.text("dockerfile").unwrap().starts_with("FROM registry.example/python:3.13\n"));
}

#[tokio::test]
async fn findings_are_logged_and_the_proposal_is_state() {
    let bench = Bench::new(&[("index.html", ""), ("keep", "")]);
    let outcome = bench.run(NAME, &[("mine", "x")]).await.unwrap();
    assert_eq!((outcome.app_tree, outcome.next.as_deref()), (None, Some("builtin:dockerfile")));
    assert_eq!(outcome.state.text("ports").as_deref(), Some("[8080]"));
    assert!(outcome.state.text("dockerfile").unwrap().starts_with("FROM busybox\n"));
    assert_eq!(outcome.state.text("mine").as_deref(), Some("x"));
    assert_eq!(bench.log()[0], "index.html: a static site");

    let own = Bench::new(&[("index.html", ""), ("Dockerfile", "FROM x")]);
    let outcome = own.run(NAME, &[]).await.unwrap();
    assert_eq!((outcome.next.as_deref(), outcome.state.text("dockerfile")), (Some("builtin:dockerfile"), None));
}
