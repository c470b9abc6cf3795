//! Apps that are compiled before they run.

use std::path::Path;

use aigis_proxy::quoted_within;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{App, Plan, json};

/// What a compiled program runs on.
const RUNTIME: &str = "FROM debian:bookworm-slim";

pub(super) fn go(app: App<'_>, file: &str) -> Result<Plan, String> {
    let text = app.text(file).unwrap_or_default();
    let version = text.lines().find_map(|line| line.trim().strip_prefix("go ")).map(str::trim);
    let version = version.map(|version| version.split('.').take(2).collect::<Vec<_>>().join("."));
    let is_version =
        |version: &String| version.chars().all(|c| c.is_ascii_digit() || c == '.') && version.contains('.');
    let version = version.filter(is_version).unwrap_or_else(|| "1".to_owned());
    let mut plan = Plan::new(file, format!("an app of Go {version}"), 8080);

    let package = if app.has("main.go") {
        plan.found("main.go", "it is the program");
        ".".to_owned()
    } else {
        let commands = app.files(|_| true).unwrap_or_default();
        let mut mains = commands.iter().filter(|path| {
            path.strip_prefix("cmd/")
                .and_then(|path| path.strip_suffix("/main.go"))
                .is_some_and(|name| !name.contains('/'))
        });
        let main = mains.next().ok_or("it has neither main.go nor cmd/NAME/main.go")?;
        if mains.next().is_some() {
            return Err("it has several programs in cmd/".to_owned());
        }
        plan.found(main, "it is the program");
        format!("./{}", main.strip_suffix("/main.go").unwrap_or(main))
    };
    let build = format!("RUN {}", json(&["go", "build", "-o", "/out/app", package.as_str()]));
    let from = format!("FROM golang:{version} AS build");
    plan.instruct(&[&from, "WORKDIR /src", "ENV CGO_ENABLED=0", "COPY . .", &build]);
    plan.instruct(&[RUNTIME, "WORKDIR /app", "COPY --from=build /out/app /usr/local/bin/app"]);
    plan.command(&["app"]);
    Ok(plan)
}

pub(super) fn rust(app: App<'_>, file: &str) -> Result<Plan, String> {
    let text = app.text(file).unwrap_or_default();
    let manifest =
        DeTable::parse(&text).map_err(|error| format!("it is no TOML: {}", quoted_within(error.message())))?;
    let manifest = manifest.get_ref();
    let named = |value: Option<&Spanned<DeValue<'_>>>| {
        let name = value?.get_ref().as_table()?.get("name")?;
        name.get_ref().as_str().map(str::to_owned)
    };
    let programs = manifest.get("bin").and_then(|bin| bin.get_ref().as_array());
    let programs: Vec<&Spanned<DeValue<'_>>> = programs.into_iter().flat_map(|programs| programs.iter()).collect();
    let name = match programs.as_slice() {
        [] if app.has("src/main.rs") => named(manifest.get("package")),
        [one] => named(Some(*one)),
        [] => return Err("it has no program: neither src/main.rs nor [[bin]]".to_owned()),
        _ => return Err("it has several programs".to_owned()),
    };
    let good = |name: &String| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let name = name.filter(good).ok_or("it does not say how its program is called")?;
    let mut plan = Plan::new(file, format!("an app of Rust, whose program is {name}"), 8080);
    let build = json(&["cargo", "install", "--path", ".", "--root", "/out"]);
    plan.instruct(&["FROM rust:1-bookworm AS build", "WORKDIR /src", "COPY . .", &format!("RUN {build}")]);
    plan.instruct(&[RUNTIME, "WORKDIR /app", "COPY --from=build /out/bin/ /usr/local/bin/"]);
    plan.command(&[&name]);
    Ok(plan)
}

#[expect(clippy::unnecessary_wraps, reason = "it is a rule like the others")]
pub(super) fn maven(_: App<'_>, file: &str) -> Result<Plan, String> {
    let build = r#"RUN ["mvn","-q","-DskipTests","package"]"#;
    Ok(java(file, "maven:3-eclipse-temurin-21", build, "target"))
}

#[expect(clippy::unnecessary_wraps, reason = "it is a rule like the others")]
pub(super) fn gradle(_: App<'_>, file: &str) -> Result<Plan, String> {
    let build = r#"RUN ["gradle","--no-daemon","assemble"]"#;
    Ok(java(file, "gradle:8-jdk21", build, "build/libs"))
}

fn java(file: &str, image: &str, build: &str, output: &str) -> Plan {
    let mut plan = Plan::new(file, "an app of Java", 8080);
    let (from, jars) = (format!("FROM {image} AS build"), Path::new("/src").join(output));
    let copy = format!("COPY --from=build {}/*.jar /app/", jars.display());
    plan.instruct(&[&from, "WORKDIR /src", "COPY . .", build]);
    plan.instruct(&["FROM eclipse-temurin:21-jre", "WORKDIR /app", &copy]);
    // Of a build's archives, that of the sources alone and that without what it needs are none to run.
    plan.instruct(&["RUN rm -f /app/*-sources.jar /app/*-plain.jar /app/*-javadoc.jar"]);
    plan.command(&["/bin/sh", "-c", "exec java -jar /app/*.jar"]);
    plan
}
