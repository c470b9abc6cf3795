//! Where the code of Python makes an application object: `NAME = FastAPI(…)`, and functions that make one.

use std::collections::BTreeMap;

use crate::{
    code::{Code, Syntax, is_word},
    provider::dir::Dir,
};

/// How an application object is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Interface {
    /// By a server of ASGI.
    Asgi,
    /// By a server of WSGI.
    Wsgi,
}

/// What makes an application object.
struct Maker {
    /// Its path, as code imports it.
    path: &'static str,
    /// Which framework that is.
    framework: &'static str,
    /// The distribution that holds it.
    distribution: &'static str,
    interface: Interface,
}

const fn maker(path: &'static str, framework: &'static str, distribution: &'static str, interface: Interface) -> Maker {
    Maker { path, framework, distribution, interface }
}

const MAKERS: [Maker; 24] = [
    maker("fastapi.FastAPI", "fastapi", "fastapi", Interface::Asgi),
    maker("fastapi.applications.FastAPI", "fastapi", "fastapi", Interface::Asgi),
    maker("flask.Flask", "flask", "flask", Interface::Wsgi),
    maker("flask.app.Flask", "flask", "flask", Interface::Wsgi),
    maker("flask_openapi3.OpenAPI", "flask", "flask-openapi3", Interface::Wsgi),
    maker("apiflask.APIFlask", "flask", "apiflask", Interface::Wsgi),
    maker("starlette.applications.Starlette", "starlette", "starlette", Interface::Asgi),
    maker("quart.Quart", "quart", "quart", Interface::Asgi),
    maker("litestar.Litestar", "litestar", "litestar", Interface::Asgi),
    maker("litestar.app.Litestar", "litestar", "litestar", Interface::Asgi),
    maker("sanic.Sanic", "sanic", "sanic", Interface::Asgi),
    maker("blacksheep.Application", "blacksheep", "blacksheep", Interface::Asgi),
    maker("fasthtml.common.fast_app", "fasthtml", "python-fasthtml", Interface::Asgi),
    maker("fasthtml.common.FastHTML", "fasthtml", "python-fasthtml", Interface::Asgi),
    maker("connexion.AsyncApp", "connexion", "connexion", Interface::Asgi),
    maker("connexion.FlaskApp", "connexion", "connexion", Interface::Wsgi),
    maker("bottle.Bottle", "bottle", "bottle", Interface::Wsgi),
    maker("bottle.default_app", "bottle", "bottle", Interface::Wsgi),
    maker("falcon.App", "falcon", "falcon", Interface::Wsgi),
    maker("falcon.API", "falcon", "falcon", Interface::Wsgi),
    maker("falcon.asgi.App", "falcon", "falcon", Interface::Asgi),
    maker("chalice.Chalice", "chalice", "chalice", Interface::Wsgi),
    maker("django.core.asgi.get_asgi_application", "django", "django", Interface::Asgi),
    maker("django.core.wsgi.get_wsgi_application", "django", "django", Interface::Wsgi),
];

/// The frameworks whose objects are known.
#[cfg(test)]
pub(crate) fn frameworks() -> impl Iterator<Item = &'static str> {
    MAKERS.iter().map(|maker| maker.framework)
}

/// An application object, or what makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// The file that makes it, relative to the application's root.
    pub(crate) file: String,
    /// The line.
    pub(crate) line: u64,
    /// What it is called.
    pub(crate) name: String,
    /// Whether the name is that of a function that makes it.
    pub(crate) factory: bool,
    /// Which framework it is of.
    pub(crate) framework: &'static str,
    /// The distribution that has to be installed for it.
    pub(crate) distribution: &'static str,
    /// How it is served.
    pub(crate) interface: Interface,
}

/// The module of an object, and the directory that has to be on Python's path for it, if not the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    /// `shop.web`.
    pub(crate) name: String,
    /// `src`.
    pub(crate) path: Option<String>,
}

/// Names that make an entry the likely one, the likeliest first.
const NAMES: [&str; 12] =
    ["main", "app", "application", "server", "wsgi", "asgi", "api", "web", "__init__", "run", "index", "__main__"];
/// Most files that are looked into.
const MOST: usize = 2000;

