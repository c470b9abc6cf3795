//! The command line: what can be said, and how it is read.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use aigis_proxy::{MeshName, quoted, services::chains::skills};
use aigis_registry::resolve::distance;
use clap::{
    Args, Command as Parser, CommandFactory, FromArgMatches, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{
    command::{
        analyze::Analyze, apps::Apps, assistants::Assistants, audit::Audit, call::Call, chains::Chains,
        completions::Completions, deploy::Deploy, deployments::Deployments, describe::Describe, dockerfile::Dockerfile,
        doctor::Doctor, down::Down, events::Events, exec::Exec, join::Join, list::List, logs::Logs, man::Man,
        manifests::Manifests, message::Message, nodes::Nodes, packages::Packages, plugins::Plugins, push::Push,
        sdk_bridge::SdkBridge, secrets::Secrets, tokens::Tokens, up::Up, users::Users, why::Why, wrap::Wrap,
    },
    duration,
    exit::{Failure, Usage},
    output::Color,
};

/// The word under which a message is parsed: nobody can type it as a command, because no name has a space.
const MESSAGE: &str = "to ci";
/// More than any sensible command line; input of that size comes by a pipe.
const MAX_BYTES: usize = 1024 * 1024;

/// Words that are no commands, and what they mean.
const MEANT: [(&str, &str); 4] = [
    ("build", "aish packages build"),
    ("help", "aish --help"),
    ("rollback", "aish deployments rollback"),
    ("undeploy", "aish deployments remove"),
];

/// What the exit codes mean, for the help, the manual page and the book.
pub(crate) const EXIT_CODES: &str = "Exit codes: 0 answered; 1 failed; 2 bad command line; 65 bad data, or a message \
    that ran nothing; 68 no such CI, or several; 69 known and not reachable; 70 a fault of ours; 75 too late; 77 denied; \
    130 interrupted. `exec` passes on the command's own.";

/// Talks to the containers of a mesh.
#[derive(Debug, clap::Parser)]
#[command(
    name = "aish",
    version,
    about = "Talks to the containers of a mesh",
    long_about = "Talks to the containers of a mesh: `aish web status` asks the container \"web\" how it is, wherever it runs.\n\n\
        Any word that is no command is the address of a CI (NAME or NAME@NODE); what follows is its message.",
    override_usage = "aish [OPTIONS] COMMAND\n       aish [OPTIONS] CI [MESSAGE]...\n       aish [OPTIONS] --all | @SELECTOR TEXT",
    after_long_help = EXIT_CODES,
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Print results, and errors, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How long the call may take: 500ms, 5s, 2m; a bare number is seconds; at most 24h
    #[arg(long, global = true, value_name = "D", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Print no notes and no progress
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
    /// Keep control characters on a terminal
    #[arg(long, global = true)]
    pub(crate) raw: bool,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) color: Color,
    /// The credential file [default: the mesh's own]
    #[arg(long, global = true, value_name = "FILE", env = "AIGIS_CREDS", hide_env_values = true)]
    pub(crate) creds: Option<PathBuf>,
    /// The mesh
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "AIGIS_MESH",
        hide_env_values = true,
        default_value = "main",
        value_parser = MeshName::choose
    )]
    pub(crate) mesh: MeshName,
    /// The data directory [default: aigis in the user's data directory]
    #[arg(long, global = true, value_name = "DIR", env = "AIGIS_DATA", hide_env_values = true)]
    pub(crate) data: Option<PathBuf>,
    // Read from the environment by hand, because a parser's error would print the value, which may hold a password.
    /// The bus, nats://HOST:PORT or tls://HOST:PORT [env: AIGIS_BUS] [default: the mesh's own]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) bus: Option<String>,
    /// The certificate of the CA that vouches for the bus; with it, TLS is required [default: the mesh's own]
    #[arg(long, global = true, value_name = "FILE", env = "AIGIS_CA", hide_env_values = true)]
    pub(crate) ca: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    Up(Up),
    Down(Down),
    Join(Join),
    List(List),
    Nodes(Nodes),
    Describe(Describe),
    Call(Call),
    Logs(Logs),
    Exec(Exec),
    Wrap(Wrap),
    Push(Push),
    Analyze(Analyze),
    Apps(Apps),
    Assistants(Assistants),
    Chains(Chains),
    Why(Why),
    Dockerfile(Dockerfile),
    Manifests(Manifests),
    Packages(Packages),
    Deploy(Deploy),
    Deployments(Deployments),
    Events(Events),
    Audit(Audit),
    Doctor(Doctor),
    Users(Users),
    Tokens(Tokens),
    Secrets(Secrets),
    Plugins(Plugins),
    #[command(hide = true)]
    SdkBridge(SdkBridge),
    Completions(Completions),
    Man(Man),
    #[command(skip)]
    Message(Message),
}

