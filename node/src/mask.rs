//! Masks known secret values in what passes by, wherever the pieces of it begin and end.
//!
//! A value is looked for by its *anchor*: its first bytes, at most 64 of them. Where one is found it is hidden, and what
//! follows is hidden for as long as it goes on as the value does. So no more is ever held back than an anchor, however long
//! values are, and a value that was printed in part is hidden too.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use zeroize::Zeroizing;

use crate::redact::MASK;

/// Values that are shorter are not masked: they stand in too much that is no secret.
pub const SHORTEST: usize = 8;
/// Shorter lines of a value of many lines are not masked by themselves.
const SHORTEST_LINE: usize = 16;
/// How many lines of a value are masked by themselves.
const MOST_LINES: usize = 256;
/// How much of a value is looked for.
const ANCHOR: usize = 64;
/// How many copies of a value that lie over one another are followed to their ends.
const ENTANGLED: usize = 16;

type Hidden = Zeroizing<Vec<u8>>;

/// Whether a value is long enough to be masked.
#[must_use]
pub fn is_masked(value: &[u8]) -> bool {
    value.trim_ascii().len() >= SHORTEST
}

/// What is looked for. It never shows it.
#[derive(Default)]
pub struct Mask {
    finder: Option<AhoCorasick>,
    /// What each of the finder's patterns begins; sorted, so that values of one anchor stand together.
    values: Vec<(Hidden, Vec<Hidden>)>,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mask").field("values", &self.values.len()).finish_non_exhaustive()
    }
}

impl Mask {
    /// Looks for values, and for the long lines of those that have several. White space around a value does not count:
    /// a file often ends in a line break that nobody prints.
    #[must_use]
    pub fn of<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut wanted: Vec<&[u8]> = Vec::new();
        for value in values {
            let value = value.trim_ascii();
            if value.len() < SHORTEST {
                continue;
            }
            wanted.push(value);
            let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            wanted.extend(lines.filter(|line| line.len() >= SHORTEST_LINE && *line != value).take(MOST_LINES));
        }
        wanted.sort_unstable();
        wanted.dedup();
        let mut all: Vec<(Hidden, Vec<Hidden>)> = Vec::new();
        for value in wanted {
            let anchor = value.get(..ANCHOR).unwrap_or(value);
            match all.last_mut().filter(|(last, _)| last.as_slice() == anchor) {
                Some((_, values)) => values.push(Zeroizing::new(value.to_vec())),
                None => all.push((Zeroizing::new(anchor.to_vec()), vec![Zeroizing::new(value.to_vec())])),
            }
        }
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::Standard).kind(Some(AhoCorasickKind::ContiguousNFA));
        let finder = builder.build(all.iter().map(|(anchor, _)| anchor.as_slice()));
        if let Err(error) = &finder {
            tracing::error!(%error, "secrets are not masked in what passes by");
        }
        Self { finder: finder.ok().filter(|_| !all.is_empty()), values: all }
    }

    /// Whether nothing is looked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.finder.is_none()
    }

    /// Masks a text that is there as a whole.
    #[must_use]
    pub fn text(self: &Arc<Self>, text: &str) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        let mut masking = Masking::by(self.clone());
        let mut bytes = masking.push(text.as_bytes());
        bytes.extend(masking.finish());
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// How many of the last bytes may be the beginning of something that is looked for.
    fn open_end(&self, bytes: &[u8]) -> usize {
        let begins = |end: &[u8]| {
            let at = self.values.partition_point(|(anchor, _)| anchor.as_slice() < end);
            let rest = self.values.get(at..).unwrap_or_default();
            // The first may be the end itself, and then it is whole.
            rest.iter().take(2).any(|(anchor, _)| anchor.len() > end.len() && anchor.starts_with(end))
        };
        let most = bytes.len().min(ANCHOR - 1);
        let ends = (1..=most).rev().filter_map(|length| bytes.get(bytes.len() - length..));
        ends.filter(|end| begins(end)).map(<[u8]>::len).next().unwrap_or(0)
    }
}

/// The mask of a process, which changes with the secrets that it knows; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Masks(Arc<RwLock<Arc<Mask>>>);

