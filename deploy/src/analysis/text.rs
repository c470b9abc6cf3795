//! An application as text: a line per known fact.

use std::fmt;

use crate::fact::{Application, Evidence, Fact};

/// How many characters of a script are shown.
const SCRIPT: usize = 37;

/// Writes what is known of an application.
pub(super) fn application(f: &mut fmt::Formatter<'_>, application: &Application) -> fmt::Result {
    let provider = application.provider.value.map(|provider| provider.to_string()).unwrap_or_default();
    let framework = application.framework.value.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
    writeln!(f, "{} ({}): {provider}{framework}", application.name, application.root)?;
    if application.ambiguous {
        writeln!(f, "  ambiguous: something else is nearly as likely")?;
    }
    fact(f, "provider", &application.provider, ToString::to_string)?;
    fact(f, "framework", &application.framework, Clone::clone)?;
    if let Some(workspace) = &application.workspace {
        writeln!(f, "  workspace: {workspace}")?;
    }
    fact(f, "runtime", &application.runtime, Clone::clone)?;
    fact(f, "package manager", &application.package_manager, Clone::clone)?;
    fact(f, "install", &application.install, |commands| chained(commands))?;
    fact(f, "build", &application.build, |commands| chained(commands))?;
    fact(f, "start", &application.start, Clone::clone)?;
    fact(f, "release", &application.release, Clone::clone)?;
    fact(f, "port", &application.port, ToString::to_string)?;
    fact(f, "output", &application.output_dir, Clone::clone)?;
    fact(f, "dockerfile", &application.dockerfile, Clone::clone)?;
    if let Some(assets) = &application.assets {
        fact(f, "assets", &assets.package_manager, Clone::clone)?;
    }
    for variable in &application.env {
        let secret = if variable.secret { " (secret)" } else { "" };
        writeln!(f, "  env: {}{secret} ({})", variable.name, places(&variable.evidence))?;
    }
    for service in &application.services {
        writeln!(f, "  service: {} ({})", service.name, places(&service.evidence))?;
    }
    for (when, packages) in [("build", &application.system_packages.build), ("run", &application.system_packages.run)] {
        if !packages.is_empty() {
            writeln!(f, "  system packages to {when}: {}", packages.join(" "))?;
        }
    }
    for gap in &application.gaps {
        writeln!(f, "  not known: {}", gap.id)?;
    }
    for other in &application.alternatives {
        let role = serde_json::to_value(other.role).unwrap_or_default();
        let role = role.as_str().unwrap_or_default();
        writeln!(f, "  instead of: {} ({role}, {}, {})", other.provider, other.score, places(&other.evidence))?;
    }
    Ok(())
}

fn fact<T, More>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    fact: &Fact<T, More>,
    shown: impl Fn(&T) -> String,
) -> fmt::Result {
    let (Some(value), Some(rule)) = (&fact.value, &fact.rule) else { return Ok(()) };
    let shown = on_one_line(&shown(value));
    let model = fact.model.as_deref().map(|model| format!(" {model}")).unwrap_or_default();
    writeln!(f, "  {name}: {shown} ({rule}{model}, {})", places(&fact.evidence))
}

/// Commands, one after the other.
fn chained(commands: &[String]) -> String {
    commands.iter().map(|command| on_one_line(command)).collect::<Vec<_>>().join(" && ")
}

/// A text as it stands in a line: of a script that stands in a command only how it begins.
fn on_one_line(text: &str) -> String {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    if lines.next().is_none() {
        return first.to_owned();
    }
    let begin: String = first.chars().take(SCRIPT).collect();
    format!("{} …", begin.trim_end())
}

/// The first place, and how many more.
fn places(evidence: &[Evidence]) -> String {
    let Some(first) = evidence.first() else { return "nowhere".to_owned() };
    let more = if evidence.len() > 1 { format!(" and {} more", evidence.len() - 1) } else { String::new() };
    format!("{}:{}{more}", first.file, first.line)
}
