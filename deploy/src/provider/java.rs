//! Java and Kotlin.

mod gradle;
mod maven;

use crate::{
    code::{Code, Syntax},
    fact::{Application, Evidence, Fact, Managed, ProviderName},
    provider::{
        Candidate, Provider,
        dir::{Dir, holding, known, runtime},
        needs, tools,
    },
    tree::Tree,
};

/// Java and Kotlin, with Maven and Gradle.
#[derive(Debug)]
pub(crate) struct Java;

/// What a build file says, whichever tool's it is.
#[derive(Debug, Default)]
pub(super) struct Build {
    /// `maven` or `gradle`.
    tool: &'static str,
    /// Where it stands.
    evidence: Vec<Evidence>,
    /// What it asks for, and its plugins: `GROUP:NAME`, and `GROUP` alone for a plugin.
    dependencies: Vec<(String, Evidence)>,
    /// The version of Java.
    java: Option<tools::Asked>,
    /// The archive that is started, relative to the module.
    archive: Option<String>,
    /// Whether it says that it is an application.
    application: Option<Evidence>,
    /// Whether its archive is for a server that stands elsewhere.
    needs_server: bool,
    /// What it is called.
    name: Option<String>,
    /// Whether it only holds others together.
    is_parent: bool,
}

/// Frameworks: the group of what it asks for, what shows in code that it is used, its port.
const FRAMEWORKS: [(&str, &str, &[&str], Option<u16>); 8] = [
    (
        "org.springframework.boot",
        "spring-boot",
        &["SpringBootApplication", "SpringApplication", "EnableAutoConfiguration"],
        Some(8080),
    ),
    ("io.quarkus", "quarkus", &["Path", "QuarkusMain", "ApplicationScoped", "Quarkus"], Some(8080)),
    ("io.micronaut", "micronaut", &["Micronaut", "Controller"], Some(8080)),
    ("io.ktor", "ktor", &["embeddedServer", "EngineMain", "routing"], None),
    ("io.javalin", "javalin", &["Javalin"], None),
    ("io.vertx", "vertx", &["Vertx", "AbstractVerticle", "VerticleBase"], None),
    ("io.dropwizard", "dropwizard", &["Application"], Some(8080)),
    ("io.helidon", "helidon", &["WebServer", "Server"], Some(8080)),
];

impl Provider for Java {
    fn name(&self) -> ProviderName {
        ProviderName::Java
    }

    #[cfg(test)]
    fn frameworks(&self) -> Vec<&'static str> {
        FRAMEWORKS.iter().map(|(_, name, ..)| *name).collect()
    }

    fn looks_for(&self) -> &'static str {
        "pom.xml, build.gradle, build.gradle.kts, settings.gradle"
    }

    fn candidates(&self, tree: &Tree) -> Vec<Candidate> {
        let named = |name: &str| name == maven::FILE || gradle::FILES.contains(&name);
        holding(tree, named).into_keys().filter_map(|root| candidate(Dir::of(tree, root))).collect()
    }

    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application {
        let dir = Dir::of(tree, &chosen.root);
        let mut app = Application::of(ProviderName::Java, chosen);
        let Some(build) = read(dir) else { return app };
        let context = chosen.workspace.as_deref().map_or(dir, |root| Dir::of(tree, root));
        let asked = tools::asked(dir, "java").or_else(|| system_properties(dir)).or_else(|| build.java.clone());
        let asked = asked.or_else(|| read(context).and_then(|build| build.java));
        let asked = asked.or_else(|| (build.tool == "gradle").then(|| gradle::wrapper_java(dir)).flatten());
        // `1.8` is 8.
        let asked = asked
            .map(|(version, rule, at)| (version.strip_prefix("1.").map(str::to_owned).unwrap_or(version), rule, at));
        runtime(&mut app, "java", asked, chosen);
        let lock = (build.tool == "gradle" && dir.has("gradle.lockfile")).then(|| dir.path("gradle.lockfile"));
        let managed = Managed { version: None, locked: lock.is_some(), lock };
        app.package_manager = known(build.tool.to_owned(), "java.build-file", build.evidence.clone()).with(managed);
        let framework = framework(dir, &build);
        if let Some((name, port, evidence)) = &framework {
            app.framework = known((*name).to_owned(), "java.framework", evidence.clone());
            app.port = port.map(|port| known(port, "java.framework-port", evidence.clone())).unwrap_or_default();
        }
        if let Some((port, at)) = configured_port(dir) {
            app.port = known(port, "java.server-port", vec![at]);
        }
        commands(&mut app, dir, context, &build, framework.as_ref().map(|(name, ..)| *name));
        app.details.dependency_files = dependency_files(context);
        app.details.project_name = build.name.clone();
        needs::add(&mut app, ProviderName::Java, build.dependencies);
        app
    }
}