impl Command {
    /// The command's name, for its span.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Up(_) => "up",
            Self::Down(_) => "down",
            Self::Join(_) => "join",
            Self::List(_) => "list",
            Self::Nodes(_) => "nodes",
            Self::Describe(_) => "describe",
            Self::Call(_) => "call",
            Self::Logs(_) => "logs",
            Self::Exec(_) => "exec",
            Self::Wrap(_) => "wrap",
            Self::Push(_) => "push",
            Self::Analyze(_) => "analyze",
            Self::Apps(_) => "apps",
            Self::Assistants(_) => "assistants",
            Self::Chains(_) => "chains",
            Self::Packages(_) => "packages",
            Self::Deploy(_) => "deploy",
            Self::Deployments(_) => "deployments",
            Self::Why(_) => "why",
            Self::Events(_) => "events",
            Self::Audit(_) => "audit",
            Self::Dockerfile(_) => "dockerfile",
            Self::Manifests(_) => "manifests",
            Self::Doctor(_) => "doctor",
            Self::Users(_) => "users",
            Self::Tokens(_) => "tokens",
            Self::Secrets(_) => "secrets",
            Self::Plugins(_) => "plugins",
            Self::SdkBridge(_) => "sdk-bridge",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
            Self::Message(_) => "message",
        }
    }
}

/// The whole command line as its parser sees it, without the form that has no command.
pub(crate) fn parser() -> Parser {
    Cli::command()
}

/// The form `aish CI [MESSAGE]...`, as a command of its own.
pub(crate) fn message_parser(name: &'static str) -> Parser {
    Message::augment_args(Parser::new(name)).override_usage(
        "aish CI [OPTIONS] [MESSAGE]...\n       aish [OPTIONS] --all TEXT\n       aish [OPTIONS] @SELECTOR TEXT",
    )
}

/// Reads the command line.
///
/// # Errors
///
/// What is to be printed instead of running anything, help included.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Cli, Refusal> {
    check(&arguments)?;
    let form = form(&arguments);
    let (arguments, form) = of_chain(arguments, form);
    let arguments = told_apart(arguments, form);
    // Only help, or a refusal, needs all commands with all they take, which costs more than all else that is done here.
    let words = routed(arguments.clone(), form);
    let read = match parsed(whole(), words.clone()) {
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            let mut whole = whole();
            whole.build();
            parsed(whole, words)
        }
        other => other,
    };
    read.map_err(|error| refusal(error, &place(&arguments, form)))
}

/// The whole command line as its parser sees it, with the form that has no command.
fn whole() -> Parser {
    parser().subcommand(message_parser(MESSAGE).hide(true))
}

fn parsed(parser: Parser, arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut matches = parser.try_get_matches_from(arguments)?;
    if let Some((MESSAGE, message)) = matches.subcommand() {
        let message = Message::from_arg_matches(message)?;
        return Ok(Cli { global: Global::from_arg_matches(&matches)?, command: Command::Message(message) });
    }
    Cli::from_arg_matches_mut(&mut matches)
}

/// What a word that names no CI was meant to be, if it is near a command.
pub(crate) fn near_command(word: &str) -> Option<String> {
    if let Some((_, meant)) = MEANT.iter().find(|(said, _)| *said == word) {
        return Some((*meant).to_owned());
    }
    let parser = parser();
    let near = parser.get_subcommands().filter_map(|command| {
        let name = command.get_name();
        Some((distance(word, name)?, name))
    });
    // Of a short word, two edits leave nothing.
    let (_, name) = near.filter(|(edits, _)| edits * 2 <= word.len()).min()?;
    Some(format!("aish {name}"))
}

/// Why nothing runs.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Help or the version was asked for.
    Asked(String),
    /// The command line cannot be used.
    Wrong(Failure),
}