/// The application objects below a directory, the likeliest first.
pub(crate) fn find(dir: Dir<'_>) -> Vec<Object> {
    let mut found = Vec::new();
    let mut calls = Vec::new();
    for file in sources(dir).into_iter().take(MOST) {
        let Some(text) = dir.text(file) else { continue };
        // Reading code costs more than looking whether it can matter.
        let makes = MAKERS.iter().any(|maker| text.contains(maker.path.rsplit('.').next().unwrap_or_default()));
        if !makes && !NAMES.contains(&stem(file)) {
            continue;
        }
        read(file, text, &mut found, &mut calls);
    }
    // `app = create_app()` in another file than the function's.
    for (object, function) in calls {
        let made = found.iter().find(|made: &&Object| made.factory && made.name == function).cloned();
        if let Some(made) = made {
            found.push(Object {
                framework: made.framework,
                distribution: made.distribution,
                interface: made.interface,
                ..object
            });
        }
    }
    found.sort_by_key(rank);
    found
}

/// The code of a project, without that of projects below it.
pub(crate) fn sources(dir: Dir<'_>) -> Vec<&str> {
    const MANIFESTS: [&str; 4] = ["pyproject.toml", "requirements.txt", "Pipfile", "setup.py"];
    let mut found = dir.sources(&[".py"]);
    found.retain(|file| !dir.is_of_another(file, &MANIFESTS));
    found
}

/// Smaller is likelier: an object before a function that makes one, near before far, usual names before others.
fn rank(object: &Object) -> (bool, usize, usize, usize, String, u64) {
    let place = |name: &str| NAMES.iter().position(|known| *known == name).unwrap_or(NAMES.len());
    let depth = object.file.strip_prefix("src/").unwrap_or(&object.file).matches('/').count();
    (object.factory, depth, place(stem(&object.file)), place(&object.name), object.file.clone(), object.line)
}

/// The name of a file without its end.
fn stem(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.strip_suffix(".py").unwrap_or(name)
}

/// The objects of one file, and the calls of functions that may make one.
fn read(file: &str, text: &str, found: &mut Vec<Object>, calls: &mut Vec<(Object, String)>) {
    let code = Code::of(text, Syntax::Hash);
    let imports = imports(code.bare());
    let mut function: Option<(String, u64)> = None;
    let mut start = 0;
    for line in code.bare().split_inclusive('\n') {
        let at = start;
        start += line.len();
        let indented = line.starts_with([' ', '\t']);
        let trimmed = line.trim();
        if trimmed.is_empty() {
            continue;
        }
        if !indented && !trimmed.starts_with([')', ']', '}']) {
            let defined = trimmed.strip_prefix("async def ").or_else(|| trimmed.strip_prefix("def "));
            function = defined.map(|rest| (rest.chars().take_while(|c| is_word(*c)).collect(), code.line(at)));
        }
        let Some((name, call)) = assignment(trimmed) else {
            // `return FastAPI(…)` of a function that makes one.
            if let (true, Some((name, line)), Some(call)) = (indented, &function, trimmed.strip_prefix("return "))
                && let Some(maker) = maker_of(call, &imports)
            {
                found.push(object(file, *line, name, true, maker));
            }
            continue;
        };
        let maker = maker_of(call, &imports);
        match (&function, indented, maker) {
            (_, false, Some(maker)) => found.push(object(file, code.line(at), name, false, maker)),
            // Only one that hands it out makes one.
            (Some((function, line)), true, Some(maker))
                if !function.starts_with('_') && function != "main" && returns(code.bare(), at, name) =>
            {
                found.push(object(file, *line, function, true, maker));
            }
            (_, false, None) => {
                let called = call.split('(').next().unwrap_or_default().trim();
                let called = imports.get(called).map_or(called, String::as_str);
                let called = called.rsplit('.').next().unwrap_or_default();
                if call.contains('(') && !called.is_empty() {
                    let placeholder = Object {
                        file: file.to_owned(),
                        line: code.line(at),
                        name: name.to_owned(),
                        factory: false,
                        framework: "",
                        distribution: "",
                        interface: Interface::Wsgi,
                    };
                    calls.push((placeholder, called.to_owned()));
                }
            }
            _ => {}
        }
    }
}

fn object(file: &str, line: u64, name: &str, factory: bool, maker: &Maker) -> Object {
    let (name, framework) = (name.to_owned(), maker.framework);
    Object {
        file: file.to_owned(),
        line,
        name,
        factory,
        framework,
        distribution: maker.distribution,
        interface: maker.interface,
    }
}

/// Whether the function in which that place stands returns that name.
fn returns(code: &str, from: usize, name: &str) -> bool {
    let rest = code.get(from..).unwrap_or_default().lines().skip(1);
    let inside = rest.take_while(|line| line.trim().is_empty() || line.starts_with([' ', '\t', ')']));
    inside.into_iter().any(|line| line.trim().strip_prefix("return ").is_some_and(|value| value.trim() == name))
}

