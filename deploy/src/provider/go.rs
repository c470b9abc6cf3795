//! Go.

mod module;

use module::Module;

use crate::{
    code::{Code, Syntax, line_of},
    fact::{Application, Evidence, Fact, MODEL, Managed, ProviderName},
    provider::{
        Candidate, Provider,
        dir::{Dir, holding, known, runtime},
        entry::{self, Entry},
        listen::{Listening, listens},
        needs, tools,
    },
    tree::{Tree, file_name, parent},
};

/// Go, with modules and workspaces.
#[derive(Debug)]
pub(crate) struct Go;

/// Server frameworks, by the path of their module without its major version.
const FRAMEWORKS: [(&str, &str); 10] = [
    ("github.com/gin-gonic/gin", "gin"),
    ("github.com/labstack/echo", "echo"),
    ("github.com/gofiber/fiber", "fiber"),
    ("github.com/go-chi/chi", "chi"),
    ("github.com/kataras/iris", "iris"),
    ("github.com/beego/beego", "beego"),
    ("github.com/gobuffalo/buffalo", "buffalo"),
    ("github.com/revel/revel", "revel"),
    ("github.com/zeromicro/go-zero", "go-zero"),
    ("github.com/cloudwego/hertz", "hertz"),
];
const LISTENING: Listening = Listening {
    syntax: Syntax::Slash,
    calls: &["ListenAndServe", "ListenAndServeTLS", "Listen", "Serve", "Run", "Start"],
};
/// Where Gin listens by itself.
const GIN_PORT: u16 = 8080;
/// Most directories with programs that are looked at.
const MOST: usize = 200;

impl Provider for Go {
    fn name(&self) -> ProviderName {
        ProviderName::Go
    }

    #[cfg(test)]
    fn frameworks(&self) -> Vec<&'static str> {
        FRAMEWORKS.iter().map(|(_, name)| *name).collect()
    }

    fn looks_for(&self) -> &'static str {
        "go.mod, go.work, main.go"
    }

    fn candidates(&self, tree: &Tree) -> Vec<Candidate> {
        let named = |name: &str| matches!(name, "go.mod" | "go.work" | "main.go");
        holding(tree, named).into_iter().filter_map(|(root, files)| candidate(Dir::of(tree, root), &files)).collect()
    }

    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application {
        let dir = Dir::of(tree, &chosen.root);
        let mut app = Application::of(ProviderName::Go, chosen);
        let module = Module::read(dir);
        let work = workspace(dir);
        let asked =
            tools::asked(dir, "go").or_else(|| module.as_ref()?.version(dir)).or_else(|| module::work_version(work?));
        runtime(&mut app, "go", asked, chosen);
        let context = work.unwrap_or(dir);
        let lock = ["go.sum", "go.work.sum"].into_iter().find_map(|name| context.has(name).then(|| context.path(name)));
        let lock = lock.or_else(|| dir.has("go.sum").then(|| dir.path("go.sum")));
        let managed = Managed { version: None, locked: lock.is_some(), lock };
        app.package_manager = known("go".to_owned(), "go.modules", chosen.evidence.clone()).with(managed);
        if let Some(module) = &module {
            app.install = known(vec!["go mod download".to_owned()], "go.modules", module.evidence(dir));
            app.framework = framework(dir, module);
            needs::add(&mut app, ProviderName::Go, module.dependencies(dir));
            app.details.project_name = Some(module.name.clone());
        }
        app.details.dependency_files = dependency_files(context, dir);
        if app.framework.value.as_deref() == Some("gin")
            && let Some(at) = gin_runs(dir)
        {
            app.port = known(GIN_PORT, "go.framework-port", vec![at]);
        }
        start(&mut app, dir, context, module.as_ref(), chosen.wanted.as_deref());
        app
    }
}

fn candidate(dir: Dir<'_>, files: &[&str]) -> Option<Candidate> {
    let has = |name: &str| files.iter().any(|file| file_name(file) == name);
    let module = Module::read(dir);
    let work = workspace(dir);
    if !has("go.mod") && !has("go.work") {
        // A program of a module above is that module's.
        let evidence = dir.upwards(&["go.mod", "go.work"]).is_none().then(|| dir.seen("main.go"))??;
        return Some(Candidate::new(dir.root(), 45, "go.source", vec![evidence]).with_entry(true));
    }
    let entries = entries(dir, module.as_ref());
    let mut evidence: Vec<Evidence> = ["go.mod", "go.work"].into_iter().filter_map(|name| dir.seen(name)).collect();
    let chosen = entry::choose(&entries, module.as_ref().map_or("", Module::short));
    let framework = module.as_ref().map(|module| framework(dir, module)).unwrap_or_default();
    let (score, rule) = match (&chosen, framework.is_known()) {
        (Some(_), true) => (80, "go.framework"),
        (Some(_), false) => (70, "go.module"),
        (None, _) => (60, "go.module"),
    };
    evidence.extend(chosen.map(|entry| entry.evidence));
    evidence.extend(framework.evidence);
    let found = Candidate::new(dir.root(), score, rule, evidence).with_entry(!entries.is_empty());
    Some(found.in_workspace(work.map(|work| work.root().to_owned())))
}

