//! `build.gradle`, `build.gradle.kts` and their settings.

use super::Build;
use crate::{
    code::{Code, Syntax},
    fact::Evidence,
    provider::{dir::Dir, tools::Asked},
    tree::joined,
};

/// Build files, and files of settings.
pub(crate) const FILES: [&str; 4] = ["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"];
const BUILD: [&str; 2] = ["build.gradle.kts", "build.gradle"];
const SETTINGS: [&str; 2] = ["settings.gradle.kts", "settings.gradle"];
/// What asks for something at run time, before its brackets or quote.
const ASKING: [&str; 9] = [
    "implementation",
    "api",
    "compile",
    "runtimeOnly",
    "runtime",
    "compileOnly",
    "developmentOnly",
    "classpath",
    "kapt",
];
/// Plugins that make something that can be started.
const STARTED: [&str; 6] = [
    "application",
    "org.springframework.boot",
    "io.quarkus",
    "io.micronaut.application",
    "io.ktor.plugin",
    "com.github.johnrengelman.shadow",
];
/// Behind which the version of Java stands.
const VERSIONS: [&str; 7] = [
    "JavaLanguageVersion.of",
    "jvmToolchain",
    "options.release",
    "targetCompatibility",
    "sourceCompatibility",
    "jvmTarget",
    "JavaVersion.toVersion",
];

/// What the build file of a directory says; where there are only settings, what holds others together.
pub(crate) fn read(dir: Dir<'_>) -> Option<Build> {
    let file = dir.first(&BUILD);
    let seen = file.into_iter().chain(dir.first(&SETTINGS)).find_map(|file| dir.seen(file))?;
    let mut build = Build { tool: "gradle", evidence: vec![seen], is_parent: file.is_none(), ..Build::default() };
    build.name = root_name(dir);
    let Some((file, text)) = file.and_then(|file| Some((file, dir.text(file)?))) else { return Some(build) };
    let code = Code::of(text, Syntax::Slash);
    let at = |at: usize| dir.at(file, code.line(at));
    for word in ASKING {
        for place in code.words(word) {
            let Some((value, start)) = code.string_from(place).filter(|(_, start)| is_near(&code, place, *start))
            else {
                continue;
            };
            let mut parts = value.split(':');
            if let (Some(group), Some(name)) = (parts.next(), parts.next()) {
                build.dependencies.push((format!("{group}:{name}"), at(start)));
            }
        }
        // `libs.spring.boot.web` of a catalogue.
        for place in code.words(word) {
            let rest = code.rest_of_line(place);
            if let Some(alias) = rest.split("libs.").nth(1) {
                let alias: String =
                    alias.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '.' | '_')).collect();
                build.dependencies.extend(catalogued(dir, "libraries", &alias).map(|name| (name, at(place))));
            }
        }
    }
    for (name, place) in plugins(dir, &code) {
        if STARTED.contains(&name.as_str()) && build.application.is_none() {
            build.application = Some(at(place));
        }
        build.dependencies.push((name, at(place)));
    }
    build.java = version(&code).map(|(version, place)| (version, "java.gradle", at(place)) as Asked);
    let kind = if build.dependencies.iter().any(|(name, _)| name == "war") { "war" } else { "jar" };
    build.archive = archive(dir, &code).map(|stem| format!("{stem}.{kind}"));
    // Only what makes an archive that can be started puts a server into it.
    build.needs_server = kind == "war" && build.application.is_none();
    Some(build)
}

/// The plugins of a build file: `id 'x'`, `id("x")`, `apply plugin: 'x'`, `application`, `alias(libs.plugins.x)`.
fn plugins(dir: Dir<'_>, code: &Code<'_>) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for word in ["id", "plugin"] {
        for place in code.words(word) {
            let value = code.string_from(place).filter(|(_, start)| is_near(code, place, *start));
            found.extend(value.map(|(value, start)| (value.to_owned(), start)));
        }
    }
    let block = code.word("plugins").and_then(|at| {
        let rest = code.bare().get(at..)?;
        Some((at, rest.get(..rest.find('}')?)?))
    });
    if let Some((start, block)) = block {
        let mut at = start;
        for line in block.split_inclusive('\n') {
            let words = line.trim();
            if matches!(words, "application" | "java" | "war" | "`application`" | "`war`") {
                found.push((words.trim_matches('`').to_owned(), at));
            }
            if let Some(alias) = words.strip_prefix("alias(libs.plugins.").and_then(|rest| rest.split(')').next()) {
                found.extend(catalogued(dir, "plugins", alias).map(|name| (name, at)));
            }
            at += line.len();
        }
    }
    found
}

/// What an alias stands for in the catalogue of versions.
fn catalogued(dir: Dir<'_>, table: &str, alias: &str) -> Option<String> {
    let (dir, file) = dir.upwards(&["gradle/libs.versions.toml"])?;
    let same = |key: &str| key.replace(['-', '_'], ".") == alias;
    let entry = dir.toml(file)?.get(table)?.entries().iter().find(|entry| same(&entry.key))?;
    let text = |key: &str| entry.node.get(key).and_then(|node| node.text());
    let whole = text("module").or_else(|| text("id")).or_else(|| entry.node.text());
    let pair = || Some(format!("{}:{}", text("group")?, text("name")?));
    whole.map(str::to_owned).or_else(pair)
}

/// Whether a string belongs to the word before it: in the same line.
fn is_near(code: &Code<'_>, word: usize, string: usize) -> bool {
    code.plain().get(word..string).is_some_and(|between| !between.contains('\n'))
}

