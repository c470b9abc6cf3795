//! The table of known services: what a program, with its arguments and its executable, is.
//!
//! Words are compared whole and by case; nothing is ever a service because its name contains that of one.

use super::program::{self, Language, Program, Script, base, option, positional};

/// Executables that run under many names, so that their argv\[0\] alone proves nothing.
const MULTI_CALL: &[&str] = &["busybox", "toybox", "coreutils"];
/// How often `bundle exec` may stand within `bundle exec`: arguments come from outside.
const MAX_BUNDLES: u8 = 2;
const SHELL_EXECUTABLES: &[&str] = &["sh", "bash", "dash"];

/// What a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A launcher, supervisor or shell, under its name.
    PassedOver(String),
    /// A service.
    Service(Known),
    /// A helper that a Python program has started: part of its parent's service, or else the service given.
    Helper(Known),
    /// A program that no rule knows.
    Unknown(String),
}

/// A service that a rule knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) role: &'static str,
    pub(super) detail: Option<String>,
}

impl Known {
    fn new(name: &str, role: &'static str) -> Self {
        Self { name: name.to_owned(), role, detail: None }
    }

    fn detailed(mut self, detail: Option<&str>) -> Self {
        self.detail = detail.map(str::to_owned);
        self
    }
}

/// Judges one program by its name, its arguments and its executable's path.
pub(super) fn classify(program: &Program<'_>, executable: Option<&str>) -> Verdict {
    let name = program.name;
    let executable = executable.map(base);
    if let Some(shell) = executable.filter(|base| SHELL_EXECUTABLES.contains(base)) {
        return if program::is_shell(name) { passed(name) } else { unknown(shell) };
    }
    if executable == Some("sleep") {
        return unknown("sleep");
    }
    if let Some(multi) = executable.or(Some(name)).filter(|base| MULTI_CALL.contains(base)) {
        return applet(multi, program);
    }
    if executable.is_some_and(|base| base.starts_with("systemd")) {
        return passed(name);
    }
    run(name, &program.args, executable, MAX_BUNDLES)
}

/// The service whose program an executable of this name is, whatever it was called by.
pub(super) fn of_executable(path: &str) -> Option<String> {
    let name = base(path);
    if let Some(language) = Language::of(name) {
        return Some(language.service().0.to_owned());
    }
    match name {
        // Distributions ship these as one file under several names.
        "redis-check-rdb" | "redis-check-aof" => Some("redis".to_owned()),
        "java" | "caddy" => Some(name.to_owned()),
        "beam.smp" => Some("erlang".to_owned()),
        _ if is_exporter(name) => Some(name.to_owned()),
        _ => direct(name, &[], Some(name)).map(|known| known.name),
    }
}

/// The role of a service by its name; `unknown` for names that are not in the table.
pub(super) fn role_of(service: &str) -> &'static str {
    match service {
        "nginx" | "apache" | "caddy" | "busybox-httpd" => "web",
        "haproxy" | "traefik" | "envoy" | "pgbouncer" | "mongos" => "proxy",
        "node" | "gunicorn" | "uvicorn" | "hypercorn" | "daphne" | "flask" | "django" | "flower" | "puma"
        | "unicorn" | "rails" | "php-fpm" | "tomcat" => "app",
        "celery" | "celery-beat" | "rq" | "sidekiq" | "resque" => "worker",
        "python" | "ruby" | "php" | "perl" | "java" | "erlang" => "runtime",
        "kafka" | "zookeeper" | "rabbitmq" | "nats" => "queue",
        "elasticsearch" | "postgres" | "mysql" | "mariadb" | "mongodb" => "database",
        "redis" | "valkey" | "redis-sentinel" | "valkey-sentinel" | "memcached" => "cache",
        other if is_exporter(other) => "metrics",
        _ => "unknown",
    }
}

fn passed(name: &str) -> Verdict {
    Verdict::PassedOver(name.to_owned())
}

fn unknown(name: &str) -> Verdict {
    Verdict::Unknown(name.to_owned())
}

fn is_exporter(name: &str) -> bool {
    ["_exporter", "-exporter"].iter().any(|end| name.strip_suffix(end).is_some_and(|rest| !rest.is_empty()))
}

fn run(name: &str, args: &[&str], executable: Option<&str>, bundles: u8) -> Verdict {
    if name == "bundle" && args.first() == Some(&"exec") {
        return bundled(args.get(1..).unwrap_or_default(), bundles);
    }
    if program::is_passed_over(name) {
        return passed(name);
    }
    if is_exporter(name) {
        return Verdict::Service(Known::new(name, "metrics"));
    }
    if let Some(language) = Language::of(name) {
        return interpreted(language, name, args, bundles);
    }
    if name == "java" {
        return java(args);
    }
    direct(name, args, executable).map_or_else(|| unknown(name), Verdict::Service)
}

