//! What an app writes on a terminal: its colours, and nothing else that steers.

use super::escaped;

/// The longest sequence that is taken for a colour.
const LONGEST: usize = 32;

/// Escapes what would steer a terminal, as [`escaped`] does; colours stay if they are `wanted`, and are left out if not. A text
/// that has any ends in the terminal's own.
pub(super) fn colored(text: &str, wanted: bool) -> String {
    let (mut out, mut rest, mut is_colored) = (String::with_capacity(text.len()), text, false);
    while let Some(at) = rest.find('\u{1b}') {
        let (before, sequence) = rest.split_at(at);
        out.push_str(&escaped(before));
        match color(sequence) {
            Some(length) => {
                let (color, after) = sequence.split_at(length);
                if wanted {
                    out.push_str(color);
                    is_colored = !matches!(color, "\u{1b}[m" | "\u{1b}[0m");
                }
                rest = after;
            }
            None => {
                out.push_str(&escaped("\u{1b}"));
                rest = sequence.strip_prefix('\u{1b}').unwrap_or_default();
            }
        }
    }
    out.push_str(&escaped(rest));
    if is_colored {
        out.push_str("\u{1b}[0m");
    }
    out
}

/// How long the colour is that a text begins with: `ESC [ 1 ; 31 m`.
fn color(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.bytes().take(LONGEST).position(|byte| !matches!(byte, b'0'..=b'9' | b';'))?;
    (parameters.as_bytes().get(end) == Some(&b'm')).then_some(2 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_and_whatever_else_steers_is_escaped() {
        assert_eq!(colored("\u{1b}[1;31mred\u{1b}[0m", true), "\u{1b}[1;31mred\u{1b}[0m");
        assert_eq!(colored("\u{1b}[1;31mred", true), "\u{1b}[1;31mred\u{1b}[0m", "the next line is not red");
        assert_eq!(colored("\u{1b}[1;31mred\u{1b}[0m", false), "red");
        for steers in ["\u{1b}[2J", "\u{1b}]0;title\u{7}", "\u{1b}[6n", "\u{1b}", "\u{1b}[", "\u{9b}31m", "\u{1b}[31"] {
            assert_eq!(colored(steers, true), escaped(steers), "{steers:?}");
        }
        let long = format!("\u{1b}[{}m", "1;".repeat(40));
        assert_eq!(colored(&long, true), escaped(&long));
    }
}
