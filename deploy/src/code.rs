//! Source text: what of it is code, and which file is of which language.

use std::borrow::Cow;

/// How comments and strings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// `//` and `/* */`; strings in `"`, `'` and backticks.
    Slashes,
    /// `#`; strings in `"` and `'`, and in three of them.
    Hashes,
    /// Both: PHP.
    Both,
}

/// How the code in a file is written, by its name; none if it is no code that is looked into.
pub(crate) fn syntax(path: &str) -> Option<Syntax> {
    Some(match path.rsplit_once('.')?.1 {
        "js" | "mjs" | "cjs" | "jsx" | "ts" | "mts" | "cts" | "tsx" | "vue" | "svelte" | "astro" | "go" | "rs"
        | "java" | "kt" | "kts" | "scala" | "cs" | "fs" | "swift" | "dart" | "c" | "cc" | "cpp" | "cxx" | "h"
        | "hpp" | "zig" | "gleam" | "groovy" => Syntax::Slashes,
        "py" | "rb" | "ru" | "rake" | "ex" | "exs" | "cr" | "sh" | "bash" => Syntax::Hashes,
        "php" => Syntax::Both,
        _ => return None,
    })
}

/// The same text with its comments blanked: lines and columns stay. Text of strings that are no code, as Python's
/// documentation in three quotes, stays too.
pub(crate) fn without_comments(text: &str, syntax: Syntax) -> Cow<'_, str> {
    let marks: &[&[u8]] = match syntax {
        Syntax::Slashes => &[b"//", b"/*"],
        Syntax::Hashes => &[b"#"],
        Syntax::Both => &[b"//", b"/*", b"#"],
    };
    let bytes = text.as_bytes();
    if !marks.iter().any(|mark| bytes.windows(mark.len()).any(|window| window == *mark)) {
        return Cow::Borrowed(text);
    }
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let length = match rest[0] {
            quote @ (b'"' | b'\'' | b'`') => string(rest, quote, syntax),
            b'/' if rest.starts_with(b"//") && syntax != Syntax::Hashes => blank(&mut out, at, to_line_end(rest)),
            b'/' if rest.starts_with(b"/*") && syntax != Syntax::Hashes => blank(&mut out, at, to_close(rest)),
            b'#' if syntax != Syntax::Slashes => blank(&mut out, at, to_line_end(rest)),
            _ => 1,
        };
        at += length.max(1);
    }
    // Blanks replace whole runs of bytes between ASCII marks, so this is UTF-8 still.
    String::from_utf8(out).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// How long a string is. One on a single line that is not closed there is no string: an apostrophe, a lifetime.
fn string(rest: &[u8], quote: u8, syntax: Syntax) -> usize {
    let three = [quote; 3];
    if syntax == Syntax::Hashes && rest.starts_with(&three) {
        return find(&rest[3..], &three).map_or(rest.len(), |at| at + 6);
    }
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 1,
            b'\n' if quote != b'`' => return 1,
            byte if byte == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    1
}

fn to_line_end(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

fn to_close(rest: &[u8]) -> usize {
    find(&rest[2..], b"*/").map_or(rest.len(), |at| at + 4)
}

fn blank(out: &mut [u8], at: usize, length: usize) -> usize {
    for byte in &mut out[at..at + length] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
    length
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// The line of a byte of a text, from 1.
pub(crate) fn line_at(text: &str, byte: usize) -> u64 {
    let before = text.as_bytes().get(..byte.min(text.len())).unwrap_or_default();
    1 + before.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pkg_09_comments_are_no_code_and_strings_are() {
        let js = "a('http://x') // process.env.A\n/* b\n c */ d // it's\n`//x`";
        let code = without_comments(js, Syntax::Slashes);
        assert!(code.contains("http://x") && code.contains("`//x`") && code.contains(" d "));
        assert!(!code.contains("process") && !code.contains(" b") && !code.contains("it's"));
        assert_eq!(code.lines().count(), js.lines().count());
        let py = "x = '#no' # yes\n\"\"\" # doc \"\"\"\ny # z";
        let code = without_comments(py, Syntax::Hashes);
        assert!(code.contains("'#no'") && code.contains("# doc") && !code.contains("yes") && !code.contains(" z"));
    }

    proptest! {
        #[test]
        fn pkg_15_any_text_keeps_its_length(text in "[a-z\"'`/*#\\\\\n é]{0,80}") {
            for syntax in [Syntax::Slashes, Syntax::Hashes, Syntax::Both] {
                prop_assert_eq!(without_comments(&text, syntax).len(), text.len());
            }
        }
    }
}
