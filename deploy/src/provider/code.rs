//! Source text without what is no code: comments, and what stands in strings.
//!
//! What is taken out leaves blanks, so that places are the same in all three texts.

use std::ops::Range;

/// How a language writes comments and strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// `#`, `'…'`, `"…"`, `"""…"""`: Python, Ruby, Elixir, Crystal.
    Hash,
    /// `//`, `/* … */`, `'…'`, `"…"`, `` `…` ``: Go, Java, Kotlin, C, C#, Groovy, Dart, Swift.
    Slash,
    /// As [`Syntax::Slash`], but `'` begins no string: Rust.
    Rust,
    /// As [`Syntax::Slash`], and `#`: PHP.
    Php,
    /// `;`, `"…"`: Lisps.
    Semicolon,
}

/// A source file as code.
#[derive(Debug)]
pub(crate) struct Code<'t> {
    text: &'t str,
    /// Without comments.
    plain: String,
    /// Without comments and what stands in strings.
    bare: String,
    /// What stands between the quotes of strings.
    strings: Vec<Range<usize>>,
}

impl<'t> Code<'t> {
    /// The code of a text.
    pub(crate) fn of(text: &'t str, syntax: Syntax) -> Self {
        let bytes = text.as_bytes();
        let mut plain = bytes.to_vec();
        let mut bare = bytes.to_vec();
        let mut strings = Vec::new();
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if let Some(length) = comment(rest, syntax) {
                blank(&mut plain, at..at + length);
                blank(&mut bare, at..at + length);
                at += length;
            } else if let Some(found) = string(rest, syntax) {
                blank(&mut bare, at + found.inside.start..at + found.inside.end);
                strings.push(at + found.inside.start..at + found.inside.end);
                at += found.length;
            } else {
                at += 1;
            }
        }
        // Blanks stand for whole characters, or for bytes of one whose others are blanks too.
        let told = |bytes| String::from_utf8(bytes).unwrap_or_default();
        Self { text, plain: told(plain), bare: told(bare), strings }
    }

    /// The text without comments and what stands in strings.
    pub(crate) fn bare(&self) -> &str {
        &self.bare
    }

    /// The text without comments.
    pub(crate) fn plain(&self) -> &str {
        &self.plain
    }

    /// The line of a place, from 1.
    pub(crate) fn line(&self, at: usize) -> u64 {
        line_of(self.text, at)
    }

    /// Where a name stands as a whole word, or as the end of a path: `Flask` in `flask.Flask(`.
    pub(crate) fn words<'c>(&'c self, name: &'c str) -> impl Iterator<Item = usize> + 'c {
        let whole = move |&(at, _): &(usize, &str)| {
            let before = self.bare.get(..at).and_then(|before| before.chars().next_back());
            let after = self.bare.get(at + name.len()..).and_then(|after| after.chars().next());
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        };
        self.bare.match_indices(name).filter(whole).map(|(at, _)| at)
    }

    /// Where a name first stands as a whole word.
    pub(crate) fn word(&self, name: &str) -> Option<usize> {
        self.words(name).next()
    }

    /// What stands in the first string at or behind a place, and where it begins.
    pub(crate) fn string_from(&self, at: usize) -> Option<(&'t str, usize)> {
        let next = self.strings.partition_point(|inside| inside.start <= at);
        let inside = self.strings.get(next)?;
        Some((self.text.get(inside.clone())?, inside.start))
    }

    /// The bare text from a place to the end of its line.
    pub(crate) fn rest_of_line(&self, at: usize) -> &str {
        let rest = self.bare.get(at..).unwrap_or_default();
        rest.split('\n').next().unwrap_or_default()
    }
}

