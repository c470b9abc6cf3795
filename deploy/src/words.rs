//! From a command as people write it to the words of its exec form.

/// What only a shell understands, outside quotes.
const SYNTAX: &str = "|&;<>()$`*?[]{}\n";
/// Words that are a shell's own at the beginning of a command.
const BUILTINS: [&str; 24] = [
    "cd", "exec", "export", "set", "unset", "source", ".", "if", "for", "while", "until", "case", "eval", "trap",
    "ulimit", "umask", "wait", "alias", "command", "test", "[", "!", ":", "exit",
];

/// The exec form of a command: its words, where it is simple; `/bin/sh -c` and all of it, where it needs a shell.
///
/// `exec` at the beginning is taken off, because the exec form replaces nothing. A command that is empty has no words.
#[must_use]
pub fn argv(command: &str) -> Vec<String> {
    let command = command.trim();
    let simple = command.strip_prefix("exec ").map_or(command, str::trim_start);
    match words(simple) {
        Some(words) => words,
        None => vec!["/bin/sh".to_owned(), "-c".to_owned(), command.to_owned()],
    }
}

/// A word as a command says it: what is no plain character of a path is a shell's only within quotes.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "._-/+@:,%".contains(c));
    if is_plain && !word.is_empty() { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The words of a command by the rules of a shell, or `None` where only a shell can run it.
pub(crate) fn words(command: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = command.chars();
    while let Some(character) = rest.next() {
        match character {
            ' ' | '\t' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next()? {
                        '\'' => break,
                        inner => word.push(inner),
                    }
                }
            }
            '"' => double(word.get_or_insert_default(), &mut rest)?,
            '\\' => word.get_or_insert_default().push(rest.next()?),
            _ if SYNTAX.contains(character) => return None,
            '#' | '~' if word.is_none() => return None,
            // An assignment before a command is a shell's.
            '=' if words.is_empty() && word.as_deref().is_some_and(is_name) => return None,
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    let builtin = words.first().is_some_and(|first| BUILTINS.contains(&first.as_str()));
    (!builtin).then_some(words)
}

/// What stands in double quotes, in which `$` and backticks are a shell's.
fn double(word: &mut String, rest: &mut std::str::Chars<'_>) -> Option<()> {
    loop {
        match rest.next()? {
            '"' => return Some(()),
            '$' | '`' => return None,
            '\\' => match rest.next()? {
                escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                '\n' => {}
                other => word.extend(['\\', other]),
            },
            inner => word.push(inner),
        }
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && word.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pkg_11_simple_commands_are_words_and_others_are_a_shells() {
        for (command, expected) in [
            ("node index.js", vec!["node", "index.js"]),
            ("exec caddy run", vec!["caddy", "run"]),
            ("a 'b c' \"d \\\" e\" f\\ g ''", vec!["a", "b c", "d \" e", "f g", ""]),
            ("gunicorn --bind=0.0.0.0:80 a:b", vec!["gunicorn", "--bind=0.0.0.0:80", "a:b"]),
        ] {
            assert_eq!(argv(command), expected, "{command}");
        }
        for command in ["a && b", "a $X", "X=1 a", "cd x", "a \"$X\"", "a 'open", "a > b", "a *.js", "~/a", "a\nb"] {
            assert_eq!(argv(command), ["/bin/sh", "-c", command], "{command}");
        }
    }

    proptest! {
        #[test]
        fn pkg_23_a_quoted_word_is_one_word(word in "(?s).{1,20}") {
            prop_assert_eq!(words(&format!("run {}", quoted(&word))), Some(vec!["run".to_owned(), word]));
        }

        #[test]
        fn pkg_15_any_command_has_an_exec_form(command in ".{0,60}") {
            let argv = argv(&command);
            prop_assert!(argv.is_empty() == command.trim().is_empty() || argv.len() == 3 || !argv.is_empty());
        }

        #[test]
        fn words_without_syntax_are_what_stands_between_spaces(words in prop::collection::vec("[a-z0-9./-]{2,8}", 1..6)) {
            prop_assume!(!BUILTINS.contains(&words[0].as_str()) && words[0] != "exec");
            prop_assert_eq!(argv(&words.join(" ")), words);
        }
    }
}
