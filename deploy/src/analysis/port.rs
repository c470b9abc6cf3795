//! On which port an application listens: what says so best.

mod command;

use std::{collections::BTreeMap, sync::LazyLock};

use aho_corasick::{AhoCorasick, MatchKind};

pub(crate) use command::command_port;

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
        .or_else(|| command::of(application))
        // What serves a site is ours, and listens where we say.
        .or_else(|| if application.output_dir.is_known() { None } else { in_code(tree, sources) })
        .or_else(|| command::of_server(application));
    if let Some(found) = found {
        let before = std::mem::replace(&mut application.port, found);
        command::follow(application, before.value);
    }
}

/// What code says of it: first what it takes where `PORT` is not set, then what it listens on.
pub(crate) fn in_code(tree: &Tree, sources: &[&str]) -> Option<Fact<u16>> {
    let mut listening: Option<(u16, Evidence)> = None;
    for file in sources {
        let Some(text) = tree.text(file) else { continue };
        let Some(syntax) = Syntax::of_file(file, text) else { continue };
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
        let told = || schema(&code).filter(|_| syntax == Syntax::Script);
        if let Some((port, line)) = destructured(&code).or_else(told) {
            return Some(Fact::known(port, "port.environment-default", vec![Evidence::new(*file, line)]));
        }
        if listens && listening.is_none() {
            listening = literal(&code).map(|(port, line)| (port, Evidence::new(*file, line)));
        }
    }
    listening.map(|(port, at)| Fact::known(port, "port.listen", vec![at]))
}

/// The number that is taken out of the environment's object where that has none: `const { PORT = 3000 } = process.env`.
fn destructured(code: &str) -> Option<(u16, u64)> {
    let end = code.match_indices("process.env").map(|(at, _)| code[..at].trim_end()).find_map(|before| {
        let names = before.strip_suffix('=')?.trim_end().strip_suffix('}')?;
        let mut start = names.len().saturating_sub(NEAR);
        while !names.is_char_boundary(start) {
            start += 1;
        }
        Some((start + names[start..].rfind('{')? + 1, names.len()))
    });
    let (start, end) = end?;
    let mut at = start;
    code[start..end].split(',').find_map(|entry| {
        let name = at + entry.len() - entry.trim_start().len();
        at += entry.len() + 1;
        let rest = entry.trim_start().strip_prefix("PORT")?.trim_start();
        let (_, value) = rest.split_once('=').filter(|_| rest.starts_with(['=', ':']))?;
        Some((number(value_of(value))?, line_of(code, name)))
    })
}

/// The default that a schema of the environment gives: `PORT: z.coerce.number().default(3000)`.
fn schema(code: &str) -> Option<(u16, u64)> {
    code.match_indices("PORT:").find_map(|(at, key)| {
        let is_key = !code[..at].ends_with(|c: char| is_of_name(c) || c == '.');
        let value = code.get(at + key.len()..).filter(|_| is_key).map(near)?;
        let mut depth = 0_i32;
        let end = value.find(|c| {
            depth += match c {
                '(' | '[' | '{' => 1,
                ')' | ']' | '}' => -1,
                _ => 0,
            };
            depth < 0 || depth == 0 && c == ','
        });
        let value = &value[..end.unwrap_or(value.len())];
        let default = value.find("default").or_else(|| value.find("Default"))?;
        Some((first_port(&value[default..])?, line_of(code, at)))
    })
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
        let arguments = argument_list(near(rest));
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

/// The begin of a text: what belongs to a call or a name stands near it.
fn near(text: &str) -> &str {
    let mut end = text.len().min(NEAR);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
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
            (
                "a.ts",
                "z.object({ A: z.string(),\n  PORT: z.coerce.number().int().default(3305) })",
                3305,
                "port.environment-default",
            ),
            ("a.ts", "envsafe({ PORT: port({\n  devDefault: 3306,\n }) })", 3306, "port.environment-default"),
            ("a.ts", "x({ PORT: number(), AGE: number().default(99) }); f.listen(3307)", 3307, "port.listen"),
            ("a.js", "const { HOST,\n  PORT = 3302 } = process.env", 3302, "port.environment-default"),
            ("a.js", "const { PORT: port = '3303' } = process.env", 3303, "port.environment-default"),
            (
                "A.java",
                "int port = Integer.parseInt(System.getenv().getOrDefault(\"PORT\", \"8093\"));",
                8093,
                "port.environment-default",
            ),
            (
                "bin/www",
                "#!/usr/bin/env node\nvar port = normalizePort(process.env.PORT || '3304');",
                3304,
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
