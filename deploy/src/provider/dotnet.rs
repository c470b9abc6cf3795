//! .NET.

use crate::{
    document::Element,
    fact::{Application, Evidence, Fact, ProviderName},
    provider::{
        Candidate, Provider,
        dir::{Dir, holding, known, runtime},
        needs, tools,
    },
    tree::{Tree, file_name, parent},
    words::quoted,
};

/// .NET, with projects of C#, F# and Visual Basic.
#[derive(Debug)]
pub(crate) struct Dotnet;

const PROJECTS: [&str; 3] = [".csproj", ".fsproj", ".vbproj"];
const SOLUTIONS: [&str; 2] = [".sln", ".slnx"];
/// Where the web SDK listens.
const PORT: u16 = 8080;
/// Files beside a project that a restore reads.
const SHARED: [&str; 6] = [
    "Directory.Build.props",
    "Directory.Build.targets",
    "Directory.Packages.props",
    "NuGet.Config",
    "nuget.config",
    "global.json",
];
/// Packages that make a project one of tests.
const TESTS: [&str; 4] = ["microsoft.net.test.sdk", "xunit", "nunit", "mstest.testframework"];

/// A project.
struct Project<'t> {
    dir: Dir<'t>,
    /// Its file.
    file: &'t str,
    root: &'t Element,
}

impl<'t> Project<'t> {
    /// The project of a directory; the first one that is started, if there are several.
    fn read(dir: Dir<'t>) -> Option<Self> {
        let files = dir.names().filter(|name| PROJECTS.iter().any(|end| name.ends_with(end)));
        let projects: Vec<Self> = files.filter_map(|file| Some(Self { dir, file, root: dir.xml(file)? })).collect();
        let started = projects.iter().position(Self::is_started).unwrap_or(0);
        projects.into_iter().nth(started)
    }

    fn property(&self, name: &str) -> Option<(&'t str, Evidence)> {
        let found = self.root.children("PropertyGroup").find_map(|group| group.child(name))?;
        Some((found.text.as_str(), self.dir.at(self.file, found.line)))
    }

    fn sdk(&self) -> &str {
        self.root.attribute("Sdk").unwrap_or_default()
    }

    fn is_web(&self) -> bool {
        self.sdk().split('/').next() == Some("Microsoft.NET.Sdk.Web")
    }

    fn is_started(&self) -> bool {
        let is_exe = self.property("OutputType").is_some_and(|(kind, _)| kind.eq_ignore_ascii_case("exe"));
        let is_worker = self.sdk().split('/').next() == Some("Microsoft.NET.Sdk.Worker");
        (is_exe || is_worker || self.is_web()) && !self.is_test()
    }

    fn is_test(&self) -> bool {
        let told = self.property("IsTestProject").is_some_and(|(value, _)| value.eq_ignore_ascii_case("true"));
        told || self.packages().iter().any(|(name, _)| TESTS.contains(&name.as_str()))
    }

    /// The names of packages, in small letters.
    fn packages(&self) -> Vec<(String, Evidence)> {
        let groups = self.root.children("ItemGroup").flat_map(|group| group.children("PackageReference"));
        let found = groups.filter_map(|package| {
            let name = package.attribute("Include")?;
            Some((name.to_ascii_lowercase(), self.dir.at(self.file, package.line)))
        });
        found.collect()
    }

    /// What its program is called.
    fn program(&self) -> &'t str {
        let stem = self.file.rsplit_once('.').map_or(self.file, |(stem, _)| stem);
        self.property("AssemblyName").map(|(name, _)| name).filter(|name| !name.contains('$')).unwrap_or(stem)
    }

    /// The version of its target framework: `net8.0-windows` is 8.0.
    fn version(&self) -> Option<tools::Asked> {
        let in_project = self.property("TargetFramework").or_else(|| self.property("TargetFrameworks"));
        let (told, at) = in_project.or_else(|| {
            let (dir, file) = self.dir.upwards(&["Directory.Build.props"])?;
            let group = dir.xml(file)?.child("PropertyGroup")?;
            let found = group.child("TargetFramework")?;
            Some((found.text.as_str(), dir.at(file, found.line)))
        })?;
        let newest = told.split(';').filter_map(|one| one.trim().split('-').next()).max()?;
        let version = newest.strip_prefix("netcoreapp").or_else(|| newest.strip_prefix("net"))?;
        version.contains('.').then(|| (version.to_owned(), "dotnet.target-framework", at))
    }
}