/// The build file of a directory.
fn read(dir: Dir<'_>) -> Option<Build> {
    maven::read(dir).or_else(|| gradle::read(dir))
}

fn candidate(dir: Dir<'_>) -> Option<Candidate> {
    let build = read(dir)?;
    let mut evidence = build.evidence.clone();
    let main = main_class(dir);
    let framework = framework(dir, &build);
    let entry = !build.is_parent && (framework.is_some() || build.application.is_some() || main.is_some());
    let (score, rule) = match &framework {
        Some((_, _, found)) if entry => {
            evidence.extend(found.iter().cloned());
            (80, "java.framework")
        }
        _ if entry => (70, "java.build-file"),
        _ => (60, "java.build-file"),
    };
    evidence.extend(build.application);
    evidence.extend(main);
    let workspace = maven::workspace(dir).or_else(|| gradle::workspace(dir)).map(|dir| dir.root().to_owned());
    (!evidence.is_empty())
        .then(|| Candidate::new(dir.root(), score, rule, evidence).with_entry(entry).in_workspace(workspace))
}

/// The sources of a module, without those of modules below it.
fn sources(dir: Dir<'_>) -> Vec<&str> {
    const MANIFESTS: [&str; 3] = [maven::FILE, "build.gradle", "build.gradle.kts"];
    // Packages make paths long.
    let own = |path: &&str| {
        let is_source = path.ends_with(".java") || path.ends_with(".kt");
        is_source && !path.contains("/test/") && !dir.is_of_another(path, &MANIFESTS)
    };
    dir.below().filter(own).collect()
}

/// The first `main` of a module.
fn main_class(dir: Dir<'_>) -> Option<Evidence> {
    sources(dir).into_iter().find_map(|file| {
        let text = dir.text(file).filter(|text| text.contains("main("))?;
        let code = Code::of(text, Syntax::Slash);
        let at = code.bare().find("static void main(").or_else(|| code.bare().find("fun main("))?;
        Some(dir.at(file, code.line(at)))
    })
}

/// The framework that a build file asks for and code uses: its name, its port, and where.
fn framework(dir: Dir<'_>, build: &Build) -> Option<(&'static str, Option<u16>, Vec<Evidence>)> {
    FRAMEWORKS.iter().find_map(|(group, name, words, port)| {
        let of_group = |found: &str| {
            found
                .split(':')
                .next()
                .is_some_and(|found| found == *group || (*group == "io.quarkus" && found.starts_with("io.quarkus.")))
        };
        let (_, asked) = build.dependencies.iter().find(|(found, _)| of_group(found))?;
        let used = sources(dir).into_iter().find_map(|file| {
            let text = dir.text(file).filter(|text| words.iter().any(|word| text.contains(word)))?;
            let code = Code::of(text, Syntax::Slash);
            let at = words.iter().find_map(|word| code.word(word))?;
            Some(dir.at(file, code.line(at)))
        })?;
        Some((*name, *port, vec![asked.clone(), used]))
    })
}

/// `java.runtime.version` of Heroku's file.
fn system_properties(dir: Dir<'_>) -> Option<tools::Asked> {
    const FILE: &str = "system.properties";
    let (line, value) = property(dir.text(FILE)?, "java.runtime.version")?;
    Some((value.to_owned(), "java.system-properties", dir.at(FILE, line)))
}

