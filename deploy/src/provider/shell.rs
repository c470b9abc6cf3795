//! Start scripts of a shell.

use crate::{
    analysis::settings,
    code::{Syntax, without_comments},
    fact::{Application, Fact, ProviderName},
    provider::{
        Candidate, Provider,
        dir::{Dir, known},
    },
    tree::Tree,
};

/// A start script.
#[derive(Debug)]
pub(crate) struct Shell;

const FILE: &str = "start.sh";
/// Shells that a first line may name.
const SHELLS: [&str; 5] = ["bash", "zsh", "dash", "ksh", "sh"];

impl Provider for Shell {
    fn name(&self) -> ProviderName {
        ProviderName::Shell
    }

    fn looks_for(&self) -> &'static str {
        "start.sh"
    }

    fn candidates(&self, tree: &Tree) -> Vec<Candidate> {
        let candidate = |root: &str| {
            let own = Dir::of(tree, root).seen(FILE).map(|at| ("shell.script", at));
            // One of another name is told from the many that only help by what starts it.
            let told = || settings::script(tree, root).map(|(_, at)| ("shell.told-script", at));
            let (rule, evidence) = own.or_else(told)?;
            Some(Candidate::new(root, 35, rule, vec![evidence]).with_entry(true))
        };
        tree.directories().filter_map(candidate).collect()
    }

    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application {
        let mut app = Application::of(ProviderName::Shell, chosen);
        let dir = Dir::of(tree, &chosen.root);
        if let Some(text) = dir.text(FILE) {
            app.start = Fact::command(&format!("{} {FILE}", shell(text)), "shell.script", chosen.evidence.clone());
            if let Some((port, line)) = port(text) {
                app.port = known(port, "port.environment-default", vec![dir.at(FILE, line)]);
            }
        }
        app
    }
}

/// The port that a script takes where it is given none, `${PORT:-8080}`, and the line.
fn port(text: &str) -> Option<(u16, u64)> {
    let code = without_comments(text, Syntax::Hash);
    let taken = |line: &str| {
        let (_, rest) = line.split_once("${PORT:-").or_else(|| line.split_once("${PORT:="))?;
        rest.split('}').next()?.parse().ok().filter(|port| *port > 0)
    };
    (1..).zip(code.lines()).find_map(|(number, line)| Some((taken(line)?, number)))
}

/// The shell that the first line of a script names: `#!/usr/bin/env bash`.
fn shell(text: &str) -> &'static str {
    let first = text.lines().next().unwrap_or_default();
    let named = first.strip_prefix("#!").and_then(|rest| {
        let words = rest.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word));
        words.into_iter().find_map(|word| SHELLS.iter().find(|shell| **shell == word))
    });
    named.copied().unwrap_or("sh")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_says_on_which_port_it_listens() {
        assert_eq!(port("# ${PORT:-1}\nexec serve \"${PORT:-8080}\""), Some((8080, 2)));
        assert_eq!(port(": \"${PORT:=9000}\""), Some((9000, 1)));
        assert_eq!(port("serve ${PORT:-any} ${REPORT:-80}"), None);
    }

    #[test]
    fn the_first_line_names_the_shell() {
        for (text, name) in [
            ("#!/bin/bash\n", "bash"),
            ("#!/usr/bin/env -S bash -e\n", "bash"),
            ("#!/bin/sh\n", "sh"),
            ("echo bash\n", "sh"),
            ("", "sh"),
        ] {
            assert_eq!(shell(text), name);
        }
    }
}