/// The line of a place in a text, from 1.
pub(crate) fn line_of(text: &str, at: usize) -> u64 {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Whether a character can be part of a name.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// How long the comment is that begins here.
fn comment(rest: &[u8], syntax: Syntax) -> Option<usize> {
    let to_end_of_line = || rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let slashes = matches!(syntax, Syntax::Slash | Syntax::Rust | Syntax::Php);
    match rest {
        [b'#', ..] if syntax == Syntax::Hash => Some(to_end_of_line()),
        // `#[` is an attribute.
        [b'#', after, ..] if syntax == Syntax::Php && *after != b'[' => Some(to_end_of_line()),
        [b';', ..] if syntax == Syntax::Semicolon => Some(to_end_of_line()),
        [b'/', b'/', ..] if slashes => Some(to_end_of_line()),
        [b'/', b'*', inside @ ..] if slashes => {
            let end = inside.windows(2).position(|two| two == b"*/");
            Some(end.map_or(rest.len(), |end| end + 4))
        }
        _ => None,
    }
}

/// A string that begins at a place.
struct Quoted {
    /// What stands between its quotes, from that place.
    inside: Range<usize>,
    /// How long it is with them.
    length: usize,
}

/// The string that begins here.
fn string(rest: &[u8], syntax: Syntax) -> Option<Quoted> {
    let quote = *rest.first()?;
    let opens = match quote {
        b'"' => true,
        b'\'' => !matches!(syntax, Syntax::Rust | Syntax::Semicolon),
        b'`' => syntax == Syntax::Slash,
        _ => false,
    };
    if !opens {
        return None;
    }
    let tripled = rest.get(..3) == Some(&[quote, quote, quote]) && quote != b'`';
    let length = if tripled { 3 } else { 1 };
    let mut at = length;
    while let Some(byte) = rest.get(at) {
        if *byte == b'\\' && quote != b'`' {
            at += 2;
        } else if rest.get(at..at + length).is_some_and(|end| end.iter().all(|byte| *byte == quote)) {
            return Some(Quoted { inside: length..at, length: at + length });
        } else if *byte == b'\n' && length == 1 && quote == b'\'' {
            // An apostrophe that is none: the string ends with its line.
            return Some(Quoted { inside: 1..at, length: at });
        } else {
            at += 1;
        }
    }
    Some(Quoted { inside: length.min(rest.len())..rest.len(), length: rest.len() })
}

/// Blanks instead of what is no end of a line.
fn blank(bytes: &mut [u8], range: Range<usize>) {
    for byte in bytes.get_mut(range).unwrap_or_default() {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkg_08_comments_and_strings_are_no_code() {
        let code = Code::of(
            "# app = Flask()\nx = 'app = Flask()'  # Flask\n\"\"\"\nFlask\n\"\"\"\napp = Flask(__name__)\n",
            Syntax::Hash,
        );
        assert_eq!(code.words("Flask").map(|at| code.line(at)).collect::<Vec<_>>(), [6]);
        let code = Code::of("// Run(\n/* Run( */ a := `Run(\n` + \"Run(\\\"\"; Run(1)", Syntax::Slash);
        assert_eq!(code.words("Run").map(|at| code.line(at)).collect::<Vec<_>>(), [3]);
        let code = Code::of("fn a<'a>(x: &'a str) { b(\"é\", 'c') }", Syntax::Rust);
        assert!(code.word("b").is_some());
    }

    #[test]
    fn a_string_is_found_behind_a_place() {
        let code = Code::of("gem 'rails', \"7\"", Syntax::Hash);
        assert_eq!(code.string_from(0), Some(("rails", 5)));
        assert_eq!(code.string_from(5).map(|found| found.0), Some("7"));
        assert_eq!(code.string_from(20), None);
    }

    proptest::proptest! {
        #[test]
        fn every_text_keeps_its_length(text in "(\\PC|\n|\"|'|#|/\\*){0,80}") {
            for syntax in [Syntax::Hash, Syntax::Slash, Syntax::Rust, Syntax::Php, Syntax::Semicolon] {
                let code = Code::of(&text, syntax);
                proptest::prop_assert_eq!(code.bare().len(), text.len());
                proptest::prop_assert_eq!(code.plain().len(), text.len());
            }
        }
    }
}