/// The port of Spring's, Quarkus' or Micronaut's settings.
fn configured_port(dir: Dir<'_>) -> Option<(u16, Evidence)> {
    const KEYS: [&str; 3] = ["server.port", "quarkus.http.port", "micronaut.server.port"];
    const PROPERTIES: &str = "src/main/resources/application.properties";
    let in_properties = || {
        let text = dir.text(PROPERTIES)?;
        let (line, value) = KEYS.iter().find_map(|key| property(text, key))?;
        Some((port(value)?, dir.at(PROPERTIES, line)))
    };
    let in_yaml = || {
        let file = dir.first(&["src/main/resources/application.yml", "src/main/resources/application.yaml"])?;
        let settings = dir.tree().yaml(&dir.path(file))?;
        let node = KEYS.iter().find_map(|key| settings.at(&key.split('.').collect::<Vec<_>>()))?;
        Some((port(node.word()?)?, dir.at(file, node.line)))
    };
    in_properties().or_else(in_yaml)
}

/// `5000`, `${PORT:5000}`.
fn port(value: &str) -> Option<u16> {
    let value = value.trim();
    let value = value
        .strip_prefix("${")
        .and_then(|rest| rest.split_once(':'))
        .map_or(value, |(_, rest)| rest.trim_end_matches('}'));
    value.parse().ok().filter(|port| *port > 0)
}

/// A line of a file of properties: its number and its value.
fn property<'t>(text: &'t str, key: &str) -> Option<(u64, &'t str)> {
    (1..).zip(text.lines()).find_map(|(line, text)| {
        let rest = text.trim_start().strip_prefix(key)?.trim_start();
        Some((line, rest.strip_prefix(['=', ':'])?.trim()))
    })
}

fn commands(app: &mut Application, dir: Dir<'_>, context: Dir<'_>, build: &Build, framework: Option<&str>) {
    let module = context.within(dir.root());
    let is_plain = module.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    if !is_plain || build.is_parent {
        return;
    }
    let under = if module == "." { String::new() } else { format!("{module}/") };
    let (install, made, usual);
    if build.tool == "maven" {
        let only = if module == "." { String::new() } else { format!(" -pl {module} -am") };
        install = vec![format!("mvn -B -ntp{only} dependency:go-offline")];
        made = vec![format!("mvn -B -ntp -DskipTests{only} package")];
        usual = "target";
    } else {
        // The wrapper names the version of Gradle that the project is made for.
        let wrapped = context.has("gradlew") && context.has("gradle/wrapper/gradle-wrapper.properties");
        let gradle = if wrapped { "sh ./gradlew --no-daemon" } else { "gradle --no-daemon" };
        let task = if module == "." { String::new() } else { format!(":{}:", module.replace('/', ":")) };
        install = vec![format!("{gradle} {task}dependencies")];
        made = vec![format!("{gradle} {task}assemble")];
        usual = "build/libs";
    }
    app.install = known(install, "java.build-file", build.evidence.clone());
    app.build = known(made, "java.build-file", build.evidence.clone());
    let (directory, archive) = match (framework, build.tool) {
        (Some("quarkus"), "maven") => ("target/quarkus-app", Some("quarkus-run.jar".to_owned())),
        (Some("quarkus"), _) => ("build/quarkus-app", Some("quarkus-run.jar".to_owned())),
        _ => (usual, build.archive.clone()),
    };
    // A name that the build file does not tell is found by its end.
    let archive = archive.unwrap_or_else(|| "*.jar".to_owned());
    let command = format!("java -jar {under}{directory}/{archive}");
    if !build.needs_server {
        app.start = Fact::command(&command, "java.archive", build.evidence.clone());
    }
    app.details.artifact = Some(format!("{under}{directory}"));
}

/// All build files of a context, since modules ask for each other.
fn dependency_files(context: Dir<'_>) -> Vec<String> {
    let wanted = |path: &&str| {
        let name = crate::tree::file_name(path);
        name == maven::FILE
            || gradle::FILES.contains(&name)
            || matches!(*path, "gradlew" | "gradle.properties" | "gradle.lockfile")
            || path.starts_with("gradle/")
            || path.starts_with("buildSrc/")
            || path.starts_with(".mvn/")
    };
    context.below().filter(wanted).map(str::to_owned).collect()
}
