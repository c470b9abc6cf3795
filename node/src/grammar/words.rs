//! From a text to its words.

use unicode_normalization::UnicodeNormalization;

/// One word of a normalised text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// Letters and digits, with `' _ . -` inside; or one of `, & +`.
    Known(String),
    /// A character that belongs to no word: it keeps a text from being understood, because dropping it could turn
    /// the text into another one.
    Symbol,
}

impl Word {
    pub(super) fn known(&self) -> Option<&str> {
        match self {
            Self::Known(text) => Some(text),
            Self::Symbol => None,
        }
    }

    pub(super) fn is_one_of(&self, list: &[&str]) -> bool {
        self.known().is_some_and(|text| list.contains(&text))
    }
}

/// Splits a text into words: compatibility forms and case folded, typographic apostrophes made plain, `n't` spelt
/// out, the punctuation that ends a word or the text cut.
pub(super) fn words(text: &str) -> Vec<Word> {
    let plain: String = text.chars().map(plain_apostrophe).nfkc().map(plain_apostrophe).collect();
    let spelt = plain.to_lowercase().replace("n't", " not");
    spelt.split_whitespace().flat_map(split).collect()
}

fn plain_apostrophe(character: char) -> char {
    match character {
        '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2032}' | '\u{02bc}' | '\u{ff07}' | '\u{00b4}' | '`' => '\'',
        other => other,
    }
}

/// Splits a piece without white space.
fn split(piece: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = piece.chars().peekable();
    while let Some(character) = characters.next() {
        let inside = matches!(character, '\'' | '_' | '.' | '-')
            && !word.is_empty()
            && characters.peek().is_some_and(|next| next.is_alphanumeric());
        if character.is_alphanumeric() || inside {
            word.push(character);
            continue;
        }
        let after_word = !word.is_empty();
        if after_word {
            words.push(Word::Known(std::mem::take(&mut word)));
        }
        match character {
            ',' | '&' | '+' => words.push(Word::Known(character.to_string())),
            '?' | '!' | '.' if ends(after_word, &mut characters) => {}
            _ => words.push(Word::Symbol),
        }
    }
    if !word.is_empty() {
        words.push(Word::Known(word));
    }
    words
}

/// Whether a punctuation mark, with those that follow it, ends a word or stands alone before white space or a comma.
fn ends(after_word: bool, rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> bool {
    while rest.next_if(|next| matches!(next, '?' | '!' | '.')).is_some() {}
    match rest.peek() {
        None => true,
        Some(next) => after_word && *next == ',',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        words(text).iter().map(|word| word.known().unwrap_or("\u{fffd}")).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn texts_become_words() {
        for (text, expected) in [
            ("What’s up?", "what's|up"),
            ("DON'T restart!!", "do|not|restart"),
            ("don\u{2019}t", "do|not"),
            ("don\u{b4}t", "do|not"),
            ("ｓｔａｔｕｓ", "status"),
            ("health,services", "health|,|services"),
            ("a&b + c", "a|&|b|+|c"),
            ("optimize.apply test-app web_1", "optimize.apply|test-app|web_1"),
            ("status ?!.", "status"),
            ("hello! status…", "hello|status"),
            ("hi., status", "hi|,|status"),
            ("!restart", "\u{fffd}|restart"),
            ("-x '", "\u{fffd}|x|\u{fffd}"),
            ("re\u{200b}start", "re|\u{fffd}|start"),
            ("\u{1b}[31mstatus", "\u{fffd}|\u{fffd}|31mstatus"),
            ("status!health", "status|\u{fffd}|health"),
            ("a.\u{a0}b\tc\nd", "a|b|c|d"),
            ("状态", "状态"),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }
}
