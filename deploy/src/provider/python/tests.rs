//! What the rows of the acceptance table ask of Python.

use proptest::prelude::*;

use crate::{Analysis, Options, Tree, analyze, fact::ProviderName};

fn analyzed(files: &[(&str, &str)]) -> Analysis {
    analyze(&Tree::of(files.iter().copied()), &Options::default()).unwrap()
}

proptest! {
    #[test]
    fn pkg_08_an_object_of_any_name_in_any_file_is_started(
        package in "p[a-z]{3,9}",
        file in "f[a-z]{3,9}",
        name in "n[a-z0-9_]{3,9}",
        lines in 0_usize..30,
        factory in any::<bool>(),
    ) {
        let before = "# app = FastAPI()\n".repeat(lines);
        let text = if factory {
            format!("{before}import fastapi\ndef {name}():\n    return fastapi.FastAPI()\n")
        } else {
            format!("{before}from fastapi import FastAPI\n{name} = FastAPI(\n)\n")
        };
        let path = format!("src/{package}/{file}.py");
        let init = format!("src/{package}/__init__.py");
        let analysis = analyzed(&[("requirements.txt", "fastapi\nuvicorn\n"), (&init, ""), (&path, &text)]);
        let app = analysis.primary().unwrap();
        let call = if factory { " --factory" } else { "" };
        let expected = format!("uvicorn --app-dir src {package}.{file}:{name}{call} --host 0.0.0.0 --port 8000");
        prop_assert_eq!(app.start.value.as_deref(), Some(expected.as_str()));
        let at = &app.start.evidence[0];
        prop_assert_eq!((at.file.as_str(), at.line), (path.as_str(), lines as u64 + 2));
        prop_assert_eq!(app.framework.value.as_deref(), Some("fastapi"));
    }

    #[test]
    fn pkg_15_mutated_manifests_are_read(cut in 0_usize..400, extra in "\\PC{0,8}", at in 0_usize..400) {
        let manifest = "[project]\nname = \"x\"\ndependencies = [\"flask[async]>=3 ; python_version > '3'\"]\n[tool.uv.sources]\nx = { path = \"../y\" }\n";
        let code = "from flask import (Flask,\n  g)\napp: Flask = Flask(__name__)\ndef f():\n    a = Flask(1)\n    return a\n";
        let mutated = |text: &str| {
            let mut text: String = text.chars().take(cut).collect();
            let place = text.char_indices().map(|(index, _)| index).nth(at).unwrap_or(text.len());
            text.insert_str(place, &extra);
            text
        };
        let (manifest, code) = (mutated(manifest), mutated(code));
        let tree = Tree::of([("pyproject.toml", manifest.as_str()), ("uv.lock", "version = 1"), ("main.py", code.as_str())]);
        let _ = analyze(&tree, &Options::default());
    }
}

#[test]
fn pkg_09_a_framework_is_proved_by_dependency_and_object() {
    let code = "from flask import Flask\napp = Flask(__name__)\n";
    let prettier = "{\"devDependencies\": {\"prettier\": \"3\"}}";
    let analysis = analyzed(&[("requirements.txt", "flask\n"), ("app.py", code), ("package.json", prettier)]);
    let app = analysis.primary().unwrap();
    assert_eq!(app.provider.value, Some(ProviderName::Python));
    assert_eq!((app.framework.value.as_deref(), app.package_manager.value.as_deref()), (Some("flask"), Some("pip")));
    let others: Vec<_> = app.alternatives.iter().map(|other| (other.provider, other.role)).collect();
    assert_eq!(others, [(ProviderName::Node, crate::fact::Role::Tooling)]);
    let without = analyzed(&[("requirements.txt", "# flask\nflask-cors\n"), ("app.py", code)]);
    assert!(!without.primary().unwrap().framework.is_known());
}

#[test]
fn pkg_11_the_first_line_of_a_procfile_that_is_no_release_starts() {
    let start = |procfile: &str| {
        let analysis = analyzed(&[("requirements.txt", "x\n"), ("main.py", "1\n"), ("Procfile", procfile)]);
        let app = analysis.primary().unwrap();
        (app.start.value.clone().unwrap(), app.release.value.clone())
    };
    assert_eq!(start("clock: python clock.py\nqueue: python queue.py\n"), ("python clock.py".to_owned(), None));
    let released = start("release: python migrate.py\nworker: python w.py\nweb: python web.py\n");
    assert_eq!(released, ("python web.py".to_owned(), Some("python migrate.py".to_owned())));
}

#[test]
fn pkg_12_a_server_and_a_site_side_by_side_are_two_applications() {
    let site = "{\"scripts\": {\"build\": \"vite build\"}, \"devDependencies\": {\"vite\": \"5\"}}";
    let analysis = analyzed(&[
        ("backend/requirements.txt", "fastapi\nuvicorn\n"),
        ("backend/app.py", "from fastapi import FastAPI\napi = FastAPI()\n"),
        ("frontend/package.json", site),
        ("frontend/index.html", "<p>"),
    ]);
    let names: Vec<_> = analysis.applications.iter().map(|app| app.name.as_str()).collect();
    assert_eq!((names.as_slice(), analysis.primary.as_str()), (&["backend", "frontend"][..], "backend"));
}
