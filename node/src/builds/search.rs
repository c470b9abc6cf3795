//! Secrets of a phase: the files in which its commands find them, and the search for them in what it leaves.

use std::{fmt, sync::Arc};

use aho_corasick::{AhoCorasick, PatternID};
use aigis_proxy::Error;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use zeroize::Zeroizing;

use crate::{mask, shelf::Shelf};

/// The forms in which a value is looked for, as people are told.
const PLAIN: &str = "as it is";
const BASE64: &str = "in base64";
const ENCODED: &str = "URL-encoded";

type Secret = Zeroizing<Vec<u8>>;

/// The values of a phase's secrets, by key.
#[derive(Clone, Default)]
pub(super) struct Values {
    files: Vec<(String, Arc<Secret>)>,
    finder: Option<Arc<Finder>>,
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").field("count", &self.files.len()).finish_non_exhaustive()
    }
}

struct Finder {
    automaton: AhoCorasick,
    /// By pattern: whose it is, and in which form.
    patterns: Vec<Found>,
    /// How many bytes of what passed by may begin a pattern.
    kept: usize,
}

/// What was found: the key of a secret, and how its value is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) key: String,
    pub(super) form: &'static str,
}

impl Values {
    pub(super) fn of(values: impl IntoIterator<Item = (String, Arc<Secret>)>) -> Self {
        let files: Vec<(String, Arc<Secret>)> = values.into_iter().collect();
        let (mut patterns, mut texts) = (Vec::new(), Vec::new());
        for (key, value) in &files {
            // A file often ends in a line break that nobody writes elsewhere.
            let value = value.trim_ascii();
            if !mask::is_masked(value) {
                continue;
            }
            for (form, text) in forms(value) {
                patterns.push(Found { key: key.clone(), form });
                texts.push(text);
            }
        }
        let kept = texts.iter().map(|text| text.len()).max().unwrap_or(1).saturating_sub(1);
        let automaton = AhoCorasick::new(texts.iter().map(|text| text.as_slice()));
        let finder = automaton.ok().filter(|_| !texts.is_empty());
        Self { files, finder: finder.map(|automaton| Arc::new(Finder { automaton, patterns, kept })) }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Files in memory that hold them, if there are any.
    pub(super) fn shelf(&self) -> Result<Option<Shelf>, Error> {
        if self.is_empty() {
            return Ok(None);
        }
        let put = || {
            let shelf = Shelf::make()?;
            self.files.iter().try_for_each(|(key, value)| shelf.put(key, value))?;
            Ok::<_, crate::shelf::Error>(shelf)
        };
        put().map(Some).map_err(|error| Error::precondition(aigis_proxy::with_causes(&error)))
    }

    /// Begins to look for them in something.
    pub(super) fn search(&self) -> Search {
        Search { finder: self.finder.clone(), plain: Secret::default(), joined: Secret::default() }
    }
}

/// A search in something that comes in pieces, cut anywhere.
pub(super) struct Search {
    finder: Option<Arc<Finder>>,
    plain: Secret,
    /// The same without line breaks: base64 is often written in lines.
    joined: Secret,
}

impl Search {
    /// Looks at a piece; says what was found in it, or at its border with those before.
    pub(super) fn push(&mut self, piece: &[u8]) -> Option<Found> {
        let finder = self.finder.as_ref()?;
        let joined: Secret =
            Zeroizing::new(piece.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect());
        let found = finder.look(&mut self.plain, piece).or_else(|| finder.look(&mut self.joined, &joined));
        found.and_then(|pattern| finder.patterns.get(pattern.as_usize()).cloned())
    }
}

impl Finder {
    fn look(&self, seen: &mut Secret, piece: &[u8]) -> Option<PatternID> {
        seen.extend_from_slice(piece);
        let found = self.automaton.find(seen.as_slice()).map(|found| found.pattern());
        let done = seen.len().saturating_sub(self.kept);
        seen.drain(..done);
        found
    }
}

/// How a value may be written.
fn forms(value: &[u8]) -> Vec<(&'static str, Secret)> {
    let mut forms = vec![(PLAIN, Zeroizing::new(value.to_vec()))];
    for before in 0..3 {
        // What stands before and behind it in the same three bytes has a say in the first and the last digits.
        let padded = Zeroizing::new([vec![0; before], value.to_vec()].concat());
        let (from, to) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        for alphabet in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let text = Zeroizing::new(alphabet.encode(padded.as_slice()).into_bytes());
            forms.push((BASE64, Zeroizing::new(text.get(from..to).unwrap_or_default().to_vec())));
        }
    }
    for digits in [b"0123456789ABCDEF", b"0123456789abcdef"] {
        let mut text = Secret::default();
        for byte in value {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
                text.push(*byte);
            } else {
                let digit = |nibble: u8| digits.get(usize::from(nibble)).copied().unwrap_or_default();
                text.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
        forms.push((ENCODED, text));
    }
    forms
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    fn values(value: &[u8]) -> Values {
        Values::of([("KEY".to_owned(), Arc::new(Zeroizing::new(value.to_vec())))])
    }

    fn found(values: &Values, pieces: &[&[u8]]) -> Option<&'static str> {
        let mut search = values.search();
        pieces.iter().find_map(|piece| search.push(piece)).map(|found| found.form)
    }

    #[test]
    fn pkg_40_a_value_is_found_in_each_form_and_others_are_not() {
        let known = values(b"s3cr&t word\n");
        assert_eq!(found(&known, &[b"a s3cr", b"&t wo", b"rd."]), Some(PLAIN));
        assert_eq!(found(&known, &[b"x=s3cr%26t%20word"]), Some(ENCODED));
        assert_eq!(found(&known, &[b"s3cr t word"]), None);
        assert_eq!(found(&values(b"short"), &[b"short"]), None);
        assert!(values(b"short").shelf().unwrap().is_some());
        assert!(Values::default().is_empty() && Values::default().shelf().unwrap().is_none());
    }

    proptest! {
        #[test]
        fn pkg_40_base64_is_found_at_each_alignment_and_in_lines(
            value in "[ -~]{10,60}", before in "[ -~]{0,7}", after in "[ -~]{0,7}", cut in 0_usize..80,
        ) {
            prop_assume!(value.trim().len() >= 10);
            let text = STANDARD.encode(format!("{before}{}{after}", value.trim()));
            let cut = cut.min(text.len());
            let (one, two) = text.split_at(cut);
            let known = values(value.as_bytes());
            prop_assert_eq!(found(&known, &[one.as_bytes(), b"\n", two.as_bytes()]), Some(BASE64));
        }
    }
}
