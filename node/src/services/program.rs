//! Which program a process runs: its name, its arguments and, for an interpreter, its script.

use super::Process;

/// Programs that start another and have no meaning of their own.
const LAUNCHERS: &[&str] = &[
    "tini",
    "dumb-init",
    "docker-init",
    "catatonit",
    "gosu",
    "su-exec",
    "setpriv",
    "env",
    "nice",
    "npm",
    "yarn",
    "pnpm",
    "mysqld_safe",
    "nodemon",
];
/// The files by which an interpreter starts such a launcher.
const LAUNCHER_SCRIPTS: &[&str] = &["npm-cli.js", "yarn.js", "pnpm.cjs", "nodemon.js"];
const SHELLS: &[&str] = &["sh", "bash", "dash", "ash", "ksh", "zsh", "rbash"];

/// A program and what it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program<'a> {
    /// Its base name.
    pub(super) name: &'a str,
    /// What follows its name, in a title or in its arguments.
    pub(super) args: Vec<&'a str>,
}

/// Names the program of a process; none for a process that has ended and is only waited for.
pub(super) fn of(process: &Process) -> Option<Program<'_>> {
    let executable = process.executable.as_deref();
    let Some(first) = process.args.first().filter(|first| !first.trim().is_empty()) else {
        return executable.map(|path| Program { name: base(path), args: Vec::new() });
    };
    let rest = process.args.iter().skip(1).map(String::as_str);
    if !process.exact_argv && process.args.last().is_some_and(|last| last == "<defunct>") {
        return None;
    }
    if process.exact_argv && executable == Some(first.as_str()) {
        return Some(Program { name: base(first), args: rest.collect() });
    }
    let mut words = first.split_whitespace();
    let word = words.next().unwrap_or_default();
    let named = word.strip_suffix(':').filter(|name| !name.is_empty()).unwrap_or(word);
    let name = base(named);
    let name = name.strip_prefix('-').filter(|name| !name.is_empty()).unwrap_or(name);
    Some(Program { name, args: words.chain(rest).collect() })
}

/// The last part of a path; the mark of a file that was replaced meanwhile is no part of it.
pub(super) fn base(path: &str) -> &str {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path)
}

pub(super) fn is_shell(name: &str) -> bool {
    SHELLS.contains(&name)
}

/// Whether a program, or an interpreter's script, only starts or watches others.
pub(super) fn is_passed_over(name: &str) -> bool {
    is_shell(name)
        || LAUNCHERS.contains(&name)
        || LAUNCHER_SCRIPTS.contains(&name)
        || name == "supervisord"
        || name.starts_with("s6-")
        || name.starts_with("runsv")
        || name.starts_with("systemd")
}

/// A language whose programs are scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Python,
    Node,
    Ruby,
    Php,
    Perl,
}

impl Language {
    /// The language that an interpreter of this name speaks; a version may follow the name.
    pub(super) fn of(name: &str) -> Option<Self> {
        let stem = name.trim_end_matches(|character: char| character.is_ascii_digit() || character == '.');
        match stem {
            "python" | "pypy" => Some(Self::Python),
            "node" | "nodejs" if stem == name => Some(Self::Node),
            "ruby" => Some(Self::Ruby),
            "php" => Some(Self::Php),
            "perl" => Some(Self::Perl),
            _ => None,
        }
    }

    /// The service that a script of the language is, if no rule knows it better.
    pub(super) fn service(self) -> (&'static str, &'static str) {
        match self {
            Self::Python => ("python", "runtime"),
            Self::Node => ("node", "app"),
            Self::Ruby => ("ruby", "runtime"),
            Self::Php => ("php", "runtime"),
            Self::Perl => ("perl", "runtime"),
        }
    }

    /// Options whose value is the next argument, and so no script.
    fn takes_value(self, option: &str) -> bool {
        match self {
            Self::Python => matches!(option, "-W" | "-X" | "--check-hash-based-pycs"),
            Self::Node => matches!(
                option,
                "-r" | "--require" | "--import" | "--loader" | "--experimental-loader" | "-C" | "--conditions"
            ),
            Self::Ruby => matches!(option, "-I" | "-r" | "-C" | "-E"),
            Self::Php => matches!(option, "-d" | "-c" | "-z" | "-t"),
            Self::Perl => matches!(option, "-I"),
        }
    }

