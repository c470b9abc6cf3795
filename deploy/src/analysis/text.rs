//! An application as text: a line per known fact.

use std::fmt;

use crate::fact::{Application, Evidence, Fact};

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
    fact(f, "install", &application.install, |commands| commands.join(" && "))?;
    fact(f, "build", &application.build, |commands| commands.join(" && "))?;
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
    let shown = shown(value);
    // A script that stands in a command is not told line by line.
    let mut lines = shown.lines();
    let Some(first) = lines.next() else { return Ok(()) };
    let shown = if lines.next().is_some() { format!("{first} …") } else { first.to_owned() };
    writeln!(f, "  {name}: {shown} ({rule}, {})", places(&fact.evidence))
}

/// The first place, and how many more.
fn places(evidence: &[Evidence]) -> String {
    let Some(first) = evidence.first() else { return "nowhere".to_owned() };
    let more = if evidence.len() > 1 { format!(" and {} more", evidence.len() - 1) } else { String::new() };
    format!("{}:{}{more}", first.file, first.line)
}
