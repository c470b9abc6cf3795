//! Source text without what is no code: comments, and what stands in strings.
//!
//! What is taken out leaves blanks, so that places are the same in all texts.

use std::{borrow::Cow, ops::Range};

/// How a language writes comments and strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// `#`, `'…'`, `"…"`, `"""…"""`: Python, Ruby, Elixir, Crystal, shells.
    Hash,
    /// `//`, `/* … */`, `'…'`, `"…"`, `` `…` ``: Go, Java, Kotlin, C, C#, Groovy, Dart, Swift.
    Slash,
    /// As [`Syntax::Slash`], but only backticks hold lines, and all quotes know `\`: JavaScript and what is written like it.
    Script,
    /// As [`Syntax::Slash`], but `'` begins no string: Rust.
    Rust,
    /// As [`Syntax::Slash`], and `#`: PHP.
    Php,
    /// `;`, `"…"`: Lisps.
    Semicolon,
}

impl Syntax {
    /// How the code in a file is written, by its name; none if it is no code that is looked into.
    pub(crate) fn of(path: &str) -> Option<Self> {
        Some(match path.rsplit_once('.')?.1 {
            "js" | "mjs" | "cjs" | "jsx" | "ts" | "mts" | "cts" | "tsx" | "vue" | "svelte" | "astro" => Self::Script,
            "go" | "java" | "kt" | "kts" | "scala" | "cs" | "fs" | "swift" | "dart" | "c" | "cc" | "cpp" | "cxx"
            | "h" | "hpp" | "zig" | "gleam" | "groovy" => Self::Slash,
            "rs" => Self::Rust,
            "py" | "rb" | "ru" | "rake" | "ex" | "exs" | "cr" | "sh" | "bash" => Self::Hash,
            "php" => Self::Php,
            _ => return None,
        })
    }

    /// As [`Syntax::of`]; where the name does not say it, by the first line: `#!/usr/bin/env node`.
    pub(crate) fn of_file(path: &str, text: &str) -> Option<Self> {
        Self::of(path).or_else(|| {
            let first = text.lines().next()?.strip_prefix("#!")?;
            match first.rsplit(['/', ' ']).next()? {
                "node" | "bun" => Some(Self::Script),
                "ruby" | "python" | "python3" => Some(Self::Hash),
                "php" => Some(Self::Php),
                _ => None,
            }
        })
    }

    /// What begins a comment.
    fn marks(self) -> &'static [&'static str] {
        match self {
            Self::Hash => &["#"],
            Self::Slash | Self::Script | Self::Rust => &["//", "/*"],
            Self::Php => &["//", "/*", "#"],
            Self::Semicolon => &[";"],
        }
    }
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
        let mut plain = text.as_bytes().to_vec();
        let mut bare = plain.clone();
        let mut strings = Vec::new();
        scan(text, syntax, |piece| match piece {
            Piece::Comment(range) => {
                blank(&mut plain, range.clone());
                blank(&mut bare, range);
            }
            Piece::String(inside) => {
                blank(&mut bare, inside.clone());
                strings.push(inside);
            }
        });
        Self { text, plain: text_of(plain), bare: text_of(bare), strings }
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

/// The same text without its comments.
pub(crate) fn without_comments(text: &str, syntax: Syntax) -> Cow<'_, str> {
    if !syntax.marks().iter().any(|mark| text.contains(mark)) {
        return Cow::Borrowed(text);
    }
    let mut plain = text.as_bytes().to_vec();
    scan(text, syntax, |piece| {
        if let Piece::Comment(range) = piece {
            blank(&mut plain, range);
        }
    });
    Cow::Owned(text_of(plain))
}

/// The line of a place in a text, from 1.
pub(crate) fn line_of(text: &str, at: usize) -> u64 {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The lines of places in a text that are asked for in their order: each part of the text is looked at once.
#[derive(Debug)]
pub(crate) struct Lines<'t> {
    rest: &'t str,
    at: usize,
    line: u64,
}

impl<'t> Lines<'t> {
    /// Those of a text.
    pub(crate) fn of(text: &'t str) -> Self {
        Self { rest: text, at: 0, line: 1 }
    }

    /// The line of a place, from 1, that lies not before the last.
    pub(crate) fn of_next(&mut self, at: usize) -> u64 {
        let passed = at.saturating_sub(self.at);
        self.line += line_of(self.rest, passed) - 1;
        self.rest = self.rest.get(passed..).unwrap_or_default();
        self.at = at;
        self.line
    }
}