    /// The option by which code stands in the arguments, in the form in which it is shown.
    fn inline(self, option: &str) -> Option<&'static str> {
        match (self, option) {
            (Self::Node, "-e" | "--eval" | "-p" | "--print" | "-pe") => Some("-e"),
            (Self::Php, "-r") => Some("-r"),
            (Self::Php, "-S") => Some("-S"),
            (Self::Ruby, _) if cluster_ends(option, 'e', "CEFIKTWrxe") => Some("-e"),
            (Self::Perl, _) if cluster_ends(option, 'e', "CDFIMmVxeE") => Some("-e"),
            (Self::Perl, "-E") => Some("-e"),
            (Self::Python, _) if cluster_ends(option, 'c', "cmWX") => Some("-c"),
            _ => None,
        }
    }
}

/// `-e`, or single letters that end in it, such as `-ne`; none of those before may be one that takes a value.
fn cluster_ends(option: &str, letter: char, valued: &str) -> bool {
    option.strip_prefix('-').and_then(|letters| letters.strip_suffix(letter)).is_some_and(|letters| {
        letters.chars().all(|character| character.is_ascii_alphabetic() && !valued.contains(character))
    })
}

/// What an interpreter runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Script<'a> {
    /// A file, by its base name, with its arguments.
    File(&'a str, Vec<&'a str>),
    /// A Python module, with its arguments.
    Module(&'a str, Vec<&'a str>),
    /// Code in the arguments: the option, and what follows it.
    Inline(&'static str, Vec<&'a str>),
    /// Nothing: a prompt, or a question for the version.
    None,
}

/// Finds the script among an interpreter's arguments.
pub(super) fn script<'a>(language: Language, args: &[&'a str]) -> Script<'a> {
    let after = |place: usize| args.get(place..).unwrap_or_default().to_vec();
    let mut place = 0;
    while let Some(argument) = args.get(place) {
        let next = args.get(place + 1).copied();
        if *argument == "--" || (language == Language::Php && matches!(*argument, "-f" | "--file")) {
            return next.map_or(Script::None, |file| Script::File(base(file), after(place + 2)));
        }
        if !argument.starts_with('-') || *argument == "-" {
            return Script::File(base(argument), after(place + 1));
        }
        if let Some(shown) = language.inline(argument) {
            return Script::Inline(shown, after(place + 1));
        }
        if language == Language::Python {
            if cluster_ends(argument, 'm', "cmWX") {
                return next.map_or(Script::None, |module| Script::Module(module, after(place + 2)));
            }
            if let Some(module) = argument.strip_prefix("-m") {
                return Script::Module(module, after(place + 1));
            }
        }
        place += if language.takes_value(argument) { 2 } else { 1 };
    }
    Script::None
}

/// The first argument that is no option, where `valued` options are followed by a value.
pub(super) fn positional<'a>(args: &[&'a str], valued: &[&str]) -> Option<&'a str> {
    let mut place = 0;
    while let Some(argument) = args.get(place) {
        if !argument.starts_with('-') {
            return Some(argument);
        }
        place += if valued.contains(argument) { 2 } else { 1 };
    }
    None
}

/// The value of an option, written `--option VALUE`, `--option=VALUE` or, for a short one, `-oVALUE`.
pub(super) fn option<'a>(args: &[&'a str], short: &str, long: &str) -> Option<&'a str> {
    args.iter().enumerate().find_map(|(place, argument)| {
        if *argument == short || *argument == long {
            return args.get(place + 1).copied();
        }
        let long = argument.strip_prefix(long).and_then(|rest| rest.strip_prefix('='));
        long.or_else(|| argument.strip_prefix(short).filter(|value| !value.is_empty() && !argument.starts_with("--")))
    })
}
