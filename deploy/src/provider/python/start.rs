//! How a project of Python is started: by its framework, by its object, by its script, by its main file.

use crate::{
    code::{Code, Syntax},
    fact::{Application, Evidence, Fact, MODEL},
    provider::{
        dir::{Dir, known},
        python::{
            object::{self, Interface, Object},
            project::Project,
        },
    },
    words::quoted,
};

/// Where servers listen unless something says otherwise.
const PORT: u16 = 8000;
/// Files that start something, the likeliest first.
const ENTRIES: [&str; 22] = [
    "main.py",
    "app.py",
    "server.py",
    "run.py",
    "bot.py",
    "index.py",
    "api.py",
    "__main__.py",
    "start.py",
    "wsgi.py",
    "asgi.py",
    "src/main.py",
    "src/app.py",
    "src/server.py",
    "src/run.py",
    "src/bot.py",
    "src/__main__.py",
    "app/main.py",
    "app/app.py",
    "app/server.py",
    "app/__main__.py",
    "application.py",
];
/// Frameworks whose applications are no objects: the distribution, what is imported, the framework, its port.
const SCRIPTED: [(&str, &str, &str, u16); 7] = [
    ("streamlit", "streamlit", "streamlit", 8501),
    ("gradio", "gradio", "gradio", 7860),
    ("nicegui", "nicegui", "nicegui", 8080),
    ("dash", "dash", "dash", 8050),
    ("aiohttp", "aiohttp.web", "aiohttp", 8080),
    ("tornado", "tornado.web", "tornado", 8888),
    ("panel", "panel", "panel", 5006),
];

/// The frameworks that a script starts by itself.
#[cfg(test)]
pub(crate) fn frameworks() -> impl Iterator<Item = &'static str> {
    SCRIPTED.iter().map(|(_, _, framework, _)| *framework)
}