impl Masks {
    /// Looks for other values from now on.
    pub fn set(&self, mask: Mask) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(mask);
    }

    /// What is looked for now.
    #[must_use]
    pub fn current(&self) -> Arc<Mask> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Masks something that comes in pieces.
    #[must_use]
    pub fn stream(&self) -> Masking {
        Masking { masks: Some(self.clone()), ..Masking::by(self.current()) }
    }
}

/// A value whose beginning has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Follower {
    anchor: usize,
    value: usize,
    /// How much of it has passed.
    passed: usize,
}

/// Masks something that comes in pieces, cut anywhere.
pub struct Masking {
    masks: Option<Masks>,
    mask: Arc<Mask>,
    /// What may be the beginning of a value, and which of its bytes are hidden in any case.
    held: Hidden,
    hidden: Vec<bool>,
    followers: Vec<Follower>,
    /// Whether what was given out last is a mask.
    masked: bool,
}

impl fmt::Debug for Masking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masking").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

impl Masking {
    pub(crate) fn by(mask: Arc<Mask>) -> Self {
        let (held, hidden) = (Hidden::default(), Vec::new());
        Self { masks: None, mask, held, hidden, followers: Vec::new(), masked: false }
    }

    /// Takes a piece, and gives what can be shown by now.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        if let Some(masks) = &self.masks {
            let current = masks.current();
            if !Arc::ptr_eq(&current, &self.mask) {
                // What a former mask was in the middle of cannot be found in this one.
                self.followers.clear();
                self.mask = current;
            }
        }
        if self.mask.is_empty() && self.held.is_empty() {
            self.masked = false;
            return piece.to_vec();
        }
        let from = self.held.len();
        self.held.extend_from_slice(piece);
        self.hidden.resize(self.held.len(), false);
        self.hide(from);
        let shown = self.held.len() - self.mask.open_end(&self.held);
        self.give(shown)
    }

    /// Gives what was held back: nothing follows.
    pub fn finish(&mut self) -> Vec<u8> {
        let rest = self.give(self.held.len());
        self.followers.clear();
        self.masked = false;
        rest
    }

    /// Hides what belongs to a value, as far as it was not seen before.
    fn hide(&mut self, from: usize) {
        let mask = self.mask.clone();
        for follower in std::mem::take(&mut self.followers) {
            self.follow(&mask, follower, from);
        }
        let Some(finder) = &mask.finder else { return };
        // Copies that lie over one another would cost the square of their length.
        let (mut end, mut entangled) = (0, 0);
        let found: Vec<_> =
            finder.find_overlapping_iter(self.held.as_slice()).filter(|found| found.end() > from).collect();
        for found in found {
            self.hidden.get_mut(found.range()).unwrap_or_default().fill(true);
            entangled = if found.start() < end { entangled + 1 } else { 0 };
            if entangled > ENTANGLED {
                continue;
            }
            let anchor = found.pattern().as_usize();
            let values = mask.values.get(anchor).map_or(0, |(_, values)| values.len());
            for value in 0..values {
                let follower = Follower { anchor, value, passed: found.len() };
                end = end.max(self.follow(&mask, follower, found.end()));
            }
        }
        self.followers.sort_unstable();
        self.followers.dedup();
    }

    /// Hides what goes on as a value does, and says where that ends.
    fn follow(&mut self, mask: &Mask, mut follower: Follower, from: usize) -> usize {
        let values = mask.values.get(follower.anchor).map(|(_, values)| values);
        let Some(value) = values.and_then(|values| values.get(follower.value)) else { return from };
        let rest = value.get(follower.passed..).unwrap_or_default();
        let seen = self.held.get(from..).unwrap_or_default();
        let same = rest.iter().zip(seen).take_while(|(value, seen)| value == seen).count();
        self.hidden.get_mut(from..from + same).unwrap_or_default().fill(true);
        if same == seen.len() && same < rest.len() {
            follower.passed += same;
            self.followers.push(follower);
        }
        from + same
    }

    /// Gives out the first bytes, a mask in place of each run of hidden ones.
    fn give(&mut self, count: usize) -> Vec<u8> {
        let mut shown = Vec::with_capacity(count);
        for (byte, hidden) in self.held.drain(..count).zip(self.hidden.drain(..count)) {
            if !hidden {
                shown.push(byte);
            } else if !self.masked {
                shown.extend_from_slice(MASK.as_bytes());
            }
            self.masked = hidden;
        }
        shown
    }
}

#[cfg(test)]
mod tests;
