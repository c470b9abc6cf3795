//! On which port an application listens: what says so best.

use std::{collections::BTreeMap, sync::LazyLock};

use aho_corasick::{AhoCorasick, MatchKind};

use super::{compose, environment};
use crate::{
    code::{Syntax, line_of, without_comments},
    fact::{Application, Evidence, Fact},
    tree::Tree,
};

/// Calls that listen, behind which a port stands; each with the rule's end.
const LISTENS: [&str; 23] = [
    ".listen(",
    "listen(",
    "ListenAndServe(",
    "ListenAndServeTLS(",
    "net.Listen(",
    ".Run(",
    ".Start(",
    ".Listen(",
    "TcpListener::bind(",
    ".bind(",
    "Bun.serve(",
    "Deno.serve(",
    "serve(",
    "app.run(",
    "uvicorn.run(",
    "web.run_app(",
    "HTTPServer(",
    "TCPServer(",
    "set :port,",
    "HttpServer.create(",
    "Server::http(",
    ".server_port(",
    "run_server(",
];
/// How far behind a call its port may stand, in bytes.
const NEAR: usize = 200;
/// In how many lines behind a variable of the environment it may be said what counts without it.
const LATER: usize = 6;
/// Options in a start command behind which a port stands.
const OPTIONS: [&str; 6] = ["--port", "-p", "-port", "--bind", "-b", "--listen"];

static FINDER: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(LISTENS).ok());

/// Sets the port by what stands above a framework's default.
pub(super) fn decide(tree: &Tree, application: &mut Application, exposed: Option<(u16, Evidence)>, sources: &[&str]) {
    let known = |(port, at): (u16, Evidence), rule: &str| Fact::known(port, rule, vec![at]);
    let composed = || {
        let services = compose::services(tree);
        let own = services.iter().find(|one| one.context().as_deref() == Some(application.root.as_str()));
        own.and_then(compose::Service::port)
    };
    let found = exposed
        .map(|one| known(one, "port.expose"))
        .or_else(|| composed().map(|one| known(one, "port.compose")))
        .or_else(|| in_command(application))
        // What serves a site is ours, and listens where we say.
        .or_else(|| if application.output_dir.is_known() { None } else { in_code(tree, sources) });
    if let Some(found) = found {
        let before = std::mem::replace(&mut application.port, found);
        follow(application, before.value);
    }
}

/// The command that a provider wrote listens where the application does, not on its framework's default.
fn follow(application: &mut Application, before: Option<u16>) {
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

/// A port in the start command.
fn in_command(application: &Application) -> Option<Fact<u16>> {
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

/// What code says of it: first what it takes where `PORT` is not set, then what it listens on.
pub(crate) fn in_code(tree: &Tree, sources: &[&str]) -> Option<Fact<u16>> {
    let mut listening: Option<(u16, Evidence)> = None;
    for file in sources {
        let (Some(text), Some(syntax)) = (tree.text(file), Syntax::of(file)) else { continue };
        let listens = FINDER.as_ref().is_some_and(|finder| finder.is_match(text));
        if !listens && !text.contains("PORT") {
            continue;
        }
        let code = without_comments(text, syntax);
        for read in environment::reads(&code).into_iter().filter(|read| read.name == "PORT") {
            if let Some(port) = default_behind(read.after).or_else(|| given_later(&code, read.line)) {
                return Some(Fact::known(port, "port.environment-default", vec![Evidence::new(*file, read.line)]));
            }
        }
        if listens && listening.is_none() {
            listening = literal(&code).map(|(port, line)| (port, Evidence::new(*file, line)));
        }
    }
    listening.map(|(port, at)| Fact::known(port, "port.listen", vec![at]))
}

/// The number that a statement gives where the variable is not set: the first behind it, before the statement ends.
fn default_behind(after: &str) -> Option<u16> {
    let mut statement = after;
    if let Some(end) = statement.find([';', '{']) {
        statement = &statement[..end];
    }
    // A statement may go on in the next line, where that begins with an operator or a call.
    let mut lines = statement.lines();
    let mut near = lines.next().unwrap_or_default().to_owned();
    for line in lines.take(3) {
        if !line.trim_start().starts_with(['.', '|', '?', '"', '\'', ')', '&', ':'])
            && !near.trim_end().ends_with(['(', ',', '|', '?'])
        {
            break;
        }
        near.push_str(line);
    }
    first_port(&near)
}

/// The number that the name which a line gives a value to has where that value is empty: `if port == "" { port = "8080" }`,
/// `port ? atoi(port) : 8080`.
fn given_later(code: &str, line: u64) -> Option<u16> {
    let mut lines = code.lines().skip(usize::try_from(line).ok()?.checked_sub(1)?);
    let (name, _) = lines.next()?.split_once('=')?;
    let name = name.trim_end_matches(':').split(|c: char| !is_of_name(c)).rfind(|word| !word.is_empty())?;
    let is_it = |text: &str| text.split(|c: char| !is_of_name(c)).any(|word| word == name);
    lines.take(LATER).filter(|line| is_it(line)).find_map(|line| {
        let chosen = line.split_once('?').and_then(|(asked, rest)| is_it(asked).then_some(rest)?.rsplit_once(':'));
        let compares = |to: &str, value: &str| to.ends_with(['!', '<', '>']) || value.starts_with('=');
        let given = || line.split_once('=').filter(|(to, value)| is_it(to) && !compares(to, value));
        number(value_of(chosen.or_else(given)?.1))
    })
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A value at the end of a statement, without its quotes.
fn value_of(text: &str) -> &str {
    text.trim().trim_end_matches([';', ',', '}', ')', ' ']).trim_matches(['"', '\''])
}

/// The port behind a call that listens, or of a name that is given one.
fn literal(code: &str) -> Option<(u16, u64)> {
    let finder = FINDER.as_ref()?;
    let names = numbers(code);
    finder.find_iter(code).find_map(|found| {
        let before = code[..found.start()].chars().next_back();
        let starts_word = !LISTENS[found.pattern().as_usize()].starts_with('.');
        if starts_word && before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            return None;
        }
        let rest = &code[found.end()..];
        let mut end = rest.len().min(NEAR);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let arguments = argument_list(&rest[..end]);
        let first = arguments.trim_start().split([',', ')', ' ', '\n']).next().unwrap_or_default();
        let port = names.get(first).copied().or_else(|| {
            // `{ port: 3000 }`, `port=3000`, `":8080"`, `3000`
            let named = arguments.find("port").and_then(|at| first_port(&arguments[at..]));
            let leading = || number(first.trim_matches(['"', '\'', '`']).rsplit(':').next().unwrap_or(first));
            let address = || {
                let at = arguments
                    .find("0.0.0.0:")
                    .or_else(|| arguments.find("127.0.0.1:"))
                    .or_else(|| arguments.find("\":"))?;
                first_port(&arguments[at..].replace("0.0.0.0", "").replace("127.0.0.1", ""))
            };
            let pair = || {
                ["\"0.0.0.0\"", "'0.0.0.0'", "[0, 0, 0, 0]", "\"\""]
                    .iter()
                    .find_map(|host| arguments.split_once(host).and_then(|(_, rest)| first_port(rest)))
            };
            named.or_else(leading).or_else(address).or_else(pair)
        })?;
        Some((port, line_of(code, found.start())))
    })
}

/// What stands in a call's brackets.
fn argument_list(rest: &str) -> &str {
    let mut depth = 1_i32;
    for (at, character) in rest.char_indices() {
        depth += match character {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        if depth == 0 {
            return &rest[..=at];
        }
    }
    rest
}

/// Names that are given a number which could be a port: `const port = 3000`.
fn numbers(code: &str) -> BTreeMap<&str, u16> {
    let given = code.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        let name = name.trim().trim_end_matches(':').split(':').next()?.split_whitespace().next_back()?;
        Some((name, number(value.trim().trim_end_matches([';', ',']).trim_matches(['"', '\'']))?))
    });
    given.collect()
}

/// The first number in a text that could be a port: of two digits at least.
fn first_port(text: &str) -> Option<u16> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').find_map(number)
}

