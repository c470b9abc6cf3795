//! Versions of runtimes: which lines there are, and which of them fits what a project asks for.
//!
//! One grammar serves every ecosystem, since the operators that they share mean the same, but for `~`.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

/// The lines of each runtime.
static TABLE: LazyLock<BTreeMap<String, Lines>> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../data/versions.json")).unwrap_or_default());

/// Most comparators of one range that are read.
const MOST: usize = 64;

/// The lines of a runtime.
#[derive(Debug, Deserialize)]
struct Lines {
    /// Of which a range takes the newest that fits.
    lines: Vec<String>,
    /// Which are taken only where nothing of `lines` fits: those that are no longer maintained, and those that are so new
    /// that many packages are not ready for them.
    exact: Vec<String>,
    /// Where nothing is asked for.
    default: String,
}

/// The version that answers a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// A line of the table, or what was asked for, where none fits.
    pub(crate) version: String,
    /// Whether the table has it.
    pub(crate) supported: bool,
}

/// The version where nothing is asked for, if the table has that runtime.
pub(crate) fn default(runtime: &str) -> Option<&'static str> {
    TABLE.get(runtime).map(|lines| lines.default.as_str())
}

/// The newest line that fits what is asked for: `>=3.12`, `^8.1`, `~> 3.2`, `20.x || 22.x`, `go1.23`, `temurin-17`.
pub(crate) fn choose(runtime: &str, asked: &str) -> Chosen {
    let is_range = asked.contains(|c: char| "<>=!~^|, *".contains(c));
    let kept = || Chosen { version: if is_range { asked.trim() } else { bare(asked) }.to_owned(), supported: false };
    let Some(table) = TABLE.get(runtime) else { return kept() };
    if matches!(asked.trim(), "" | "*" | "latest" | "stable" | "lts" | "lts/*" | "x" | "any" | "current") {
        return Chosen { version: table.default.clone(), supported: true };
    }
    let ranges: Vec<Range> = asked.split("||").filter_map(|part| Range::parse(runtime, part)).collect();
    let newest = |lines: &[String]| {
        let fits = |line: &&String| {
            version(line).is_some_and(|(lowest, parts)| {
                let line = Interval { from: lowest, to: next(lowest, parts) };
                ranges.iter().any(|range| range.meets(line))
            })
        };
        lines.iter().filter(fits).max_by_key(|line| version(line)).cloned()
    };
    match newest(&table.lines).or_else(|| newest(&table.exact)) {
        Some(version) => Chosen { version, supported: true },
        None => kept(),
    }
}

/// What is asked for without what stands before its first digit.
fn bare(asked: &str) -> &str {
    let asked = asked.trim();
    asked.find(|c: char| c.is_ascii_digit()).and_then(|at| asked.get(at..)).unwrap_or(asked)
}

/// Three numbers.
type Number = [u32; 3];

/// From one version to before another.
#[derive(Debug, Clone, Copy)]
struct Interval {
    from: Number,
    to: Number,
}

/// Versions that meet several comparators at once.
#[derive(Debug)]
struct Range {
    all: Interval,
    without: Vec<Interval>,
}

impl Range {
    fn parse(runtime: &str, text: &str) -> Option<Self> {
        let mut range = Self { all: Interval { from: [0; 3], to: [u32::MAX; 3] }, without: Vec::new() };
        // `1.2 - 2.4` is two comparators.
        let text = match text.split_once(" - ") {
            Some((from, to)) => format!(">={from} <={to}"),
            None => text.to_owned(),
        };
        let mut any = false;
        for (operator, asked) in comparators(&text).into_iter().take(MOST) {
            let Some((lowest, parts)) = version(&asked) else { continue };
            any = true;
            let after = next(lowest, parts);
            let interval = match operator.as_str() {
                ">=" => Interval { from: lowest, to: [u32::MAX; 3] },
                ">" => Interval { from: if parts == 3 { after } else { next(lowest, 3) }, to: [u32::MAX; 3] },
                "<" => Interval { from: [0; 3], to: lowest },
                "<=" => Interval { from: [0; 3], to: after },
                "^" => Interval { from: lowest, to: caret(lowest, parts) },
                // The last part that is named may grow.
                "~=" | "~>" => Interval { from: lowest, to: next(lowest, parts.saturating_sub(1).max(1)) },
                "~" if runtime == "php" => Interval { from: lowest, to: next(lowest, parts.saturating_sub(1).max(1)) },
                "~" => Interval { from: lowest, to: next(lowest, parts.min(2)) },
                "!=" => {
                    range.without.push(Interval { from: lowest, to: after });
                    continue;
                }
                _ => Interval { from: lowest, to: after },
            };
            range.all.from = range.all.from.max(interval.from);
            range.all.to = range.all.to.min(interval.to);
        }
        any.then_some(range)
    }

