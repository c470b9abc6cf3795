//! The image that the last stage makes, and how its commands run.

use super::{Instruction, Parsed, Report, stages};

/// Installs that take whatever is newest: the program and its words, and the words of which one pins it.
const INSTALLS: [(&[&str], &[&str]); 13] = [
    (&["npm", "install"], &[]),
    (&["npm", "i"], &[]),
    (&["yarn", "install"], &["--frozen-lockfile", "--immutable"]),
    (&["pnpm", "install"], &["--frozen-lockfile"]),
    (&["pnpm", "i"], &["--frozen-lockfile"]),
    (&["bun", "install"], &["--frozen-lockfile"]),
    (&["pip", "install"], &["--require-hashes", "--no-deps", "--no-index"]),
    (&["pip3", "install"], &["--require-hashes", "--no-deps", "--no-index"]),
    (&["uv", "sync"], &["--frozen", "--locked"]),
    (&["cargo", "build"], &["--locked", "--frozen"]),
    (&["cargo", "install"], &["--locked", "--frozen"]),
    (&["composer", "update"], &[]),
    (&["dotnet", "restore"], &["--locked-mode"]),
];

pub(super) fn look(parsed: &Parsed, report: &mut Report) {
    for found in parsed.instructions.iter().filter(|found| found.keyword == "RUN") {
        command(found, report);
    }
    let stages: Vec<Stage<'_>> = stages_of(parsed);
    let Some(last) = stages.last() else { return };
    user(&stages, last, report);
    let own: Vec<&Instruction> = chain(&stages, last).flat_map(|stage| &stage.instructions).copied().collect();
    for found in last.instructions.iter().filter(|found| matches!(found.keyword.as_str(), "CMD" | "ENTRYPOINT")) {
        if found.exec().is_none() {
            let message = format!(
                "{} runs through a shell, which takes the signals that are meant for the program",
                found.keyword
            );
            report.warn("shell-form-cmd", found.line, message, "write the JSON form: [\"program\", \"word\"]");
        }
    }
    let exposed: Vec<u16> = own
        .iter()
        .filter(|found| found.keyword == "EXPOSE")
        .flat_map(|found| found.words())
        .filter_map(|word| ports(&word))
        .flatten()
        .collect();
    let expose = own.iter().find(|found| found.keyword == "EXPOSE");
    if let Some(expose) = expose
        && !own.iter().any(|found| found.keyword == "HEALTHCHECK")
    {
        report.warn(
            "no-health-check",
            expose.line,
            "nobody looks whether what listens there is well",
            "add HEALTHCHECK CMD [\"program\", \"word\"]",
        );
    }
    for found in &own {
        if let Some(port) = listens(found).filter(|port| !exposed.contains(port)) {
            let message = format!("it listens on port {port}, which is not exposed");
            report.warn("port-not-exposed", found.line, message, format!("add EXPOSE {port}"));
        }
    }
}

/// A stage.
struct Stage<'a> {
    from: &'a Instruction,
    instructions: Vec<&'a Instruction>,
}

fn stages_of(parsed: &Parsed) -> Vec<Stage<'_>> {
    let mut stages: Vec<Stage<'_>> = Vec::new();
    for found in &parsed.instructions {
        if found.keyword == "FROM" {
            stages.push(Stage { from: found, instructions: Vec::new() });
        } else if let Some(stage) = stages.last_mut() {
            stage.instructions.push(found);
        }
    }
    stages
}

/// A stage and those that it stands on, the nearest first.
fn chain<'a>(stages: &'a [Stage<'a>], last: &'a Stage<'a>) -> impl Iterator<Item = &'a Stage<'a>> {
    std::iter::successors(Some((stages.len().saturating_sub(1), last)), |(index, stage)| {
        let image = stages::image(stage.from).to_ascii_lowercase();
        // Only a stage above counts, so this ends.
        let before = stages.get(..*index)?;
        before.iter().enumerate().rfind(|(_, other)| stages::name(other.from).as_ref() == Some(&image))
    })
    .map(|(_, stage)| stage)
}