fn version(code: &Code<'_>) -> Option<(String, usize)> {
    VERSIONS.iter().find_map(|word| {
        let at = code.bare().find(word)?;
        let rest = code.plain().get(at + word.len()..)?.split('\n').next()?;
        // `JavaVersion.VERSION_1_8`, `JvmTarget.JVM_17`, `'17'`, `1.8`.
        let rest = rest.replace("VERSION_1_", "").replace("VERSION_", "").replace("JVM_1_", "").replace("JVM_", "");
        let begin = rest.find(|c: char| c.is_ascii_digit())?;
        let digits: String = rest.get(begin..)?.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        Some((digits, at))
    })
}

/// The newest Java that the wrapper's version of Gradle runs on, where that is not every one.
pub(crate) fn wrapper_java(dir: Dir<'_>) -> Option<Asked> {
    /// Versions of Gradle before which a Java does not run it.
    const BEFORE: [((u32, u32), &str); 4] = [((5, 0), "8"), ((7, 3), "11"), ((8, 5), "17"), ((9, 1), "21")];
    let (dir, file) = dir.upwards(&["gradle/wrapper/gradle-wrapper.properties"])?;
    let (line, rest) = (1..)
        .zip(dir.text(file)?.lines())
        .find_map(|(line, text)| Some((line, text.strip_prefix("distributionUrl")?.split("gradle-").nth(1)?)))?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next()?, numbers.next().unwrap_or(0));
    let (_, java) = BEFORE.iter().find(|(before, _)| version < *before)?;
    Some(((*java).to_owned(), "java.gradle-wrapper", dir.at(file, line)))
}

/// The name of the archive without its end, if the files tell all of it.
fn archive(dir: Dir<'_>, code: &Code<'_>) -> Option<String> {
    let given = |key: &str| {
        let mut lines = code.bare().split_inclusive('\n').scan(0, |start, line| {
            let at = *start;
            *start += line.len();
            Some((at, line))
        });
        let (at, _) = lines.find(|(_, line)| {
            line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(['=', '\'', '"']))
        })?;
        let (value, start) = code.string_from(at)?;
        is_near(code, at, start).then(|| value.to_owned())
    };
    let name = root_name(dir).or_else(|| (dir.root() != ".").then(|| crate::tree::file_name(dir.root()).to_owned()))?;
    let version = given("version").map(|version| format!("-{version}")).unwrap_or_default();
    let stem = format!("{name}{version}");
    let is_plain = stem.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c));
    let renamed = ["archiveFileName", "archiveBaseName", "archivesBaseName", "archiveVersion"];
    let elsewhere = dir.has("gradle.properties")
        && dir.text("gradle.properties").is_some_and(|text| text.lines().any(|line| line.starts_with("version")));
    (is_plain && !elsewhere && !renamed.iter().any(|word| code.word(word).is_some())).then_some(stem)
}

fn root_name(dir: Dir<'_>) -> Option<String> {
    let file = dir.first(&SETTINGS)?;
    let code = Code::of(dir.text(file)?, Syntax::Slash);
    let at = code.bare().find("rootProject.name")?;
    Some(code.string_from(at)?.0.to_owned())
}

/// The root of the build that has this module.
pub(crate) fn workspace(dir: Dir<'_>) -> Option<Dir<'_>> {
    let (root, file) = dir.upwards(&SETTINGS)?;
    let members = included(root, file);
    let is_root = root.root() == dir.root();
    (if is_root { !members.is_empty() } else { members.iter().any(|(member, _)| member == dir.root()) }).then_some(root)
}

/// The directories of the modules that settings include.
fn included(root: Dir<'_>, file: &str) -> Vec<(String, Evidence)> {
    let Some(text) = root.text(file) else { return Vec::new() };
    let code = Code::of(text, Syntax::Slash);
    let mut found = Vec::new();
    for at in code.words("include") {
        let rest = code.bare().get(at..).unwrap_or_default();
        let end = if rest.starts_with("include(") { rest.find(')') } else { rest.find('\n') };
        let end = at + end.unwrap_or(rest.len());
        let mut next = at;
        while let Some((value, start)) = code.string_from(next).filter(|(_, start)| *start < end) {
            let path = value.trim_start_matches(':').replace(':', "/");
            found.extend(joined(root.root(), &path).map(|path| (path, root.at(file, code.line(start)))));
            next = start + value.len() + 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn pkg_09_what_a_build_file_asks_for() {
        let tree = Tree::of([
            (
                "build.gradle",
                "plugins {\n id 'org.springframework.boot' version '3.2.0'\n application\n}\nversion = '1.2'\n// implementation 'no:no:1'\n\
              dependencies {\n implementation 'a.b:c:1'\n testImplementation 't:t:1'\n runtimeOnly(\"d:e\")\n implementation(libs.some.lib)\n}\n\
              java { sourceCompatibility = JavaVersion.VERSION_17 }\n",
            ),
            ("settings.gradle", "rootProject.name = 'shop'\ninclude 'a', ':b:c'\n"),
            ("gradle/libs.versions.toml", "[libraries]\nsome-lib = { module = \"g:lib\", version = \"1\" }\n"),
            ("b/c/build.gradle", ""),
        ]);
        let build = read(Dir::of(&tree, ".")).unwrap();
        let names: Vec<_> = build.dependencies.iter().map(|(name, at)| (name.as_str(), at.line)).collect();
        assert_eq!(
            names,
            [("a.b:c", 8), ("g:lib", 11), ("d:e", 10), ("org.springframework.boot", 2), ("application", 3)]
        );
        assert_eq!(build.java.map(|(version, _, at)| (version, at.line)), Some(("17".to_owned(), 13)));
        assert_eq!(build.archive.as_deref(), Some("shop-1.2.jar"));
        assert_eq!(workspace(Dir::of(&tree, "b/c")).map(|dir| dir.root().to_owned()).as_deref(), Some("."));
    }
}
