use super::*;
use crate::builtin::testing::Bench;

fn apt_line(dockerfile: &str) -> Option<&str> {
    dockerfile.lines().find(|line| line.contains("apt-get install"))
}

#[tokio::test]
async fn chn_04_an_app_with_requirements_is_built_and_run_by_its_main() {
    let bench = Bench::new(&[("__main__.py", ""), ("requirements.txt", "flask\n")]);
    bench.builds(aigis_proxy::services::steps::Image { id: "sha256:2".to_owned(), ..Default::default() });
    let outcome = bench.run(NAME, &[("mine", "x")]).await.unwrap();
    for (file, expected) in [
        ("image", "sha256:2"),
        ("cmd", r#"["python","__main__.py"]"#),
        ("workingdir", "/app"),
        ("ports", "[5000]"),
        ("mine", "x"),
    ] {
        assert_eq!(outcome.state.text(file).as_deref(), Some(expected), "{file}");
    }
    assert_eq!((outcome.next.as_deref(), outcome.app_tree), (Some("builtin:exec"), None));
    let dockerfile = bench.built().dockerfile.unwrap();
    let expected = "FROM python:3.12-slim\nENV PYTHONUNBUFFERED=True\nWORKDIR /app\nCOPY requirements.txt ./\n\
        RUN --mount=type=cache,target=/root/.cache/pip pip install -r requirements.txt\nCOPY . .\n\
        CMD [\"python\",\"__main__.py\"]\n";
    assert_eq!(dockerfile, expected);
    assert!(bench.questions().is_empty() && bench.warnings().is_empty());
    // Ports that somebody set stay.
    let outcome = bench.run(NAME, &[("ports", "[8000]")]).await.unwrap();
    assert_eq!(outcome.state.text("ports").as_deref(), Some("[8000]"));
}

#[tokio::test]
async fn chn_21_the_step_log_has_the_dockerfile_in_use() {
    let bench = Bench::new(&[("requirements.txt", "x @ git+https://h/x\nopencv-python==4\n")]);
    bench.run(NAME, &[]).await.unwrap();
    let dockerfile = bench.built().dockerfile.unwrap();
    let expected = "RUN apt-get update && apt-get install -y --no-install-recommends git libgl1 libglib2.0-0 && \
        rm -rf /var/lib/apt/lists/*";
    assert_eq!(apt_line(&dockerfile), Some(expected));
    let log = bench.log();
    for line in dockerfile.lines() {
        assert!(log.contains(&format!("  {line}")), "{line}");
    }
    assert_eq!(bench.warnings().len(), 1, "nothing runs: there is no __main__.py");
    let plain = Bench::new(&[("requirements.txt", "")]);
    plain.run(NAME, &[]).await.unwrap();
    assert_eq!(apt_line(&plain.built().dockerfile.unwrap()), None);
}

#[tokio::test]
async fn chn_03_requirements_are_derived_if_the_user_agrees() {
    let main = "from flask import Flask\nimport os, helper\n";
    let bench = Bench::new(&[("__main__.py", main), ("helper.py", "import yaml"), ("static/a b.css", "x")]);
    bench.answers("yes");
    let outcome = bench.run(NAME, &[]).await.unwrap();
    let question = &bench.questions()[0];
    assert_eq!((question.id.as_str(), question.kind), ("requirements", Ask::Confirm));
    assert!(question.ask.contains("(flask, pyyaml)"), "{}", question.ask);
    let kept = bench.kept();
    let own = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let expected = [
        own("__main__.py", main),
        own("helper.py", "import yaml"),
        own("requirements.txt", "flask\npyyaml\n"),
        own("static/a b.css", "x"),
    ];
    assert_eq!(kept, expected);
    // What is built is what becomes the app.
    assert_eq!(outcome.app_tree, Some(bench.built().context));
}

#[tokio::test]
async fn without_agreement_nothing_is_derived() {
    let bench = Bench::new(&[("__main__.py", "import flask")]);
    let error = bench.run(NAME, &[]).await.unwrap_err();
    assert_eq!(error.code, aigis_proxy::Code::DeadlineExceeded);
    bench.answers("no");
    let error = bench.run(NAME, &[]).await.unwrap_err();
    assert!(error.message.contains("provide requirements.txt"), "{error}");
    let error = Bench::new(&[("app.py", "")]).run(NAME, &[]).await.unwrap_err();
    assert_eq!(error.message, "builtin:python needs requirements.txt or __main__.py in the app");
}

#[test]
fn what_names_files_of_the_app_is_installed_with_the_app_there() {
    let text = dockerfile(BASE, "-e .\n");
    let copy = text.find("COPY . .").unwrap();
    assert!(copy < text.find("pip install").unwrap() && !text.contains("COPY requirements.txt"));
}