/// The version of the SDK that `global.json` asks for; of another line than the target framework it would build nothing.
fn sdk_version(dir: Dir<'_>) -> Option<tools::Asked> {
    let (dir, file) = dir.upwards(&["global.json"])?;
    let (version, line) = dir.json(file)?.text_at(&["sdk", "version"])?;
    Some((version.to_owned(), "dotnet.global-json", dir.at(file, line)))
}

impl Provider for Dotnet {
    fn name(&self) -> ProviderName {
        ProviderName::Dotnet
    }

    fn looks_for(&self) -> &'static str {
        "*.csproj, *.fsproj, *.sln"
    }

    fn candidates(&self, tree: &Tree) -> Vec<Candidate> {
        let named = |name: &str| PROJECTS.iter().chain(&SOLUTIONS).any(|end| name.ends_with(end));
        let found = holding(tree, named);
        let is_solution = |file: &&str| SOLUTIONS.iter().any(|end| file.ends_with(end));
        let solutions: Vec<&str> =
            found.iter().filter(|(_, files)| files.iter().any(is_solution)).map(|(root, _)| *root).collect();
        found.iter().filter_map(|(root, files)| candidate(Dir::of(tree, root), files, &solutions)).collect()
    }

    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application {
        let dir = Dir::of(tree, &chosen.root);
        let mut app = Application::of(ProviderName::Dotnet, chosen);
        app.package_manager = known("dotnet".to_owned(), "dotnet.project", chosen.evidence.clone());
        let Some(project) = Project::read(dir) else { return app };
        let asked = tools::asked(dir, "dotnet").or_else(|| sdk_version(dir)).or_else(|| project.version());
        runtime(&mut app, "dotnet", asked, chosen);
        let at: Vec<Evidence> = dir.seen(project.file).into_iter().collect();
        let managed = dir.locked_by("packages.lock.json");
        let context = chosen.workspace.as_deref().map_or(dir, |root| Dir::of(tree, root));
        let path = dir.path(project.file);
        let path = quoted(context.within(&path));
        let locked = if managed.locked { " --locked-mode" } else { "" };
        app.install = known(vec![format!("dotnet restore {path}{locked}")], "dotnet.project", at.clone());
        let build = format!("dotnet publish {path} --no-restore -c Release -o out");
        app.build = known(vec![build], "dotnet.project", at.clone());
        app.package_manager = known("dotnet".to_owned(), "dotnet.project", at.clone()).with(managed);
        app.details.artifact = Some("out".to_owned());
        app.details.dependency_files = dependency_files(context);
        app.details.project_name = Some(project.program().to_owned());
        needs::add(&mut app, ProviderName::Dotnet, project.packages());
        if project.is_started() {
            app.start = Fact::command(&format!("./out/{}", quoted(project.program())), "dotnet.project", at.clone());
        }
        if project.is_web() {
            app.port = known(PORT, "dotnet.web-sdk", at);
        }
        app
    }
}

fn candidate(dir: Dir<'_>, files: &[&str], solutions: &[&str]) -> Option<Candidate> {
    let mut evidence: Vec<Evidence> = files.iter().filter_map(|file| dir.seen(file_name(file))).take(3).collect();
    let entry = Project::read(dir).is_some_and(|project| project.is_started());
    let score = if entry { 70 } else { 60 };
    evidence.extend(["Program.cs", "Program.fs", "Program.vb"].into_iter().find_map(|file| dir.seen(file)));
    let mut here = Some(dir);
    let mut workspace = None;
    while let (Some(dir), None) = (here, &workspace) {
        workspace = solutions.binary_search(&dir.root()).is_ok().then(|| dir.root().to_owned());
        here = dir.above();
    }
    let found = || Candidate::new(dir.root(), score, "dotnet.project", evidence.clone()).with_entry(entry);
    (!evidence.is_empty()).then(|| found().in_workspace(workspace))
}

/// All projects of a context, since they ask for each other, and what a restore reads beside.
fn dependency_files(context: Dir<'_>) -> Vec<String> {
    let wanted = |path: &&str| {
        let name = file_name(path);
        PROJECTS.iter().any(|end| name.ends_with(end))
            || name == "packages.lock.json"
            || (SHARED.contains(&name) && parent(path) == ".")
    };
    context.below().filter(wanted).map(str::to_owned).collect()
}
