use super::*;
use crate::tree::Tree;

fn first(files: &[(&str, &str)]) -> Option<(String, String, u64)> {
    let tree = Tree::of(files.iter().copied());
    let dir = Dir::of(&tree, ".");
    let object = find(dir).into_iter().next()?;
    let module = module(dir, &object.file);
    let path = module.path.map(|path| format!("{path}!")).unwrap_or_default();
    let call = if object.factory { "()" } else { "" };
    Some((format!("{path}{}:{}{call}", module.name, object.name), object.file, object.line))
}

#[test]
fn pkg_08_an_object_is_found_wherever_it_stands() {
    for (file, text, start, line) in [
        ("main.py", "from fastapi import FastAPI\n\napp = FastAPI()\n", "main:app", 3),
        ("src/zork/quux.py", "import fastapi as f\nblip: f.FastAPI = f.FastAPI(\n)\n", "src!zork.quux:blip", 2),
        ("a/__init__.py", "from flask import (\n  Flask,\n  g)\nx9 = Flask(__name__)\n", "a:x9", 4),
        ("web.py", "from flask import Flask as F\n# app = F()\ndoc = '''\nno = F()\n'''\nyes = F('x')\n", "web:yes", 6),
        ("web.py", "from fasthtml.common import *\napp, rt = fast_app()\n", "web:app", 2),
        ("f.py", "import falcon.asgi\nit = falcon.asgi.App()\n", "f:it", 2),
        ("f.py", "from flask import Flask\ndef build():\n    made = Flask(1)\n    return made\n", "f:build()", 2),
        ("f.py", "from fastapi import FastAPI\ndef build() -> FastAPI:\n    return FastAPI()\n", "f:build()", 2),
    ] {
        assert_eq!(first(&[(file, text)]), Some((start.into(), file.into(), line)), "{text}");
    }
}

#[test]
fn pkg_08_what_makes_no_object_is_none() {
    for text in [
        "# from fastapi import FastAPI\napp = FastAPI()\n",
        "from mine import FastAPI\napp = FastAPI()\n",
        "from flask import Flask\nx = '''\napp = Flask(1)\n'''\n",
        "from flask import Flask\ndef main():\n    app = Flask(1)\n    app.run()\n",
        "from flask_cors import CORS\ncors = CORS()\n",
    ] {
        assert_eq!(first(&[("main.py", text)]), None, "{text}");
    }
    assert_eq!(first(&[("tests/app.py", "from flask import Flask\napp = Flask(1)\n")]), None);
}

#[test]
fn pkg_08_a_function_that_makes_one_is_called_elsewhere() {
    let files = [
        ("shop/__init__.py", "from flask import Flask\ndef create_app():\n    app = Flask(1)\n\n    return app\n"),
        ("wsgi.py", "from shop import create_app\n\napplication = create_app()\n"),
    ];
    assert_eq!(first(&files), Some(("wsgi:application".into(), "wsgi.py".into(), 3)));
}

#[test]
fn pkg_12_the_likeliest_of_several_comes_first() {
    let text = "from fastapi import FastAPI\nsub = FastAPI()\n";
    let files = [
        ("api/v1.py", text),
        ("app/main.py", "from fastapi import FastAPI\nfrom app import x\napp = FastAPI()\n"),
        ("app/x.py", text),
    ];
    assert_eq!(first(&files).map(|found| found.0), Some("app.main:app".into()));
}

#[test]
fn pkg_08_files_that_import_each_other_by_bare_names_are_on_the_path() {
    let files = [
        ("backend/main.py", "from fastapi import FastAPI\nfrom routes import r\napp = FastAPI()\n"),
        ("backend/routes.py", "r = 1\n"),
    ];
    assert_eq!(first(&files).map(|found| found.0), Some("backend!main:app".into()));
}

proptest::proptest! {
    #[test]
    fn every_text_is_read(text in "(from flask import Flask|app = Flask\\(|\\)|def f|:|\n| |return |\\PC){0,30}") {
        let _ = first(&[("main.py", &text)]);
    }
}
