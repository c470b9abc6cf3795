//! What may be behind two files that differ, as far as their bytes tell.

use std::{ops::Range, sync::LazyLock};

use regex::bytes::Regex;

const BYTECODE: &str = "Python bytecode holds the time of its source: set PYTHONDONTWRITEBYTECODE=1, or compile with \
                        --invalidation-mode unchecked-hash";
const GZIP: &str = "the header of a gzip file holds the time: compress with gzip -n";
const ARCHIVE: &str = "an archive holds times, owners, or its members in another order: sort them, and take times from \
                       SOURCE_DATE_EPOCH";
const BUILD_ID: &str = "the build id of a program differs, and with it something that it was made of";
const TIME: &str = "a time is in the text: take it from SOURCE_DATE_EPOCH";
const PATH: &str = "a path of a directory that is another each time is in the text";

/// How archives begin: at that offset stand these bytes.
const ARCHIVES: [(usize, &[u8]); 5] =
    [(0, b"PK\x03\x04"), (0, b"!<arch>\n"), (257, b"ustar"), (0, b"070701"), (0, b"\xed\xab\xee\xdb")];
/// The header of a gzip file.
const GZIP_HEADER: usize = 10;
/// Where bytecode says of what time and size its source was.
const BYTECODE_HEADER: Range<usize> = 4..16;
/// How the note of a build id begins: its kind, and whose kind that is.
const NOTE: &[u8] = b"\x03\0\0\0GNU\0";
/// Most bytes of a build id.
const NOTED: usize = 64;
/// How far words around a place are looked at.
const AROUND: usize = 64;

/// A date, a time of day, seconds since 1970 as of this century, or a month and a day.
static TIMES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?i-u)[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{2}:[0-9]{2}:[0-9]{2}|\b1[0-9]{9}([0-9]{3}){0,3}\b",
        r"|\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec) +[0-9]{1,2}\b"
    ))
    .ok()
});
/// A path below a directory in which tools make places of their own.
static PATHS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?-u)/(tmp|var/tmp|var/folders|home|root|build|builds|proc|dev/shm)/[!-~]+").ok());

/// Says what may be behind it that two files at `path` differ first at `offset`.
pub(super) fn of(path: &str, a: &[u8], b: &[u8], offset: usize) -> Option<&'static str> {
    if path.ends_with(".pyc") && BYTECODE_HEADER.contains(&offset) {
        return Some(BYTECODE);
    }
    let both = |test: &dyn Fn(&[u8]) -> bool| test(a) && test(b);
    if both(&|bytes| bytes.starts_with(b"\x1f\x8b")) {
        return Some(if offset < GZIP_HEADER { GZIP } else { ARCHIVE });
    }
    if ARCHIVES.iter().any(|(at, magic)| both(&|bytes| bytes.get(*at..).is_some_and(|rest| rest.starts_with(magic)))) {
        return Some(ARCHIVE);
    }
    if both(&|bytes| bytes.starts_with(b"\x7fELF")) && [a, b].iter().any(|bytes| in_build_id(bytes, offset)) {
        return Some(BUILD_ID);
    }
    let told = |pattern: &Option<Regex>| [a, b].iter().all(|bytes| holds(pattern.as_ref(), bytes, offset));
    if told(&TIMES) {
        return Some(TIME);
    }
    told(&PATHS).then_some(PATH)
}

/// Whether that place lies in a note of a build id.
fn in_build_id(bytes: &[u8], offset: usize) -> bool {
    let from = offset.saturating_sub(NOTED + NOTE.len());
    let near = bytes.get(from..offset).unwrap_or_default();
    near.windows(NOTE.len()).any(|window| window == NOTE)
}

/// Whether what is looked for holds that place.
fn holds(pattern: Option<&Regex>, bytes: &[u8], offset: usize) -> bool {
    let from = offset.saturating_sub(AROUND);
    let around = bytes.get(from..bytes.len().min(offset + AROUND)).unwrap_or_default();
    pattern.is_some_and(|pattern| {
        pattern.find_iter(around).any(|found| (from + found.start()..from + found.end()).contains(&offset))
    })
}
