//! What is compiled: of the stage that builds, the image takes only what was made.

use super::super::draft::{self, BUILD, Draft, HOME};
use crate::{
    fact::Application,
    plan::{Error, Plan},
};

/// What a program reads when it runs, by its name at the root of the context: directories and files.
const READ: [&str; 26] = [
    "assets/",
    "conf/",
    "config/",
    "content/",
    "data/",
    "i18n/",
    "locales/",
    "migrations/",
    "public/",
    "resources/",
    "static/",
    "templates/",
    "translations/",
    "ui/",
    "views/",
    "web/",
    "www/",
    "Rocket.toml",
    "app.toml",
    "config.json",
    "config.toml",
    "config.yaml",
    "config.yml",
    "settings.json",
    "settings.toml",
    "settings.yaml",
];

/// A program of the machine's own code.
pub(super) fn native(app: &Application, base: &str) -> Result<Plan, Error> {
    let mut draft = Draft::new(app, draft::base(base, Some(&app.runtime)), draft::plain("debian"));
    // The images of compilers have no build tools.
    let first = app.build.value.iter().flatten().next().map(String::as_str).unwrap_or_default();
    match first.split(' ').next() {
        Some("cmake") => draft.tool("cmake", &["cmake", "make"]),
        Some("meson") => draft.tool("meson", &["meson", "ninja-build", "pkg-config"]),
        _ => {}
    }
    draft.install_first(BUILD, &app.details.dependency_files, "", &app.install);
    draft.commands(BUILD, "", &app.build);
    read(&mut draft);
    let (made, program) = program(app)?;
    draft.copy("app", Some(BUILD), &[&made], &program);
    draft.workdir(HOME);
    draft.ignore(&["target", "build", "bin", "out"]);
    draft.done()
}

/// Where the program stands in the stage that builds, and where it is to stand.
fn program(app: &Application) -> Result<(String, String), Error> {
    let first = app.start.more.argv.first().map(String::as_str).unwrap_or_default();
    let unknown = || Error::Unknown {
        what: "what the build makes",
        hint: "start the program by its path in a Procfile: web: ./bin/NAME".to_owned(),
    };
    let path = match first.strip_prefix("/app/").or_else(|| first.strip_prefix("./")) {
        Some(path) if !path.is_empty() => path,
        _ => return Err(unknown()),
    };
    let made = app.details.artifact.as_deref().unwrap_or(path).trim_start_matches("./");
    Ok((format!("{HOME}/{made}"), format!("./{path}")))
}

/// What a program reads when it runs goes with it.
fn read(draft: &mut Draft<'_>) {
    let app = draft.app;
    for name in app.details.context.iter().filter(|name| READ.contains(&name.as_str())) {
        let dest = if name.ends_with('/') { format!("./{name}") } else { "./".to_owned() };
        draft.copy("app", None, &[name], &dest);
    }
}

pub(super) fn java(app: &Application) -> Result<Plan, Error> {
    let tool = if app.package_manager.value.as_deref() == Some("gradle") { "gradle" } else { "maven" };
    let mut draft = Draft::new(app, draft::base(tool, Some(&app.runtime)), draft::base("java", Some(&app.runtime)));
    draft.install_first(BUILD, &app.details.dependency_files, "", &app.install);
    draft.commands(BUILD, "", &app.build);
    let made = app.details.artifact.as_deref().unwrap_or(if tool == "gradle" { "build/libs" } else { "target" });
    let made = made.trim_start_matches("./").trim_end_matches('/');
    draft.copy("app", Some(BUILD), &[&format!("{HOME}/{made}")], &format!("./{made}"));
    draft.workdir(HOME);
    draft.ignore(&["**/target", "**/build"]);
    draft.done()
}

pub(super) fn dotnet(app: &Application) -> Result<Plan, Error> {
    let mut draft =
        Draft::new(app, draft::base("dotnet", Some(&app.runtime)), draft::base("aspnet", Some(&app.runtime)));
    draft.stage_env(BUILD, "DOTNET_CLI_TELEMETRY_OPTOUT", "1");
    draft.install_first(BUILD, &app.details.dependency_files, "", &app.install);
    draft.commands(BUILD, "", &app.build);
    let made = app.details.artifact.as_deref().unwrap_or("out").trim_start_matches("./").trim_end_matches('/');
    draft.copy("app", Some(BUILD), &[&format!("{HOME}/{made}")], &format!("./{made}"));
    draft.workdir(HOME);
    if let Some(port) = app.port.value {
        draft.env("ASPNETCORE_URLS", &format!("http://0.0.0.0:{port}"));
    }
    draft.ignore(&["**/bin", "**/obj"]);
    draft.done()
}

pub(super) fn elixir(app: &Application) -> Result<Plan, Error> {
    let mut draft = Draft::new(app, draft::base("elixir", Some(&app.runtime)), draft::plain("debian"));
    draft.tool("make", &["build-essential", "git"]);
    draft.packages("app", &["libncurses6", "libssl3", "libstdc++6"].map(str::to_owned));
    draft.stage_env(BUILD, "MIX_ENV", "prod");
    draft.install_first(BUILD, &app.details.dependency_files, "", &app.install);
    draft.commands(BUILD, "", &app.build);
    released(&mut draft, "_build/prod/rel");
    draft.env("LANG", "C.UTF-8");
    draft.ignore(&["_build", "deps"]);
    draft.done()
}

pub(super) fn gleam(app: &Application) -> Result<Plan, Error> {
    let mut base = draft::base("gleam", Some(&app.runtime));
    // Its images have no tags of lines of versions.
    base.version =
        base.version.map(|version| if version.matches('.').count() == 1 { format!("{version}.0") } else { version });
    let mut draft = Draft::new(app, base.clone(), base);
    draft.install_first(BUILD, &app.details.dependency_files, "", &app.install);
    draft.commands(BUILD, "", &app.build);
    released(&mut draft, "build/erlang-shipment");
    draft.ignore(&["build"]);
    draft.done()
}

/// What a release is made of keeps its place, so that the command that starts it stays the same.
fn released(draft: &mut Draft<'_>, usual: &str) {
    let made = draft.app.details.artifact.as_deref().filter(|made| made.contains('/')).unwrap_or(usual);
    let made = made.trim_start_matches("./").trim_end_matches('/');
    draft.copy("app", Some(BUILD), &[&format!("{HOME}/{made}")], &format!("./{made}"));
    draft.workdir(HOME);
}