fn refusal(mut error: clap::Error, place: &Parser) -> Refusal {
    bound(&mut error);
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Refusal::Asked(text),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            Refusal::Wrong(Failure::Usage(incomplete(place)))
        }
        _ => Refusal::Wrong(Failure::Usage(usage(&text, place))),
    }
}

/// What is missing behind a command that has others below it.
fn incomplete(place: &Parser) -> Usage {
    let name = full_name(place);
    if !name.contains(' ') {
        let hint = "see: aish --help; or: aish list".to_owned();
        return Usage { message: "a command or a CI is missing".to_owned(), hint: Some(hint) };
    }
    let commands: Vec<&str> = place.get_subcommands().map(Parser::get_name).collect();
    let hint = format!("its commands: {}; see: {name} --help", commands.join(", "));
    Usage { message: format!("{name} lacks a command"), hint: Some(hint) }
}

/// Escapes and cuts what the parser quotes of the command line.
fn bound(error: &mut clap::Error) {
    let mut changed = false;
    for kind in [ContextKind::InvalidSubcommand, ContextKind::InvalidArg, ContextKind::InvalidValue] {
        let Some(ContextValue::String(given)) = error.get(kind) else { continue };
        let shown = quoted(given);
        if shown != *given {
            error.insert(kind, ContextValue::String(shown));
            changed = true;
        }
    }
    if changed {
        // Its tips quote the same words once more.
        error.remove(ContextKind::Suggested);
    }
}

/// Makes our form of the parser's words: what is wrong before the usage, its tips and the usage as a hint.
fn usage(text: &str, place: &Parser) -> Usage {
    let text = text.strip_prefix("error: ").unwrap_or(text).replace(MESSAGE, "CI");
    let (what, shows_usage) = text.split_once("Usage: ").map_or((text.as_str(), false), |(what, _)| (what, true));
    let mut message = String::new();
    let mut hints = Vec::new();
    for line in what.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix("tip: ") {
            Some(tip) => hints.push(tip.to_owned()),
            None if line.starts_with("For more information") => {}
            None => {
                if !message.is_empty() {
                    message.push(' ');
                }
                message.push_str(line);
            }
        }
    }
    if shows_usage {
        // The parser's own also holds what was given already, and what the environment says.
        let usage = place.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").lines().next().unwrap_or_default().to_owned();
        hints.push(format!("usage: {usage}"));
    }
    hints.push(format!("see: {} --help", full_name(place)));
    Usage { message, hint: Some(hints.join("; ")) }
}

fn check(arguments: &[OsString]) -> Result<(), Refusal> {
    let wrong = |message: String, hint: &str| Err(Refusal::Wrong(Failure::usage(message, hint)));
    let total: usize = arguments.iter().map(|argument| argument.len()).sum();
    if total > MAX_BYTES {
        return wrong(
            format!("the command line is {total} bytes; at most {MAX_BYTES} are taken"),
            "give what is large by a pipe: printf … | aish CI",
        );
    }
    for (index, argument) in arguments.iter().enumerate().skip(1) {
        let bytes = argument.as_encoded_bytes();
        // Paths may be any bytes, but they stand behind an option of their own, or in the environment.
        if argument.to_str().is_none() {
            return wrong(
                format!("argument {index} is not UTF-8"),
                "give what is no text by a pipe: aish CI MESSAGE <FILE",
            );
        }
        if bytes.contains(&0) {
            return wrong(format!("argument {index} holds a NUL character"), "leave it out");
        }
    }
    Ok(())
}

/// What a command line is, by its first word that is no option.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// The word at that place is a command.
    Command(usize),
    /// A message.
    Message,
    /// There are only options.
    Options,
}

fn form(arguments: &[OsString]) -> Form {
    let (parser, message) = (parser(), message_parser(MESSAGE));
    let mut index = 1;
    while let Some(word) = arguments.get(index).and_then(|word| word.to_str()) {
        match word {
            "--all" => return Form::Message,
            "--" if arguments.len() > index + 1 => return Form::Message,
            "--" => return Form::Options,
            "-" => return Form::Message,
            option if option.starts_with('-') => index += if takes_value(&parser, &message, option) { 2 } else { 1 },
            word if parser.find_subcommand(word).is_some() => return Form::Command(index),
            _ => return Form::Message,
        }
    }
    Form::Options
}