/// What `bundle exec` runs, mostly within its own process.
fn bundled(args: &[&str], bundles: u8) -> Verdict {
    let (Some((program, rest)), Some(left)) = (args.split_first(), bundles.checked_sub(1)) else {
        return passed("bundle");
    };
    match run(base(program), rest, None, left) {
        Verdict::Unknown(script) => Verdict::Service(Known::new("ruby", "runtime").detailed(Some(&script))),
        other => other,
    }
}

/// One of the many names of a multi-call program.
fn applet(multi: &str, program: &Program<'_>) -> Verdict {
    let called = if program.name == multi {
        let first = program.args.first().copied().unwrap_or_default();
        let first = first
            .strip_prefix("--coreutils-prog-shebang=")
            .or_else(|| first.strip_prefix("--coreutils-prog="))
            .unwrap_or(first);
        base(first)
    } else {
        program.name
    };
    if called.is_empty() || called.starts_with('-') {
        return unknown(multi);
    }
    if program::is_passed_over(called) {
        return passed(called);
    }
    if multi == "busybox" && called == "httpd" {
        return Verdict::Service(Known::new("busybox-httpd", "web"));
    }
    match run(called, &[], None, 0) {
        Verdict::Unknown(_) if Language::of(called).is_none() => unknown(called),
        _ => unknown(multi),
    }
}

/// A program that is no interpreter, by its name, or a script that has its name.
fn direct(name: &str, args: &[&str], executable: Option<&str>) -> Option<Known> {
    let known = |service: &str| Some(Known::new(service, role_of(service)));
    match name {
        "httpd" if executable.is_none() && looks_like_busybox(args) => known("busybox-httpd"),
        "apache2" | "httpd" => known("apache"),
        "caddy" => match positional(args, &[]) {
            Some("run" | "start" | "file-server" | "reverse-proxy") => known("caddy"),
            _ => None,
        },
        "postgres" | "postmaster" => known("postgres"),
        "mysqld" if executable == Some("mariadbd") => known("mariadb"),
        "mysqld" => known("mysql"),
        "mariadbd" => known("mariadb"),
        "redis-server" | "valkey-server" | "redis-sentinel" | "valkey-sentinel" => {
            let sentinel =
                name.ends_with("-sentinel") || args.iter().any(|word| matches!(*word, "--sentinel" | "[sentinel]"));
            let valkey = name.starts_with("valkey") || matches!(executable, Some("valkey-server" | "valkey-sentinel"));
            known(match (valkey, sentinel) {
                (false, false) => "redis",
                (false, true) => "redis-sentinel",
                (true, false) => "valkey",
                (true, true) => "valkey-sentinel",
            })
        }
        "mongod" => known("mongodb"),
        "nats-server" => known("nats"),
        "beam.smp" => {
            let rabbit = args.windows(2).any(|pair| matches!(pair, ["-s", "rabbit"]));
            known(if rabbit { "rabbitmq" } else { "erlang" })
        }
        "nginx" | "haproxy" | "traefik" | "envoy" | "pgbouncer" | "memcached" | "mongos" => known(name),
        _ if is_php_fpm(name) => known("php-fpm"),
        _ => python_program(name, args).or_else(|| ruby_program(name, args)),
    }
}

/// Busybox's `httpd` where only the title is known: the other one has no `-p`, ends at once with `-h`, and its `-f`
/// takes a file.
fn looks_like_busybox(args: &[&str]) -> bool {
    args.iter().any(|argument| matches!(*argument, "-p" | "-h" | "-vv"))
        || args
            .iter()
            .position(|argument| *argument == "-f")
            .is_some_and(|place| args.get(place + 1).is_none_or(|next| next.starts_with('-')))
}

