//! The command-line reference in the book is made from the parser, and checked to be what the parser says.

use std::{fmt::Write as _, path::PathBuf};

use clap::{Arg, Command};

use crate::cli;

/// Set to write the page anew.
const UPDATE: &str = "AIGIS_UPDATE_DOCS";

#[test]
fn the_reference_in_the_book_is_current() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let made = page();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == made, "docs/cli.md is not what the parser says; run: {UPDATE}=1 cargo test -p aish reference");
}

fn page() -> String {
    let mut parser = cli::parser();
    parser.build();
    let mut out = format!(
        "# Command line\n\nThis page is made from the parser of `aish` and checked by a test; `aish COMMAND --help` says the same.\n\n\
         `aish` prints results on standard output and everything else on standard error. {}\n",
        cli::EXIT_CODES,
    );
    let _ = write!(out, "\n## Global options\n\n");
    for argument in parser.get_arguments().filter(|argument| !argument.is_hide_set()) {
        option(&mut out, argument);
    }
    let mut message = cli::message_parser("CI").bin_name("aish CI");
    message.build();
    command(&mut out, &message, "aish CI [MESSAGE]...");
    // What is only left out of the help is for programs, and whoever writes them looks here.
    for sub in parser.get_subcommands() {
        let subs: Vec<&Command> = sub.get_subcommands().filter(|sub| !sub.is_hide_set()).collect();
        if subs.is_empty() {
            command(&mut out, sub, &format!("aish {}", sub.get_name()));
        }
        for inner in subs {
            command(&mut out, inner, &format!("aish {} {}", sub.get_name(), inner.get_name()));
        }
    }
    out
}

fn command(out: &mut String, command: &Command, title: &str) {
    let _ = write!(out, "\n## {title}\n\n");
    let about = command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(out, "{about}");
    let usage = command.clone().render_usage().to_string();
    let usage: Vec<&str> = usage.trim_start_matches("Usage: ").lines().map(str::trim).collect();
    let _ = write!(out, "\n```text\n{}\n```\n\n", usage.join("\n"));
    for argument in command.get_arguments() {
        if !argument.is_hide_set() && !argument.is_global_set() && argument.get_id() != "help" {
            option(out, argument);
        }
    }
    if let Some(examples) = command.get_after_help() {
        let _ = write!(out, "\n```text\n{examples}\n```\n");
    }
}

fn option(out: &mut String, argument: &Arg) {
    let names =
        argument.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
    let takes = argument.get_action().takes_values();
    let long = argument.get_long().map(|long| format!("--{long}"));
    let short = argument.get_short().map(|short| format!("-{short}"));
    let flags = [short, long].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let shown = match (flags.is_empty(), takes) {
        (true, _) => names,
        (false, true) => format!("{flags} {names}"),
        (false, false) => flags,
    };
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let mut line = format!("- `{shown}`: {help}");
    let values: Vec<String> = argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if takes && !values.is_empty() {
        let _ = write!(line, " [{}]", values.join(", "));
    }
    if let Some(variable) = argument.get_env() {
        let _ = write!(line, " [env: {}]", variable.to_string_lossy());
    }
    let _ = writeln!(out, "{line}");
}