fn number(text: &str) -> Option<u16> {
    let port: u16 = if text.len() >= 2 { text.parse().ok()? } else { return None };
    (port > 0).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_of_a_provider_follows_the_port() {
        let chosen = crate::Candidate::new(".", 70, "python.manifest", vec![Evidence::new("a.py", 1)]);
        let mut application = Application::of(crate::fact::ProviderName::Python, &chosen);
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
        ] {
            assert_eq!(command_port(command), port, "{command}");
        }
    }

    #[test]
    fn ports_stand_in_code() {
        for (file, code, port, rule) in [
            ("a.js", "const port = process.env.PORT || 3001;\napp.listen(port)", 3001, "port.environment-default"),
            ("a.ts", "serve({ fetch, port: Number(process.env.PORT ?? 8787) })", 8787, "port.environment-default"),
            ("a.js", "const port = 4100\napp.listen(port, () => {})", 4100, "port.listen"),
            ("a.ts", "Bun.serve({\n  port: 3030,\n fetch() {} })", 3030, "port.listen"),
            ("a.go", "log.Fatal(http.ListenAndServe(\":8081\", nil))", 8081, "port.listen"),
            ("a.rs", "TcpListener::bind(\"0.0.0.0:3300\").await", 3300, "port.listen"),
            (
                "a.rs",
                "std::env::var(\"PORT\")\n  .unwrap_or_else(|_| \"3301\".into())",
                3301,
                "port.environment-default",
            ),
            ("a.py", "port = int(os.environ.get('PORT', 5001))", 5001, "port.environment-default"),
            (
                "a.go",
                "port := os.Getenv(\"PORT\")\nif port == \"\" {\n\tport = \"8090\"\n}\nhttp.ListenAndServe(\":\"+port, nil)",
                8090,
                "port.environment-default",
            ),
            (
                "a.cpp",
                "const char *wanted = std::getenv(\"PORT\");\nint port = wanted ? std::atoi(wanted) : 8091;",
                8091,
                "port.environment-default",
            ),
            ("a.rs", "tiny_http::Server::http(\"0.0.0.0:8092\")", 8092, "port.listen"),
            ("a.py", "app.run(host='0.0.0.0', port=5002)", 5002, "port.listen"),
            ("a.rb", "set :port, 4567", 4567, "port.listen"),
            ("a.js", "// app.listen(1234)\nserver.listen({ port: 4200 })", 4200, "port.listen"),
        ] {
            let tree = Tree::of([(file, code)]);
            let found = in_code(&tree, &[file]);
            assert_eq!(found.as_ref().and_then(|one| one.value), Some(port), "{code}");
            assert_eq!(found.and_then(|one| one.rule).as_deref(), Some(rule), "{code}");
        }
        let tree = Tree::of([("a.js", "emitter.on('x', () => {}); array.push(1234); listener.bind(this)")]);
        assert!(in_code(&tree, &["a.js"]).is_none());
        let other = "port := os.Getenv(\"PORT\")\nretries := 8090\nreport = 8091\nif port >= 1024 && port == 22 {\n}\n";
        assert!(in_code(&Tree::of([("a.go", other)]), &["a.go"]).is_none());
    }
}