fn is_php_fpm(name: &str) -> bool {
    name.strip_prefix("php-fpm").is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

fn python_program(name: &str, args: &[&str]) -> Option<Known> {
    let known = |service: &str| Some(Known::new(service, role_of(service)));
    match name {
        "gunicorn" => {
            let class = option(args, "-k", "--worker-class");
            let titled = args.iter().find(|word| word.starts_with('[') && word.ends_with(']'));
            known(name).map(|known| {
                known.detailed(class.or_else(|| application(args)).or(titled.map(|word| word.trim_matches(['[', ']']))))
            })
        }
        "uvicorn" | "hypercorn" | "daphne" => known(name).map(|known| known.detailed(application(args))),
        "flower" => known(name),
        "flask" if positional(args, &["-A", "--app", "-e", "--env-file"]) == Some("run") => known(name),
        "manage.py" | "django-admin" | "django" if positional(args, &[]) == Some("runserver") => known("django"),
        "celery" => {
            let valued = ["-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir"];
            match positional(args, &valued) {
                Some("worker") => known("celery"),
                Some("beat") => known("celery-beat"),
                Some("flower") => known("flower"),
                _ => None,
            }
        }
        // The titles that its processes give themselves.
        "[celeryd" => known("celery"),
        "[celery" if args.first().is_some_and(|word| word.starts_with("beat]")) => known("celery-beat"),
        "rq" if positional(args, &[]) == Some("worker") => known(name),
        _ => None,
    }
}

/// The application of an application server: `MODULE:NAME`.
fn application<'a>(args: &[&'a str]) -> Option<&'a str> {
    args.iter().copied().find(|argument| {
        let Some((module, name)) = argument.split_once(':') else { return false };
        let word = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '(' | ')'))
        };
        word(module) && word(name)
    })
}

fn ruby_program(name: &str, args: &[&str]) -> Option<Known> {
    let known = |service: &str| Some(Known::new(service, role_of(service)));
    match name {
        "puma" | "unicorn" | "sidekiq" | "resque" => known(name),
        "rails" if matches!(positional(args, &[]), Some("server" | "s")) => known(name),
        // Its title begins with name and version: `resque-2.0.0: Waiting for *`.
        _ => name
            .strip_prefix("resque-")
            .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            .and_then(|_| known("resque")),
    }
}

fn interpreted(language: Language, name: &str, args: &[&str], bundles: u8) -> Verdict {
    let (service, role) = language.service();
    let runtime = |detail: &str| Known::new(service, role).detailed(Some(detail));
    match program::script(language, args) {
        Script::None => unknown(name),
        Script::Inline(shown, rest) => {
            let known = runtime(shown);
            if language == Language::Python && is_helper(&rest) {
                Verdict::Helper(known)
            } else {
                Verdict::Service(known)
            }
        }
        Script::File(script, rest)
            if language == Language::Ruby && script == "bundle" && rest.first() == Some(&"exec") =>
        {
            bundled(rest.get(1..).unwrap_or_default(), bundles)
        }
        Script::File(script, _) if program::is_passed_over(script) => passed(script),
        Script::Module("supervisor.supervisord", _) => passed("supervisord"),
        Script::File(script, rest) | Script::Module(script, rest) => {
            let known = match language {
                Language::Python => python_program(script, &rest),
                Language::Ruby => ruby_program(script, &rest),
                Language::Node | Language::Php | Language::Perl => None,
            };
            Verdict::Service(known.unwrap_or_else(|| runtime(script)))
        }
    }
}

/// Whether code on the command line is what `multiprocessing` gives its helpers.
fn is_helper(code: &[&str]) -> bool {
    match code {
        [first, ..] if first.starts_with("from multiprocessing.") => true,
        ["from", second, ..] => second.starts_with("multiprocessing."),
        _ => false,
    }
}

fn java(args: &[&str]) -> Verdict {
    const VALUED: &[&str] = &[
        "-cp",
        "-classpath",
        "--class-path",
        "-p",
        "--module-path",
        "--add-modules",
        "--add-opens",
        "--add-exports",
        "--add-reads",
        "--limit-modules",
        "--upgrade-module-path",
        "--patch-module",
    ];
    let mut place = 0;
    let main = loop {
        let Some(argument) = args.get(place) else { return unknown("java") };
        let next = args.get(place + 1).copied();
        match *argument {
            "-jar" => break next.map(base),
            "-m" | "--module" => break next.map(|module| module.rsplit('/').next().unwrap_or(module)),
            option if VALUED.contains(&option) => place += 2,
            option if option.starts_with(['-', '@']) => place += 1,
            class => break Some(class),
        }
    };
    let Some(main) = main else { return unknown("java") };
    let product = match main {
        "org.apache.catalina.startup.Bootstrap" => "tomcat",
        "kafka.Kafka" => "kafka",
        "org.apache.zookeeper.server.quorum.QuorumPeerMain" | "org.apache.zookeeper.server.ZooKeeperServerMain" => {
            "zookeeper"
        }
        "org.elasticsearch.bootstrap.Elasticsearch" => "elasticsearch",
        // It starts the server as its child and waits for it.
        "org.elasticsearch.launcher.CliToolLauncher" if args.contains(&"-Dcli.name=server") => return passed("java"),
        _ => return Verdict::Service(Known::new("java", "runtime").detailed(Some(main))),
    };
    Verdict::Service(Known::new(product, role_of(product)))
}