fn user(stages: &[Stage<'_>], last: &Stage<'_>, report: &mut Report) {
    const HINT: &str = "add USER with a number that is not 0: USER 10001:10001";
    let mut all =
        chain(stages, last).filter_map(|stage| stage.instructions.iter().rfind(|found| found.keyword == "USER"));
    let Some(found) = all.next() else {
        report.warn(
            "root-user",
            last.from.line,
            "no USER is named, so the image's own counts, which is mostly root",
            HINT,
        );
        return;
    };
    let user = found.rest.split(':').next().unwrap_or_default().trim_matches(['"', '\'', ' ']);
    if user == "root" || user.parse() == Ok(0) {
        report.warn("root-user", found.line, "it runs as root", HINT);
    }
}

/// The ports of one word of `EXPOSE`: `80`, `80/tcp`, `8000-8010`.
pub(super) fn ports(word: &str) -> Option<Vec<u16>> {
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    if !matches!(protocol.to_ascii_lowercase().as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last).then(|| (first..=last).collect())
}

/// On which port an instruction says that the program listens.
fn listens(found: &Instruction) -> Option<u16> {
    match found.keyword.as_str() {
        "ENV" => {
            let (_, value) = found
                .rest
                .split_whitespace()
                .filter_map(|word| word.split_once('='))
                .find(|(name, _)| *name == "PORT")?;
            value.trim_matches('"').parse().ok()
        }
        "CMD" | "ENTRYPOINT" => {
            let words = found.words();
            let mut words =
                words.iter().flat_map(|word| word.split_whitespace()).map(|word| word.trim_matches(['"', '\'', ',']));
            let mut before = "";
            words.find_map(|word| {
                let named = before == "--port" || (before == "-p" && !word.contains(':'));
                before = word;
                let value = if named { Some(word) } else { word.strip_prefix("--port=") };
                value.or_else(|| word.rsplit_once("0.0.0.0:").map(|(_, port)| port)).and_then(|port| port.parse().ok())
            })
        }
        _ => None,
    }
}

fn command(found: &Instruction, report: &mut Report) {
    let text = format!("{} {}", found.words().join(" "), found.documents.concat());
    let has_mount = found.flags.iter().any(|flag| flag.starts_with("--mount") && flag.contains("/var/lib/apt"));
    if (text.contains("apt-get ") || text.contains("apt "))
        && text.contains(" install")
        && !text.contains("/var/lib/apt/lists")
        && !has_mount
    {
        let hint = "end the same RUN with: && rm -rf /var/lib/apt/lists/*";
        report.warn("apt-no-clean", found.line, "the lists of packages stay in the image", hint);
    }
    for part in text.split(['&', ';', '|', '\n']) {
        let words: Vec<&str> = part.split_whitespace().map(|word| word.trim_matches(['"', '\''])).collect();
        let Some((install, _)) = INSTALLS.iter().find(|(install, pins)| is_open(&words, install, pins)) else {
            continue;
        };
        let message = format!("{} takes whatever is newest", install.join(" "));
        report.warn("unlocked", found.line, message, "keep a lock file in the project, and install what it says");
    }
}

/// Whether a command is such an install, and nothing in it pins what is installed.
fn is_open(words: &[&str], install: &[&str], pins: &[&str]) -> bool {
    // `python -m pip install` and `sudo npm install` are installs as well.
    let Some(begin) = words.windows(install.len()).position(|window| window == install) else { return false };
    let rest = words.get(begin + install.len()..).unwrap_or_default();
    let is_pinned = pins.iter().any(|pin| rest.contains(pin));
    let named: Vec<&&str> = rest.iter().filter(|word| !word.starts_with('-') && !word.starts_with('/')).collect();
    let has_versions = !named.is_empty() && named.iter().all(|word| has_version(word));
    !is_pinned && !has_versions
}

/// Whether a package is named with its version: `pnpm@9.1.0`, `flask==3.0.0`.
fn has_version(word: &str) -> bool {
    let version = word.rsplit_once("==").or_else(|| word.rsplit_once('@')).map(|(_, version)| version);
    version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.'))
}
