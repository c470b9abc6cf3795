//! What the start command says of the port: the option that names it, or the server that it starts.

use super::number;
use crate::fact::{Application, Fact};

/// Options behind which a port stands.
const OPTIONS: [&str; 11] =
    ["--port", "-p", "-port", "--bind", "-b", "--listen", "-l", "-S", "--server.port", "-Dserver.port", "-Dhttp.port"];
/// Servers by the commands that start them, each with its port where nothing tells another, if that is not the framework's.
const SERVERS: [(&str, u16); 6] = [
    ("rackup", 9292),
    ("thin", 3000),
    ("unicorn", 8080),
    ("waitress-serve", 8080),
    ("flask run", 5000),
    ("streamlit run", 8501),
];
/// Where Sinatra listens that is started as a file.
const SINATRA: u16 = 4567;

/// The command that a provider wrote listens where the application does, not on its framework's default.
pub(super) fn follow(application: &mut Application, before: Option<u16>) {
    let (Some(before), Some(port)) = (before, application.port.value) else { return };
    let start = &mut application.start;
    if before == port || !start.rule.as_deref().is_some_and(is_derived) {
        return;
    }
    let moved = |text: &str| {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
            let (head, tail) = rest.split_at(at);
            let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
            let (digits, after) = tail.split_at(end);
            let stands_alone = head.ends_with([' ', ':', '=']) || (head.is_empty() && out.is_empty());
            let is_it = stands_alone && !after.starts_with('.') && digits == before.to_string();
            out.push_str(head);
            out.push_str(&if is_it { port.to_string() } else { digits.to_owned() });
            rest = after;
        }
        out + rest
    };
    start.value = start.value.as_deref().map(moved);
    start.more.argv = start.more.argv.iter().map(|word| moved(word)).collect();
}

/// The port that the start command names.
pub(super) fn of(application: &Application) -> Option<Fact<u16>> {
    let command = application.start.value.as_deref()?;
    // A provider that knows what the command leads to has looked already.
    if application.port.rule.as_deref() == Some("port.command") {
        return Some(application.port.clone());
    }
    // What the provider itself wrote follows from the default that it gave.
    if application.port.is_known() && application.start.rule.as_deref().is_some_and(is_derived) {
        return None;
    }
    let port = command_port(command)?;
    Some(Fact::known(port, "port.command", application.start.evidence.clone()))
}

/// Whether a rule is a provider's, who puts its own port into the command.
fn is_derived(rule: &str) -> bool {
    !["procfile.", "manifest.", "railpack.", "nixpacks."].iter().any(|prefix| rule.starts_with(prefix))
}

/// The port that a command names: behind an option, `PORT=` or an address.
pub(crate) fn command_port(command: &str) -> Option<u16> {
    let words: Vec<&str> = command.split_whitespace().map(|word| word.trim_matches(['"', '\''])).collect();
    for (index, word) in words.iter().enumerate() {
        let value = OPTIONS.iter().find_map(|option| {
            let rest = word.strip_prefix(option)?;
            if rest.is_empty() { words.get(index + 1).copied() } else { rest.strip_prefix('=') }
        });
        let value = value.or_else(|| word.strip_prefix("PORT="));
        if let Some(port) = value.and_then(|value| number(value.rsplit(':').next().unwrap_or(value))) {
            return Some(port);
        }
        // ${PORT:-8000}
        let default = word.split_once("PORT:-").and_then(|(_, rest)| number(rest.split('}').next()?));
        let address = word.strip_prefix("0.0.0.0:").and_then(number);
        if let Some(port) = default.or(address) {
            return Some(port);
        }
    }
    None
}

/// Where the server listens that a command of the project starts, which may be another than that of its framework.
pub(super) fn of_server(application: &Application) -> Option<Fact<u16>> {
    let start = &application.start;
    if start.rule.as_deref().is_none_or(is_derived) {
        return None;
    }
    // What stands before the last command only prepares it.
    let last = start.value.as_deref()?.rsplit([';', '&', '|']).next()?;
    let words = format!(" {} ", last.split_whitespace().collect::<Vec<_>>().join(" "));
    let runs = |name: &str| words.contains(&format!(" {name} "));
    let is_sinatra = application.framework.value.as_deref() == Some("sinatra") && runs("ruby");
    let server = SERVERS.iter().find(|(name, _)| runs(name));
    let port = if is_sinatra { SINATRA } else { server?.1 };
    Some(Fact::known(port, "port.server", start.evidence.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fact::{Evidence, ProviderName},
        provider::Candidate,
    };

    #[test]
    fn the_command_of_a_provider_follows_the_port() {
        let chosen = Candidate::new(".", 70, "python.manifest", vec![Evidence::new("a.py", 1)]);
        let mut application = Application::of(ProviderName::Python, &chosen);
        for (rule, expected) in [
            ("python.object", "x --bind 0.0.0.0:9000 -p 9000 a8000:b"),
            ("procfile.web", "x --bind 0.0.0.0:8000 -p 8000 a8000:b"),
        ] {
            application.start =
                Fact::command("x --bind 0.0.0.0:8000 -p 8000 a8000:b", rule, vec![Evidence::new("a.py", 1)]);
            application.port = Fact::known(9000, "port.expose", vec![Evidence::new("Dockerfile", 1)]);
            follow(&mut application, Some(8000));
            assert_eq!(application.start.value.as_deref(), Some(expected));
            assert_eq!(application.start.more.argv.join(" "), expected);
        }
    }

    #[test]
    fn ports_stand_in_commands() {
        for (command, port) in [
            ("gunicorn --bind 0.0.0.0:8080 a:b", Some(8080)),
            ("next start -p 3001", Some(3001)),
            ("uvicorn a:b --port=${PORT:-9000}", Some(9000)),
            ("PORT=4000 node x", Some(4000)),
            ("node index.js", None),
            ("node --port $PORT", None),
            ("java -Dserver.port=8085 -jar a.jar", Some(8085)),
            ("php -S 0.0.0.0:8086 -t public", Some(8086)),
        ] {
            assert_eq!(command_port(command), port, "{command}");
        }
    }

    #[test]
    fn a_server_that_the_project_starts_has_its_own_port() {
        let chosen = Candidate::new(".", 70, "ruby.gemfile", vec![Evidence::new("Gemfile", 1)]);
        let mut application = Application::of(ProviderName::Ruby, &chosen);
        application.framework = Fact::known("sinatra".to_owned(), "ruby.framework", Vec::new());
        for (command, rule, port) in [
            ("ruby app.rb", "procfile.web", Some(4567)),
            ("RACK_ENV=production bundle exec thin start", "procfile.web", Some(3000)),
            ("bundle exec puma", "procfile.web", None),
            ("flask db upgrade && flask run", "procfile.web", Some(5000)),
            ("flask run-jobs; gunicorn a:b", "procfile.web", None),
            ("bundle exec rackup", "ruby.rack", None),
        ] {
            application.start = Fact::command(command, rule, vec![Evidence::new("Procfile", 1)]);
            assert_eq!(of_server(&application).and_then(|port| port.value), port, "{command}");
        }
    }
}