/// Whether a character can be part of a name.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What is no code.
enum Piece {
    /// A comment, with what marks it.
    Comment(Range<usize>),
    /// What stands between the quotes of a string.
    String(Range<usize>),
}

/// Finds what of a text is no code, in its order.
fn scan(text: &str, syntax: Syntax, mut found: impl FnMut(Piece)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(length) = comment(rest, syntax) {
            found(Piece::Comment(at..at + length));
            at += length;
        } else if let Some(Quoted { inside, length }) = string(rest, syntax) {
            found(Piece::String(at + inside.start..at + inside.end));
            at += length;
        } else {
            at += 1;
        }
    }
}

/// How long the comment is that begins here.
fn comment(rest: &[u8], syntax: Syntax) -> Option<usize> {
    let to_end_of_line = || rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let slashes = syntax.marks().contains(&"//");
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
        b'\'' => syntax != Syntax::Semicolon,
        b'`' => matches!(syntax, Syntax::Slash | Syntax::Script),
        _ => false,
    };
    if !opens {
        return None;
    }
    if quote == b'\'' && syntax == Syntax::Rust {
        // A character; all else is a lifetime.
        let length = match rest {
            [_, b'\\', _, after @ ..] => 3 + after.iter().take(8).position(|byte| *byte == quote)?,
            [_, _, b'\'', ..] => 2,
            _ => return None,
        };
        return Some(Quoted { inside: 1..length, length: length + 1 });
    }
    let tripled = rest.get(..3) == Some(&[quote, quote, quote]) && quote != b'`' && syntax != Syntax::Script;
    let length = if tripled { 3 } else { 1 };
    let escapes = quote != b'`' || syntax == Syntax::Script;
    // One that is not closed on its line is none, but an apostrophe.
    let holds_lines = tripled || quote == b'`' || quote == b'"' && syntax != Syntax::Script;
    let mut at = length;
    while let Some(byte) = rest.get(at) {
        if *byte == b'\\' && escapes {
            at += 2;
        } else if rest.get(at..at + length).is_some_and(|end| end.iter().all(|byte| *byte == quote)) {
            return Some(Quoted { inside: length..at, length: at + length });
        } else if *byte == b'\n' && !holds_lines {
            return None;
        } else {
            at += 1;
        }
    }
    holds_lines.then(|| Quoted { inside: length.min(rest.len())..rest.len(), length: rest.len() })
}

/// Blanks stand for whole characters, or for bytes of one whose others are blanks too.
fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
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

    const ALL: [Syntax; 6] =
        [Syntax::Hash, Syntax::Slash, Syntax::Script, Syntax::Rust, Syntax::Php, Syntax::Semicolon];

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
    fn pkg_09_comments_are_no_code_and_strings_are() {
        let js = "a('http://x') // process.env.A\n/* b\n c */ d // it's\n`//x` + '\\'//y'";
        let code = without_comments(js, Syntax::Script);
        assert!(code.contains("http://x") && code.contains("`//x`") && code.contains("//y") && code.contains(" d "));
        assert!(!code.contains("process") && !code.contains(" b") && !code.contains("it's"));
        assert_eq!(code.lines().count(), js.lines().count());
        let py = "x = '#no' # yes\n\"\"\" # doc \"\"\"\ny # z";
        let code = without_comments(py, Syntax::Hash);
        assert!(code.contains("'#no'") && code.contains("# doc") && !code.contains("yes") && !code.contains(" z"));
        let rust = without_comments("if c == '\"' || c == '\\'' { x::<'a>() } // \" y", Syntax::Rust);
        assert!(rust.contains("x::<'a>()") && !rust.contains('y'));
    }

    #[test]
    fn lines_are_counted_once() {
        let text = "a\nb\n\nc";
        let mut lines = Lines::of(text);
        assert_eq!([0, 2, 2, 5].map(|at| lines.of_next(at)), [0, 2, 2, 5].map(|at| line_of(text, at)));
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
            for syntax in ALL {
                let code = Code::of(&text, syntax);
                proptest::prop_assert_eq!(code.bare().len(), text.len());
                proptest::prop_assert_eq!(code.plain().len(), text.len());
                proptest::prop_assert_eq!(code.plain(), without_comments(&text, syntax));
            }
        }
    }
}