/// What starts an application, and what it says of it.
#[derive(Debug, Default)]
pub(crate) struct Start {
    /// The framework that a dependency and a marker prove: its name, by which rule, where.
    pub(crate) framework: Option<(String, &'static str, Vec<Evidence>)>,
    /// The command, by which rule, where.
    pub(crate) command: Option<(String, &'static str, Vec<Evidence>)>,
    /// The framework's port.
    pub(crate) port: Option<u16>,
    /// Servers that the command needs and that nothing asks for.
    pub(crate) servers: Vec<&'static str>,
    /// Whether the project itself has to be installed.
    pub(crate) installs_itself: bool,
}

/// Finds what starts a project.
pub(crate) fn find(project: &Project<'_>) -> Start {
    django(project)
        .or_else(|| by_object(project))
        .or_else(|| scripted(project))
        .or_else(|| script(project))
        .or_else(|| main_file(project.dir))
        .unwrap_or_default()
}

/// Says what was found.
pub(crate) fn add(app: &mut Application, start: &Start) {
    if let Some((name, rule, evidence)) = start.framework.clone() {
        app.framework = known(name, rule, evidence);
    }
    if let Some((command, rule, evidence)) = &start.command {
        app.start = Fact::command(command, rule, evidence.clone());
        if let Some(port) = start.port {
            app.port = known(port, "python.framework-port", evidence.clone());
        }
    }
}

/// The file of Django's commands, the nearest.
pub(crate) fn manage(dir: Dir<'_>) -> Option<&str> {
    dir.sources(&["manage.py"]).into_iter().find(|path| {
        path.rsplit('/').next() == Some("manage.py") && dir.text(path).is_some_and(|text| text.contains("django"))
    })
}

fn django(project: &Project<'_>) -> Option<Start> {
    let dir = project.dir;
    let asked = project.dependency("django")?;
    let manage = manage(dir)?;
    let above = crate::tree::parent(manage);
    let named = settings(dir, manage);
    let setting = |name: &str| {
        let usual = dir.sources(&[".py"]).into_iter().filter(|path| path.contains("settings"));
        named.as_deref().into_iter().chain(usual).find_map(|path| {
            let code = Code::of(dir.text(path)?, Syntax::Hash);
            let at = code.word(name)?;
            let (value, _) = code.string_from(at).filter(|_| code.rest_of_line(at).contains('='))?;
            let (module, object) = value.rsplit_once('.')?;
            Some((format!("{module}:{object}"), dir.at(path, code.line(at))))
        })
    };
    // Without the setting, the module of its own template.
    let by_file = |name: &str| {
        let beside = named.as_deref().map(|path| crate::tree::path(crate::tree::parent(path), name));
        let usual = || dir.sources(&[name]).into_iter().find(|path| path.rsplit('/').next() == Some(name));
        let path = beside.filter(|path| dir.has(path)).or_else(|| usual().map(str::to_owned))?;
        let within = if above == "." { path.as_str() } else { path.strip_prefix(above)?.strip_prefix('/')? };
        let code = Code::of(dir.text(&path)?, Syntax::Hash);
        let at = code.word("application")?;
        Some((format!("{}:application", within.strip_suffix(".py")?.replace('/', ".")), dir.at(&path, code.line(at))))
    };
    let wsgi = setting("WSGI_APPLICATION").or_else(|| by_file("wsgi.py"));
    let asgi = setting("ASGI_APPLICATION").or_else(|| by_file("asgi.py"));
    let has = |name: &str| project.dependency(name).is_some();
    let asynchronous = !has("gunicorn") && (has("uvicorn") || has("daphne") || has("hypercorn"));
    let (target, interface) = match asgi.filter(|_| asynchronous || wsgi.is_none()) {
        Some(target) => (Some(target), Interface::Asgi),
        None => (wsgi, Interface::Wsgi),
    };
    let framework = Some(("django".to_owned(), "python.django", evidence([Some(asked), dir.seen(manage)])));
    let Some((target, at)) = target else {
        let command = format!("python {manage} runserver 0.0.0.0:{PORT}");
        let command = Some((command, "python.django", evidence([dir.seen(manage)])));
        return Some(Start { framework, command, port: Some(PORT), ..Start::default() });
    };
    let path = (above != ".").then(|| above.to_owned());
    let (command, servers) = serve(project, interface, &target, path.as_deref(), false);
    let command = Some((command, "python.django", vec![at]));
    Some(Start { framework, command, port: Some(PORT), servers, installs_itself: false })
}

/// The file of the settings that the file of commands names.
fn settings(dir: Dir<'_>, manage: &str) -> Option<String> {
    let (_, rest) = dir.text(manage)?.split_once("DJANGO_SETTINGS_MODULE")?;
    let module = rest.split(['"', '\'']).nth(2)?;
    let stem = crate::tree::path(crate::tree::parent(manage), &module.replace('.', "/"));
    [format!("{stem}.py"), format!("{stem}/__init__.py")].into_iter().find(|file| dir.has(file))
}

fn by_object(project: &Project<'_>) -> Option<Start> {
    let dir = project.dir;
    // One that something asks for; without that nothing would install what it needs.
    let objects = object::find(dir).into_iter().filter(|object| object.framework != "django");
    let (object, asked) = objects.into_iter().find_map(|object| {
        let asked = project.dependency(object.distribution)?;
        Some((object, asked))
    })?;
    let at = dir.at(&object.file, object.line);
    let framework =
        Some((object.framework.to_owned(), "python.application-object", evidence([Some(asked), Some(at.clone())])));
    if runs_itself(project, &object) {
        let start = by_file(dir, &object.file, "python.main")?;
        let command = start.command.map(|(command, rule, _)| (command, rule, vec![at]));
        return Some(Start { framework, command, ..Start::default() });
    }
    let module = object::module(dir, &object.file);
    let target = format!("{}:{}", module.name, object.name);
    let (command, servers) = serve(project, object.interface, &target, module.path.as_deref(), object.factory);
    let command = Some((command, "python.application-object", vec![at]));
    Some(Start { framework, command, port: Some(PORT), servers, installs_itself: false })
}

/// Whether an object's file starts its own server, where none is asked for.
fn runs_itself(project: &Project<'_>, object: &Object) -> bool {
    let served = ["gunicorn", "waitress", "uvicorn", "hypercorn", "daphne", "granian"];
    if object.interface == Interface::Asgi && object.framework != "sanic"
        || served.iter().any(|name| project.dependency(name).is_some())
    {
        return false;
    }
    let Some(text) = project.dir.text(&object.file) else { return false };
    let code = Code::of(text, Syntax::Hash);
    // `NAME.run(…)`, and `run(NAME, …)` of Bottle.
    code.words("run").any(|at| {
        let before = code.bare().get(..at).unwrap_or_default();
        let is_call = object.framework == "bottle" && !before.ends_with('.');
        before.ends_with(&format!("{}.", object.name)) || is_call && code.rest_of_line(at).starts_with("run(")
    })
}

/// The command of a server for an object, and the servers it needs that nothing asks for.
fn serve(
    project: &Project<'_>,
    interface: Interface,
    target: &str,
    path: Option<&str>,
    factory: bool,
) -> (String, Vec<&'static str>) {
    let has = |name: &str| project.dependency(name).is_some();
    // Words with brackets are a shell's unless they are quoted.
    let called = if factory { format!("'{target}()'") } else { target.to_owned() };
    let path = |option: &str| path.map(|path| format!("{option} {path} ")).unwrap_or_default();
    if interface == Interface::Wsgi {
        if has("waitress") && !has("gunicorn") {
            let call = if factory { "--call " } else { "" };
            return (format!("waitress-serve --listen=0.0.0.0:{PORT} {call}{target}"), Vec::new());
        }
        let missing = if has("gunicorn") { Vec::new() } else { vec!["gunicorn"] };
        return (format!("gunicorn --bind 0.0.0.0:{PORT} {}{called}", path("--pythonpath")), missing);
    }
    let extras = project.with_extra("fastapi", &["standard", "all"]);
    let uvicorn = has("uvicorn") || extras || has("fastapi-cli") || has("python-fasthtml");
    if !uvicorn && has("hypercorn") {
        return (format!("hypercorn --bind 0.0.0.0:{PORT} {called}"), Vec::new());
    }
    if !uvicorn && has("daphne") {
        return (format!("daphne -b 0.0.0.0 -p {PORT} {target}"), Vec::new());
    }
    let missing = if uvicorn { Vec::new() } else { vec!["uvicorn"] };
    let factory = if factory { " --factory" } else { "" };
    let path = path("--app-dir");
    (format!("uvicorn {path}{target}{factory} --host 0.0.0.0 --port {PORT}"), missing)
}

fn scripted(project: &Project<'_>) -> Option<Start> {
    let dir = project.dir;
    let mut files: Vec<&str> = ENTRIES.iter().copied().filter(|file| dir.has(file)).collect();
    files.extend(dir.sources(&[".py"]).into_iter().filter(|file| !file.contains('/')));
    SCRIPTED.iter().find_map(|(distribution, import, framework, port)| {
        let asked = project.dependency(distribution)?;
        let (file, line) = files.iter().find_map(|file| Some((*file, imports(dir, file, import)?)))?;
        let (file, at) = (quoted(file), dir.at(file, line));
        let command = match *framework {
            "streamlit" => format!("streamlit run {file} --server.address 0.0.0.0 --server.port {port}"),
            "panel" => format!("panel serve {file} --address 0.0.0.0 --port {port}"),
            _ => format!("python {file}"),
        };
        let framework =
            Some(((*framework).to_owned(), "python.framework-script", evidence([Some(asked), Some(at.clone())])));
        let command = Some((command, "python.framework-script", vec![at]));
        Some(Start { framework, command, port: Some(*port), ..Start::default() })
    })
}

/// The line in which a file imports a module, or something of it.
fn imports(dir: Dir<'_>, file: &str, module: &str) -> Option<u64> {
    let code = Code::of(dir.text(file)?, Syntax::Hash);
    let (parent, child) = module.rsplit_once('.').unwrap_or((module, ""));
    (1..).zip(code.bare().lines()).find_map(|(number, line)| {
        let line = line.trim();
        let whole = |rest: &str, name: &str| {
            rest.strip_prefix(name).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        };
        let found = line.strip_prefix("import ").is_some_and(|rest| whole(rest, module))
            || line.strip_prefix("from ").is_some_and(|rest| {
                whole(rest, module)
                    || (!child.is_empty()
                        && whole(rest, parent)
                        && rest.split(' ').any(|word| word.trim_end_matches(',') == child))
            });
        found.then_some(number)
    })
}

fn script(project: &Project<'_>) -> Option<Start> {
    let (name, at) = project.script().filter(|_| project.is_packaged())?;
    Some(Start { command: Some((name, "python.script", vec![at])), installs_itself: true, ..Start::default() })
}

fn main_file(dir: Dir<'_>) -> Option<Start> {
    let named = ENTRIES.iter().copied().find(|file| dir.text(file).is_some());
    let file = named.or_else(|| only(dir)).or_else(|| package(dir))?;
    by_file(dir, file, "python.main")
}

/// A file that is run.
fn by_file(dir: Dir<'_>, file: &str, rule: &'static str) -> Option<Start> {
    let line = main_line(dir, file);
    let at = dir.seen(file).map(|at| Evidence { line, ..at });
    // A package's file that imports from it is started as a module.
    let module = file.strip_suffix(".py")?.replace('/', ".");
    let command = match file.rsplit_once('/') {
        Some((above, "__main__.py")) => format!("python -m {}", above.replace('/', ".")),
        Some((above, _)) if imports_own(dir, file, above) => format!("python -m {module}"),
        _ => format!("python {}", quoted(file)),
    };
    Some(Start { command: Some((command, rule, at.into_iter().collect())), ..Start::default() })
}

/// What starts a project that nothing says how to start: a file of it, or `MODULE:NAME` of which the project asks for a
/// server.
pub(crate) fn by_entry(project: &Project<'_>, wanted: &str) -> Option<Start> {
    let dir = project.dir;
    let Some((module, name)) = wanted.rsplit_once(':') else {
        return by_file(dir, wanted, MODEL).filter(|_| dir.text(wanted).is_some() && wanted.ends_with(".py"));
    };
    let files = object::sources(dir);
    let (file, path) = files.into_iter().find_map(|file| {
        let known = object::module(dir, file);
        (known.name == module).then_some((file, known.path))
    })?;
    let line = defined(dir.text(file)?, name)?;
    let asks = |servers: &[&str]| servers.iter().any(|server| project.dependency(server).is_some());
    let interface = if asks(&["uvicorn", "hypercorn", "daphne"]) {
        Interface::Asgi
    } else if asks(&["gunicorn", "waitress"]) {
        Interface::Wsgi
    } else {
        return None;
    };
    let (command, servers) = serve(project, interface, wanted, path.as_deref(), false);
    Some(Start {
        command: Some((command, MODEL, vec![dir.at(file, line)])),
        port: Some(PORT),
        servers,
        ..Start::default()
    })
}

/// The line in which a name of a module gets its value.
fn defined(text: &str, name: &str) -> Option<u64> {
    let code = Code::of(text, Syntax::Hash);
    let found = (1..).zip(code.bare().lines()).find(|(_, line)| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        let rest = ["def ", "class "].into_iter().find_map(|word| line.strip_prefix(word));
        let (line, ends): (&str, &[char]) = rest.map_or((line, &['=', ':']), |rest| (rest, &['(', ':']));
        line.strip_prefix(name)
            .is_some_and(|rest| rest.trim_start().starts_with(ends) && !rest.trim_start().starts_with("=="))
    })?;
    Some(found.0)
}

/// Whether a file of a package imports from that package, by its name or with a dot.
fn imports_own(dir: Dir<'_>, file: &str, above: &str) -> bool {
    let own = above.replace('/', ".");
    let text = dir.text(file).unwrap_or_default();
    text.lines().any(|line| {
        line.starts_with("from .")
            || line
                .strip_prefix("from ")
                .or_else(|| line.strip_prefix("import "))
                .is_some_and(|rest| rest.split([' ', '.', ',']).next() == own.split('.').next() && above != "src")
    })
}

/// The only source file, or the only one that says that it is the main one.
fn only(dir: Dir<'_>) -> Option<&str> {
    let aside = ["setup.py", "conftest.py", "manage.py", "__init__.py", "noxfile.py", "tasks.py", "fabfile.py"];
    let counts = |file: &&str| file.ends_with(".py") && !aside.contains(file) && !file.starts_with("test_");
    let files: Vec<&str> =
        dir.names().filter(counts).filter(|file| dir.text(file).is_some_and(|text| !text.is_empty())).collect();
    if let [file] = files.as_slice() {
        return Some(file);
    }
    let mut main = files.into_iter().filter(|file| dir.text(file).is_some_and(|text| text.contains("__main__")));
    let first = main.next()?;
    main.next().is_none().then_some(first)
}

/// The only package that can be started.
fn package(dir: Dir<'_>) -> Option<&str> {
    let mut found = dir.sources(&["/__main__.py"]).into_iter().filter(|path| path.matches('/').count() == 1);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// The line that says that a file is the main one, else its first.
fn main_line(dir: Dir<'_>, file: &str) -> u64 {
    let lines = (1..).zip(dir.text(file).unwrap_or_default().lines());
    let found = lines.into_iter().find(|(_, line)| line.starts_with("if __name__"));
    found.map_or(1, |(number, _)| number)
}

fn evidence<const N: usize>(found: [Option<Evidence>; N]) -> Vec<Evidence> {
    let mut found: Vec<Evidence> = found.into_iter().flatten().collect();
    found.sort();
    found
}