/// Whether an option of the command line, or of a message, is followed by its value.
fn takes_value(parser: &Parser, message: &Parser, option: &str) -> bool {
    let matching = |argument: &&clap::Arg| match option.strip_prefix("--") {
        Some(long) => argument.get_long() == Some(long),
        None => option.strip_prefix('-').is_some_and(|short| {
            let mut short = short.chars();
            short.next() == argument.get_short() && short.next().is_none() && argument.get_short().is_some()
        }),
    };
    let known = parser.get_arguments().chain(message.get_arguments()).find(matching);
    known.is_some_and(|argument| argument.get_action().takes_values())
}

/// Puts the hidden command in front of a message.
fn routed(mut arguments: Vec<OsString>, form: Form) -> Vec<OsString> {
    if matches!(form, Form::Message) {
        arguments.insert(1, MESSAGE.into());
    }
    arguments
}

/// Makes a call of `aish APP chain.hold --why TEXT`: what is asked of a chain has arguments, which no message has.
fn of_chain(arguments: Vec<OsString>, form: Form) -> (Vec<OsString>, Form) {
    match form {
        Form::Message => chain_call(&arguments).unwrap_or((arguments, form)),
        Form::Command(_) | Form::Options => (arguments, form),
    }
}

fn chain_call(arguments: &[OsString]) -> Option<(Vec<OsString>, Form)> {
    let (parser, message) = (parser(), message_parser(MESSAGE));
    let next = |mut index: usize| loop {
        let word = arguments.get(index)?.to_str()?;
        match word {
            "--" | "-" => return None,
            option if option.starts_with('-') => index += if takes_value(&parser, &message, option) { 2 } else { 1 },
            _ => return Some((index, word)),
        }
    };
    let (first, ci) = next(1)?;
    let (second, path) = next(first + 1)?;
    let skill = skills::skills().into_iter().find(|skill| skill.path.as_str() == path)?;
    let named = |name: &str| skill.input.pointer(&format!("/properties/{name}/type"));
    let mut call: Vec<OsString> = arguments.get(..first)?.to_vec();
    call.extend(["call".into(), format!("{ci}.{path}").into()]);
    call.extend(arguments.get(first + 1..second)?.iter().cloned());
    let mut rest = arguments.get(second + 1..)?.iter();
    while let Some(word) = rest.next() {
        let option = word.to_str().and_then(|word| word.strip_prefix("--"));
        let (name, value) = match option.map(|option| option.split_once('=').unwrap_or((option, ""))) {
            Some((name, value)) if named(name).is_some() => (name, value),
            _ => {
                call.push(word.clone());
                continue;
            }
        };
        let is = |word: &str| named(name).is_some_and(|kind| kind.to_string().contains(word));
        let value = match option.is_some_and(|option| option.contains('=')) {
            true => value,
            false if is("boolean") => "true",
            false => rest.next().and_then(|value| value.to_str())?,
        };
        // What is a text stays one, also where it looks like a number.
        let value = if is("string") { serde_json::Value::from(value).to_string() } else { value.to_owned() };
        call.push(format!("{name}={value}").into());
    }
    Some((call, Form::Command(first)))
}

/// Tells the flag of `aish apps rm` that deletes an app's data from the option of that name that every command has.
fn told_apart(mut arguments: Vec<OsString>, form: Form) -> Vec<OsString> {
    let Form::Command(first) = form else { return arguments };
    if arguments.get(first).is_some_and(|word| word == "apps") {
        let removal = arguments.iter().skip(first).position(|word| word == "rm").map(|at| first + at);
        for word in removal.and_then(|at| arguments.get_mut(at..)).into_iter().flatten() {
            if word == "--data" {
                *word = "--delete-data".into();
            }
        }
    }
    arguments
}

/// The command that a command line is about.
fn place(arguments: &[OsString], form: Form) -> Parser {
    let mut place = match form {
        Form::Message => message_parser("CI").bin_name("aish CI"),
        Form::Command(_) | Form::Options => parser(),
    };
    // Until then, the commands below do not know the words before them.
    place.build();
    let Form::Command(first) = form else { return place };
    for word in arguments.iter().skip(first) {
        if let Some(inner) = place.find_subcommand(word) {
            place = inner.clone();
        }
    }
    place
}

/// The words that lead to a command, such as `aish users create`.
fn full_name(place: &Parser) -> &str {
    place.get_bin_name().unwrap_or_else(|| place.get_name())
}

#[cfg(test)]
mod tests;