/// The nearest directory with a workspace that has this module.
fn workspace(dir: Dir<'_>) -> Option<Dir<'_>> {
    let (work, _) = dir.upwards(&["go.work"])?;
    let uses = work.root() == dir.root() || module::uses(work).iter().any(|used| used == dir.root());
    uses.then_some(work)
}

/// The programs of a module: directories with `package main` and `func main`.
fn entries(dir: Dir<'_>, module: Option<&Module>) -> Vec<Entry> {
    let sources = sources(dir);
    let mut found: Vec<Entry> = Vec::new();
    for file in &sources {
        let Some(text) = dir.text(file).filter(|text| text.contains("func main()")) else { continue };
        let code = Code::of(text, Syntax::Slash);
        let is_main = code.bare().lines().any(|line| line.trim() == "package main");
        let Some(at) = code.bare().find("func main()").filter(|_| is_main) else { continue };
        let path = parent(file);
        if found.len() >= MOST || found.iter().any(|entry| entry.path == path) {
            continue;
        }
        let beside: Vec<&str> = sources.iter().copied().filter(|other| parent(other) == path).collect();
        let name = if path == "." { module.map_or("app", Module::short) } else { file_name(path) };
        found.push(Entry {
            name: name.to_owned(),
            path: path.to_owned(),
            serves: serves(dir, &beside, module),
            evidence: dir.at(file, code.line(at)),
        });
    }
    found
}

/// Where code listens with the standard library, or uses a server framework.
fn serves(dir: Dir<'_>, files: &[&str], module: Option<&Module>) -> Option<Evidence> {
    let framework =
        module.and_then(|module| files.iter().find_map(|file| imported(dir, file, module).map(|(_, at)| at)));
    framework.or_else(|| {
        let http: Vec<&str> =
            files.iter().copied().filter(|file| dir.text(file).is_some_and(|text| text.contains("\"net"))).collect();
        listens(dir, &http, &LISTENING)
    })
}

/// The framework that a module requires and a file imports.
fn framework(dir: Dir<'_>, module: &Module) -> Fact<String> {
    let found = sources(dir).into_iter().find_map(|file| imported(dir, file, module));
    found.map(|((name, asked), at)| known(name.to_owned(), "go.framework", vec![asked, at])).unwrap_or_default()
}

type Framework = (&'static str, Evidence);

fn imported(dir: Dir<'_>, file: &str, module: &Module) -> Option<(Framework, Evidence)> {
    let text = dir.text(file)?;
    FRAMEWORKS.iter().find_map(|(path, name)| {
        let asked = module.dependency(dir, path)?;
        let code = Code::of(text, Syntax::Slash);
        let quoted = format!("\"{path}");
        let (at, _) = code.plain().match_indices(&quoted).find(|(at, _)| {
            let rest = code.plain().get(at + quoted.len()..).unwrap_or_default();
            rest.starts_with('"') || rest.starts_with("/v")
        })?;
        Some(((*name, asked), dir.at(file, line_of(text, at))))
    })
}

/// Where Gin runs without being told on which port: it is that of `PORT`, or its own.
fn gin_runs(dir: Dir<'_>) -> Option<Evidence> {
    sources(dir).into_iter().find_map(|file| {
        let text = dir.text(file).filter(|text| text.contains("gin-gonic/gin"))?;
        let code = Code::of(text, Syntax::Slash);
        let at = code.bare().find(".Run()")?;
        Some(dir.at(file, code.line(at)))
    })
}

/// The sources of a module, without tests and without those of modules below it.
fn sources(dir: Dir<'_>) -> Vec<&str> {
    let own = |file: &&str| !file.ends_with("_test.go") && !dir.is_of_another(file, &["go.mod"]);
    dir.sources(&[".go"]).into_iter().filter(own).collect()
}

fn dependency_files(context: Dir<'_>, dir: Dir<'_>) -> Vec<String> {
    let mut files: Vec<String> = Vec::new();
    let names = |dir: Dir<'_>, names: &[&str]| -> Vec<String> {
        names.iter().filter(|name| dir.has(name)).map(|name| dir.path(name)).collect()
    };
    files.extend(names(context, &["go.work", "go.work.sum", "go.mod", "go.sum"]));
    let used = module::uses(context);
    for module in used.iter().map(String::as_str).chain([dir.root()]) {
        files.extend(names(Dir::of(context.tree(), module), &["go.mod", "go.sum"]));
    }
    files.sort();
    files.dedup();
    files.into_iter().map(|file| context.within(&file).to_owned()).collect()
}

fn start(app: &mut Application, dir: Dir<'_>, context: Dir<'_>, module: Option<&Module>, wanted: Option<&str>) {
    let entries = entries(dir, module);
    let told = wanted.and_then(|file| entry::of_file(&entries, &dir.path(file)));
    let is_told = told.is_some();
    let Some(chosen) = told.or_else(|| entry::choose(&entries, module.map_or("", Module::short))) else { return };
    app.ambiguous = !is_told && entries.len() > 1;
    if app.ambiguous {
        app.details.programs = entries.into_iter().map(|entry| entry.evidence).collect();
    }
    let path = dir.path(&chosen.path);
    let path = context.within(if chosen.path == "." { dir.root() } else { &path });
    let package = if path == "." { ".".to_owned() } else { format!("./{path}") };
    // A lone file has no module.
    let package = if module.is_some() || context.has("go.work") { package } else { "main.go".to_owned() };
    let program = format!("bin/{}", chosen.name);
    let build = format!("go build -trimpath -ldflags=-s -o {program} {package}");
    let mut evidence = vec![chosen.evidence];
    evidence.extend(chosen.serves);
    evidence.sort();
    evidence.dedup();
    app.build = known(vec![build], "go.build", evidence.clone());
    let rule = if is_told { MODEL } else { "go.main" };
    app.start = Fact::command(&format!("./{program}"), rule, evidence);
    app.details.artifact = Some(program);
}