/// `NAME = VALUE`, `NAME: TYPE = VALUE`, `NAME, more = VALUE`.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (left, value) = line.split_once('=')?;
    if value.starts_with('=') || left.ends_with(['!', '<', '>', '+', '-', '*', '/']) {
        return None;
    }
    let name = left.split([':', ',']).next()?.trim();
    (!name.is_empty() && name.chars().all(is_word)).then_some((name, value.trim()))
}

/// What a call calls, if it makes an application object.
fn maker_of(call: &str, imports: &BTreeMap<String, String>) -> Option<&'static Maker> {
    let called = call.split('(').next().filter(|called| called.len() < call.len())?.trim();
    let (first, rest) = called.split_once('.').map_or((called, ""), |(first, rest)| (first, rest));
    let base = imports.get(first)?;
    let path = if rest.is_empty() { base.clone() } else { format!("{base}.{rest}") };
    MAKERS.iter().find(|maker| maker.path == path)
}

/// What names of a file stand for: `F` for `fastapi.FastAPI` after `from fastapi import FastAPI as F`.
fn imports(code: &str) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("import ") {
            for part in rest.split(',') {
                let (path, name) = renamed(part);
                // `import falcon.asgi` makes `falcon` known.
                let first = path.split('.').next().unwrap_or_default();
                match name {
                    Some(name) => known.insert(name.to_owned(), path.to_owned()),
                    None => known.insert(first.to_owned(), first.to_owned()),
                };
            }
        } else if let Some((module, names)) = line.strip_prefix("from ").and_then(|rest| rest.split_once(" import ")) {
            let mut names = names.trim().to_owned();
            if names.starts_with('(') {
                while !names.contains(')') {
                    let Some(more) = lines.next() else { break };
                    names.push_str(more);
                }
            }
            for part in names.trim_matches(['(', ')', ' ']).split(',') {
                let (path, name) = renamed(part.trim_matches(['(', ')', ' ', '\\']));
                let module = module.trim();
                let key = name.unwrap_or(path).to_owned();
                let value = if path == "*" { module.to_owned() } else { format!("{module}.{path}") };
                if path == "*" {
                    for maker in MAKERS
                        .iter()
                        .filter(|maker| maker.path.rsplit_once('.').is_some_and(|(base, _)| base == module))
                    {
                        let short = maker.path.rsplit('.').next().unwrap_or_default();
                        known.insert(short.to_owned(), maker.path.to_owned());
                    }
                } else {
                    known.insert(key, value);
                }
            }
        }
    }
    known
}

/// `PATH as NAME`.
fn renamed(part: &str) -> (&str, Option<&str>) {
    match part.split_once(" as ") {
        Some((path, name)) => (path.trim(), Some(name.trim())),
        None => (part.trim(), None),
    }
}

/// The module of a file, from where Python has to look for it.
///
/// A directory without `__init__.py` that a layout puts packages into (`src`), or whose files import each other by their
/// bare names, is where Python looks.
pub(crate) fn module(dir: Dir<'_>, file: &str) -> Module {
    let stem = file.strip_suffix(".py").unwrap_or(file);
    let parts: Vec<&str> = stem.split('/').collect();
    let above = parts.len().saturating_sub(1);
    // How many directories belong to Python's path.
    let layout = usize::from(above > 0 && parts.first() == Some(&"src") && !dir.has("src/__init__.py"));
    let folder = parts.get(..above).unwrap_or_default().join("/");
    let flat = above > layout && !dir.has(&format!("{folder}/__init__.py")) && imports_beside(dir, &folder, file);
    let cut = if flat { above } else { layout };
    let mut names = parts.get(cut..).unwrap_or_default().to_vec();
    if names.len() > 1 && names.last() == Some(&"__init__") {
        names.pop();
    }
    let path = (cut > 0).then(|| parts.get(..cut).unwrap_or_default().join("/"));
    Module { name: names.join("."), path }
}

/// Whether a file imports another of its directory by the bare name.
fn imports_beside(dir: Dir<'_>, folder: &str, file: &str) -> bool {
    let Some(text) = dir.text(file) else { return false };
    let imported = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("from ").or_else(|| line.strip_prefix("import "))?;
        rest.split([' ', '.', ',']).next().filter(|name| !name.is_empty())
    });
    imported.into_iter().any(|name| {
        let beside = dir.has(&format!("{folder}/{name}.py")) || dir.has(&format!("{folder}/{name}/__init__.py"));
        beside && !dir.has(&format!("{name}.py")) && !dir.has(&format!("{name}/__init__.py"))
    })
}

#[cfg(test)]
mod tests;
