//! Commands, and by which rules a line becomes words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule;

/// A command: words as they are, or a line.
///
/// ```
/// use aigis_deploy::manifest::Command;
///
/// let line = |text: &str| Command::Line(text.to_owned()).argv();
/// assert_eq!(line("serve 'a b' --to=\"c d\""), ["serve", "a b", "--to=c d"]);
/// assert_eq!(line("serve $PORT"), ["/bin/sh", "-c", "serve $PORT"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Command {
    /// A line, read by the shell's rules of words; what needs a shell gets one.
    Line(#[schemars(with = "rule::CommandLine")] String),
    /// The words, at least one.
    Words(#[schemars(with = "Vec<rule::Plain>", length(min = 1))] Vec<String>),
}

impl Command {
    /// The words that are executed.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        match self {
            Self::Line(line) => argv(line),
            Self::Words(words) => words.clone(),
        }
    }
}

/// What steers a shell wherever it stands outside of quotes.
const SYNTAX: &str = "|&;<>()$`*?[]{}!\n\r";

/// The words of a line by the shell's rules; a line that needs a shell becomes `/bin/sh -c LINE`.
#[must_use]
pub fn argv(line: &str) -> Vec<String> {
    words(line.trim())
        .filter(|words| !words.is_empty())
        .unwrap_or_else(|| ["/bin/sh", "-c", line].map(str::to_owned).into())
}

/// The words, unless something among them is more than a word.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    // The word at hand, if one has begun; whether a quote has made it a word for sure.
    let mut word: Option<String> = None;
    let mut is_first_bare = true;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match c {
            ' ' | '\t' => {
                words.extend(word.take());
                continue;
            }
            '\'' => quoted(&mut characters, word.get_or_insert_default())?,
            '"' => double_quoted(&mut characters, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(characters.next().filter(|next| *next != '\n')?),
            // A comment, or a home directory, begins a word.
            '#' | '~' if word.is_none() => return None,
            // An assignment comes before the program.
            '=' if words.is_empty() && is_first_bare => return None,
            _ if SYNTAX.contains(c) => return None,
            _ => {
                word.get_or_insert_default().push(c);
                continue;
            }
        }
        is_first_bare &= !words.is_empty() || word.is_none();
    }
    words.extend(word);
    Some(words)
}

/// Takes what stands up to the next single quote.
fn quoted(characters: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match characters.next()? {
            '\'' => return Some(()),
            c => word.push(c),
        }
    }
}

/// Takes what stands up to the next double quote, unless a shell would put something else there.
fn double_quoted(characters: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match characters.next()? {
            '"' => return Some(()),
            '$' | '`' => return None,
            '\\' => match characters.next()? {
                c @ ('"' | '\\' | '$' | '`') => word.push(c),
                '\n' => {}
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_by_the_shells_rules() {
        for (line, expected) in [
            ("uvicorn main:app --host 0.0.0.0", &["uvicorn", "main:app", "--host", "0.0.0.0"][..]),
            ("  a\t b  ", &["a", "b"]),
            (r#"a "b c"d 'e "f'"#, &["a", "b cd", "e \"f"]),
            (r#"a "" '' b\ c \"x\""#, &["a", "", "", "b c", "\"x\""]),
            (r#"a "q\"w" "k\n""#, &["a", "q\"w", "k\\n"]),
            ("a --set=b a#b x~", &["a", "--set=b", "a#b", "x~"]),
        ] {
            assert_eq!(argv(line), expected, "{line}");
        }
    }

    #[test]
    fn what_needs_a_shell_gets_one() {
        for line in [
            "a | b", "a && b", "a; b", "a > b", "a $B", "a \"$B\"", "a `b`", "a *.js", "A=1 b", "~/b", "a # b", "a\nb",
            "(a)", "a 'b", "a \"b", "a {b,c}", "a \\", "! a",
        ] {
            assert_eq!(argv(line), ["/bin/sh", "-c", line]);
        }
    }

    proptest::proptest! {
        #[test]
        fn words_in_single_quotes_come_back(words in proptest::collection::vec("[^'\0]{0,12}", 1..6)) {
            let line: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
            proptest::prop_assert_eq!(argv(&line.join(" ")), words);
        }
    }
}
