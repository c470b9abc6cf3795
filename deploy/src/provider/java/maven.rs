//! `pom.xml`.

use super::Build;
use crate::{
    document::Element,
    provider::{dir::Dir, tools::Asked},
    tree::joined,
};

pub(crate) const FILE: &str = "pom.xml";
/// What says for which Java it is compiled, the most telling first.
const VERSIONS: [&str; 6] = [
    "maven.compiler.release",
    "java.version",
    "maven.compiler.target",
    "maven.compiler.source",
    "jdk.version",
    "kotlin.compiler.jvmTarget",
];
/// Plugins that make an archive that can be started.
const STARTED: [&str; 5] = [
    "spring-boot-maven-plugin",
    "quarkus-maven-plugin",
    "maven-shade-plugin",
    "maven-assembly-plugin",
    "micronaut-maven-plugin",
];

/// What the build file of a directory says.
pub(crate) fn read(dir: Dir<'_>) -> Option<Build> {
    let evidence = dir.seen(FILE)?;
    let mut build = Build { tool: "maven", evidence: vec![evidence], ..Build::default() };
    let Some(root) = dir.xml(FILE) else { return Some(build) };
    let at = |element: &Element| dir.at(FILE, element.line);
    let name = |element: &Element| {
        let group = element.child("groupId").map_or("org.apache.maven.plugins", |group| group.text.as_str());
        Some(format!("{group}:{}", element.child("artifactId")?.text))
    };
    let plugins = || root.at(&["build", "plugins"]).into_iter().flat_map(|plugins| plugins.children("plugin"));
    let dependencies = root.child("dependencies").into_iter().flat_map(|all| all.children("dependency"));
    let for_running = dependencies.filter(|one| one.child("scope").is_none_or(|scope| scope.text != "test"));
    let all = for_running.chain(root.child("parent")).chain(plugins());
    build.dependencies = all.filter_map(|element| Some((name(element)?, at(element)))).collect();
    build.application = plugins().find_map(|plugin| {
        let artifact = plugin.child("artifactId")?;
        STARTED.contains(&artifact.text.as_str()).then(|| at(artifact))
    });
    build.java = version(dir, root);
    build.name = root.child("artifactId").map(|name| name.text.clone());
    build.is_parent = root.child("packaging").is_some_and(|kind| kind.text == "pom");
    build.archive = archive(root);
    build.needs_server = build.application.is_none() && root.child("packaging").is_some_and(|kind| kind.text == "war");
    Some(build)
}

fn version(dir: Dir<'_>, root: &Element) -> Option<Asked> {
    let asked = |element: &Element, rule| {
        (!element.text.contains('$')).then(|| (element.text.clone(), rule, dir.at(FILE, element.line)))
    };
    let properties = root.child("properties");
    let in_properties = VERSIONS.iter().find_map(|key| asked(properties?.child(key)?, "java.properties"));
    in_properties.or_else(|| {
        let plugins = root.at(&["build", "plugins"])?;
        let compiler = plugins
            .children("plugin")
            .find(|plugin| plugin.child("artifactId").is_some_and(|name| name.text == "maven-compiler-plugin"))?;
        let settings = compiler.child("configuration")?;
        ["release", "target", "source"].iter().find_map(|key| asked(settings.child(key)?, "java.compiler"))
    })
}

/// The name of the archive, if the file tells all of it.
fn archive(root: &Element) -> Option<String> {
    let text = |path: &[&str]| root.at(path).map(|element| element.text.clone());
    let version = text(&["version"]).or_else(|| text(&["parent", "version"]))?;
    let artifact = text(&["artifactId"])?;
    let stem = text(&["build", "finalName"]).unwrap_or_else(|| format!("{artifact}-{version}"));
    let known = [("artifactId", artifact.as_str()), ("name", artifact.as_str()), ("version", version.as_str())];
    let stem = known.iter().fold(stem, |stem, (key, value)| {
        stem.replace(&format!("${{project.{key}}}"), value).replace(&format!("${{{key}}}"), value)
    });
    let kind = text(&["packaging"]).unwrap_or_else(|| "jar".to_owned());
    let is_plain = stem.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c));
    (is_plain && matches!(kind.as_str(), "jar" | "war")).then(|| format!("{stem}.{kind}"))
}

/// The root of the build that has this module.
pub(crate) fn workspace(dir: Dir<'_>) -> Option<Dir<'_>> {
    let mut here = Some(dir);
    let mut found = None;
    while let Some(root) = here {
        let modules = root.xml(FILE).and_then(|pom| pom.child("modules"));
        let mut listed = modules.into_iter().flat_map(|modules| modules.children("module"));
        let is_last = found.unwrap_or(dir);
        let has = listed.any(|module| joined(root.root(), &module.text).as_deref() == Some(is_last.root()));
        if has || (root.root() == dir.root() && modules.is_some()) {
            found = Some(root);
        }
        here = root.above();
    }
    found
}