    /// Whether some version of a line is in it.
    fn meets(&self, line: Interval) -> bool {
        let from = self.all.from.max(line.from);
        let to = self.all.to.min(line.to);
        from < to && !self.without.iter().any(|gone| gone.from <= from && to <= gone.to)
    }
}

/// The operators of a range, each with its version.
fn comparators(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut operator = String::new();
    for word in text.split([',', ' ', '\t', ';']).filter(|word| !word.is_empty()) {
        let at = word.find(|c: char| !"<>=!~^".contains(c)).unwrap_or(word.len());
        let (sign, asked) = word.split_at(at);
        if !sign.is_empty() {
            operator = sign.to_owned();
        }
        if !asked.is_empty() {
            // `ruby-3.2.1`, `v20`, `go1.23`: the digits are the version.
            found.push((std::mem::take(&mut operator), bare(asked).to_owned()));
        }
    }
    found
}

/// The lowest version that a text names, and how many parts it names. A wildcard ends it.
fn version(text: &str) -> Option<(Number, usize)> {
    let mut lowest = [0; 3];
    let mut parts = 0;
    for (part, slot) in text.trim().split('.').zip(lowest.iter_mut()) {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let Some(number) = part.get(..digits).and_then(|digits| digits.parse().ok()) else { break };
        *slot = number;
        parts += 1;
        if digits < part.len() {
            break;
        }
    }
    (parts > 0).then_some((lowest, parts))
}

/// The first version that no longer begins with the named parts.
fn next(lowest: Number, parts: usize) -> Number {
    let [major, minor, patch] = lowest;
    match parts {
        1 => [major.saturating_add(1), 0, 0],
        2 => [major, minor.saturating_add(1), 0],
        _ => [major, minor, patch.saturating_add(1)],
    }
}

/// The first version that `^` leaves out: the first part that is not zero may not grow.
fn caret(lowest: Number, parts: usize) -> Number {
    match lowest {
        [0, 0, _] if parts == 3 => next(lowest, 3),
        [0, _, _] if parts > 1 => next(lowest, 2),
        _ => next(lowest, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_takes_the_newest_line_that_fits() {
        for (runtime, asked, version) in [
            ("python", ">=3.12", "3.13"),
            ("python", ">=3.9,<3.12", "3.11"),
            ("python", "^3.10", "3.13"),
            ("python", "~=3.11.2", "3.11"),
            ("python", "==3.10.*", "3.10"),
            ("python", ">=3.10,!=3.13.*", "3.12"),
            ("python", "python-2.7", "2.7"),
            ("python", "3.14", "3.14"),
            ("python", ">=3.14", "3.14"),
            ("python", "3.11.4", "3.11"),
            ("python", "latest", "3.13"),
            ("ruby", "~> 3.2.0", "3.2"),
            ("ruby", "ruby-3.3.0", "3.3"),
            ("php", "^8.1", "8.4"),
            ("php", "~8.1", "8.4"),
            ("php", "7.4 || ^8.2", "8.4"),
            ("php", ">=7.4 <8.1", "8.0"),
            ("go", "1.23", "1.23"),
            ("go", "go1.25.3", "1.25"),
            ("java", "temurin-17", "17"),
            ("java", "8", "8"),
            ("elixir", "~> 1.13", "1.18"),
            ("rust", ">=1.70", "1.90"),
        ] {
            assert_eq!(
                choose(runtime, asked),
                Chosen { version: version.to_owned(), supported: true },
                "{runtime} {asked}"
            );
        }
    }

    #[test]
    fn what_fits_no_line_is_kept_as_asked() {
        assert_eq!(choose("python", "4.2"), Chosen { version: "4.2".to_owned(), supported: false });
        assert_eq!(choose("python", ">=3.13,<3.11"), Chosen { version: ">=3.13,<3.11".to_owned(), supported: false });
        assert!(!choose("cobol", "85").supported);
    }

    #[test]
    fn the_table_is_in_order_and_has_its_defaults() {
        assert!(TABLE.len() >= 9);
        for (runtime, table) in TABLE.iter() {
            assert!(table.lines.contains(&table.default), "{runtime}");
            assert!(table.lines.iter().all(|line| !table.exact.contains(line)), "{runtime}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_asked_has_an_answer(asked in ".{0,40}") {
            for runtime in TABLE.keys() {
                let _ = choose(runtime, &asked);
            }
        }
    }
}
